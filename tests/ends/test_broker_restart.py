"""The broker itself stops and starts again under both ends; and speaks TLS, with settings."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from ladle.broker.declare import declare
from ladle.broker.node import PrivateNode
from ladle_contracts.client import PlacementClient
from ladle_contracts.envelope import Event
from ladle_contracts.events import RoomCreated, WorkerStatus
from ladle_contracts.publisher import Fate
from ladle_contracts.requests import Allocate
from ladle_contracts.settings import ClientSettings
from ladle_contracts.topology import Topology
from tests.ends.server_kit import App
from tests.ends.test_amqp_link import eventually
from tests.ends.test_ends_on_rabbitmq import publisher_at, reading_inbox, responding
from tests.fixtures.broker import private_node

pytestmark = [pytest.mark.broker, pytest.mark.slow]


@pytest.fixture
def own_node(tmp_path: Path) -> Iterator[PrivateNode]:
    """A node of this test alone: the shared one must not go away under the others."""
    with private_node(tmp_path) as node:
        yield node


async def test_a_broker_restart_costs_time_and_nothing_else(own_node: PrivateNode) -> None:
    """Events said while it was away arrive; a call begun while it was away is answered."""
    url, app = own_node.url, App()
    await declare(url, Topology())
    async with (
        responding(url, "default") as responder,
        reading_inbox(url, "default") as events,
        PlacementClient.connect(url, timeout_ms=120_000) as client,
        publisher_at(url, "default", app, buffer_max=100) as publisher,
    ):
        await client.allocate("before")
        await publisher.room_created("before")
        app.rooms["before"] = None
        # RabbitMQ 3.10 came back hanging when it was stopped right after a quorum queue's birth.
        await asyncio.sleep(10)
        await asyncio.to_thread(own_node.stop)
        during = publisher.room_created("during")
        app.rooms["during"] = None
        call = asyncio.create_task(client.allocate("during"))
        await asyncio.sleep(1)
        assert not during.done()
        await asyncio.to_thread(own_node.start)
        async with asyncio.timeout(60):
            assert (await call).room_id == "during"
            # The server was silent for more than three intervals: a complete status stands for it.
            assert await during in (Fate.REPLACED, Fate.CONFIRMED)
            assert (await client.allocate("after")).room_id == "after"
            assert await publisher.room_created("after") is Fate.CONFIRMED
        await eventually(lambda: _rooms(events) == {"before", "during", "after"})
        # A broker that is still booting may drop the reply: then it was asked for again, by its id.
        during_ids = {
            request.request_id
            for request in responder.requests
            if isinstance(request.body, Allocate) and request.body.room_id == "during"
        }
        assert len(during_ids) == 1


def _rooms(events: list[Event]) -> set[str]:
    """Rooms that were told of, by their creation or in a status."""
    told: set[str] = set()
    for event in events:
        if isinstance(event.data, RoomCreated):
            told.add(event.data.room_id)
        elif isinstance(event.data, WorkerStatus):
            told.update(room.room_id for room in event.data.rooms or [])
    return told


async def test_tls_as_the_settings_say(
    private_broker: PrivateNode,
    authority: trustme.CA,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("LADLE_AMQP_URL", private_broker.tls_url)
    monkeypatch.setenv("LADLE_TLS_CA_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("LADLE_CELL", "tls")
    settings = ClientSettings()
    await declare(private_broker.url, Topology("tls"))
    async with (
        responding(private_broker.url, "tls"),
        PlacementClient.connect(
            settings.url, cell=settings.cell, ssl_context=settings.ssl_context()
        ) as client,
    ):
        assert (await client.allocate("secret")).room_id == "secret"
