"""A service and users of the generated roles on a real broker: who is believed, as whom."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ladle.broker.dead_letters import DeadLetter, letters
from ladle.broker.node import PrivateNode
from ladle.broker.roles import Role, users_of
from ladle.placement.loss import JournalBehind, LossCheck, log_over_amqp
from ladle_contracts.amqp import AioPikaLink
from ladle_contracts.client import PlacementClient
from ladle_contracts.envelope import encode_event, encode_request
from ladle_contracts.errors import Forbidden, NotOwner
from ladle_contracts.events import ServerDescription, ServerRegistered, WorkerDescription
from ladle_contracts.link import DIRECT_REPLY_TO, Message, Refused
from ladle_contracts.publisher import MediaServerPublisher
from ladle_contracts.requests import Allocate, Body, Lookup
from ladle_contracts.topology import Topology
from tests.fixtures.roles import Imported, imported_users
from tests.fixtures.service import Running, running_service
from tests.journal.making import fresh_store

pytestmark = [pytest.mark.broker, pytest.mark.slow]

NAMES = {
    Role.MEDIA_SERVER: ["sfu-1", "sfu-2"],
    Role.GATEWAY: ["gateway", "unlisted"],
    Role.BACKEND: ["meetings", "lessons"],
    Role.OPERATOR: ["ops"],
    Role.PLACEMENT: ["ladle"],
    Role.ADMINISTRATOR: ["root"],
}
LIFE = 1_763_802_000_000


@pytest.fixture(scope="module")
def cell_of_roles(
    private_broker: PrivateNode, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Imported]:
    users = [user for role, names in NAMES.items() for user in users_of(role, names)]
    folder = tmp_path_factory.mktemp("definitions")
    with imported_users(private_broker, Topology(), users, folder) as made:
        yield made


@asynccontextmanager
async def serving(roles: Imported, database: Path, **settings: Any) -> AsyncIterator[Running]:
    """The service as its own user of few rights, and one media server with four workers."""
    async with running_service(
        roles.url_of("ladle"),
        "default",
        f"sqlite:///{database}",
        # The tests share a broker, whose stream remembers what the one before recorded.
        accept_loss=True,
        require_user_id=True,
        proxy_users="gateway",
        **settings,
    ) as running:
        publisher = MediaServerPublisher.connect(
            roles.url_of("sfu-1"),
            "sfu-1",
            ServerDescription(host="sfu-1.example.org"),
            [WorkerDescription(worker_id=str(number)) for number in range(4)],
        )
        async with publisher:
            await running.until(
                lambda: "sfu-1" in running.service.term.writer.view.servers,  # type: ignore[union-attr]
                "a server that registered",
            )
            yield running


@pytest.fixture
async def running(cell_of_roles: Imported, tmp_path: Path) -> AsyncIterator[Running]:
    async with serving(cell_of_roles, tmp_path / "ladle.db") as made:
        yield made


async def raw_answer(url: str, body: Body, user_id: str | None) -> dict[str, Any]:
    """The answer to a request that names this user, or none: the client always names its own."""
    link, answer = AioPikaLink(url), asyncio.get_running_loop().create_future()

    def on_messages(messages: list[Message]) -> None:
        answer.set_result(json.loads(messages[0].body))

    await link.open()
    try:
        await link.listen_for_replies(on_messages)
        message = encode_request(
            body,
            request_id="request",
            correlation_id="ask",
            reply_to=DIRECT_REPLY_TO,
            timeout_ms=10_000,
            user_id=user_id,
        )
        await link.publish(message)
        async with asyncio.timeout(10):
            return dict(await answer)
    finally:
        await link.close()


async def say(url: str, server_id: str, user_id: str | None) -> None:
    """An event of this server that names this user, or none."""
    link = AioPikaLink(url)
    await link.open()
    try:
        message = encode_event(
            ServerRegistered(
                server=ServerDescription(host="elsewhere.example.org"),
                workers=[WorkerDescription(worker_id="0")],
            ),
            server_id=server_id,
            event_id=f"{user_id}-{server_id}",
            time_ms=LIFE,
            incarnation=LIFE,
            sequence=1,
            user_id=user_id,
        )
        await link.publish(message)
    finally:
        await link.close()


async def dead(roles: Imported, count: int) -> list[DeadLetter]:
    """The dead letters, once there are `count`: a quorum queue's counts lag."""
    found: list[DeadLetter] = []
    async with asyncio.timeout(15):
        while len(found) < count:
            found = await letters(roles.url_of("root"), roles.topology)
            await asyncio.sleep(0.05)
    return found


