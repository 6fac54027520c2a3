"""Load: what a worker's rooms need, kept as running sums, against the formula over the rows."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ladle.core import load
from ladle.core.load import FADE_STEPS
from ladle.core.rows import Router, Server, Stamp, Worker, changed
from ladle.core.view import View
from tests.core.placing import fleet, put_router, reloaded, set_worker


@pytest.mark.parametrize(
    ("peers", "publishers", "streams", "consumers"),
    [
        (0, None, 2, 0),
        (1, None, 2, 0),
        (2, None, 2, 4),
        (4, None, 2, 24),
        (10, None, 2, 180),
        (16, None, 2, 480),
        (100, 2, 2, 396),
        (10, None, 1, 90),
        (10, 0, 2, 0),
        (10, None, 0, 0),
    ],
)
def test_cost(peers, publishers, streams, consumers):
    """p(n - 1)s: everybody receives every stream but their own."""
    assert load.cost(peers, publishers, streams) == consumers


@pytest.mark.parametrize(
    ("headroom", "publishers", "streams", "peers"),
    [
        (-1, None, 2, 0),
        (0, None, 2, 1),
        (480, None, 2, 16),
        (479, None, 2, 15),
        (396, 2, 2, 100),
        (10, 0, 2, 1),
        (10, None, 0, 1),
    ],
)
def test_largest_room(headroom, publishers, streams, peers):
    """The examples of `cost`, the other way round."""
    assert load.largest_room(headroom, publishers, streams) == peers


@given(
    headroom=st.integers(-10, 5_000),
    publishers=st.none() | st.integers(0, 60),
    streams=st.integers(0, 4),
)
def test_largest_room_is_the_last_that_fits(headroom, publishers, streams):
    """One peer more would not fit, unless more peers cost nothing."""

    def cost(peers: int) -> int:
        return load.cost(peers, None if publishers is None else min(publishers, peers), streams)

    largest = load.largest_room(headroom, publishers, streams)
    if headroom < 0:
        assert largest == 0
        return
    assert largest >= 1
    assert cost(largest) <= headroom
    if streams and publishers != 0:
        assert cost(largest + 1) > headroom


@given(cost=st.integers(0, 1_000), seen=st.integers(0, 1_000))
def test_a_reservation_fades_towards_what_is_seen(cost, seen):
    """It starts whole, never rises, never falls below what is left of it, and ends at nothing."""
    steps = [load.reserved_at(step, cost, seen) for step in range(FADE_STEPS + 1)]
    assert steps[0] == cost
    assert steps[-1] == 0
    assert steps == sorted(steps, reverse=True)
    for step, reserved in enumerate(steps[:-1]):
        counts = max(reserved, seen)
        exact = seen + max(0, cost - seen) * (FADE_STEPS - step) / FADE_STEPS
        assert exact <= counts < exact + 1


@pytest.mark.parametrize(
    ("step", "late_ms", "then"),
    [
        (0, 0, (1, 30_000)),
        (0, 29_999, (1, 30_000)),
        (0, 30_000, (2, 60_000)),
        (1, 31_000, (3, 60_000)),
        (2, 0, (3, 30_000)),
        (3, 0, (FADE_STEPS, None)),
        (2, 30_000, (FADE_STEPS, None)),
        (0, 10_000_000, (FADE_STEPS, None)),
    ],
)
def test_steps_that_time_passed(step, late_ms, then):
    """Settling in 120 s is four steps of 30 s; a silent server's rooms take several at once."""
    due_ms = 1_000_000
    reached, next_ms = load.faded(step, due_ms, due_ms + late_ms, 120_000)
    assert (reached, next_ms and next_ms - due_ms) == then


def test_a_settling_time_of_nothing_still_passes():
    """settle_ms 0 must not divide by it: a step lasts at least a millisecond."""
    assert load.step_ms(0) == 1
    assert load.faded(0, 100, 101, 0) == (2, 102)


def test_a_burst_counts_before_any_report():
    view = fleet("a")
    put_router(view, "r1", "a", cost=24, reserved=24, reserved_offset=1)
    put_router(view, "r2", "a", cost=180, reserved=180, reserved_offset=2)
    assert view.loads.used("a", "0") == 204


def test_rooms_that_outgrow_their_reservation_count_as_seen():
    view = fleet("a")
    put_router(view, "r1", "a", cost=24, reserved=24, seen=60)
    set_worker(view, "a", observed=60, status_sequence=5, status_offset=5)
    assert view.loads.used("a", "0") == 60


def test_consumers_of_nobodys_room_count():
    """A worker may carry what Ladle never placed."""
    view = fleet("a")
    put_router(view, "r1", "a", reserved=24, seen=10)
    set_worker(view, "a", observed=110, status_sequence=5, status_offset=5)
    assert view.loads.used("a", "0") == 24 + 100


