"""Whole runs on a Ladle of paper: one that listens agrees, one that does not is found out."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from ladle.fleet.compare import Kind
from ladle.fleet.fleet import Fleet
from ladle.fleet.options import Faults, FleetOptions
from ladle.fleet.report import Report, ServiceCounts
from ladle.fleet.run import Progress, demand_windows, make_workload, run
from ladle.fleet.workloads import Burst, RoomDemand, Visit
from ladle_contracts.link import Link, LinkDown
from ladle_contracts.topology import Topology
from tests.fixtures.memory_link import MemoryBroker, MemoryLink
from tests.fleet.paper_ladle import PaperLadle, until

CELL = "t"
SERVERS = 3
OPTIONS = FleetOptions(
    servers=SERVERS,
    workers=2,
    seed=7,
    duration_s=1.0,
    rate_per_s=20,
    speed_up=8_000,
    status_interval_ms=1_000,
    cell=CELL,
    patience_ms=0,
    reconnect_ms=20,
    request_timeout_ms=2_000,
    settle_timeout_s=5,
    start_spread_ms=0,
)


def memory_broker() -> MemoryBroker:
    broker = MemoryBroker(Topology(CELL).declarations())
    for number in range(SERVERS):
        broker.declare(Topology(CELL).command_declarations(f"sfu-{number + 1}"))
    return broker


async def paper_ladle(broker: MemoryBroker, **bugs: object) -> PaperLadle:
    link = MemoryLink(broker)
    await link.open()
    ladle = PaperLadle(link, CELL, **bugs)  # type: ignore[arg-type]
    await ladle.start()
    return ladle


def links_to(broker: MemoryBroker) -> Callable[[str], Link]:
    return lambda name: MemoryLink(broker)


async def play(options: FleetOptions, **bugs: object) -> tuple[Report, PaperLadle]:
    broker = memory_broker()
    ladle = await paper_ladle(broker, **bugs)
    return await run(options, links_to(broker)), ladle


@pytest.mark.parametrize("workload", ["meetings", "classes", "webinar", "burst"])
async def test_a_run_agrees_with_a_ladle_that_listens(workload: str) -> None:
    report, ladle = await play(replace(OPTIONS, workload=workload, burst_rooms=30, callers=3))
    assert report.view_matches_fleet, report.sentences()
    counts = report.allocations
    assert counts.attempted == counts.answered > 0
    assert counts.placed > 0
    assert (counts.errors, counts.refused) == (0, 0)
    assert report.latency_p99_ms >= report.latency_p50_ms > 0
    # At the report the goodbyes were still to come.
    assert 0 < report.events_published <= len(ladle.events)
    assert [event.type for event in ladle.events[-SERVERS:]] == ["server-deregistered"] * SERVERS


async def test_crashes_dead_workers_and_deploys_still_agree() -> None:
    faults = Faults(
        crash_every_s=0.4,
        worker_death_every_s=0.3,
        deploy_every_s=0.8,
        restart_after_s=0.05,
        worker_restart_after_s=0.05,
        drain_timeout_s=0.1,
    )
    report, _ = await play(replace(OPTIONS, faults=faults, duration_s=2.5, speed_up=2_000))
    assert report.view_matches_fleet, report.sentences()
    assert report.incidents.crashes > 0
    assert report.incidents.worker_deaths > 0
    assert report.incidents.deploys > 0
    assert report.incidents.rooms_lost > 0
    # People came back, and were told another home.
    assert report.allocations.moved > 0


async def test_each_server_may_have_its_own_connection() -> None:
    broker = memory_broker()
    await paper_ladle(broker)
    names: list[str] = []

    def open_link(name: str) -> Link:
        names.append(name)
        return MemoryLink(broker)

    report = await run(replace(OPTIONS, connection_per_server=True, duration_s=0.3), open_link)
    assert report.view_matches_fleet, report.sentences()
    assert names == ["fleet backend", "fleet sfu-1", "fleet sfu-2", "fleet sfu-3"]


@pytest.mark.parametrize(
    ("deaf_to", "kinds"),
    [
        ("room-created", {Kind.ROOM_MISSING}),
        ("room-deleted", {Kind.ROOM_EXTRA}),
        ("worker-status", {Kind.OBSERVED, Kind.ROOM_LOAD}),
        ("server-registered", {Kind.SERVER_UNKNOWN}),
    ],
)
async def test_a_ladle_that_overlooks_events_is_found_out(deaf_to: str, kinds: set[Kind]) -> None:
    deaf = {deaf_to, "worker-status"}
    options = replace(OPTIONS, speed_up=4_000, settle_timeout_s=0)
    if deaf_to == "server-registered":
        # Nothing can be placed then.
        options = replace(options, rate_per_s=0)
    report, _ = await play(options, deaf_to=deaf)
    assert not report.view_matches_fleet
    assert report.comparison is not None
    assert kinds <= {difference.kind for difference in report.comparison.differences}
    assert report.as_json()["differences"]


async def test_two_homes_in_one_generation_are_a_broken_promise() -> None:
    report, _ = await play(
        replace(OPTIONS, workload="burst", burst_rooms=5, callers=4, settle_timeout_s=0),
        forgetful=True,
    )
    assert not report.view_matches_fleet
    assert any("both in generation 1" in sentence for sentence in report.broken_promises)


@pytest.mark.parametrize(
    ("code", "refused", "errors"),
    [
        ("no-capacity", True, False),
        ("room-too-large", True, False),
        ("no-servers", True, False),
        ("region-unavailable", True, False),
        ("internal", False, True),
        ("unavailable", False, True),
    ],
)
async def test_refusals_and_errors_are_told_apart(code: str, refused: bool, errors: bool) -> None:
    broker = memory_broker()
    ladle = await paper_ladle(broker)
    ladle.refuse_with = code
    report = await run(replace(OPTIONS, duration_s=0.3), links_to(broker))
    counts = report.allocations
    assert counts.attempted == counts.answered > 0
    assert (counts.refused > 0, counts.errors > 0) == (refused, errors)
    assert counts.placed == counts.existing == counts.moved == 0
    assert report.refusals == ({code: counts.refused} if refused else {})


async def test_people_wait_for_a_service_that_comes_back() -> None:
    """A backend asks again with the same request id; nobody counts an error."""
    broker = memory_broker()
    options = replace(OPTIONS, patience_ms=5_000, duration_s=1.0)
    running = asyncio.ensure_future(run(options, links_to(broker)))
    await asyncio.sleep(0.3)
    ladle = await paper_ladle(broker)
    ladle.refuse_with = "unavailable"
    await asyncio.sleep(0.3)
    ladle.refuse_with = None
    report = await running
    assert report.view_matches_fleet, report.sentences()
    assert report.allocations.errors == 0
    assert report.allocations.placed > 0


async def test_a_silent_service_is_an_error_of_every_ask_and_its_view_is_not_read() -> None:
    """What nobody read is no zero and no equal view, and the counts that there are are kept."""
    broker = memory_broker()
    ladle = await paper_ladle(broker)
    ladle.silent = True
    options = replace(OPTIONS, request_timeout_ms=100, duration_s=0.3, settle_timeout_s=0.2)
    report = await run(options, links_to(broker))
    assert report.allocations.attempted == report.allocations.errors > 0
    assert report.comparison is None
    assert report.view_not_read
    assert not report.view_matches_fleet
    assert report.as_json()["view_matches_fleet"] is None
    assert report.as_json()["journal_offset"] is None


async def test_without_a_broker_a_run_ends_at_once() -> None:
    broker = memory_broker()

    def open_link(name: str) -> Link:
        link = MemoryLink(broker)
        link.fails_to_open = True
        return link

    with pytest.raises(LinkDown):
        await run(OPTIONS, open_link)


async def test_a_cell_that_nobody_declared_is_named() -> None:
    options = replace(OPTIONS, start_timeout_s=0.2)
    with pytest.raises(TimeoutError, match="cell 't'"):
        await run(options, links_to(MemoryBroker()))


async def test_the_services_counts_are_those_of_the_run() -> None:
    broker = memory_broker()
    ladle = await paper_ladle(broker)

    async def count() -> ServiceCounts:
        return ServiceCounts(applied=1_000 + len(ladle.events), duplicate=5, dead=2)

    report = await run(replace(OPTIONS, duration_s=0.5), links_to(broker), count_events=count)
    assert report.service is not None
    assert report.events_published <= report.service.applied < len(ladle.events)
    assert (report.service.duplicate, report.service.dead) == (0, 0)


async def test_counts_that_lag_are_waited_for() -> None:
    broker = memory_broker()
    ladle = await paper_ladle(broker)
    pages: list[int] = []

    async def count() -> ServiceCounts:
        # The service folds plain statuses up to a second late.
        pages.append(len(ladle.events) if len(pages) >= 3 else 0)
        return ServiceCounts(applied=pages[-1])

    report = await run(replace(OPTIONS, duration_s=0.3), links_to(broker), count_events=count)
    assert pages[:3] == [0, 0, 0]
    assert report.service is not None
    assert report.service.applied >= report.events_published


@pytest.mark.parametrize("missing", [0, 1])
async def test_counts_that_were_not_read_before_or_after_are_no_zeros(missing: int) -> None:
    broker = memory_broker()
    await paper_ladle(broker)
    reads: list[int] = []

    async def count() -> ServiceCounts | None:
        reads.append(len(reads))
        return None if reads[-1] == missing else ServiceCounts(applied=5_000 * len(reads))

    report = await run(replace(OPTIONS, duration_s=0.2), links_to(broker), count_events=count)
    assert report.service is None
    events = {"published": report.events_published, "applied": None, "duplicate": None}
    assert report.as_json()["events"] == {**events, "dead": None}


async def test_a_stop_ends_an_endless_run_with_a_comparison() -> None:
    broker = memory_broker()
    await paper_ladle(broker)
    stop = asyncio.Event()
    seen: list[Progress] = []
    options = replace(OPTIONS, duration_s=None)
    running = asyncio.ensure_future(
        run(options, links_to(broker), stop=stop, on_progress=seen.append)
    )
    await until(lambda: any(progress.placed > 3 for progress in seen))
    stop.set()
    report = await running
    assert report.view_matches_fleet, report.sentences()
    phases = [progress.phase for progress in seen]
    assert phases == sorted(phases, key=["running", "settling", "leaving"].index)
    assert set(phases) == {"running", "settling", "leaving"}
    assert seen[-1].servers_running == SERVERS


async def test_a_cancelled_run_leaves_no_task_behind() -> None:
    broker = memory_broker()
    ladle = await paper_ladle(broker)
    before = asyncio.all_tasks()
    running = asyncio.ensure_future(run(OPTIONS, links_to(broker)))
    await ladle.until("room-created", 2)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize(
    ("leave", "last"),
    [("vanish", None), ("deregister", "server-deregistered"), ("close-rooms", "room-deleted")],
)
async def test_servers_leave_as_told(leave: str, last: str | None) -> None:
    broker = memory_broker()
    ladle = await paper_ladle(broker)
    options = replace(OPTIONS, workload="burst", burst_rooms=6, leave=leave, duration_s=0.3)
    report = await run(options, links_to(broker))
    await asyncio.sleep(0.02)
    after = [event.type for event in ladle.events[report.events_published :]]
    assert ("server-deregistered" in after) is (leave != "vanish")
    assert after.count("room-deleted") == (6 if leave == "close-rooms" else 0)
    if last is not None:
        assert last in after


async def test_who_loses_the_room_comes_back_to_it() -> None:
    broker = memory_broker()
    ladle = await paper_ladle(broker)
    fleet = Fleet(replace(OPTIONS, servers=2), links_to(broker))
    await fleet.start()
    try:
        stays = tuple(Visit(0, 60_000, True) for _ in range(3))
        await fleet.live([RoomDemand("r", 0, 3, None, 2, stays)])
        await until(lambda: "r" in fleet.truth().rooms)
        (life,) = fleet.truth().rooms["r"]
        await fleet.mishaps.crash(life.server_id)
        assert fleet.truth().rooms == {}
        # Ladle learns of it by the restart; people are refused by the dead server until then.
        await asyncio.sleep(0.1)
        await fleet.mishaps.restart(life.server_id)
        await until(lambda: ladle.rooms.get("r", {}).get("room_state") == "active")
        await until(lambda: sum(room.peers for room in fleet.truth().rooms.get("r", ())) == 3)
        assert len(fleet.truth().rooms["r"]) == 1
        assert fleet.backend.allocations.errors == 0
    finally:
        await fleet.close()


async def test_a_room_closed_as_told_is_opened_again_by_its_people() -> None:
    broker = memory_broker()
    ladle = await paper_ladle(broker)
    fleet = Fleet(OPTIONS, links_to(broker))
    await fleet.start()
    try:
        await fleet.live([RoomDemand("r", 0, 2, None, 2, (Visit(0, 60_000, True),))])
        await ladle.until("room-created")
        (life,) = fleet.truth().rooms["r"]
        await ladle.close_room(life.server_id, "r", allocation_id=life.allocation_id)
        await ladle.until("room-deleted")
        await ladle.until("room-created", 2)
        assert fleet.mishaps.incidents().rooms_closed_as_told == 1
        assert fleet.backend.allocations.placed == 2
    finally:
        await fleet.close()


async def test_rooms_that_nobody_uses_are_given_back_and_growing_ones_extended() -> None:
    broker = memory_broker()
    ladle = await paper_ladle(broker)
    fleet = Fleet(OPTIONS, links_to(broker))
    await fleet.start()
    try:
        unused = RoomDemand("unused", 0, 2, None, 2, (), released_after_ms=10)
        stay = (Visit(0, 400, True), Visit(300, 400, True))
        grows = RoomDemand("grows", 0, 2, None, 2, stay, grows_at_ms=100, grows_to=5)
        await fleet.live([unused, grows])
        await until(lambda: fleet.backend.released == 1 and fleet.backend.extended == 1)
        assert "unused" not in ladle.rooms
        await ladle.until("room-deleted")
        assert fleet.truth().rooms == {}
    finally:
        await fleet.close()


def test_endless_demand_comes_in_windows_without_a_room_twice() -> None:
    options = replace(OPTIONS, duration_s=None, speed_up=240, rate_per_s=1)
    made = []
    for room in demand_windows(options, make_workload(options)):
        made.append(room)
        if room.asked_at_ms > 1_300_000:
            break
    ids = [room.room_id for room in made]
    assert len(set(ids)) == len(ids)
    assert {name.split("-")[2] for name in ids} == {"0", "1", "2"}
    for number in range(3):
        window = [room for room in made if room.room_id.startswith(f"fleet-7-{number}-")]
        assert all(number * 600_000 <= room.asked_at_ms for room in window)
        assert all(visit.from_ms >= room.asked_at_ms for room in window for visit in room.visits)


def test_a_bursts_options_reach_it() -> None:
    options = replace(
        OPTIONS, workload="burst", burst_rooms=9, burst_peers=4, burst_window_ms=60, callers=20
    )
    assert make_workload(options) == Burst(rooms_count=9, peers=4, window_ms=60, callers=20)
    rooms = list(demand_windows(options, make_workload(options)))
    assert len(rooms) == 9
    assert all(len(room.visits) == 4 for room in rooms)