async def test_a_backend_that_names_itself_is_answered(
    cell_of_roles: Imported, running: Running
) -> None:
    async with PlacementClient.connect(cell_of_roles.url_of("meetings")) as client:
        placed = await client.allocate(room_id="standup")
        assert placed.server.server_id == "sfu-1"
        assert (await client.lookup("standup")).server == placed.server
    view = running.service.term.writer.view  # type: ignore[union-attr]
    assert {user for user, _, _ in view.requests} == {"meetings"}


async def test_the_services_own_user_sees_what_a_journal_has_lost(
    cell_of_roles: Imported, running: Running, tmp_path: Path
) -> None:
    """That takes reading the stream; without the right it would be skipped with a warning."""
    async with PlacementClient.connect(cell_of_roles.url_of("meetings")) as client:
        await client.allocate(room_id="standup")
    topology = cell_of_roles.topology
    check = LossCheck(log_over_amqp(cell_of_roles.url_of("ladle"), topology), topology)
    await running.until(
        lambda: running.count("ladle_outbox_messages_total", what="event") > 0,
        "an event that the broker has confirmed",
    )
    restored = await fresh_store(f"sqlite:///{tmp_path}/restored.db")
    try:
        with pytest.raises(JournalBehind):
            await check.look(restored, await restored.head())
    finally:
        await restored.close()


@pytest.mark.parametrize("body", [Allocate(room_id="standup"), Lookup(room_id="standup")])
async def test_nobody_is_told_that_it_must_say_who_asks(
    cell_of_roles: Imported, running: Running, body: Body
) -> None:
    answer = await raw_answer(cell_of_roles.url_of("meetings"), body, None)
    assert answer["error"]["code"] == "forbidden"
    assert answer["error"]["details"] == {"reason": "wrong-identity"}
    assert "user_id" in answer["error"]["message"]
    assert not answer["error"]["retryable"]
    records = await running.service._store.records(0, 10_000)
    refused = [json.loads(record.body) for record in records if record.kind == "rejected"]
    assert [each["payload"]["reason"] for each in refused] == ["wrong-identity"]
    view = running.service.term.writer.view  # type: ignore[union-attr]
    assert not view.rooms
    assert not view.requests


async def test_the_broker_lets_nobody_name_another_user(
    cell_of_roles: Imported, running: Running
) -> None:
    with pytest.raises(Refused, match="user_id"):
        await raw_answer(cell_of_roles.url_of("meetings"), Allocate(room_id="a"), "lessons")


async def test_only_a_proxy_asks_for_others(cell_of_roles: Imported, running: Running) -> None:
    for who in ("meetings", "unlisted"):
        url = cell_of_roles.url_of(who)
        async with PlacementClient.connect(url, on_behalf_of="lessons") as client:
            with pytest.raises(Forbidden, match="may not ask on behalf of 'lessons'"):
                await client.allocate(room_id="standup")
            with pytest.raises(Forbidden, match="LADLE_PROXY_USERS"):
                await client.lookup("standup")
    url = cell_of_roles.url_of("gateway")
    async with PlacementClient.connect(url, on_behalf_of="lessons") as client:
        assert (await client.allocate(room_id="standup")).outcome == "placed"
    view = running.service.term.writer.view  # type: ignore[union-attr]
    assert {user for user, _, _ in view.requests} == {"lessons"}