def test_a_room_that_ended_after_the_status_gives_its_capacity_back_at_once():
    """The report still counts it; counting that as somebody's would keep the worker full."""
    view = fleet("a")
    room = put_router(view, "r1", "a", seen=180)
    set_worker(view, "a", observed=180, status_sequence=5, status_offset=5)
    view.drop(room)
    view.put(Stamp("r1", "a", sequence=6, worker_id="0", seen=180))
    assert view.loads.used("a", "0") == 0
    # The next status no longer counts it; other consumers are somebody's again.
    set_worker(view, "a", observed=180, status_sequence=7, status_offset=8)
    assert view.loads.used("a", "0") == 180


def test_a_stamp_that_is_forgotten_takes_nothing_with_it():
    """Passed by a status it is no part of the sums; not passed, its consumers are unexplained."""
    view = fleet("a")
    set_worker(view, "a", observed=100, status_sequence=9, status_offset=5)
    passed = Stamp("r1", "a", sequence=8, worker_id="0", seen=40)
    ahead = Stamp("r2", "a", sequence=10, worker_id="0", seen=30)
    for stamp in (passed, ahead):
        view.put(stamp)
    assert view.loads.used("a", "0") == 70
    view.drop(passed)
    assert view.loads.used("a", "0") == 70
    view.drop(ahead)
    assert view.loads.used("a", "0") == 100


def test_a_room_that_ended_before_the_status_is_not_subtracted():
    view = fleet("a")
    set_worker(view, "a", observed=100, status_sequence=9, status_offset=5)
    view.put(Stamp("r1", "a", sequence=8, worker_id="0", seen=100))
    assert view.loads.used("a", "0") == 100


def test_rooms_of_a_former_life_are_not_subtracted():
    view = fleet("a")
    view.put(Stamp("r1", "a", incarnation=1, sequence=8, worker_id="0", seen=100))
    set_worker(view, "a", incarnation=2, observed=100)
    assert view.loads.used("a", "0") == 100


def test_where_statuses_list_no_rooms():
    """max(observed, reserved before the status) + reserved after it."""
    view = fleet("a")
    set_worker(view, "a", lists_rooms=0, observed=0, status_sequence=1, status_offset=10)
    put_router(view, "r1", "a", reserved=24, reserved_offset=11)
    put_router(view, "r2", "a", reserved=40, reserved_offset=12)
    assert view.loads.used("a", "0") == 64
    set_worker(view, "a", observed=50, status_sequence=2, status_offset=13)
    assert view.loads.used("a", "0") == 64, "the peers have not all come"
    put_router(view, "r3", "a", reserved=4, reserved_offset=14)
    assert view.loads.used("a", "0") == 68
    set_worker(view, "a", observed=90, status_sequence=3, status_offset=15)
    assert view.loads.used("a", "0") == 90


def test_a_server_that_chooses_its_workers_counts_as_one():
    """A room held on the server and observed on a worker must not count twice."""
    view = fleet("a", workers=2, places_workers=0)
    put_router(view, "r1", "a", None, reserved=24, seen=20)
    set_worker(view, "a", "1", observed=20, status_sequence=2, status_offset=2)
    assert view.loads.used_together("a") == 24


def test_a_worker_that_nothing_tells_of_leaves_nothing_behind():
    """Fleets come and go; sums of servers long gone would fill the memory."""
    view = fleet("a", "b")
    room = put_router(view, "r1", "a", reserved=24, fade_at_ms=5)
    stamp = Stamp("r1", "a", sequence=9, worker_id="0", seen=3)
    view.put(stamp)
    view.drop(view.workers["a", "0"])
    assert view.loads.used("a", "0") == 24
    view.drop(room)
    view.drop(stamp)
    assert view.loads._sums.keys() == {"b"}
    assert view.loads._fading == {}
    assert view.loads.used("a", "0") == 0
    assert view.loads.used_together("a") == 0


def test_due_rooms_are_those_of_the_server_whose_step_has_come():
    view = fleet("a", "b")
    put_router(view, "late", "a", fade_at_ms=200)
    put_router(view, "early", "a", fade_at_ms=100)
    put_router(view, "held", "a")
    put_router(view, "elsewhere", "b", fade_at_ms=100)
    assert view.loads.due("a", 99) == []
    assert view.loads.due("a", 100) == [("early", 0)]
    assert view.loads.due("a", 200) == [("early", 0), ("late", 0)]
    assert view.loads.due("nobody", 200) == []
    view.put(changed(view.routers["early", 0], fade_step=1, fade_at_ms=300))
    assert view.loads.due("a", 299) == [("late", 0)]


