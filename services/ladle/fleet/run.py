"""One run of the fleet, from the first registration to the comparison at its end."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

from ladle.fleet.compare import Comparison
from ladle.fleet.fleet import Fleet, OpenLink
from ladle.fleet.options import FleetOptions
from ladle.fleet.report import Report, ServiceCounts, percentile
from ladle.fleet.service_counts import CountEvents, nothing_counted
from ladle.fleet.timeline import DemandOver
from ladle.fleet.workloads import WORKLOADS, Burst, Pace, RoomDemand, Workload, demand_of
from ladle.fleet.workloads.demand import MINUTE_MS, later
from ladle_contracts.clock import Clock
from ladle_contracts.errors import PlacementError

log = logging.getLogger(__name__)

PROGRESS_MS = 500
# Demand without an end is made in windows: long enough for a full hour to fall into each.
WINDOW_MS_MIN = 10 * MINUTE_MS
COMPARE_EVERY_S = 0.5
REPORT_EVERY_S = 5.0
# Plain statuses wait up to a second for company before they are applied.
COUNT_WITHIN_S = 2.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How a run goes, for people who watch it; `phase` is one word."""

    phase: str
    elapsed_s: float
    servers: int
    servers_running: int
    rooms: int
    peers: int
    consumers: int
    asked: int
    placed: int
    existing: int
    moved: int
    refused: int
    errors: int
    published: int
    differences: int | None = None
    """While settling: where view and fleet differ now."""


OnProgress = Callable[[Progress], None]


async def run(
    options: FleetOptions,
    open_link: OpenLink,
    *,
    workload: Workload | None = None,
    count_events: CountEvents = nothing_counted,
    on_progress: OnProgress | None = None,
    stop: asyncio.Event | None = None,
    clock: Clock | None = None,
) -> Report:
    """Play the options' demand and faults on a fleet, compare, leave; see docs/fleet.md.

    `stop` ends the demand early, as its duration would; cancelling ends everything at once,
    without a comparison. Where Ladle does not answer by the end, the report has no comparison and
    says why. Raises LinkDown where the broker is not there.
    """
    fleet = Fleet(options, open_link, clock=clock)
    try:
        counted = await count_events()
        await fleet.start()
        watcher = _Watcher(fleet, on_progress)
        await _play(fleet, workload or make_workload(options), watcher, stop)
        await fleet.stop_demand()
        await fleet.mishaps.repair_all()
        comparison, not_read = await _compared(fleet, watcher)
        published = fleet.published
        service = await _counted_since(count_events, counted, published)
        report = Report(
            allocations=fleet.backend.allocations,
            latency_p50_ms=percentile(fleet.backend.latencies_ms, 500),
            latency_p99_ms=percentile(fleet.backend.latencies_ms, 990),
            events_published=published,
            service=service,
            comparison=comparison,
            incidents=fleet.mishaps.incidents(),
            refusals=dict(fleet.backend.refusals),
            broken_promises=tuple(fleet.backend.broken_promises),
            view_not_read=not_read,
        )
        watcher.tell("leaving")
        if options.leave != "vanish":
            await fleet.leave(close_rooms=options.leave == "close-rooms")
        return report
    finally:
        await fleet.close()


def make_workload(options: FleetOptions) -> Workload:
    """The named workload; raises KeyError for an unknown name."""
    if options.workload == "burst":
        return Burst(
            rooms_count=options.burst_rooms,
            peers=options.burst_peers,
            window_ms=options.burst_window_ms,
            callers=options.callers,
        )
    return WORKLOADS[options.workload]()


def demand_windows(options: FleetOptions, workload: Workload) -> Iterator[RoomDemand]:
    """All demand of the run; without a duration, window after window, each from its own seed.

    Room ids carry the seed: a run after another one on the same journal asks for other rooms.
    """
    if options.duration_s is not None:
        pace = Pace(
            options.rate_per_s,
            options.speed_up,
            int(options.duration_s * 1000),
            options.room_prefix,
        )
        yield from demand_of(workload, options.seed, pace)
        return
    window_ms = max(WINDOW_MS_MIN, round(60 * MINUTE_MS / options.speed_up))
    number = 0
    while True:
        prefix = f"{options.room_prefix}-{options.seed}-{number}"
        pace = Pace(options.rate_per_s, options.speed_up, window_ms, prefix)
        for room in demand_of(workload, options.seed + number, pace):
            yield later(room, number * window_ms)
        number += 1


