"""The races that a cell lives with, each by its name."""

from typing import Any

import pytest

from ladle.core.record import Kind
from ladle.core.words import Liveness
from tests.core.cell import LIFE, Cell, data_of, said


@pytest.fixture
def cell() -> Cell:
    """The server "home" with the room's hold on it, and "other", as large."""
    cell = Cell()
    cell.register("home")
    cell.allocate(peers=4)
    cell.register("other")
    return cell


def test_a_late_event_after_redelivery(cell: Cell) -> None:
    """A create that was overtaken by its room's delete changes nothing when it comes."""
    cell.deleted("room", "home", sequence=3)
    outcome = cell.created("room", "home", sequence=2)
    assert (outcome["status"], outcome["reason"]) == ("ignored", "history")
    assert cell.phase() == "held"


def test_a_late_event_of_another_room_still_counts(cell: Cell) -> None:
    """Only the room's own stamp makes an event history; its hole is filled."""
    cell.created("elsewhere", "home", sequence=3)
    assert cell.view.servers["home"].received_above == "[[3,3]]"
    assert cell.created("room", "home", sequence=2)["status"] == "applied"
    assert cell.phase() == "active"
    assert cell.view.servers["home"].watermark == 3


def test_redelivery_changes_nothing(cell: Cell) -> None:
    cell.created("room", "home", sequence=2)
    before = cell.view.dump()
    outcome = cell.created("room", "home", sequence=2)
    assert (outcome["status"], outcome["reason"]) == ("ignored", "duplicate")
    assert cell.view.dump() == before


def test_a_complete_status_against_a_fresh_hold(cell: Cell) -> None:
    """The server cannot list yet what its caller has not asked it for."""
    cell.status("home", rooms={}, complete=True)
    assert cell.phase() == "held"
    assert cell.used("home") == 24


def test_a_complete_status_against_a_newer_create(cell: Cell) -> None:
    """A snapshot from before the create, delivered after it, ends nothing."""
    cell.created("room", "home", sequence=3)
    cell.status("home", rooms={}, complete=True, sequence=2)
    assert cell.phase() == "active"


def test_a_complete_status_ends_what_it_omits(cell: Cell) -> None:
    """The delete was lost: the list that lacks the room says it."""
    cell.created("room", "home")
    outcome = cell.status("home", rooms={}, complete=True)
    assert cell.phase() == "nowhere"
    assert data_of(outcome, "room-ended")["reason"] == "unlisted"
    assert cell.used("home") == 0


def test_a_delete_from_a_former_life(cell: Cell) -> None:
    """The server restarted and made the room again; its former life's delete comes late."""
    cell.created("room", "home")
    cell.register("home", life=LIFE + 1)
    cell.created("room", "home", life=LIFE + 1)
    outcome = cell.deleted("room", "home", life=LIFE, sequence=9)
    assert outcome["reason"] == "older-incarnation"
    assert cell.phase() == "active"


def test_a_delete_of_another_allocation(cell: Cell) -> None:
    """Create and delete name an allocation each, and not the same one."""
    cell.created("room", "home", allocation_id="now")
    assert cell.deleted("room", "home", allocation_id="then")["reason"] == "another-allocation"
    assert cell.phase() == "active"
    assert cell.deleted("room", "home", allocation_id="now")["status"] == "applied"
    assert cell.phase() == "nowhere"


def test_an_existing_hold_against_a_delete(cell: Cell) -> None:
    """Who was answered `existing` finds the home and its capacity, though the last peer left."""
    cell.created("room", "home")
    assert cell.allocate()["outcome"] == "existing"
    cell.deleted("room", "home")
    assert cell.phase() == "held-again"
    assert cell.used("home") == 24
    cell.created("room", "home")
    assert cell.phase() == "active-held"


def test_a_late_create_against_an_expired_allocation(cell: Cell) -> None:
    """The caller comes after its hold ran out: it keeps the id that it was told."""
    allocation_id = cell.view.rooms["room"].allocation_id
    assert said(cell.wait(30_000)) == ["server-stale", "server-stale", "allocation-expired"]
    assert cell.used("home") == 0
    cell.created("room", "home", allocation_id=allocation_id)
    row = cell.view.rooms["room"]
    assert (row.phase, row.allocation_id, row.generation) == ("active", allocation_id, 2)


