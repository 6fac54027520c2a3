"""kill -9 of the placement service in mid load, and what must be there after it."""

import asyncio
import random
from dataclasses import replace
from pathlib import Path

import pytest

from ladle.fleet.options import FleetOptions
from ladle.fleet.report import Report
from ladle.fleet.run import run
from ladle_contracts.amqp import AioPikaLink
from ladle_contracts.client import PlacementClient
from tests.acceptance.promises import Promises, answered, asking, heard_events, the_journal_holds
from tests.fixtures.placement_process import PlacementProcess, placement_process

pytestmark = [pytest.mark.broker, pytest.mark.slow]

LEASE_MS = 500
CALL_MS = 60_000

FLEET = FleetOptions(
    servers=3,
    workers=2,
    # The plain callers' rooms stay held to the end.
    capacity_consumers=20_000,
    duration_s=None,
    rate_per_s=6,
    # An hour lasts six seconds: rooms live through a kill or two.
    speed_up=600,
    # Stale after six seconds: emulated servers share two cores with everything else.
    status_interval_ms=2_000,
    complete_every=4,
    request_timeout_ms=CALL_MS,
    patience_ms=CALL_MS,
    settle_timeout_s=60,
)


async def killed_in_mid_load(
    process: PlacementProcess, broker_url: str, cell: str, promises: Promises, *, kills: int
) -> Report:
    """Load without a pause while the service is killed and started again; the fleet's report."""
    chance = random.Random(kills)
    over = asyncio.Event()
    async with (
        PlacementClient.connect(broker_url, cell=cell, timeout_ms=CALL_MS) as client,
        asking(client, promises),
    ):
        fleet = asyncio.create_task(
            run(
                replace(FLEET, cell=cell, seed=kills),
                lambda name: AioPikaLink(broker_url, name=name),
                stop=over,
            )
        )
        for number in range(kills):
            await answered(promises, 10)
            await asyncio.sleep(0.2 + chance.random() * 0.6)
            assert not fleet.done()
            if number % 2:
                # The moment at which a promise that is not on the disk would be broken.
                promises.came.clear()
                await promises.came.wait()
            await process.kill()
            await process.start()
            await process.ready()
        over.set()
        return await fleet


async def nothing_is_lost_by_kills(
    broker_url: str, cell: str, database_url: str, folder: Path, *, kills: int, link: str
) -> None:
    """Kill, restart, and hold journal, view, fleet, callers and subscribers to each other."""
    promises = Promises()
    settings = {"amqp_url": broker_url, "cell": cell, "database_url": database_url, "link": link}
    async with placement_process(folder, lease_ms=LEASE_MS, **settings) as process:
        await process.ready()
        async with heard_events(broker_url, cell) as heard:
            report = await killed_in_mid_load(process, broker_url, cell, promises, kills=kills)
            assert await process.terminate() == 0, process.tail()
            assert process.starts == kills + 1
            await asyncio.sleep(1)  # What the broker has is on its way to the subscriber.
    assert promises.errors == []
    assert report.view_matches_fleet, report.sentences()
    assert report.broken_promises == ()
    assert report.allocations.errors == 0
    assert report.allocations.attempted == report.allocations.answered
    await the_journal_holds(database_url, promises, heard=heard, cell=cell)


async def test_killed_twenty_times(
    broker_url: str, cell: str, database_url: str, tmp_path: Path
) -> None:
    """Every answered allocation is in journal and view, and the fleet's truth is the view."""
    await nothing_is_lost_by_kills(broker_url, cell, database_url, tmp_path, kills=20, link="fast")


async def test_killed_three_times_on_the_plain_link(
    broker_url: str, cell: str, tmp_path: Path
) -> None:
    """The other link acks message by message; what it promises is the same."""
    database_url = f"sqlite:///{tmp_path}/ladle.db"
    await nothing_is_lost_by_kills(broker_url, cell, database_url, tmp_path, kills=3, link="plain")
