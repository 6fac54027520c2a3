"""Slow start: who is new or back takes its share by steps, and nothing is refused for it."""

from collections import Counter
from statistics import mean
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ladle.core.explanation import explain
from ladle.core.queries import fleet_view
from ladle.core.record import Kind
from ladle.core.rows import Timer
from ladle.core.slow_start import SLOW_START, STEPS, step_of
from ladle.core.view import View
from tests.core.cell import LIFE, START_MS, Cell
from tests.core.placing import allocate, fleet, home, put_router, reloaded, set_worker

SLOW_MS = 80_000
WIDTH_MS = SLOW_MS // STEPS


def old_fleet(*servers: str, workers: int = 1, **limits: Any) -> Cell:
    """A cell with these servers, all past their slow start."""
    cell = Cell(slow_start_ms=SLOW_MS, **limits)
    for server_id in servers:
        cell.register(server_id, workers=workers)
    for _ in range(9):
        cell.now_ms += WIDTH_MS
        keep_alive(cell, *servers)
        cell.wait(0)
    assert not cell.view.timers
    return cell


def keep_alive(cell: Cell, *servers: str) -> None:
    for server_id in servers:
        cell.status(server_id, life=cell.view.servers[server_id].incarnation)


def in_step(view: View, step: int, server_id: str = "a") -> None:
    """As it would be in this step of its slow start."""
    view.set_state("slow_start_ms", SLOW_MS)
    view.put(Timer(SLOW_START, server_id, 1, tries=step))
    view.settle()


# --- when it begins, and how it goes on ----------------------------------------------------------


def test_a_new_server_begins_and_takes_its_steps_on_the_grid() -> None:
    cell = Cell(slow_start_ms=SLOW_MS)
    cell.now_ms = START_MS // WIDTH_MS * WIDTH_MS + 1
    cell.register("a")
    cell.now_ms += WIDTH_MS - 2
    cell.register("b")
    assert {timer.due_ms % WIDTH_MS for timer in cell.view.timers.values()} == {0}
    seen = []
    for _ in range(STEPS - 1):
        seen.append((step_of(cell.view, "a"), step_of(cell.view, "b")))
        cell.now_ms += WIDTH_MS
        keep_alive(cell, "a", "b")
        cell.wait(0)
    assert seen == [(step, step) for step in range(1, STEPS)]
    assert not cell.view.timers
    assert step_of(cell.view, "a") == STEPS


def test_steps_that_were_missed_are_taken_in_one_tick() -> None:
    cell = old_fleet("old")
    cell.register("new")
    cell.now_ms += 3 * WIDTH_MS
    keep_alive(cell, "old", "new")
    cell.wait(0)
    assert step_of(cell.view, "new") == 4


def test_a_restart_begins_anew() -> None:
    cell = old_fleet("old")
    cell.register("new")
    cell.wait(WIDTH_MS)
    assert step_of(cell.view, "new") == 2
    cell.register("new", life=LIFE + 1)
    assert step_of(cell.view, "new") == 1


def test_a_return_from_lost_begins_anew() -> None:
    cell = old_fleet("a", "b")
    cell.event("server-deregistered", "a", {})
    assert step_of(cell.view, "a") == STEPS
    cell.status("a")
    assert step_of(cell.view, "a") == 1


def test_a_return_from_stale_does_not() -> None:
    cell = old_fleet("a", "b")
    cell.now_ms += 20_000
    cell.status("b")
    cell.wait(0)
    assert cell.view.servers["a"].liveness == "stale"
    cell.status("a")
    assert step_of(cell.view, "a") == STEPS


def test_without_the_limit_nothing_begins() -> None:
    """As in every journal of before: not a row."""
    cell = Cell()
    cell.register("a")
    cell.register("a", life=LIFE + 1)
    assert not cell.view.timers


