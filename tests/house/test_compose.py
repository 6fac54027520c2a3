"""compose.yaml, as far as it holds without an engine: its users are tried on a real broker."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pika
import pytest
import yaml
from pika.exceptions import ChannelClosedByBroker, ProbableAuthenticationError
from yarl import URL

from ladle.broker.declare import declare, declare_command_queues
from ladle.broker.node import PackageMissing, PrivateNode
from ladle.broker.role_matrix import ACTIONS
from ladle.broker.roles import Role, User
from ladle.broker.trying import try_users
from ladle.commands.brokers import ComposeBroker
from ladle_contracts.client import PlacementClient
from ladle_contracts.events import ServerDescription, WorkerDescription
from ladle_contracts.link import Refused
from ladle_contracts.publisher import MediaServerPublisher
from ladle_contracts.topology import Topology
from tests.fixtures.service import running_service
from tests.house.sources import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
# One cell without a prefix and one with.
CELLS = ["default", "eu"]


def definitions() -> str:
    """What Compose would write, with every variable at its default."""
    content: str = COMPOSE["configs"]["rabbitmq-definitions"]["content"]
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", content).replace("$$", "$")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateNode]:
    """A node that starts as the one in compose.yaml does: with these definitions."""
    base = tmp_path_factory.mktemp("compose-broker")
    written = base / "definitions.json"
    written.write_text(definitions(), encoding="utf-8")
    node = PrivateNode(
        base / "node", name="ladle-compose", config=[f"load_definitions = {written}"]
    )
    try:
        node.start()
    except PackageMissing as missing:
        pytest.skip(str(missing))
    yield node
    node.stop()


def url(node: PrivateNode, user: str) -> str:
    return f"amqp://{user}:ladle@127.0.0.1:{node.port}/"


@pytest.fixture(scope="module")
def declared(node: PrivateNode) -> None:
    async def as_placement() -> None:
        for cell in CELLS:
            await declare(url(node, "ladle"), Topology(cell))
            await declare_command_queues(url(node, "ladle"), Topology(cell), ["sfu-1"])

    asyncio.run(as_placement())


@pytest.fixture
def fleet(node: PrivateNode) -> Iterator[pika.BlockingConnection]:
    connection = pika.BlockingConnection(pika.URLParameters(url(node, "fleet")))
    yield connection
    connection.close()


@pytest.mark.broker
@pytest.mark.slow
@pytest.mark.usefixtures("declared")
class TestUsers:
    @pytest.mark.parametrize("cell", CELLS)
    def test_the_fleet_may_do_what_servers_and_backends_do(
        self, fleet: pika.BlockingConnection, cell: str
    ) -> None:
        names = Topology(cell)
        channel = fleet.channel()
        channel.confirm_delivery()
        channel.basic_publish(names.media_events, "worker-status.sfu-1", b"{}", mandatory=True)
        channel.basic_publish(names.media_answers, "report-rooms.sfu-1", b"{}", mandatory=True)
        channel.basic_publish(names.placement_requests, "allocate", b"{}", mandatory=True)
        assert channel.basic_get(names.command_queue("sfu-1"))[0] is None
        # Direct reply-to needs no right.
        channel = fleet.channel()
        channel.basic_consume("amq.rabbitmq.reply-to", print, auto_ack=True)
        assert channel.is_open

    @pytest.mark.parametrize("cell", CELLS)
    def test_the_fleet_may_not_speak_for_ladle(
        self, fleet: pika.BlockingConnection, cell: str
    ) -> None:
        names = Topology(cell)
        for exchange in (names.placement_events, names.media_commands, names.placement_dead, ""):
            channel = fleet.channel()
            channel.confirm_delivery()
            with pytest.raises(ChannelClosedByBroker, match="ACCESS_REFUSED"):
                channel.basic_publish(exchange, "drain.sfu-1", b"{}")

    @pytest.mark.parametrize("cell", CELLS)
    def test_the_fleet_may_not_read_what_is_for_ladle(
        self, fleet: pika.BlockingConnection, cell: str
    ) -> None:
        names = Topology(cell)
        for queue in (names.inbox, names.requests, names.queries, names.answers):
            with pytest.raises(ChannelClosedByBroker, match="ACCESS_REFUSED"):
                fleet.channel().basic_get(queue)

    async def test_the_fleet_declares_nothing(self, node: PrivateNode) -> None:
        with pytest.raises(Refused):
            await declare(url(node, "fleet"), Topology("other"))

    async def test_each_may_do_what_its_role_may(self, node: PrivateNode) -> None:
        users = {
            User("admin", Role.ADMINISTRATOR): "ladle",
            User("ladle", Role.PLACEMENT): "ladle",
            User("fleet", Role.GATEWAY): "ladle",
        }
        found = await try_users(f"amqp://{node.host}:{node.port}/", Topology(), users)
        tried = [(user.name, cell) for user, cells in found.items() for cell in cells]
        assert [(name, cell) for name, cell in tried if not cell.as_meant] == []
        assert len(tried) == 3 * len(ACTIONS)

    @pytest.mark.parametrize("cell", CELLS)
    async def test_service_and_fleet_work_as_their_users(
        self, node: PrivateNode, cell: str, tmp_path: Path
    ) -> None:
        given = COMPOSE["services"]["placement"]["environment"]
        settings = {
            name: given[f"LADLE_{name.upper()}"] for name in ("require_user_id", "proxy_users")
        }
        assert settings["require_user_id"] == "true"
        database = f"sqlite:///{tmp_path}/ladle.db"
        publisher = MediaServerPublisher.connect(
            url(node, "fleet"),
            "sfu-1",
            ServerDescription(host="sfu-1.example.org"),
            [WorkerDescription(worker_id="0")],
            cell=cell,
        )
        client = PlacementClient.connect(url(node, "fleet"), cell=cell)
        async with (
            running_service(url(node, "ladle"), cell, database, **settings),
            publisher,
            client,
            asyncio.timeout(30),
        ):
            while not (await client.view()).servers:
                await asyncio.sleep(0.05)
            placed = await client.allocate("standup")
            assert placed.server.server_id == "sfu-1"

    @pytest.mark.parametrize("password", ["guest", "ladle"])
    def test_there_is_no_guest(self, node: PrivateNode, password: str) -> None:
        with pytest.raises(ProbableAuthenticationError):
            pika.BlockingConnection(
                pika.URLParameters(f"amqp://guest:{password}@127.0.0.1:{node.port}/")
            )


def test_ports_are_published_on_the_loopback_alone() -> None:
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_every_service_comes_back_and_says_whether_it_is_well() -> None:
    for name, service in COMPOSE["services"].items():
        assert service["restart"] == "unless-stopped", name
        assert "healthcheck" in service, name


def test_what_is_mounted_exists() -> None:
    mounts = [
        volume.partition(":")[0]
        for service in COMPOSE["services"].values()
        for volume in service.get("volumes", [])
    ]
    from_here = [Path(mount) for mount in mounts if mount.startswith("./")]
    assert from_here
    assert [path for path in from_here if not (ROOT / path).exists()] == []
    named = {mount for mount in mounts if not mount.startswith("./")}
    assert named == set(COMPOSE["volumes"])


def test_the_definitions_are_one_json_document() -> None:
    parsed = json.loads(definitions())
    assert {user["name"] for user in parsed["users"]} == {"admin", "ladle", "fleet"}


def test_the_definitions_are_what_the_roles_are() -> None:
    """Where this fails: python tools/compose_users.py."""
    checked = subprocess.run(
        [sys.executable, "tools/compose_users.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr


def test_who_connects_is_one_of_the_users() -> None:
    """And `ladle up` comes as the administrator."""
    names = {user["name"] for user in json.loads(definitions())["users"]}
    services = COMPOSE["services"].values()
    urls = [service.get("environment", {}).get("LADLE_AMQP_URL") for service in services]
    users = {URL(re.sub(r"\$\{[^}]*\}", "x", given)).user for given in urls if given}
    assert users == {"ladle", "fleet"}
    up = URL(ComposeBroker(ROOT / "compose.yaml").url)
    assert {*users, up.user} == names
    assert up.user == "admin"
