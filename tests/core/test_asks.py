"""What callers ask: each operation's answers, and the window in which a request is repeated."""

import pytest

from ladle.core.apply import apply
from ladle.core.received import recorded_request
from ladle.core.record import Entry, Kind
from ladle.core.step import ImpossibleState
from ladle.core.view import View
from tests.core.cell import LIFE, START_MS, Cell, data_of, said


@pytest.fixture
def cell() -> Cell:
    cell = Cell()
    cell.register("a", workers={"0": 500})
    return cell


# --- allocate ------------------------------------------------------------------------------------


def test_the_whole_answer(cell: Cell) -> None:
    reply = cell.allocate(peers=4)
    assert reply == {
        "status": "ok",
        "outcome": "placed",
        "room_id": "room",
        "allocation_id": "default:3:1",
        "generation": 1,
        "held_until_ms": START_MS + 30_000,
        "reserved_peers": 4,
        "reserved_consumers": 24,
        "fits": True,
        "room_state": "held",
        "region_fallback": False,
        "server": {
            "server_id": "a",
            "worker_id": "0",
            "host": "media.example.org",
            "port": 443,
            "region": "eu",
            "liveness": "up",
            "ws_url": "wss://media.example.org:443/?roomId=room",
        },
        "routers": [{"router": 0, "server_id": "a", "worker_id": "0"}],
        "pipes": [],
    }


def test_fewer_peers_who_all_send_do_not_shrink_a_room_of_listeners(cell: Cell) -> None:
    """Ten who listen to one cost 18; four who all send cost 24: both together are ten and four."""
    cell.allocate(peers=10, publishers=1)
    reply = cell.allocate(peers=4)
    assert (reply["reserved_peers"], reply["reserved_consumers"]) == (10, 72)


def test_a_template_is_filled_in(cell: Cell) -> None:
    cell.register("a", ws_url_template="wss://x/{room_id}?h={host}&p={port}&{other}", port=8443)
    url = cell.allocate("my.room")["server"]["ws_url"]
    assert url == "wss://x/my.room?h=media.example.org&p=8443&{other}"


def test_a_caller_who_names_no_room_gets_the_writers(cell: Cell) -> None:
    reply = cell.allocate(None)
    assert reply["room_id"] == "made-1"
    assert "made-1" in cell.view.rooms


def test_the_cell_begins_its_allocation_ids() -> None:
    cell = Cell(cell="eu")
    cell.register("a")
    assert cell.allocate()["allocation_id"] == "eu:4:1"


def test_a_hold_lasts_as_long_as_asked_and_never_shrinks(cell: Cell) -> None:
    assert cell.allocate(ttl_ms=5_000)["held_until_ms"] == START_MS + 5_000
    assert cell.allocate(ttl_ms=60_000)["held_until_ms"] == START_MS + 60_000
    assert cell.allocate(ttl_ms=1_000)["held_until_ms"] == START_MS + 60_000


def test_more_peers_raise_the_reservation_where_it_fits(cell: Cell) -> None:
    cell.allocate(peers=4)
    reply = cell.allocate(peers=10)
    assert (reply["fits"], reply["reserved_peers"], reply["reserved_consumers"]) == (True, 10, 180)
    reply = cell.allocate(peers=30)
    assert (reply["fits"], reply["reserved_peers"], reply["outcome"]) == (False, 10, "existing")
    assert cell.used("a") == 180
    # Fewer ask for nothing.
    assert cell.allocate(peers=2)["reserved_peers"] == 10


def test_more_peers_never_fit_on_a_worker_that_nobody_registered(cell: Cell) -> None:
    cell.created("room", "a", worker_id="9")
    assert cell.allocate(peers=10)["fits"] is False


def test_pin_avoid_and_regions_move_nothing(cell: Cell) -> None:
    cell.allocate()
    cell.register("b", region="us")
    reply = cell.allocate(server_id="b", avoid=["a"], regions=["us"], region_mode="require")
    assert (reply["outcome"], reply["server"]["server_id"]) == ("existing", "a")