def test_a_late_create_against_an_unconfirmed_hold_elsewhere(cell: Cell) -> None:
    """A room that lives beats a promise that nobody has used."""
    allocation_id = cell.view.rooms["room"].allocation_id
    cell.wait(30_000)
    cell.status("other")
    assert cell.allocate(peers=4)["server"]["server_id"] == "other"
    outcome = cell.created("room", "home", allocation_id=allocation_id)
    assert said(outcome) == ["server-up", "room-moved", "room-active"]
    assert data_of(outcome, "room-moved")["from_server_id"] == "other"
    assert (cell.home(), cell.phase()) == ("home", "active")
    assert cell.used("other") == 0


def test_a_late_create_against_an_active_room_elsewhere(cell: Cell) -> None:
    """Where the room lives already it stays; the late copy is closed."""
    allocation_id = cell.view.rooms["room"].allocation_id
    cell.wait(30_000)
    cell.status("other")
    cell.allocate(peers=4)
    cell.created("room", "other")
    outcome = cell.created("room", "home", allocation_id=allocation_id)
    assert said(outcome) == ["server-up", "room-conflict"]
    assert said(outcome, "command") == ["close-room"]
    assert cell.home() == "other"


def test_a_released_allocation_is_never_adopted(cell: Cell) -> None:
    """Given back is given back: the late create is told to close."""
    allocation_id = cell.view.rooms["room"].allocation_id
    cell.ask("release", room_id="room", allocation_id=allocation_id)
    assert cell.phase() == "nowhere"
    assert cell.used("home") == 0
    outcome = cell.created("room", "home", allocation_id=allocation_id)
    assert cell.phase() == "nowhere"
    assert data_of(outcome, "close-room")["created_sequence"] == 2


def test_a_released_active_room_keeps_its_capacity_until_it_is_gone(cell: Cell) -> None:
    cell.created("room", "home")
    allocation_id = cell.view.rooms["room"].allocation_id
    outcome = cell.ask("release", room_id="room", allocation_id=allocation_id)
    assert said(outcome, "command") == ["close-room"]
    assert (cell.phase(), cell.used("home")) == ("active", 24)
    # The server does not say so: it is told again, each time later.
    assert said(cell.wait(2_000), "command") == ["close-room"]
    assert said(cell.wait(2_000), "command") == []
    assert said(cell.wait(2_000), "command") == ["close-room"]
    cell.deleted("room", "home")
    assert (cell.phase(), cell.used("home")) == ("nowhere", 0)
    assert not cell.view.closings


@pytest.mark.parametrize(("rules", "until"), [(2, 3), (3, 6)])
def test_a_released_room_that_was_made_again_unheard(rules: int, until: int) -> None:
    """Its end (4) and its new create (5) are lost; a list names it, under what was given back.

    Its server holds `close-room` against its own create, so 3 never ends it; with journals of
    before it stays so.
    """
    cell = Cell(rules=rules)
    cell.register("home")
    cell.allocate(peers=4)
    allocation_id = cell.view.rooms["room"].allocation_id
    listed = {"room": {"allocation_id": allocation_id, "consumers": 24}}
    cell.created("room", "home", allocation_id=allocation_id)
    cell.status("home", rooms=listed)
    released = cell.ask("release", room_id="room", allocation_id=allocation_id)
    assert data_of(released, "close-room")["created_sequence"] == 3
    cell.status("home", rooms=listed, complete=True, sequence=6)
    assert data_of(cell.wait(2_000), "close-room")["created_sequence"] == until
    assert (cell.phase(), cell.used("home")) == ("active", 24)
    cell.deleted("room", "home")
    assert (cell.phase(), dict(cell.view.closings)) == ("nowhere", {})
    cell.replay()


def test_a_released_room_that_was_asked_for_again_is_not_made_again_unheard() -> None:
    """Who was told it since may be who made the copy that is listed: that is not what is to end."""
    cell = Cell(rules=3)
    cell.register("home")
    cell.allocate(peers=4)
    allocation_id = cell.view.rooms["room"].allocation_id
    cell.created("room", "home", allocation_id=allocation_id)
    cell.ask("release", room_id="room", allocation_id=allocation_id)
    assert cell.allocate()["outcome"] == "existing"
    listed = {"room": {"allocation_id": allocation_id, "consumers": 24}}
    cell.status("home", rooms=listed, complete=True, sequence=6)
    assert data_of(cell.wait(2_000), "close-room")["created_sequence"] == 2
    cell.wait(60_000)
    cell.status("home", rooms=listed, complete=True, sequence=9)
    assert cell.phase() == "active"
    assert cell.view.closings["room", "home"].sequence == 2
    cell.replay()


