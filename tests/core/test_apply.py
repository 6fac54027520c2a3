"""Kinds of records, the clock's ticks, the view's rows and what is read of them."""

import pytest

from ladle.core import compact_status, queries
from ladle.core.apply import JournalGap, apply
from ladle.core.received import highest_received
from ladle.core.record import Entry, Kind
from ladle.core.rows import Timer
from ladle.core.schedule import Schedule
from ladle.core.step import ImpossibleState, Step
from ladle.core.timers import next_due_ms, tick
from ladle.core.view import View
from tests.core.cell import LIFE, START_MS, Cell, said, status_data


@pytest.fixture
def cell() -> Cell:
    cell = Cell()
    cell.register("a", workers=2)
    return cell


# --- records -------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [1, 2, 4])
def test_a_gap_leaves_the_view_as_it_was(cell: Cell, offset: int) -> None:
    before = cell.view.digest()
    with pytest.raises(JournalGap):
        apply(cell.view, Entry(offset, START_MS, 1, Kind.TICK, {}, {}, {}))
    assert cell.view.digest() == before


def test_settings_override_and_return_to_their_defaults(cell: Cell) -> None:
    outcome = cell.fold(Kind.SETTINGS, {"hold_ms": 1_000, "policy": "pack", "moon": "full"})
    assert outcome["unknown"] == ["moon"]
    assert (cell.view.limits.hold_ms, cell.view.limits.policy) == (1_000, "pack")
    assert "moon" not in cell.view.settings
    assert "unknown" not in cell.fold(Kind.SETTINGS, {"hold_ms": None})
    assert cell.view.limits.hold_ms == 30_000
    cell.fold(Kind.SETTINGS, {"hold_ms": None})


def test_a_new_cpu_limit_counts_at_once(cell: Cell) -> None:
    cell.status("a", workers={"0": {"cpu_permille": 600}, "1": {"cpu_permille": 600}})
    cell.fold(Kind.SETTINGS, {"cpu_permille_max": 500})
    assert cell.allocate()["status"] == "error"
    cell.fold(Kind.SETTINGS, {"cpu_permille_max": 700})
    assert cell.allocate()["status"] == "ok"


def test_rejected_input_and_clock_steps_change_nothing(cell: Cell) -> None:
    before = cell.view.dump()
    rejected = {"reason": "not-json", "size": 3, "digest": "d", "detail": "line 1"}
    outcome = cell.fold(Kind.REJECTED, rejected)
    assert (outcome["status"], outcome["reason"]) == ("refused", "not-json")
    assert cell.fold(Kind.CLOCK_STEP, {"from_ms": 1, "to_ms": 2})["status"] == "applied"
    assert cell.view.dump() == before


def test_a_compact_record_folds_each_status(cell: Cell) -> None:
    lines = [
        ["a", LIFE, sequence, [["0", 1, load, 0, 0, 0, 0]]]
        for sequence, load in ((2, 10), (3, 20), (3, 30))
    ]
    outcome = cell.fold(Kind.STATUSES, {"statuses": lines})
    assert outcome["ignored"] == [[2, "duplicate"]]
    assert cell.view.workers["a", "0"].observed == 20
    assert "ignored" not in cell.fold(Kind.STATUSES, {"statuses": []})


def test_a_compact_status_says_all_that_the_event_did(cell: Cell) -> None:
    died = {"state": "died", "consumers": 3, "producers": 2, "rooms": 1}
    busy = {"consumers": 7, "producers": 6, "rooms": 5, "cpu_permille": 40, "memory_bytes": 9}
    payload = cell.payload("worker-status", "a", status_data({"0": died, "1": busy}, None))
    packed = compact_status.pack(payload)
    assert packed == ["a", LIFE, 2, [["0", 0, 3, 2, 1, 0, 0], ["1", 1, 7, 6, 5, 40, 9]]]
    left_out = {"id", "time_ms"}
    told = {name: value for name, value in payload.items() if name not in left_out}
    assert compact_status.unpack(packed) == told