def test_a_refusal_is_recorded_and_repeated(cell: Cell) -> None:
    outcome = cell.ask("allocate", room_id="room", peers=40)
    assert (outcome["status"], outcome["reason"]) == ("refused", "room-too-large")
    assert outcome["reply"]["error"]["code"] == "room-too-large"
    assert "error" in outcome["decision"]
    assert cell.phase() == "nowhere"


def test_a_room_that_is_asked_for_again_keeps_its_size(cell: Cell) -> None:
    """Stranded with ten peers; the one who asks first says two, but all will come."""
    cell.allocate(peers=10)
    cell.created("room", "a")
    cell.register("a", life=LIFE + 1)
    assert cell.phase() == "stranded"
    reply = cell.allocate(peers=2)
    assert (reply["outcome"], reply["reserved_peers"]) == ("moved", 10)


def test_an_unconfirmed_room_with_more_peers_and_nowhere_to_go(cell: Cell) -> None:
    cell.allocate(peers=4)
    cell.wait(15_000)
    assert cell.allocate(peers=4)["fits"] is True
    assert cell.allocate(peers=8)["fits"] is False


def test_a_region_fallback_is_told(cell: Cell) -> None:
    assert cell.allocate(regions=["us"])["region_fallback"] is True
    assert cell.allocate("other", regions=["eu"])["region_fallback"] is False


# --- extend --------------------------------------------------------------------------------------


def test_extend_raises_and_never_lowers(cell: Cell) -> None:
    cell.allocate(peers=4)
    reply = cell.ask("extend", room_id="room", peers=10)["reply"]
    assert (reply["outcome"], reply["reserved_peers"], reply["fits"]) == ("existing", 10, True)
    assert reply["held_until_ms"] == START_MS + 30_000
    assert cell.ask("extend", room_id="room", peers=3)["reply"]["reserved_peers"] == 10


def test_extend_beyond_the_worker(cell: Cell) -> None:
    """More than it could ever carry, or more than is left beside the others, which may end."""
    cell.allocate(peers=4)
    outcome = cell.ask("extend", room_id="room", peers=40)
    assert outcome["reason"] == "room-too-large"
    assert outcome["reply"]["error"]["retryable"] is False
    cell.allocate("other", peers=15)
    outcome = cell.ask("extend", room_id="room", peers=12)
    assert outcome["reason"] == "room-too-large"
    assert outcome["reply"]["error"]["retryable"] is True
    assert cell.view.rooms["room"].peers == 4


def test_the_regions_of_an_extension_are_for_routers_that_it_would_get() -> None:
    """The room stays on the one that it has; the answer says that this is in none of them."""
    cell = Cell()
    cell.register("home", region="eu")
    cell.allocate(peers=4)
    reply = cell.ask("extend", room_id="room", peers=6, regions=["us"])["reply"]
    assert (reply["server"]["server_id"], reply["region_fallback"]) == ("home", True)
    reply = cell.ask("extend", room_id="room", peers=6, regions=["us", "eu"])["reply"]
    assert reply["region_fallback"] is False
    outcome = cell.ask("extend", room_id="room", peers=40, regions=["us", "eu"])
    assert outcome["reply"]["error"]["message"].endswith(
        "; a room has one router, so nothing in us or eu can add to it"
    )
    assert outcome["decision"]["wish"]["regions"] == ["us", "eu"]


def test_extend_of_a_room_that_is_nowhere_or_stranded(cell: Cell) -> None:
    assert cell.ask("extend", room_id="room", peers=4)["reason"] == "unknown-room"
    cell.created("room", "a")
    cell.register("a", life=LIFE + 1)
    outcome = cell.ask("extend", room_id="room", peers=4)
    assert outcome["reason"] == "unavailable"
    assert outcome["reply"]["error"]["retryable"] is True


# --- move ----------------------------------------------------------------------------------------