def formula(view: View, workers: list[tuple[str, str | None]]) -> int:
    """`used`, from the rows alone, word for word as the design has it."""
    routers = [r for r in view.routers.values() if (r.server_id, r.worker_id) in workers]
    rows = [view.workers[key] for key in workers if key in view.workers]  # type: ignore[index]
    observed = sum(row.observed for row in rows)
    status_offset = {(row.server_id, row.worker_id): row.status_offset for row in rows}
    told = {(row.server_id, row.worker_id): (row.incarnation, row.status_sequence) for row in rows}
    if all(row.lists_rooms for row in rows):
        ended = sum(
            stamp.seen
            for stamp in view.stamps.values()
            if (stamp.server_id, stamp.worker_id) in workers
            and (stamp.incarnation, stamp.sequence)
            > told.get((stamp.server_id, stamp.worker_id or ""), (0, 0))
        )
        seen = sum(router.seen for router in routers)
        wanted = sum(max(router.seen, router.reserved) for router in routers)
        return wanted + max(0, observed - seen - ended)
    before = sum(
        r.reserved
        for r in routers
        if r.reserved_offset <= status_offset.get((r.server_id, r.worker_id or ""), 0)
    )
    return max(observed, before) + sum(r.reserved for r in routers) - before


consumers = st.integers(0, 50)
rooms = st.sampled_from(["r1", "r2", "r3", "r4"])
workers = st.sampled_from(["0", "1"])

steps = st.one_of(
    st.tuples(
        st.just("router"), rooms, workers | st.none(), consumers, consumers, st.none() | consumers
    ),
    st.tuples(st.just("end"), rooms, st.booleans()),
    st.tuples(st.just("status"), workers, consumers, st.booleans()),
    st.tuples(st.just("late-status"), workers, consumers),
    st.tuples(st.just("restart")),
    st.tuples(st.just("forget-stamp"), rooms),
)


def take(view: View, step: tuple[Any, ...]) -> None:
    """Change rows as the rules do: offsets and sequences rise, lives follow each other."""
    view.offset += 1
    server = view.servers["a"]
    match step:
        case ("router", room, worker, seen, reserved, fade_at_ms):
            view.put(
                Router(
                    room,
                    0,
                    "a",
                    worker,
                    seen=seen,
                    reserved=reserved,
                    reserved_offset=view.offset,
                    fade_at_ms=fade_at_ms,
                )
            )
        case ("end", room, stamped) if (room, 0) in view.routers:
            row = view.routers[room, 0]
            view.drop(row)
            if stamped:
                seen = 0 if row.worker_id is None else row.seen
                view.put(
                    Stamp(
                        room,
                        "a",
                        server.incarnation,
                        view.offset,
                        worker_id=row.worker_id,
                        seen=seen,
                    )
                )
        case ("status", worker, observed, lists):
            view.put(
                changed(
                    view.workers["a", worker],
                    observed=observed,
                    lists_rooms=int(lists),
                    status_sequence=view.offset,
                    status_offset=view.offset,
                )
            )
        case ("late-status", worker, observed):
            # It was sent before what the server said last, and is told of only now.
            row = view.workers["a", worker]
            sequence = max(row.status_sequence, view.offset - 3)
            view.put(
                changed(row, observed=observed, status_sequence=sequence, status_offset=view.offset)
            )
        case ("restart",):
            incarnation = server.incarnation + 1
            view.put(changed(server, incarnation=incarnation))
            for worker in "01":
                view.put(
                    changed(
                        view.workers["a", worker],
                        observed=0,
                        incarnation=incarnation,
                        status_sequence=0,
                        status_offset=view.offset,
                    )
                )
        case ("forget-stamp", room) if (room, "a") in view.stamps:
            view.drop(view.stamps[room, "a"])


@given(st.lists(steps, max_size=25), st.sampled_from([0, 1]))
def test_the_sums_are_the_formula_over_the_rows(taken, places_workers):
    """No sum drifts, whatever changes in whatever order, and none depends on how it came about."""
    view = View()
    view.put(Server("a", places_workers=places_workers))
    for worker in "01":
        view.put(Worker("a", worker))
    for step in taken:
        take(view, step)
        for worker_id in ("0", "1"):
            assert view.loads.used("a", worker_id) == formula(view, [("a", worker_id)])
        everywhere = [("a", "0"), ("a", "1"), ("a", None)]
        assert view.loads.used_together("a") == formula(view, everywhere)
    again = reloaded(view)
    for worker_id in ("0", "1", None):
        assert again.loads.used("a", worker_id) == view.loads.used("a", worker_id)
    assert again.loads.used_together("a") == view.loads.used_together("a")
    assert again.loads.due("a", 50) == view.loads.due("a", 50)


@given(st.lists(steps, max_size=15), rooms, consumers, st.booleans())
def test_asking_what_would_be_used_is_right_and_changes_nothing(taken, room, reserved, together):
    view = View()
    view.put(Server("a"))
    for worker in "01":
        view.put(Worker("a", worker))
    for step in [*taken, ("router", room, "0", 5, 7, None)]:
        take(view, step)
    before = view.loads.used("a", "0"), view.loads.used_together("a")
    old = view.routers[room, 0]
    new = changed(old, reserved=reserved, reserved_offset=view.offset + 1)
    answer = view.loads.used_if(old, new, together=together)
    assert (view.loads.used("a", "0"), view.loads.used_together("a")) == before
    view.put(new)
    used = view.loads.used_together("a") if together else view.loads.used("a", "0")
    assert answer == used