def test_a_released_room_that_its_home_lists_under_another_allocation(cell: Cell) -> None:
    """Whoever made that copy was not sent by what was given back: it is not what is to end."""
    allocation_id = cell.view.rooms["room"].allocation_id
    cell.created("room", "home", allocation_id=allocation_id)
    cell.ask("release", room_id="room", allocation_id=allocation_id)
    before = cell.view.closings["room", "home"]
    cell.status("home", rooms={"room": {"allocation_id": "default:9:1", "consumers": 24}})
    assert cell.view.closings["room", "home"] == before


def test_a_lost_server_that_returns(cell: Cell) -> None:
    """What nobody moved is home again; what was moved is closed there."""
    cell.created("room", "home")
    cell.created("moved", "home")
    cell.register("third")
    for _ in range(12):
        cell.wait(5_000)
        cell.status("other")
        cell.status("third")
    assert cell.view.servers["home"].liveness == Liveness.LOST
    assert cell.phase("room") == cell.phase("moved") == "stranded"
    assert cell.allocate("moved")["outcome"] == "moved"
    assert cell.view.closings["moved", "home"].next_at_ms is None
    outcome = cell.status("home")
    assert said(outcome) == ["server-up", "room-active", "room-conflict"]
    assert data_of(outcome, "room-active")["room_id"] == "room"
    assert data_of(outcome, "close-room")["room_id"] == "moved"
    assert (cell.phase("room"), cell.home("room")) == ("active", "home")
    assert cell.home("moved") != "home"


@pytest.mark.parametrize("kind", ["room-created", "room-deleted", "worker-status"])
def test_a_restart_seen_by_any_event(cell: Cell, kind: str) -> None:
    """The registration of the new life may be late; that there is one is known at once."""
    cell.created("room", "home")
    bodies: dict[str, dict[str, Any]] = {
        "room-created": {"room_id": "new", "worker_id": "0"},
        "room-deleted": {"room_id": "new"},
        "worker-status": {"workers": []},
    }
    outcome = cell.event(kind, "home", bodies[kind], life=LIFE + 1, sequence=2)
    assert said(outcome)[:2] == ["room-stranded", "server-up"]
    assert said(outcome, "command")[0] == "register"
    assert cell.phase() == "stranded"
    assert cell.view.workers["home", "0"].incarnation == LIFE + 1


def test_a_restart_keeps_holds(cell: Cell) -> None:
    """The caller was told an address, and it is there again."""
    cell.register("home", life=LIFE + 1)
    assert (cell.phase(), cell.used("home")) == ("held", 24)
    assert cell.allocate()["server"]["server_id"] == "home"
    cell.created("room", "home", life=LIFE + 1)
    assert cell.phase() == "active-held"


def test_a_stranded_room_made_again_by_its_restarted_home(cell: Cell) -> None:
    cell.created("room", "home")
    cell.register("home", life=LIFE + 1)
    assert (cell.phase(), cell.used("home")) == ("stranded", 0)
    cell.created("room", "home", life=LIFE + 1)
    assert (cell.phase(), cell.used("home")) == ("active", 24)


def test_a_stranded_room_made_elsewhere(cell: Cell) -> None:
    """Its callers went on without asking: where it lives is its home."""
    cell.created("room", "home")
    cell.register("home", life=LIFE + 1)
    outcome = cell.created("room", "other")
    assert said(outcome) == ["room-moved", "room-active"]
    assert (cell.home(), cell.phase()) == ("other", "active")
    assert cell.view.rooms["room"].generation == 2