def test_move_keeps_what_the_room_was_placed_for(cell: Cell) -> None:
    cell.allocate(peers=4, regions=["eu"], region_mode="require", labels={})
    cell.register("b", region="us")
    outcome = cell.ask("move", room_id="room", if_generation=1, reason="deploy")
    assert outcome["reason"] in ("no-capacity", "region-unavailable", "no-servers")
    cell.register("c")
    cell.register("d")
    outcome = cell.ask("move", room_id="room", if_generation=1, reason="deploy", avoid=["c"])
    assert outcome["reply"]["server"]["server_id"] == "d"
    assert data_of(outcome, "room-moved") == {
        "room_id": "room",
        "server_id": "d",
        "worker_id": "0",
        "from_server_id": "a",
        "generation": 2,
        "allocation_id": outcome["reply"]["allocation_id"],
        "reason": "deploy",
    }
    assert (cell.used("a"), cell.used("d")) == (0, 24)


def test_move_of_another_generation_or_of_no_room(cell: Cell) -> None:
    assert cell.ask("move", room_id="room", if_generation=1, reason="x")["reason"] == "unknown-room"
    cell.allocate()
    outcome = cell.ask("move", room_id="room", if_generation=2, reason="x")
    assert outcome["reason"] == "stale-generation"
    assert outcome["reply"]["error"]["details"] == {"generation": 1}


def test_a_generation_never_falls(cell: Cell) -> None:
    """A late `move` for the room that ended cannot mean the one that began."""
    allocation_id = cell.allocate()["allocation_id"]
    cell.ask("release", room_id="room", allocation_id=allocation_id)
    assert cell.allocate()["generation"] == 2
    assert cell.ask("move", room_id="room", if_generation=1, reason="x")["reason"] == (
        "stale-generation"
    )


# --- release -------------------------------------------------------------------------------------


def test_release_of_a_hold(cell: Cell) -> None:
    allocation_id = cell.allocate(peers=4)["allocation_id"]
    outcome = cell.ask("release", room_id="room", allocation_id=allocation_id)
    assert outcome["reply"] == {
        "status": "ok",
        "room_id": "room",
        "allocation_id": allocation_id,
        "room_state": "nowhere",
    }
    assert said(outcome) == ["room-ended"]
    assert cell.used("a") == 0


def test_release_of_a_live_room_that_somebody_else_holds(cell: Cell) -> None:
    allocation_id = cell.allocate()["allocation_id"]
    cell.created("room", "a")
    cell.allocate()
    outcome = cell.ask("release", room_id="room", allocation_id=allocation_id)
    assert outcome["reply"]["room_state"] == "active"
    assert cell.view.rooms["room"].held_until_ms is None


def test_release_of_another_allocation_or_of_no_room(cell: Cell) -> None:
    assert cell.ask("release", room_id="room", allocation_id="x")["reason"] == "unknown-room"
    cell.allocate()
    assert cell.ask("release", room_id="room", allocation_id="x")["reason"] == "stale-generation"
    assert cell.phase() == "held"


# --- repetition ----------------------------------------------------------------------------------


def test_a_repeated_request_changes_nothing(cell: Cell) -> None:
    """The writer answers it from the record that is named."""
    cell.ask("allocate", room_id="room", request_id="q")
    offset, before = cell.view.offset, cell.view.dump()
    outcome = cell.ask("allocate", room_id="room", request_id="q")
    assert outcome == {
        "status": "ignored",
        "reason": "repeated",
        "recorded_at_offset": offset,
        "outbound": [],
    }
    assert cell.view.dump() == before


def test_the_same_id_with_another_body_is_a_conflict(cell: Cell) -> None:
    cell.ask("allocate", room_id="room", request_id="q")
    outcome = cell.ask("allocate", room_id="room", peers=5, request_id="q")
    assert (outcome["status"], outcome["reply"]["error"]["code"]) == ("refused", "conflict")
    # The first one is still the one that is remembered.
    assert cell.ask("allocate", room_id="room", request_id="q")["reason"] == "repeated"