def test_a_limit_that_is_taken_back_ends_it_at_once() -> None:
    cell = old_fleet("old")
    cell.register("new")
    cell.fold(Kind.SETTINGS, {"slow_start_ms": 0})
    assert (step_of(cell.view, "new"), cell.view.index.starting) == (STEPS, set())
    cell.wait(WIDTH_MS)
    assert not cell.view.timers


def test_a_server_that_was_forgotten_leaves_no_row() -> None:
    cell = old_fleet("old", forget_ms=1_000)
    cell.register("new")
    cell.event("server-deregistered", "new", {})
    cell.wait(1_000)
    assert "new" not in cell.view.servers
    for _ in range(STEPS):
        cell.wait(WIDTH_MS)
    assert not cell.view.timers


# --- what it does to the choice ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "used_by_new", "chosen"),
    [
        (1, 0, "new"),  # an eighth of 400 is 50: so much it may carry
        (1, 49, "new"),
        (1, 51, "old"),
        (4, 199, "new"),
        (4, 201, "old"),
        (7, 349, "new"),
        (7, 351, "old"),
        (8, 399, "new"),
        (8, 401, "old"),
    ],
)
@pytest.mark.parametrize("policy", ["least-loaded", "region-first", "two-choice"])
def test_a_share_grows_by_steps(policy: str, step: int, used_by_new: int, chosen: str) -> None:
    view = fleet("new", "old", capacity=1_000)
    view.set_state("policy", policy)
    put_router(view, "r1", "old", reserved=400)
    put_router(view, "r2", "new", reserved=used_by_new)
    in_step(view, step, "new")
    assert home(allocate(view)) == (chosen, "0")


def test_a_server_that_chooses_its_workers_starts_slowly_too() -> None:
    view = fleet("new", "old", workers=2, places_workers=0)
    put_router(view, "r1", "old", None, reserved=200)
    put_router(view, "r2", "new", None, reserved=100)
    assert home(allocate(view)) == ("new", None)
    in_step(view, 1, "new")
    assert home(allocate(view)) == ("old", None)


def test_cpu_counts_as_it_is() -> None:
    view = fleet("new", "old")
    set_worker(view, "new", cpu_permille=200)
    set_worker(view, "old", cpu_permille=201)
    in_step(view, 1, "new")
    assert home(allocate(view)) == ("new", "0")


def test_nothing_is_refused_for_it() -> None:
    """Slow start is an order, no limit: alone, and where the others are full, it takes all."""
    view = fleet("old", "new")
    put_router(view, "r1", "old", reserved=500)
    put_router(view, "r2", "new", reserved=496)
    in_step(view, 1, "new")
    assert home(allocate(view)) == ("new", "0")
    lone = fleet("new")
    put_router(lone, "r2", "new", reserved=496)
    in_step(lone, 1, "new")
    assert home(allocate(lone)) == ("new", "0")


@pytest.mark.parametrize(
    ("new", "old", "counts"), [(1, 0, False), (1, 1, True), (2, 1, False), (2, 2, True)]
)
def test_it_counts_while_no_more_are_new_than_old(new: int, old: int, counts: bool) -> None:
    """Who is new among the new is like the others."""
    servers = ["one", "other", "more", "most"][: new + old]
    view = fleet(*servers)
    for server_id in servers[:new]:
        in_step(view, 1, server_id)
    assert view.index.share_permille("one") == (125 if counts else None)
    assert view.index.slow_start_counts is counts


def test_who_cannot_take_rooms_is_no_neighbour() -> None:
    """Two old servers that drain leave the fleet as new as it is."""
    cell = old_fleet("a", "b")
    cell.register("new")
    assert cell.view.index.share_permille("new") == 125
    cell.ask("drain", server_id="a")
    assert cell.view.index.share_permille("new") == 125
    cell.ask("drain", server_id="b")
    assert cell.view.index.share_permille("new") is None
    cell.ask("undrain", server_id="b")
    assert cell.view.index.share_permille("new") == 125
    cell.event("server-deregistered", "new", {})
    assert cell.view.index.share_permille("new") is None


