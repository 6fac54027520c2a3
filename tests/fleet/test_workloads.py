"""The demand: the same for the same seed, whole, in order, and of the sizes that were measured."""

import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ladle.fleet.workloads import WORKLOADS, Burst, Classes, Meetings, Pace, Webinar, demand_of
from ladle.fleet.workloads.demand import Workload, arrivals, lognormal_peers, marks

names = st.sampled_from(sorted(WORKLOADS))
paces = st.builds(
    Pace,
    rate_per_s=st.floats(0.5, 10),
    speed_up=st.floats(1, 2000),
    duration_ms=st.integers(1_000, 20_000),
    prefix=st.just("t"),
)
SMALL = Pace(rate_per_s=5, speed_up=240, duration_ms=60_000, prefix="t")


@given(names, st.integers(0, 2**31), paces)
@settings(max_examples=40, deadline=None)
def test_the_same_seed_is_the_same_demand(name: str, seed: int, pace: Pace) -> None:
    assert demand_of(WORKLOADS[name](), seed, pace) == demand_of(WORKLOADS[name](), seed, pace)


@pytest.mark.parametrize("name", ["meetings", "classes", "webinar"])
def test_another_seed_is_another_demand(name: str) -> None:
    assert demand_of(WORKLOADS[name](), 1, SMALL) != demand_of(WORKLOADS[name](), 2, SMALL)


@given(names, st.integers(0, 2**31), paces)
@settings(max_examples=60, deadline=None)
def test_demand_is_well_formed(name: str, seed: int, pace: Pace) -> None:
    """A room id that is used twice, or a visit that ends before it begins, would be a lie of the
    emulation that no comparison could tell from a fault of the service."""
    rooms = demand_of(WORKLOADS[name](), seed, pace)
    assert len({room.room_id for room in rooms}) == len(rooms)
    assert [room.asked_at_ms for room in rooms] == sorted(room.asked_at_ms for room in rooms)
    for room in rooms:
        assert 0 <= room.asked_at_ms <= pace.duration_ms
        assert room.room_id.startswith("t-")
        assert room.peers >= 1
        assert room.callers >= 1
        assert room.publishers is None or 0 < room.publishers <= room.peers
        assert room.grows_to == 0 or room.grows_to > room.peers
        for visit in room.visits:
            assert room.asked_at_ms <= visit.from_ms <= visit.until_ms <= room.ends_ms


def test_meetings_have_the_shares_they_claim() -> None:
    rooms = demand_of(Meetings(no_show_share=0, reload_share=0), 3, SMALL)
    sizes = [len(room.visits) for room in rooms]
    assert len(rooms) == pytest.approx(5 * 60, rel=0.2)
    assert sizes.count(2) / len(sizes) == pytest.approx(0.5, abs=0.08)
    assert sum(3 <= size <= 10 for size in sizes) / len(sizes) == pytest.approx(0.4, abs=0.08)
    assert max(sizes) <= 153


def test_the_tail_of_meetings_keeps_most_cameras_off() -> None:
    rooms = demand_of(
        Meetings(two_share=0, team_share=0, reload_share=0, no_show_share=0), 3, SMALL
    )
    assert {sum(visit.publishes for visit in room.visits) for room in rooms} == {4}
    assert {room.publishers for room in rooms} == {4}


def test_a_share_of_meetings_begins_at_the_full_hour() -> None:
    hour_ms = 15_000
    rooms = demand_of(Meetings(hour_share=1.0), 5, SMALL)
    spread_ms = 500
    assert rooms
    assert all(
        min(abs(room.asked_at_ms - mark) for mark in marks(hour_ms, 60_000)) <= spread_ms
        for room in rooms
    )


def test_a_speed_up_shortens_lives_and_not_the_rate() -> None:
    slow = Pace(rate_per_s=5, speed_up=100, duration_ms=60_000)
    fast = Pace(rate_per_s=5, speed_up=1000, duration_ms=60_000)
    workload = Meetings(hour_share=0, no_show_share=0)
    lives = [
        statistics.mean(room.ends_ms - room.asked_at_ms for room in demand_of(workload, 1, pace))
        for pace in (slow, fast)
    ]
    assert lives[0] == pytest.approx(10 * lives[1], rel=0.15)
    counts = [len(demand_of(workload, 1, pace)) for pace in (slow, fast)]
    assert counts[0] == pytest.approx(counts[1], rel=0.15)


def test_no_show_rooms_are_given_back() -> None:
    rooms = demand_of(Meetings(no_show_share=1.0), 1, SMALL)
    assert all(room.visits == () and room.grows_to == 0 for room in rooms)
    assert all(room.ends_ms == room.asked_at_ms for room in rooms)


def test_the_teacher_is_early_and_the_class_comes_with_the_bell() -> None:
    rooms = demand_of(Classes(), 7, SMALL)
    bells = marks(15_000, 60_000)
    for room in rooms:
        teacher, *pupils = room.visits
        bell_ms = next(mark for mark in bells if mark >= teacher.from_ms)
        assert teacher.from_ms == room.asked_at_ms < bell_ms
        assert len(pupils) == 15
        assert all(bell_ms <= pupil.from_ms <= bell_ms + 500 for pupil in pupils)
    assert len(rooms) == 4 * 75


def test_webinars_grow_past_what_was_booked() -> None:
    rooms = demand_of(Webinar(rate_share=1.0), 2, SMALL)
    assert all(len(room.visits) <= 120 for room in rooms)
    assert all(sum(visit.publishes for visit in room.visits) == 2 for room in rooms)
    growing = [room for room in rooms if room.grows_to]
    assert growing
    assert all(room.grows_to == len(room.visits) for room in growing)


def test_a_webinar_run_has_at_least_one_webinar() -> None:
    assert len(demand_of(Webinar(), 2, Pace(0.1, 240, 1_000))) == 1


def test_a_burst_asks_for_all_rooms_at_once() -> None:
    rooms = demand_of(Burst(rooms_count=50, callers=20), 1, SMALL)
    assert len(rooms) == 50
    assert {room.asked_at_ms for room in rooms} == {0}
    assert {room.callers for room in rooms} == {20}
    # They stay: what the burst did is looked at after it.
    assert all(room.ends_ms > SMALL.duration_ms for room in rooms)


def test_a_burst_spreads_over_its_window() -> None:
    rooms = demand_of(Burst(rooms_count=200, window_ms=31_000), 1, SMALL)
    times = [room.asked_at_ms for room in rooms]
    assert max(times) <= 31_000
    assert statistics.mean(times) == pytest.approx(15_500, rel=0.15)


def test_every_workload_has_its_own_name() -> None:
    made: list[Workload] = [make() for make in WORKLOADS.values()]
    assert [workload.name for workload in made] == list(WORKLOADS)


def test_arrivals_come_at_the_rate_and_end() -> None:
    times = list(arrivals(random.Random(1), 10, 100_000))
    assert len(times) == pytest.approx(1000, rel=0.1)
    assert times == sorted(times)
    assert times[-1] < 100_000
    assert list(arrivals(random.Random(1), 0, 1000)) == []


@given(st.integers(0, 2**31), st.floats(2, 100))
def test_sizes_stay_inside_their_borders(seed: int, mean: float) -> None:
    assert 3 <= lognormal_peers(random.Random(seed), mean, 0.85, 3, 120) <= 120
