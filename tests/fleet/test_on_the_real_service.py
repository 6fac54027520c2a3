"""The fleet on a real RabbitMQ, with the real placement service and its journal on SQLite.

What the paper Ladle cannot show: command queues that appear later, holds, stranded rooms, statuses
that wait for company, two ways to connect. The service runs in this process, as it is.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from pydantic import SecretStr

from ladle.fleet.fleet import Fleet
from ladle.fleet.options import Faults, FleetOptions
from ladle.fleet.report import ServiceCounts
from ladle.fleet.run import run, settle
from ladle.fleet.service_counts import counts_in
from ladle.fleet.workloads import RoomDemand, Visit
from ladle.journal.open import open_store
from ladle.journal.schema import upgrade
from ladle.placement.build import make_link
from ladle.placement.service import PlacementService
from ladle.placement.settings import PlacementSettings
from ladle_contracts.amqp import AioPikaLink
from ladle_contracts.clock import SystemClock
from ladle_contracts.link import Link
from tests.fleet.paper_ladle import until

pytestmark = [pytest.mark.broker, pytest.mark.slow]

OPTIONS = FleetOptions(
    servers=3,
    workers=2,
    seed=11,
    duration_s=5,
    rate_per_s=6,
    # An hour lasts three seconds.
    speed_up=1_200,
    status_interval_ms=1_000,
    patience_ms=20_000,
    settle_timeout_s=20,
)


@asynccontextmanager
async def placement(url: str, cell: str, folder: Path) -> AsyncIterator[PlacementService]:
    """The service, writing; stopped cleanly at the end."""
    database = f"sqlite+aiosqlite:///{folder / 'ladle.db'}"
    settings = PlacementSettings(
        amqp_url=SecretStr(url), cell=cell, database_url=SecretStr(database), http=False
    )
    await upgrade(database)
    service = PlacementService(
        settings,
        store=open_store(database),
        make_link=lambda: make_link(settings),
        clock=SystemClock(),
    )
    stop = asyncio.Event()
    running = asyncio.create_task(service.run(stop))
    try:
        await until(lambda: service.term is not None or running.done(), within_s=30)
        yield service
    finally:
        stop.set()
        await running


def counts_of(service: PlacementService) -> ServiceCounts:
    return counts_in(generate_latest(service.metrics.registry).decode())


@pytest.mark.parametrize("own_connections", [False, True], ids=["shared", "own"])
async def test_view_and_fleet_agree(
    broker_url: str, cell: str, tmp_path: Path, own_connections: bool
) -> None:
    options = replace(OPTIONS, cell=cell, connection_per_server=own_connections)
    async with placement(broker_url, cell, tmp_path) as service:

        async def count() -> ServiceCounts:
            return counts_of(service)

        report = await run(
            options, lambda name: AioPikaLink(broker_url, name=name), count_events=count
        )
    assert report.view_matches_fleet, report.sentences()
    counts = report.allocations
    assert counts.attempted == counts.answered
    assert (counts.errors, counts.refused) == (0, 0)
    assert counts.placed > 10
    assert counts.existing > 10
    assert report.service is not None
    assert report.comparison is not None
    assert report.service.applied >= report.events_published > 0
    assert (report.service.duplicate, report.service.dead) == (0, 0)
    assert report.comparison.offset > report.events_published / 2


async def test_they_agree_after_crashes_deaths_and_deploys(
    broker_url: str, cell: str, tmp_path: Path
) -> None:
    faults = Faults(
        crash_every_s=1.5,
        worker_death_every_s=1.0,
        deploy_every_s=3.0,
        restart_after_s=0.3,
        worker_restart_after_s=0.3,
        drain_timeout_s=0.5,
    )
    options = replace(OPTIONS, cell=cell, duration_s=8, speed_up=600, faults=faults)
    async with placement(broker_url, cell, tmp_path):
        report = await run(options, lambda name: AioPikaLink(broker_url, name=name))
    assert report.view_matches_fleet, report.sentences()
    assert report.allocations.errors == 0
    assert report.incidents.crashes > 0
    assert report.incidents.worker_deaths > 0
    assert report.incidents.deploys > 0
    assert report.incidents.rooms_lost > 0
    assert report.allocations.moved > 0


async def test_the_copy_behind_a_partition_is_closed(
    broker_url: str, cell: str, tmp_path: Path
) -> None:
    """A server that Ladle gave up comes back with a room whose newer people were sent elsewhere."""
    options = replace(OPTIONS, cell=cell, status_interval_ms=250, start_spread_ms=0)
    async with placement(broker_url, cell, tmp_path):
        fleet = Fleet(options, lambda name: AioPikaLink(broker_url, name=name))
        try:
            await fleet.start()
            # The second one comes when the server is lost: after 12 intervals, 3 s.
            stay = (Visit(0, 60_000, True), Visit(6_000, 60_000, True, asks=True))
            await fleet.live([RoomDemand("r", 0, 2, None, 2, stay)])
            await until(lambda: "r" in fleet.truth().rooms)
            (first,) = fleet.truth().rooms["r"]
            await fleet.mishaps.cut_off(first.server_id)
            await until(lambda: len(fleet.truth().rooms["r"]) == 2, 30)
            assert fleet.backend.allocations.moved == 1
            await fleet.mishaps.reconnect(first.server_id)
            await until(lambda: fleet.mishaps.incidents().rooms_closed_as_told == 1, 30)
            await until(lambda: [life.peers for life in fleet.truth().rooms["r"]] == [2], 30)
            (now,) = fleet.truth().rooms["r"]
            assert now.server_id != first.server_id
            await fleet.stop_demand()
            comparison = await settle(fleet)
            assert comparison.matches, comparison.sentences()
        finally:
            await fleet.close()


async def test_released_and_drained_on_demand(broker_url: str, cell: str, tmp_path: Path) -> None:
    """An operator's release closes a running room; a drained server gets no new one."""

    def open_link(name: str) -> Link:
        return AioPikaLink(broker_url, name=name)

    async with placement(broker_url, cell, tmp_path):
        fleet = Fleet(replace(OPTIONS, cell=cell, servers=2), open_link)
        try:
            await fleet.start()
            stay = (Visit(0, 60_000, True), Visit(0, 60_000, True))
            await fleet.live([RoomDemand("first", 0, 2, None, 2, stay)])
            await until(lambda: "first" in fleet.truth().rooms)
            (life,) = fleet.truth().rooms["first"]
            other = next(name for name in fleet.servers if name != life.server_id)
            await fleet.mishaps.drain(other)
            assert life.allocation_id is not None
            await fleet.client.release("first", life.allocation_id)
            await until(lambda: fleet.mishaps.incidents().rooms_closed_as_told == 1, 30)
            # Its people were thrown out, ask again, and are placed anew, not on the drained one.
            await until(lambda: "first" in fleet.truth().rooms, 30)
            now = fleet.timeline.now_ms()
            more = [
                RoomDemand(f"more-{n}", now, 2, None, 2, (Visit(now, 60_000, True),))
                for n in range(5)
            ]
            await fleet.live(more)
            await until(lambda: len(fleet.truth().rooms) == 6, 30)
            homes = {place.server_id for rooms in fleet.truth().rooms.values() for place in rooms}
            assert homes == {life.server_id}
            await fleet.stop_demand()
            comparison = await settle(fleet)
            assert comparison.matches, comparison.sentences()
        finally:
            await fleet.close()