def test_an_unconfirmed_hold_on_a_stale_server_moves_when_asked(cell: Cell) -> None:
    cell.wait(15_000)
    assert cell.view.servers["home"].liveness == Liveness.STALE
    cell.status("other")
    reply = cell.allocate()
    assert (reply["outcome"], reply["server"]["server_id"]) == ("moved", "other")
    assert reply["generation"] == 2
    # Its caller may be there by now after all: that copy is closed, the new home stands.
    assert said(cell.created("room", "home")) == ["server-up", "room-conflict"]


def test_an_unconfirmed_hold_stays_where_nothing_better_is_found(cell: Cell) -> None:
    """All are stale: nothing changes, and the caller is told of the home as it is."""
    cell.wait(15_000)
    before = cell.view.rooms["room"]
    reply = cell.allocate()
    assert (reply["outcome"], reply["server"]["liveness"]) == ("existing", "stale")
    assert cell.view.rooms["room"] == before


def test_an_active_room_on_a_stale_server_stays(cell: Cell) -> None:
    cell.created("room", "home")
    cell.wait(15_000)
    cell.status("other")
    reply = cell.allocate()
    assert (reply["outcome"], reply["server"]["server_id"]) == ("existing", "home")


def test_a_stranded_room_with_nowhere_to_go_stays_stranded(cell: Cell) -> None:
    cell.created("room", "home")
    cell.event("server-deregistered", "home", {})
    cell.event("server-deregistered", "other", {})
    reply = cell.allocate()
    assert reply["error"]["code"] == "no-servers"
    assert cell.phase() == "stranded"
    assert said(cell.wait(600_000)) == ["room-ended"]
    assert cell.phase() == "nowhere"


def test_a_writer_down_for_two_minutes() -> None:
    """Nobody listened: no silence counts, and nothing runs out before the backlog is read."""
    cell = Cell()
    for name in ("a", "b", "c"):
        cell.register(name)
    cell.allocate()
    cell.created("room", cell.home() or "")
    cell.allocate("held")
    cell.now_ms += 120_000
    cell.fold(Kind.WRITER_ACTIVE, {})
    assert cell.wait(0)["reason"] == "not-caught-up"
    cell.created("held", cell.home("held") or "")
    cell.fold(Kind.CAUGHT_UP, {})
    assert said(cell.wait(0)) == []
    assert cell.phase("held") == cell.phase("room") == "active"
    assert all(row.liveness == "up" for row in cell.view.servers.values())
    assert said(cell.wait(15_000)) == ["server-stale"] * 3


def test_a_backlog_that_takes_long_to_read() -> None:
    """What servers said while it was read stands behind the marker, and is only unread."""
    cell = Cell()
    for name in ("a", "b", "c"):
        cell.register(name)
    cell.fold(Kind.WRITER_ACTIVE, {})
    cell.now_ms += 60_000
    cell.fold(Kind.CAUGHT_UP, {})
    assert said(cell.wait(0)) == []
    assert said(cell.wait(14_000)) == []
    cell.status("a")
    assert said(cell.wait(1_000)) == ["server-stale"] * 2


@pytest.mark.parametrize("rules", [1, 2])
def test_most_of_the_fleet_silent_at_once(rules: int) -> None:
    """Seven minutes without three of five servers are the bus's fault, not their deaths."""
    cell = Cell(rules=rules)
    for name in "abcde":
        cell.register(name)
        cell.created(f"room-{name}", name)
    lost: list[str] = []
    for _ in range(84):
        outcome = cell.wait(5_000)
        lost += [line["server_id"] for line in outcome["outbound"] if line["type"] == "server-lost"]
        cell.status("d")
        cell.status("e")
    assert lost == []
    assert (cell.view.liveness["up"], cell.view.liveness["stale"]) == (2, 3)
    # After ten minutes in which the others were heard it is theirs.
    for _ in range(60):
        outcome = cell.wait(5_000)
        lost += [line["server_id"] for line in outcome["outbound"] if line["type"] == "server-lost"]
        cell.status("d")
        cell.status("e")
    assert sorted(lost) == ["a", "b", "c"]
    assert cell.phase("room-a") == "stranded"
    assert cell.phase("room-d") == "active"