def test_the_key_is_user_operation_and_id(cell: Cell) -> None:
    cell.ask("allocate", room_id="room", request_id="q")
    assert cell.ask("allocate", room_id="room", request_id="q", user="other")["reply"]
    assert cell.ask("extend", room_id="room", peers=3, request_id="q")["reply"]
    assert recorded_request(cell.view, "app", "allocate", "q") is not None
    assert recorded_request(cell.view, "app", "allocate", "p") is None


def test_who_is_spoken_for_is_the_user(cell: Cell) -> None:
    cell.ask("allocate", room_id="room", request_id="q")
    entry, _ = cell.journal[-1]
    origin = {"user": "gateway", "on_behalf_of": "tenant"}
    cell.fold(Kind.REQUEST, entry.payload, origin=origin)
    assert recorded_request(cell.view, "tenant", "allocate", "q") is not None
    assert recorded_request(cell.view, "gateway", "allocate", "q") is None


def test_a_request_is_remembered_for_ten_minutes(cell: Cell) -> None:
    cell.ask("allocate", room_id="room", request_id="q")
    cell.wait(599_999)
    assert recorded_request(cell.view, "app", "allocate", "q") is not None
    cell.wait(1)
    assert recorded_request(cell.view, "app", "allocate", "q") is None


# --- replays -------------------------------------------------------------------------------------


def test_a_replay_takes_the_decision_from_the_record(cell: Cell) -> None:
    """Another policy would choose otherwise now; what was answered was answered."""
    cell.register("b")
    outcome = cell.ask("allocate", room_id="room")
    view = View()
    for entry, recorded in cell.journal[:-1]:
        apply(view, entry, recorded)
    entry, _ = cell.journal[-1]
    changed = {
        **outcome,
        "decision": {
            **outcome["decision"],
            "winner": {**outcome["decision"]["winner"], "server_id": "b"},
        },
    }
    assert apply(view, entry, changed)["reply"]["server"]["server_id"] == "b"


def test_a_record_without_its_decision_cannot_be_replayed(cell: Cell) -> None:
    entry = Entry(
        cell.view.offset + 1,
        cell.now_ms,
        1,
        Kind.REQUEST,
        {},
        {},
        {"operation": "allocate", "request_id": "q", "digest": "d", "body": {"room_id": "room"}},
    )
    with pytest.raises(ImpossibleState, match="no decision"):
        apply(cell.view, entry, {"status": "applied"})


# --- capacity-low --------------------------------------------------------------------------------


def test_capacity_low_is_said_once_until_there_is_room_again(cell: Cell) -> None:
    assert "capacity-low" not in said(cell.ask("allocate", room_id="small", peers=10))
    outcome = cell.ask("allocate", room_id="large", peers=13)
    assert data_of(outcome, "capacity-low") == {
        "headroom": 8,
        "largest_room_peers": 2,
        "reason": "nearly-full",
    }
    assert "capacity-low" not in said(cell.ask("allocate", room_id="more", peers=9))
    # Half empty is not enough to say it again soon.
    cell.deleted("small", "a")
    cell.ask("release", room_id="large", allocation_id=cell.view.rooms["large"].allocation_id)
    cell.ask("allocate", room_id="tiny", peers=2)
    assert "capacity-low" not in said(cell.ask("allocate", room_id="large", peers=12))
    for room_id in ("small", "large", "tiny"):
        row = cell.view.rooms[room_id]
        cell.ask("release", room_id=room_id, allocation_id=row.allocation_id)
    cell.ask("allocate", room_id="tiny", peers=2)
    assert "capacity-low" in said(cell.ask("allocate", room_id="large", peers=15))


def test_capacity_low_for_a_room_that_found_no_place(cell: Cell) -> None:
    cell.ask("allocate", room_id="half", peers=12)
    outcome = cell.ask("allocate", room_id="other", peers=12)
    assert data_of(outcome, "capacity-low") == {
        "room_id": "other",
        "headroom": 236,
        "largest_room_peers": 11,
        "reason": "no-capacity",
    }


def test_without_a_server_there_is_no_capacity() -> None:
    outcome = Cell().ask("allocate", room_id="room")
    assert outcome["reason"] == "no-servers"
    assert data_of(outcome, "capacity-low")["headroom"] == 0
