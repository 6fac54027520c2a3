"""Somebody deletes a queue that the service reads: it makes it again, and reads on."""

import asyncio
from pathlib import Path

import aiormq
import pytest

from ladle_contracts.client import PlacementClient
from ladle_contracts.errors import PlacementError
from ladle_contracts.topology import Topology
from tests.acceptance.promises import servers
from tests.fixtures.placement_process import placement_process

pytestmark = [pytest.mark.broker, pytest.mark.slow]

BACK_S = 40


@pytest.mark.parametrize(
    ("name", "link"),
    [("requests", "fast"), ("queries", "fast"), ("inbox", "fast"), ("inbox", "plain")],
)
async def test_a_deleted_queue_is_declared_and_read_again(
    broker_url: str, cell: str, tmp_path: Path, name: str, link: str
) -> None:
    """The broker only cancels the consumer: connected and ready, the service would hear nothing."""
    topology = Topology(cell)
    async with (
        placement_process(
            tmp_path,
            amqp_url=broker_url,
            cell=cell,
            database_url=f"sqlite:///{tmp_path}/ladle.db",
            lease_ms=500,
            link=link,
        ) as process,
        PlacementClient.connect(broker_url, cell=cell, timeout_ms=2_000) as client,
    ):
        await process.ready()
        connection = await aiormq.connect(broker_url)
        channel = await connection.channel()
        await channel.queue_delete(getattr(topology, name))
        async with asyncio.timeout(BACK_S):
            while True:
                try:
                    # Registers, asks and reads: it takes all three queues. A registration that
                    # finds no inbox is lost, and the server is silent: the next one registers.
                    async with servers(broker_url, cell, 1, until_known=False):
                        await client.allocate("standup")
                        await client.lookup("standup")
                    break
                except PlacementError:
                    await asyncio.sleep(0.2)
        await connection.close()
        assert await process.terminate() == 0, process.tail()
