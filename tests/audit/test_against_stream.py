"""`ladle audit verify --against-stream` on a real broker, after a real service wrote."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pika
import pytest
from typer.testing import CliRunner

from ladle.commands.app import app
from ladle_contracts.envelope import encode_event
from ladle_contracts.events import RoomCreated
from ladle_contracts.link import Outgoing
from ladle_contracts.topology import Topology
from tests.fixtures.service import running_service
from tests.placement.test_lost_records import place, publishing

pytestmark = pytest.mark.broker


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/ladle.db"


async def audit(broker_url: str, cell: str, url: str) -> tuple[int, dict[str, Any], str]:
    environment = {"LADLE_AMQP_URL": broker_url, "LADLE_CELL": cell, "LADLE_DATABASE_URL": url}
    words = ["audit", "verify", "--against-stream", "--json"]
    result = await asyncio.to_thread(CliRunner().invoke, app, words, env=environment)
    return result.exit_code, json.loads(result.stdout or "{}"), result.stderr


async def test_what_a_service_wrote_is_what_the_broker_heard(
    broker_url: str, cell: str, url: str
) -> None:
    topology = Topology(cell)
    bad = Outgoing(topology.media_events, "room-created.sfu-1", b"{torn", persistent=True)
    async with running_service(broker_url, cell, url) as running:
        await place(running, "standup")
        async with publishing(broker_url) as publish:
            await publish(bad)
        await running.until(lambda: running.count("ladle_events_total", type="refused",
                                                  outcome="dead") == 1, "the refusal")  # fmt: skip
        await place(running, "retro")
    code, said, _ = await audit(broker_url, cell, url)
    assert (code, said["unchecked"], said["violations"]["count"]) == (0, [], 0)
    assert said["heard"] >= 6

    # What reached the stream and never the inbox: only the broker can know of it.
    lost = encode_event(
        RoomCreated(room_id="unheard"), server_id="sfu-1", event_id="unheard", time_ms=0, cell=cell
    )
    async with publishing(broker_url) as publish:
        await publish(lost)
    purge(broker_url, topology.inbox)
    async with running_service(broker_url, cell, url) as running:
        await place(running, "planning")
    code, said, _ = await audit(broker_url, cell, url)
    assert (code, said["violations"]["by_law"]) == (1, {"stream": 1})
    first = said["violations"]["first"]
    assert (first["recorded"], first["derived"]) == (None, "event unheard of sfu-1")
    assert first["where"].endswith(topology.log)


def purge(broker_url: str, queue: str) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(broker_url))
    connection.channel().queue_purge(queue)
    connection.close()


async def test_a_broker_that_is_not_there(cell: str, broker_url: str, url: str) -> None:
    async with running_service(broker_url, cell, url):
        pass
    code, said, stderr = await audit("amqp://guest:guest@127.0.0.1:9/", cell, url)
    assert (code, said["error"]["code"]) == (5, "unreachable")
    assert "LADLE_AMQP_URL" in stderr


async def test_the_stream_of_another_cell_is_no_witness(
    cell: str, broker_url: str, url: str
) -> None:
    async with running_service(broker_url, cell, url):
        pass
    code, said, stderr = await audit(broker_url, f"{cell}-none", url)
    assert (code, said["error"]["code"]) == (2, "usage")
    assert f"of cell {cell}, and LADLE_CELL says {cell}-none" in stderr.replace("\n", " ")