async def _play(
    fleet: Fleet, workload: Workload, watcher: "_Watcher", stop: asyncio.Event | None
) -> None:
    """Demand and faults until the duration is over, `stop` is set, or the emulation is broken."""
    duration_s = fleet.options.duration_s
    works: list[Coroutine[object, object, None]] = [
        fleet.live(demand_windows(fleet.options, workload)),
        fleet.mishaps.play(fleet.options.seed),
        watcher.watch(),
    ]
    tasks = [asyncio.create_task(_until_over(work)) for work in works]
    stopping = asyncio.create_task((stop or asyncio.Event()).wait())
    ends: set[asyncio.Future[Any]] = {stopping, fleet.broken}
    try:
        async with asyncio.timeout(duration_s):
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    except TimeoutError:
        pass
    finally:
        fleet.timeline.end()
        stopping.cancel()
        # The end of the demand ends each of them by itself.
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    if fleet.broken.done():
        fleet.broken.result()


async def _until_over(work: Coroutine[object, object, None]) -> None:
    with contextlib.suppress(DemandOver):
        await work


async def _counted_since(
    count_events: CountEvents, before: ServiceCounts | None, published: int
) -> ServiceCounts | None:
    """What the service counted since; waits while it has not seen all that was published.

    Not for long: an event that it ignored, for a reason, is in none of the counts. None where it
    was not read then or now: a count without its beginning is of other runs too.
    """
    if before is None:
        return None
    deadline = asyncio.get_running_loop().time() + COUNT_WITHIN_S
    while True:
        now = await count_events()
        if now is None:
            return None
        counts = now.since(before)
        seen = counts.applied + counts.duplicate + counts.dead
        in_time = asyncio.get_running_loop().time() < deadline
        if seen >= published or not in_time:
            return counts
        await asyncio.sleep(COMPARE_EVERY_S)


async def _compared(fleet: Fleet, watcher: "_Watcher") -> tuple[Comparison | None, str]:
    """The last comparison; or None, and why there is none."""
    try:
        return await settle(fleet, watcher), ""
    except PlacementError as error:
        return None, str(error)


async def settle(fleet: Fleet, watcher: "_Watcher | None" = None) -> Comparison:
    """Compare until the view agrees or `settle_timeout_s` has passed; the last comparison.

    Each server sends a complete status now, and again while they differ: what it says is then
    the whole truth. Raises PlacementError where Ladle has not answered even once.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + fleet.options.settle_timeout_s
    report_at = loop.time()
    comparison: Comparison | None = None
    failure: PlacementError | None = None
    while comparison is None or not comparison.matches:
        if loop.time() >= report_at:
            report_at = loop.time() + REPORT_EVERY_S
            for server in fleet.servers.values():
                server.report()
        try:
            comparison = await fleet.compare()
        except PlacementError as error:
            failure = error
            log.warning("Ladle did not say what it believes: %s", error)
        if watcher is not None:
            watcher.tell("settling", comparison)
        if loop.time() >= deadline:
            break
        if comparison is None or not comparison.matches:
            await asyncio.sleep(COMPARE_EVERY_S)
    if comparison is None:
        assert failure is not None
        raise failure
    return comparison


class _Watcher:
    """Tells the caller's progress function how things stand."""

    def __init__(self, fleet: Fleet, on_progress: OnProgress | None) -> None:
        self._fleet = fleet
        self._on_progress = on_progress

    async def watch(self) -> None:
        """Tell twice a second until the demand is over (DemandOver)."""
        while True:
            self.tell("running")
            await self._fleet.timeline.pause(PROGRESS_MS)

    def tell(self, phase: str, comparison: Comparison | None = None) -> None:
        if self._on_progress is None:
            return
        fleet, counts = self._fleet, self._fleet.backend.allocations
        truth = fleet.truth()
        progress = Progress(
            phase=phase,
            elapsed_s=fleet.timeline.now_ms() / 1000,
            servers=len(truth.servers),
            servers_running=sum(server.running for server in truth.servers.values()),
            rooms=len(truth.rooms),
            peers=sum(life.peers for lives in truth.rooms.values() for life in lives),
            consumers=truth.consumers,
            asked=counts.attempted,
            placed=counts.placed,
            existing=counts.existing,
            moved=counts.moved,
            refused=counts.refused,
            errors=counts.errors,
            published=fleet.published,
            differences=None if comparison is None else len(comparison.differences),
        )
        self._on_progress(progress)