async def test_a_room_is_its_owners_where_the_cell_says_so(
    cell_of_roles: Imported, tmp_path: Path
) -> None:
    """The setting is in the journal, and so is who allocated: a replay refuses the same."""
    database = tmp_path / "ladle.db"
    url = cell_of_roles.url_of
    async with (
        serving(cell_of_roles, database, owner_only=True, operators="ops") as running,
        PlacementClient.connect(url("meetings")) as meetings,
        PlacementClient.connect(url("lessons")) as lessons,
        PlacementClient.connect(url("ops")) as ops,
    ):
        placed = await meetings.allocate("standup", peers=4)
        with pytest.raises(NotOwner, match="user lessons may not extend"):
            await lessons.extend("standup", peers=6)
        with pytest.raises(NotOwner, match="user lessons may not release"):
            await lessons.release("standup", placed.allocation_id)
        with pytest.raises(NotOwner, match="user lessons may not move"):
            await lessons.move("standup", if_generation=1, reason="mine now")
        found = await lessons.allocate("standup", peers=10)
        assert (found.server, found.fits) == (placed.server, False)
        assert (await meetings.extend("standup", peers=6)).reserved_peers == 6
        assert (await ops.extend("standup", peers=8)).reserved_peers == 8
        assert (await ops.release("standup", placed.allocation_id)).room_state == "nowhere"
        limits = running.service.term.writer.view.limits  # type: ignore[union-attr]
        assert (limits.owner_only, limits.operators) == (True, "ops")
    verified = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ladle.cli", "audit", "verify"),
        env={**os.environ, "LADLE_DATABASE_URL": f"sqlite+aiosqlite:///{database}"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told, _ = await verified.communicate()
    assert verified.returncode == 0, told.decode()


async def test_a_standby_asks_the_same_of_who_reads(
    cell_of_roles: Imported, running: Running, tmp_path: Path
) -> None:
    settings = {"role": "standby", "require_user_id": True, "proxy_users": "gateway"}
    url, database = cell_of_roles.url_of("ladle"), f"sqlite:///{tmp_path}/ladle.db"
    async with running_service(url, "default", database, **settings) as other:

        def refused(of: Running) -> float:
            return of.count("ladle_requests_total", operation="lookup", outcome="forbidden")

        body, asker = Lookup(room_id="standup"), cell_of_roles.url_of("meetings")
        async with asyncio.timeout(30):
            # The broker shares reads out: some are the writer's.
            while not refused(other):
                answer = await raw_answer(asker, body, None)
                assert answer["error"]["details"] == {"reason": "wrong-identity"}


async def test_a_backend_only_asks_and_a_media_server_only_speaks(
    cell_of_roles: Imported, running: Running
) -> None:
    """The broker refuses what is not the role's, before Ladle hears of it."""
    with pytest.raises(Refused, match="access"):
        await say(cell_of_roles.url_of("meetings"), "meetings", "meetings")
    with pytest.raises(Refused, match="access"):
        await raw_answer(cell_of_roles.url_of("sfu-1"), Lookup(room_id="standup"), "sfu-1")
    view = running.service.term.writer.view  # type: ignore[union-attr]
    assert set(view.servers) == {"sfu-1"}


async def test_an_event_of_a_server_is_its_own_users_to_say(
    cell_of_roles: Imported, running: Running
) -> None:
    """The broker stops a media server's user; one with the right, and no mandate, is not heard."""
    with pytest.raises(Refused, match="access"):
        await say(cell_of_roles.url_of("sfu-1"), "sfu-2", "sfu-1")
    await say(cell_of_roles.url_of("unlisted"), "sfu-2", "unlisted")
    await say(cell_of_roles.url_of("sfu-2"), "sfu-2", None)
    found = await dead(cell_of_roles, 2)
    assert [letter.reason for letter in found] == ["wrong-identity"] * 2
    assert [letter.detail for letter in found] == [
        "user 'unlisted' may not speak for server 'sfu-2'",
        "no broker-checked user (AMQP user_id) speaks for server 'sfu-2'",
    ]
    assert "sfu-2" not in running.service.term.writer.view.servers  # type: ignore[union-attr]
    await say(cell_of_roles.url_of("sfu-2"), "sfu-2", "sfu-2")
    await running.until(
        lambda: "sfu-2" in running.service.term.writer.view.servers,  # type: ignore[union-attr]
        "the server that speaks for itself",
    )
