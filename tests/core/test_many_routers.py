"""The ground for homes of more than one router: a room lives while one of them does."""

import pytest

from ladle.core import room, stamps
from ladle.core.case import Case, Told
from ladle.core.room_effects import confirm
from ladle.core.rows import Stamp, changed
from ladle.core.step import ImpossibleState, Step
from tests.core.cell import LIFE, Cell, data_of, said


@pytest.fixture
def cell() -> Cell:
    """An active room with a router on "a" and, joined by hand, one on "b"."""
    cell = Cell()
    cell.register("a")
    cell.register("b")
    cell.created("room", "a")
    first = cell.view.routers["room", 0]
    cell.view.put(changed(first, router=1, server_id="b", seen=7))
    cell.view.settle()
    return cell


def test_a_delete_of_one_router_leaves_the_room_to_the_other(cell: Cell) -> None:
    outcome = cell.deleted("room", "b", sequence=5)
    assert said(outcome) == []
    assert (cell.phase(), cell.view.home_of["room"]) == ("active", (0,))
    stamp = cell.view.stamps["room", "b"]
    assert (stamp.seen, stamp.worker_id) == (7, "0")
    assert stamp.until_ms is not None
    assert cell.used("b") == 0


def test_a_lost_server_strands_no_room_that_lives_elsewhere(cell: Cell) -> None:
    outcome = cell.event("server-deregistered", "b", {})
    assert said(outcome) == ["server-lost"]
    assert cell.phase() == "active"
    outcome = cell.event("server-deregistered", "a", {})
    assert said(outcome) == ["server-lost", "room-stranded"]


def test_a_restart_takes_its_router_alone(cell: Cell) -> None:
    assert said(cell.register("b", life=LIFE + 1)) == ["server-up"]
    assert (cell.phase(), cell.view.home_of["room"]) == ("active", (0,))
    assert said(cell.register("a", life=LIFE + 1)) == ["room-stranded", "server-up"]


def test_a_worker_that_died_takes_its_own_router_alone() -> None:
    cell = Cell()
    cell.register("a", workers=2)
    cell.created("one", "a", worker_id="0")
    cell.created("two", "a", worker_id="1")
    cell.status("a", workers={"0": {"state": "died"}})
    assert (cell.phase("one"), cell.phase("two")) == ("stranded", "active")


# --- what the rules refuse -----------------------------------------------------------------------


def test_a_case_without_its_half_is_a_bug(cell: Cell) -> None:
    step = Step(cell.view, 99, cell.now_ms)
    case = Case.of(step, "nowhere")
    with pytest.raises(ImpossibleState, match="nowhere"):
        _ = case.home
    with pytest.raises(ImpossibleState, match="no server speaks"):
        _ = case.teller
    with pytest.raises(ImpossibleState, match="nobody asks"):
        _ = case.wanted
    stranger = Case.of(step, "room", told=Told("stranger", (LIFE, 1)))
    with pytest.raises(ImpossibleState, match="no home"):
        confirm(stranger)


def test_a_stamp_that_runs_out_is_not_put_off(cell: Cell) -> None:
    cell.view.put(Stamp("old", "a", LIFE, 3, until_ms=cell.now_ms + 5))
    stamps.keep(Step(cell.view, 99, cell.now_ms), "old", "a")
    assert cell.view.stamps["old", "a"].until_ms == cell.now_ms + 5


@pytest.mark.parametrize("room_id", ["room", "nowhere"])
def test_a_new_stamp_stays_as_long_whether_it_is_told_at_once_or_by_keep(room_id: str) -> None:
    """At the room's home for good, and where nothing is left of it until it runs out."""
    kept = []
    for then_kept in (False, True):
        cell = Cell()
        cell.register("a")
        cell.allocate()
        step = Step(cell.view, 99, cell.now_ms)
        if (room_id, "a") in cell.view.stamps:
            cell.view.drop(cell.view.stamps[room_id, "a"])
        stamps.raise_stamp(step, room_id, "a", (LIFE, 7), then_kept=then_kept)
        stamps.keep(step, room_id, "a")
        kept.append((cell.view.stamps[room_id, "a"], cell.view.schedule.next()))
    assert kept[0] == kept[1]
    assert (kept[0][0].until_ms is None) == (room_id == "room")


def test_a_released_room_that_is_listed_still_counts_its_load() -> None:
    """It is being closed: its load is what the server says, its phase is not."""
    cell = Cell()
    cell.register("a")
    cell.allocate(peers=4)
    cell.created("room", "a")
    row = cell.view.rooms["room"]
    cell.ask("release", room_id="room", allocation_id=row.allocation_id)
    cell.status("a", workers={"0": 30}, rooms={"room": 30})
    assert (cell.view.routers["room", 0].seen, cell.phase()) == (30, "active")
    # A list that is older than its last word says nothing.
    assert cell.view.closings["room", "a"].sequence == 2
    cell.status("a", rooms={}, complete=True)
    assert cell.phase() == "nowhere"
    assert not cell.view.closings


def test_a_list_older_than_the_room_says_nothing_of_it() -> None:
    cell = Cell()
    cell.register("a")
    cell.created("room", "a", sequence=3)
    cell.status("a", rooms={"room": 30}, sequence=2)
    assert cell.view.routers["room", 0].seen == 0


def test_what_the_room_was_when_its_server_spoke(cell: Cell) -> None:
    """The reason that is recorded with an event that changes nothing."""
    assert cell.deleted("unknown", "a")["reason"] == "nowhere"
    cell.register("c")
    assert cell.deleted("room", "c")["reason"] == "not-home"
    assert room.is_unconfirmed(cell.view, "room") is False


def test_a_claim_that_ended_neither_by_time_nor_by_release_is_a_plain_claim(cell: Cell) -> None:
    """Its allocation is neither the one that expired nor the one that was released there."""
    cell.register("c")
    outcome = cell.created("room", "c", allocation_id="never-made-here")
    assert data_of(outcome, "close-room")["reason"] == "created-elsewhere"
    assert cell.home() == "a"


def test_a_complete_status_ends_the_closings_that_it_does_not_list() -> None:
    cell = Cell()
    cell.register("a")
    for name in ("listed", "over"):
        cell.allocate(name)
        cell.created(name, "a")
        row = cell.view.rooms[name]
        cell.ask("release", room_id=name, allocation_id=row.allocation_id)
    assert sorted(cell.view.closings) == [("listed", "a"), ("over", "a")]
    cell.status("a", rooms={"listed": 4}, complete=True)
    assert sorted(cell.view.closings) == [("listed", "a")]


def test_a_stranded_room_that_its_home_lists_again_is_alive_again() -> None:
    cell = Cell()
    cell.register("a", workers=2)
    cell.created("room", "a")
    cell.status("a", workers={"0": {"state": "died"}})
    assert cell.phase() == "stranded"
    cell.status("a", rooms={"room": {"worker_id": "1", "consumers": 6, "peers": 3}})
    router = cell.view.routers["room", 0]
    assert (cell.phase(), router.worker_id, router.seen) == ("active", "1", 6)


def test_a_late_list_of_a_server_that_left_revives_nothing() -> None:
    """Said before its goodbye and come after it: the room stays for somebody to move."""
    cell = Cell()
    cell.register("a")
    cell.created("room", "a")
    cell.event("server-deregistered", "a", {}, sequence=4)
    outcome = cell.status("a", rooms={"room": 6}, sequence=3)
    assert outcome["reason"] == "after-goodbye"
    assert (cell.phase(), cell.view.servers["a"].liveness) == ("stranded", "lost")
