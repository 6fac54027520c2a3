"""A broker whose certificate an authority of one's own has signed: every connection knows it."""

import ssl
from pathlib import Path

import pytest
import trustme

from ladle.broker.dead_letters import letters
from ladle.broker.declare import declare, missing
from ladle.broker.node import PrivateNode
from ladle.broker.roles import Role, users_of
from ladle.broker.users_file import write
from ladle_contracts.events import ServerDescription, WorkerDescription
from ladle_contracts.link import LinkDown
from ladle_contracts.publisher import MediaServerPublisher
from ladle_contracts.topology import Topology
from tests.commands.conftest import Ladle
from tests.fixtures.roles import imported_users
from tests.fixtures.service import running_service

pytestmark = pytest.mark.broker


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(file)
    return file


@pytest.fixture
def trusting(ca_file: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file)


@pytest.mark.parametrize("link", ["fast", "plain"])
async def test_a_service_declares_serves_and_answers_over_tls(
    private_broker: PrivateNode,
    cell: str,
    tmp_path: Path,
    ca_file: Path,
    trusting: ssl.SSLContext,
    link: str,
) -> None:
    url = private_broker.tls_url
    async with running_service(
        url, cell, f"sqlite:///{tmp_path}/ladle.db", tls_ca_file=ca_file, link=link
    ) as running:
        publisher = MediaServerPublisher.connect(
            url,
            "sfu-1",
            ServerDescription(host="sfu-1.example.org"),
            [WorkerDescription(worker_id="0")],
            cell=cell,
            ssl_context=trusting,
        )
        async with publisher, running.client(ssl_context=trusting) as client:
            await running.until(
                lambda: "sfu-1" in running.service.term.writer.view.servers,  # type: ignore[union-attr]
                "a server that registered",
            )
            placed = await client.allocate(room_id="standup", peers=2)
            assert placed.server.server_id == "sfu-1"


async def test_errands_trust_whom_they_are_told_to(
    private_broker: PrivateNode, cell: str, trusting: ssl.SSLContext
) -> None:
    url, topology = private_broker.tls_url, Topology(cell)
    await declare(url, topology, ssl_context=trusting)
    assert await missing(url, topology, ssl_context=trusting) == []
    assert await letters(url, topology, ssl_context=trusting) == []
    with pytest.raises(LinkDown, match="certificate"):
        await missing(url, topology, ssl_context=ssl.create_default_context())


@pytest.mark.parametrize(
    "command", [("broker", "declare"), ("broker", "check"), ("dead-letters", "list")]
)
def test_commands_trust_whom_they_are_told_to(
    private_broker: PrivateNode, cell: str, ca_file: Path, command: tuple[str, ...]
) -> None:
    ladle = Ladle({"LADLE_AMQP_URL": private_broker.tls_url, "LADLE_CELL": cell})
    trust = {"LADLE_TLS_CA_FILE": str(ca_file)}
    assert ladle("broker", "declare", **trust).code == 0
    assert (done := ladle(*command, **trust)).code == 0, done.err
    refused = ladle(*command)
    assert refused.code == 3
    assert "certificate is signed by no authority that is trusted here" in refused.err


def test_users_are_tried_over_tls(
    private_broker: PrivateNode, ca_file: Path, tmp_path: Path
) -> None:
    users = [*users_of(Role.MEDIA_SERVER, ["sfu-1"]), *users_of(Role.BACKEND, ["meetings"])]
    with imported_users(private_broker, Topology(), users, tmp_path) as made:
        write(tmp_path / "users.json", made.users)
        ladle = Ladle({"LADLE_AMQP_URL": f"{private_broker.tls_url}{made.vhost}"})
        check = ("broker", "check", "--users", str(tmp_path / "users.json"))
        assert (done := ladle(*check, LADLE_TLS_CA_FILE=str(ca_file))).code == 0, done.err
        refused = ladle(*check)
        assert refused.code == 3
        assert "no authority that is trusted here" in refused.err
