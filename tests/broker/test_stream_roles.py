"""Who may read the stream: an auditor without a mark, the placement role with one."""

from collections.abc import Iterator

import pytest

from ladle.broker.connecting import connected
from ladle.broker.node import PrivateNode
from ladle.broker.roles import Role, User, users_of
from ladle.broker.stream import MARK_TYPE, StreamReader
from ladle_contracts.amqp import AioPikaLink
from ladle_contracts.link import Outgoing, Refused
from ladle_contracts.topology import Topology
from tests.fixtures.roles import Imported, imported_users

pytestmark = [pytest.mark.broker, pytest.mark.slow]


@pytest.fixture(scope="module")
def imported(
    private_broker: PrivateNode, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Imported]:
    users: list[User] = [
        user
        for role, name in (
            (Role.AUDITOR, "stream-auditor"),
            (Role.PLACEMENT, "stream-placement"),
            (Role.BACKEND, "stream-backend"),
        )
        for user in users_of(role, [name])
    ]
    folder = tmp_path_factory.mktemp("definitions")
    with imported_users(private_broker, Topology("eu"), users, folder) as made:
        yield made


async def test_each_reads_in_its_way(imported: Imported) -> None:
    log = imported.topology.log
    placement = imported.url_of(Role.PLACEMENT)
    async with connected(placement) as connection:
        found = [each async for each in StreamReader(connection, log).until_now("first")]
    assert found[-1].message.type == MARK_TYPE
    link = AioPikaLink(placement, name="test")
    await link.open()
    said = Outgoing(imported.topology.placement_events, "room-active.sfu-1", b"{}", persistent=True)
    await link.publish(said)
    await link.close()
    async with connected(imported.url_of(Role.AUDITOR)) as connection:
        found = [each async for each in StreamReader(connection, log).until_quiet()]
    assert [each.message.exchange for each in found[-2:]] == ["", said.exchange]


async def test_others_may_not(imported: Imported) -> None:
    async with connected(imported.url_of(Role.BACKEND)) as connection:
        reader = StreamReader(connection, imported.topology.log)
        with pytest.raises(Refused, match="ACCESS_REFUSED"):
            await anext(aiter(reader.until_quiet()))