# --- statuses ------------------------------------------------------------------------------------


def test_a_late_status_of_a_worker_changes_nothing_back(cell: Cell) -> None:
    cell.status("a", workers={"0": 50}, sequence=4)
    cell.status("a", workers={"0": 10, "1": 10}, sequence=3)
    assert cell.view.workers["a", "0"].observed == 50
    assert cell.view.workers["a", "1"].observed == 10


def test_a_worker_that_nobody_registered_is_asked_for(cell: Cell) -> None:
    outcome = cell.status("a", workers={"7": 50})
    assert said(outcome, "command") == ["register"]
    assert ("a", "7") not in cell.view.workers


def test_a_worker_dies_once(cell: Cell) -> None:
    cell.created("room", "a")
    assert said(cell.status("a", workers={"0": {"state": "died"}})) == ["room-stranded"]
    assert said(cell.status("a", workers={"0": {"state": "died"}})) == []
    assert cell.phase() == "stranded"


def test_an_older_complete_status_is_freshness_only() -> None:
    """Where a life's sequences are not kept, one may come that would elsewhere be a duplicate."""
    cell = Cell()
    cell.register("a", sequence=None)
    cell.created("room", "a", sequence=100)
    cell.status("a", rooms={"room": 3}, complete=True, sequence=105)
    cell.now_ms += 10_000
    outcome = cell.status("a", workers={"0": 9}, rooms={}, complete=True, sequence=104)
    assert outcome["reason"] == "older-than-complete"
    assert (cell.phase(), cell.view.workers["a", "0"].observed) == ("active", 0)
    assert cell.view.servers["a"].heard_at_ms == cell.now_ms


def test_a_room_on_two_workers_of_one_server_is_one_room(cell: Cell) -> None:
    rooms = [
        {"room_id": "room", "worker_id": worker, "peers": 2, "consumers": 5} for worker in "01"
    ]
    cell.event("worker-status", "a", {"workers": [], "rooms": rooms})
    router = cell.view.routers["room", 0]
    assert (router.worker_id, router.seen, router.peers_seen) == ("0", 10, 4)


def test_what_is_listed_nowhere_is_adopted_with_its_load(cell: Cell) -> None:
    cell.status("a", workers={"0": 12}, rooms={"room": {"consumers": 12, "peers": 3}})
    router = cell.view.routers["room", 0]
    assert (cell.phase(), router.seen, router.reserved) == ("active", 12, 0)
    assert cell.used("a") == 12


def test_another_worker_of_the_same_server_is_corrected(cell: Cell) -> None:
    cell.allocate(peers=4)
    assert cell.view.routers["room", 0].worker_id == "0"
    cell.created("room", "a", worker_id="1")
    assert (cell.used("a", "0"), cell.used("a", "1")) == (0, 24)


def test_a_reservation_fades_on_records_about_its_server(cell: Cell) -> None:
    cell.allocate(peers=4)
    cell.created("room", "a")
    cell.wait(14_999)
    cell.status("a", workers={"0": 4}, rooms={"room": 4})
    assert cell.view.routers["room", 0].reserved == 24
    cell.now_ms += 60_000
    cell.status("a", workers={"0": 4}, rooms={"room": 4})
    halfway = cell.view.routers["room", 0].reserved
    assert 4 < halfway < 24
    cell.now_ms += 120_000
    cell.status("a", workers={"0": 4}, rooms={"room": 4})
    assert cell.view.routers["room", 0].reserved == 0
    assert cell.used("a") == 4