@pytest.mark.parametrize("rules", [1, 2])
def test_the_whole_bus_out_for_an_hour_loses_nobody(rules: int) -> None:
    """Nobody else is heard either, and the first that is heard again condemns none of the rest."""
    cell = Cell(rules=rules)
    for name in "abc":
        cell.register(name)
        cell.created(f"room-{name}", name)
    for _ in range(720):
        cell.wait(5_000)
    cell.status("a")
    cell.wait(5_000)
    cell.status("b")
    cell.wait(15_000)
    assert cell.view.liveness["lost"] == 0
    cell.status("c")
    assert all(cell.phase(f"room-{name}") == "active" for name in "abc")


@pytest.mark.parametrize(("rules", "lost"), [(1, ["b"]), (2, [])])
def test_one_last_word_that_waited_condemns_nobody(rules: int, lost: list[str]) -> None:
    """Nobody listened for an hour; of one server something had waited, then all are silent.

    By when each was heard it would be alone in its silence. Journals of before keep that rule.
    """
    cell = Cell(rules=rules)
    for name in "abc":
        cell.register(name)
    cell.now_ms += 3_600_000
    cell.fold(Kind.WRITER_ACTIVE, {"holder": "writer", "version": "1"})
    cell.status("b")
    cell.fold(Kind.CAUGHT_UP, {})
    assert lost_in(cell, 200) == lost
    cell.replay()


@pytest.mark.parametrize(("rules", "lost"), [(1, ["d"]), (2, [])])
def test_the_others_fall_silent_as_the_first_are_given_up(rules: int, lost: list[str]) -> None:
    """Two of five spoke for ten minutes, so the three are lost; then the two are silent, too."""
    cell = Cell(rules=rules)
    for name in "abcde":
        cell.register(name)
    gone: list[str] = []
    while not gone:
        cell.status("d")
        cell.status("e")
        gone = lost_in(cell, 1)
    assert sorted(gone + lost_in(cell, 40)) == sorted(["a", "b", "c", *lost])
    cell.replay()


def lost_in(cell: Cell, waits: int) -> list[str]:
    """Who is lost while so often five seconds pass."""
    said = [line for _ in range(waits) for line in cell.wait(5_000)["outbound"]]
    return [line["server_id"] for line in said if line["type"] == "server-lost"]


def test_a_sole_server_is_never_lost_by_silence() -> None:
    cell = Cell()
    cell.register("only")
    cell.created("room", "only")
    for _ in range(100):
        cell.wait(60_000)
    assert cell.view.servers["only"].liveness == Liveness.STALE
    cell.event("server-deregistered", "only", {})
    assert cell.view.servers["only"].liveness == Liveness.LOST
    assert cell.phase() == "stranded"


def test_one_of_two_servers_is_lost_by_silence() -> None:
    """One is not more than half."""
    cell = Cell()
    cell.register("a")
    cell.register("b")
    for _ in range(12):
        cell.wait(5_000)
        cell.status("b")
    assert cell.view.servers["a"].liveness == Liveness.LOST


def test_a_goodbye_and_events_from_before_it(cell: Cell) -> None:
    """What was said before the goodbye and comes after it brings nothing back."""
    cell.event("server-deregistered", "home", {}, sequence=5)
    outcome = cell.created("room", "home", sequence=4)
    assert outcome["reason"] == "after-goodbye"
    assert cell.view.servers["home"].liveness == Liveness.LOST
    assert cell.phase() == "held"
    outcome = cell.status("home", sequence=6)
    assert said(outcome)[0] == "server-up"


def test_a_late_drain_from_before_a_complete_status(cell: Cell) -> None:
    """The status closes its hole for rooms and load, not for what servers say of themselves."""
    cell.status("home", rooms={}, complete=True, sequence=9)
    assert cell.view.servers["home"].watermark == 9
    payload = cell.payload("server-draining", "home", {"reason": "deploy"}, sequence=5)
    assert cell.fold(Kind.EVENT, payload)["status"] == "applied"
    assert cell.view.servers["home"].administration == "draining"
    assert cell.fold(Kind.EVENT, payload)["reason"] == "duplicate"


def test_a_room_moved_and_its_old_life(cell: Cell) -> None:
    """The old life is told to close; its delete is no delete of the room."""
    cell.created("room", "home")
    reply = cell.ask("move", room_id="room", if_generation=1, reason="deploy")["reply"]
    assert (reply["outcome"], reply["generation"]) == ("moved", 2)
    assert cell.home() == "other"
    cell.created("room", "other")
    # Listed while it is being closed: told up to there, and no second conflict.
    outcome = cell.status("home", rooms={"room": 4})
    assert said(outcome) == []
    assert cell.view.closings["room", "home"].sequence == 3
    assert cell.deleted("room", "home")["status"] == "applied"
    assert (cell.phase(), cell.home()) == ("active", "other")
    assert not cell.view.closings