@pytest.mark.parametrize("spread_ms", [0, 1, 700, 3_000])
def test_a_burst_on_a_new_fleet_spreads_as_on_an_old_one(spread_ms: int) -> None:
    """2,000 rooms of 2 on 20 servers of 4 workers that came one after another just now."""
    cell = Cell(slow_start_ms=SLOW_MS)
    names = [f"s{number:02}" for number in range(20)]
    for name in names:
        cell.register(name, workers=4)
        cell.now_ms += spread_ms
        keep_alive(cell, *cell.view.servers)
        cell.wait(0)
    for number in range(2_000):
        assert cell.allocate(f"room-{number}")["status"] == "ok"
        cell.now_ms += 1
        if number % 100 == 0:
            keep_alive(cell, *names)
            cell.wait(0)
    loads = [cell.used(server_id, worker_id) for server_id, worker_id in cell.view.workers]
    assert sum(loads) == 2_000 * 4
    assert max(loads) <= 1.1 * mean(loads)


@pytest.mark.parametrize(("slow_start_ms", "on_new"), [(SLOW_MS, 8), (0, 40)])
def test_a_burst_does_not_land_whole_on_the_new_server(slow_start_ms: int, on_new: int) -> None:
    """Nine servers at 58 %, one that has just come, 40 rooms at once: two on each new worker."""
    cell = old_fleet(*(f"old{number}" for number in range(9)), workers=4)
    cell.fold(Kind.SETTINGS, {"slow_start_ms": slow_start_ms})
    for server_id in list(cell.view.servers):
        for worker_id in "0123":
            for part in "ab":
                room = f"{server_id}-{worker_id}{part}"
                cell.created(room, server_id, worker_id=worker_id, expected_peers=9)
    cell.register("new", workers=4)
    homes = Counter()
    for number in range(40):
        cell.allocate(f"burst-{number}", peers=4)
        homes[cell.home(f"burst-{number}")] += 1
    assert homes["new"] == on_new


# --- what is said of it --------------------------------------------------------------------------


def test_a_decision_says_why_a_server_counts_as_fuller() -> None:
    view = fleet("a", "b")
    put_router(view, "r1", "a", reserved=24)
    put_router(view, "r2", "b", reserved=240)
    in_step(view, 2)
    decision = allocate(view, room_id="room")
    assert decision.record["winner"]["share_permille"] == 250
    assert decision.record["winner"]["permille"] == 192
    assert "share_permille" not in decision.record["runners_up"][0]
    assert any(
        "counted as 19.2 % full (new or back, with 25.0 % of a share)." in line
        for line in explain(decision.record, "room")
    )
    servers = {each["server_id"]: each for each in fleet_view(view)["servers"]}
    assert [servers[name]["share_permille"] for name in "ab"] == [250, None]


# --- laws ----------------------------------------------------------------------------------------

lives = st.lists(
    st.tuples(
        st.sampled_from("abcd"), st.sampled_from(["restart", "leave", "speak", "room", "wait"])
    ),
    max_size=30,
)


@settings(max_examples=60)
@given(lives)
def test_fold_and_tables_agree(lived: list[tuple[str, str]]) -> None:
    """load(tables) == fold(journal), index included, whoever comes and goes in whatever order."""
    cell = Cell(slow_start_ms=SLOW_MS)
    lives_of = dict.fromkeys("abcd", LIFE)
    for server_id in "abc":
        cell.register(server_id)
    for server_id, what in lived:
        match what:
            case "restart":
                lives_of[server_id] += 1
                cell.register(server_id, life=lives_of[server_id])
            case "leave":
                cell.event("server-deregistered", server_id, {}, life=lives_of[server_id])
            case "speak":
                cell.status(server_id, life=lives_of[server_id])
            case "room":
                cell.allocate(None)
            case "wait":
                cell.wait(7_000)
        assert cell.view.index.standings == reloaded(cell.view).index.standings
    assert cell.replay().digest() == cell.view.digest()