def test_a_hold_again_reserves_no_more_than_fits() -> None:
    """What faded may be others' by now: the hold keeps what is left."""
    cell = Cell()
    cell.register("a", workers={"0": 100})
    cell.allocate(peers=7)
    cell.created("room", "a")
    cell.now_ms += 120_000
    cell.status("a", workers={"0": 2}, rooms={"room": 2})
    cell.allocate("other", peers=7)
    cell.allocate()
    cell.deleted("room", "a")
    assert (cell.phase(), cell.used("a")) == ("held-again", 86)
    # Nor does its create raise what does not fit; until the next status the two consumers that
    # the worker had before may be others'.
    cell.created("room", "a")
    assert cell.used("a") == 88
    cell.status("a", workers={"0": 0}, rooms={"room": 0})
    assert cell.used("a") == 86


# --- holes ---------------------------------------------------------------------------------------


def test_a_hole_asks_for_a_report_until_it_is_closed(cell: Cell) -> None:
    cell.status("a", sequence=3)
    server = cell.view.servers["a"]
    assert (server.watermark, server.received_above) == (1, "[[3,3]]")
    assert said(cell.wait(1_999), "command") == []
    assert said(cell.wait(1), "command") == ["report-rooms"]
    assert said(cell.wait(2_000), "command") == ["report-rooms"]
    assert said(cell.wait(2_000), "command") == []
    assert said(cell.wait(2_000), "command") == ["report-rooms"]
    cell.status("a", rooms={}, complete=True, sequence=4)
    server = cell.view.servers["a"]
    assert (server.watermark, server.hole_since_ms, server.report_due_ms) == (4, None, None)


def test_ranges_join_and_fill(cell: Cell) -> None:
    for sequence in (5, 7, 3, 8, 6, 10):
        cell.status("a", sequence=sequence)
    assert cell.view.servers["a"].received_above == "[[3,3],[5,8],[10,10]]"
    assert cell.status("a", sequence=7)["reason"] == "duplicate"
    since_ms = cell.view.servers["a"].hole_since_ms
    cell.now_ms += 500
    cell.status("a", sequence=2)
    server = cell.view.servers["a"]
    assert (server.watermark, server.received_above) == (3, "[[5,8],[10,10]]")
    assert server.hole_since_ms == since_ms
    # A complete status closes the holes below it alone.
    cell.status("a", sequence=9, rooms={}, complete=True)
    assert (cell.view.servers["a"].watermark, cell.view.servers["a"].received_above) == (10, "[]")


def test_the_highest_that_was_heard_is_that_above_the_holes(cell: Cell) -> None:
    assert highest_received(cell.view.servers["a"]) == 1
    cell.status("a", sequence=7)
    assert highest_received(cell.view.servers["a"]) == 7


def test_a_complete_status_below_the_watermark_closes_nothing(cell: Cell) -> None:
    cell.status("a", sequence=2)
    cell.status("a", sequence=4)
    cell.status("a", sequence=3, rooms={}, complete=True)
    assert cell.view.servers["a"].watermark == 4


def test_holes_are_bounded(cell: Cell) -> None:
    """The oldest is taken as filled: its row stays small whatever comes."""
    for sequence in range(3, 3 + 2 * 257, 2):
        cell.status("a", sequence=sequence)
    server = cell.view.servers["a"]
    assert server.watermark == 3
    assert len(server.received_above) < 256 * 12


def test_a_late_event_in_a_closed_hole_is_a_duplicate_but_a_late_registration_is_not(
    cell: Cell,
) -> None:
    cell.status("a", rooms={}, complete=True, sequence=9)
    assert cell.created("room", "a", sequence=5)["reason"] == "duplicate"
    assert cell.register("a", sequence=6, host="late.example.org")["status"] == "applied"
    assert cell.register("a", sequence=6)["reason"] == "duplicate"


# --- time ----------------------------------------------------------------------------------------


def test_nothing_is_due_before_the_backlog_is_read() -> None:
    cell = Cell(caught_up=False)
    cell.register("a")
    assert next_due_ms(cell.view) is None
    assert cell.wait(60_000)["reason"] == "not-caught-up"
    cell.fold(Kind.CAUGHT_UP, {})
    assert next_due_ms(cell.view) == START_MS + 60_000 + 15_000, "silence counts from here"