def test_a_life_that_is_being_closed_fulfils_no_new_hold(cell: Cell) -> None:
    """Moved away and back: what its home lists is the old life, not the new."""
    cell.created("room", "home")
    cell.ask("move", room_id="room", if_generation=1, reason="deploy")
    cell.ask("move", room_id="room", if_generation=2, reason="back")
    assert (cell.home(), cell.phase()) == ("home", "held")
    cell.status("home", rooms={"room": 4})
    assert cell.phase() == "held"
    cell.deleted("room", "home")
    assert (cell.home(), cell.phase()) == ("home", "held")
    cell.created("room", "home")
    assert cell.phase() == "active"


def test_a_stale_delete_does_not_end_a_closing_of_a_later_life(cell: Cell) -> None:
    """The delete names the allocation that is being closed, while the room lives anew there."""
    cell.created("room", "home", allocation_id="old")
    cell.ask("move", room_id="room", if_generation=1, reason="deploy")
    cell.ask("move", room_id="room", if_generation=2, reason="back")
    cell.created("room", "home", allocation_id="new")
    assert not cell.view.closings
    assert cell.deleted("room", "home", allocation_id="old")["reason"] == "another-allocation"
    assert cell.phase() == "active"


def test_twenty_callers_at_once_get_one_home() -> None:
    cell = Cell()
    for name in ("a", "b", "c"):
        cell.register(name, workers=4)
    replies = [cell.allocate() for _ in range(20)]
    assert len({reply["allocation_id"] for reply in replies}) == 1
    assert [reply["outcome"] for reply in replies] == ["placed"] + ["existing"] * 19


def test_a_worker_that_died_and_a_create_from_before(cell: Cell) -> None:
    """Only its own routers are gone, and no late word brings one back."""
    cell.created("room", "home", sequence=3)
    outcome = cell.status("home", workers={"0": {"state": "died"}}, sequence=5)
    assert said(outcome) == ["room-stranded"]
    assert cell.created("room", "home", sequence=4)["reason"] == "history"
    # It runs again, empty; the room returns by being made again.
    cell.status("home", workers={"0": 0}, sequence=6)
    assert cell.phase() == "stranded"
    cell.created("room", "home", sequence=7)
    assert cell.phase() == "active"


def test_a_late_death_of_a_worker_spares_what_came_after(cell: Cell) -> None:
    cell.created("room", "home", sequence=6)
    cell.status("home", workers={"0": {"state": "died"}}, sequence=5)
    assert cell.phase() == "active"


def test_a_late_death_of_a_worker_spares_what_was_listed_since(cell: Cell) -> None:
    cell.created("room", "home", sequence=3)
    cell.status("home", rooms={"room": 4}, sequence=6)
    cell.status("home", workers={"0": {"state": "died"}}, sequence=5)
    assert cell.phase() == "active"


def test_a_late_delete_of_a_room_that_was_made_again(cell: Cell) -> None:
    cell.created("room", "home", sequence=4)
    outcome = cell.deleted("room", "home", sequence=3)
    assert (outcome["reason"], cell.phase()) == ("history", "active")


def test_a_released_room_on_a_server_that_was_lost_and_returns(cell: Cell) -> None:
    """It comes home and is told to close again; there is no conflict with itself."""
    cell.created("room", "home")
    allocation_id = cell.view.rooms["room"].allocation_id
    cell.ask("release", room_id="room", allocation_id=allocation_id)
    cell.event("server-deregistered", "home", {})
    outcome = cell.status("home")
    assert said(outcome) == ["server-up", "room-active"]
    assert said(outcome, "command") == ["close-room"]


def test_a_complete_status_without_a_copy_that_is_being_closed(cell: Cell) -> None:
    """It is gone, whatever became of its delete."""
    cell.created("room", "other")
    assert ("room", "other") in cell.view.closings
    cell.status("other", rooms={}, complete=True)
    assert not cell.view.closings
    assert cell.phase() == "held"