def test_an_empty_cell_has_nothing_due() -> None:
    assert next_due_ms(Cell().view) is None


def test_what_stays_due_is_a_bug_and_no_endless_loop(cell: Cell) -> None:
    """A rule that does not put its timer off would hold the writer for ever."""
    cell.view.put(Timer("register", "x", START_MS))
    step = Step(cell.view, 9, START_MS)
    drop, cell.view.drop = cell.view.drop, lambda row: None  # type: ignore[method-assign]
    with pytest.raises(ImpossibleState, match="stays due"):
        tick(step)
    cell.view.drop = drop  # type: ignore[method-assign]


def test_a_room_ends_by_age_on_a_server_that_never_lists(cell: Cell) -> None:
    cell.created("old", "a")
    cell.created("asked", "a")
    for _ in range(2160):
        cell.now_ms += 20_000
        cell.status("a")
    cell.allocate("asked")
    outcome = cell.wait(0)
    assert said(outcome) == ["room-ended"]
    assert (cell.phase("old"), cell.phase("asked")) == ("nowhere", "held-again")


def test_a_server_that_begins_to_list_keeps_its_old_rooms(cell: Cell) -> None:
    cell.created("room", "a")
    cell.now_ms += 43_190_000
    cell.status("a", rooms={"room": 2}, complete=True)
    assert said(cell.wait(10_000)) == []
    assert cell.view.rooms["room"].ends_at_ms is None
    cell.created("next", "a")
    assert cell.view.rooms["next"].ends_at_ms is None


def test_an_active_held_room_loses_its_hold_in_silence(cell: Cell) -> None:
    cell.created("room", "a")
    cell.allocate()
    assert said(cell.wait(30_000)) == ["server-stale"]
    assert cell.phase() == "active"


def test_stamps_are_forgotten(cell: Cell) -> None:
    cell.deleted("room", "a")
    assert cell.view.stamps["room", "a"].until_ms == START_MS + 600_000
    cell.wait(600_000)
    assert not cell.view.stamps


def test_a_schedule_drops_what_was_put_off() -> None:
    schedule = Schedule()
    for due_ms in range(1_000):
        schedule.set("kind", "key", due_ms)
    assert schedule.next() == (999, "kind", "key")
    assert len(schedule._heap) < 100
    schedule.set("kind", "other", 5)
    schedule.set("kind", "other", None)
    assert [due for due in [schedule.next()] if due] == [(999, "kind", "key")]
    schedule.set("kind", "key", None)
    assert schedule.next() is None
    assert list(schedule.until(10_000)) == []


# --- the view ------------------------------------------------------------------------------------


def test_changes_are_last_values_by_key(cell: Cell) -> None:
    cell.view.take_changes()
    cell.allocate(ttl_ms=1_000)
    changes = cell.view.take_changes()
    assert sorted(changes) == ["request", "room", "router"]
    (values,) = changes["room"].values()
    assert values is not None
    assert list(changes["room"]) == [("room",)]
    assert list(changes["router"]) == [("room", 0)]
    cell.wait(1_000)
    assert cell.view.take_changes()["room"] == {("room",): None}
    assert cell.view.take_changes() == {}


def test_a_digest_is_of_all_rows_and_of_the_offset(cell: Cell) -> None:
    view = View.load(cell.view.dump(), offset=2, recorded_at_ms=START_MS)
    assert view.digest() == cell.view.digest()
    view.offset = 3
    assert view.digest() != cell.view.digest()


# --- what is read --------------------------------------------------------------------------------


def test_lookup(cell: Cell) -> None:
    assert queries.lookup(cell.view, "room")["error"]["code"] == "unknown-room"
    placed = cell.allocate()
    reply = queries.lookup(cell.view, "room")
    assert reply == {name: placed[name] for name in reply}
    assert "outcome" not in reply


def test_the_fleet(cell: Cell) -> None:
    cell.register("us", region="us", places_workers=False)
    cell.allocate(peers=4)
    cell.allocate("away", peers=3, server_id="us")
    cell.status("a", workers={"0": {"consumers": 7, "cpu_permille": 80, "rooms": 1}})
    cell.now_ms += 1_000
    cell.fold(Kind.TICK, {})
    reply = queries.fleet_view(cell.view)
    assert [server["server_id"] for server in reply["servers"]] == ["a", "us"]
    assert reply["servers"][0] == {
        "server_id": "a",
        "liveness": "up",
        "liveness_mode": "heartbeat",
        "administration": "open",
        "drain_reason": None,
        "drain_by_ms": None,
        "region": "eu",
        "incarnation": LIFE,
        "conflicting_with": None,
        "share_permille": None,
        "flaps": 0,
        "damped_until_ms": None,
        "silent_ms": 1_000,
        "rooms": 1,
        "workers": [
            {
                "worker_id": "0",
                "state": "running",
                "capacity": 500,
                "observed": 7,
                "used": 24,
                "headroom": 476,
                "cpu_permille": 80,
                "rooms": 1,
            },
            {
                "worker_id": "1",
                "state": "running",
                "capacity": 500,
                "observed": 0,
                "used": 0,
                "headroom": 500,
                "cpu_permille": 0,
                "rooms": 0,
            },
        ],
    }
    assert reply["totals"] == {
        "servers": 2,
        "workers": 3,
        "rooms": 2,
        "capacity": 1500,
        "observed": 7,
        "used": 36,
    }
    assert reply["largest_room_peers"] == 16


def test_the_largest_room_is_that_of_the_servers_that_are_answered(cell: Cell) -> None:
    cell.register("us", region="us")
    cell.allocate(peers=16, server_id="us")

    def largest(**chosen: str) -> int:
        peers: int = queries.fleet_view(cell.view, **chosen)["largest_room_peers"]
        return peers

    assert largest() == largest(server_id="a") == 16
    assert largest(region="us") == largest(server_id="us") == 3
    assert largest(region="nowhere") == 0
    cell.ask("drain", server_id="a")
    assert largest(server_id="a") == 0, "what takes nothing new has room for nobody"
    assert largest() == 3
    only = queries.fleet_view(cell.view, region="us")
    assert [server["server_id"] for server in only["servers"]] == ["us"]
    assert queries.fleet_view(cell.view, server_id="a")["totals"]["servers"] == 1
    nobody = queries.fleet_view(cell.view, server_id="nobody")
    assert nobody["error"]["code"] == "unknown-server"


def test_pages_of_rooms(cell: Cell) -> None:
    cell.register("b")
    for name in ("r1", "r3", "r2"):
        cell.created(name, "a")
    cell.created("r4", "b")
    cell.allocate("r5", server_id="b", peers=3)
    page = queries.rooms(cell.view, limit=2)
    assert ([room["room_id"] for room in page["rooms"]], page["more"]) == (["r1", "r2"], True)
    page = queries.rooms(cell.view, after="r3", limit=2)
    assert ([room["room_id"] for room in page["rooms"]], page["more"]) == (["r4", "r5"], False)
    on_b = queries.rooms(cell.view, server_id="b", state="held")
    assert on_b["rooms"] == [
        {
            "room_id": "r5",
            "room_state": "held",
            "server_id": "b",
            "worker_id": "0",
            "allocation_id": cell.view.rooms["r5"].allocation_id,
            "generation": 1,
            "peers": 0,
            "consumers": 0,
            "reserved_consumers": 12,
            "held_until_ms": START_MS + 30_000,
        }
    ]
    assert queries.rooms(cell.view, server_id="nobody")["rooms"] == []
