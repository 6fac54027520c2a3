"""Under `owner_only` a room is its allocating user's: who may move, extend and release it."""

from typing import Any

import orjson
import pytest

from ladle.core.limits import Limits
from ladle.core.ownership import may_change, owner_to_note
from ladle.core.record import Kind
from ladle.core.rows import Room
from ladle.core.view import View
from tests.core.cell import LIFE, Cell

BODIES: dict[str, dict[str, Any]] = {
    "move": {"if_generation": 1, "reason": "deploy"},
    "extend": {"peers": 6},
    "release": {"allocation_id": "default:5:1"},
}


def two_servers(**limits: Any) -> Cell:
    """The first room's allocation is `default:5:1` where there are limits."""
    cell = Cell(**limits)
    cell.register("a")
    cell.register("b")
    return cell


@pytest.fixture
def cell() -> Cell:
    return two_servers(owner_only=True, operators="ops, night-shift")


def asked(cell: Cell, operation: str, user: str) -> str:
    """The code of the refusal, or ok."""
    outcome = cell.ask(operation, room_id="room", user=user, **BODIES[operation])
    return str(outcome.get("reason", outcome["reply"]["status"]))


@pytest.mark.parametrize("operation", BODIES)
@pytest.mark.parametrize(
    ("owner", "user", "answer"),
    [
        ("meetings", "meetings", "ok"),
        ("meetings", "lessons", "not-owner"),
        ("meetings", "", "not-owner"),  # nobody is not the owner
        ("meetings", "ops", "ok"),
        ("meetings", "night-shift", "ok"),  # blanks in the list are no part of a name
        ("meetings", "ops, night-shift", "not-owner"),
        ("", "lessons", "ok"),  # nobody owns nothing
        ("", "", "ok"),
    ],
)
def test_who_may(cell: Cell, operation: str, owner: str, user: str, answer: str) -> None:
    cell.allocate(user=owner)
    assert asked(cell, operation, user) == answer
    assert cell.replay().dump() == cell.view.dump()


@pytest.mark.parametrize("operation", BODIES)
def test_without_the_limit_everybody_may(operation: str) -> None:
    cell = two_servers(owner_only=False)
    cell.allocate(user="meetings")
    assert cell.view.rooms["room"].wishes == "{}"
    assert asked(cell, operation, "lessons") == "ok"


@pytest.mark.parametrize("operation", BODIES)
def test_a_refusal_changes_nothing_and_names_nobody_else(cell: Cell, operation: str) -> None:
    cell.allocate(user="meetings")
    before = {name: rows for name, rows in cell.view.dump().items() if name != "request"}
    outcome = cell.ask(operation, room_id="room", user="lessons", **BODIES[operation])
    assert outcome["status"] == "refused"
    error = outcome["reply"]["error"]
    assert error["message"] == (
        f"room room was allocated by another user: user lessons may not {operation} it"
    )
    assert (error["retryable"], error["details"]) == (False, {})
    assert "decision" not in outcome
    assert outcome["outbound"] == []
    after = {name: rows for name, rows in cell.view.dump().items() if name != "request"}
    assert after == before


def test_a_refusal_of_nobody_says_so(cell: Cell) -> None:
    cell.allocate(user="meetings")
    outcome = cell.ask("extend", room_id="room", user="", peers=6)
    message = outcome["reply"]["error"]["message"]
    assert message.endswith(": who is nobody to the broker may not extend it")


def test_a_stranger_is_not_told_the_generation(cell: Cell) -> None:
    cell.allocate(user="meetings")
    outcome = cell.ask("move", room_id="room", user="lessons", if_generation=7, reason="x")
    assert outcome["reason"] == "not-owner"
    outcome = cell.ask("release", room_id="room", user="lessons", allocation_id="x")
    assert outcome["reason"] == "not-owner"
    assert cell.ask("extend", room_id="other", user="lessons", peers=3)["reason"] == "unknown-room"


def test_the_owner_is_whom_a_proxy_speaks_for(cell: Cell) -> None:
    cell.allocate(user="tenant")
    entry, _ = cell.journal[-1]
    body = {"room_id": "room", "peers": 6, "publishers": None, "regions": []}
    payload = {**entry.payload, "operation": "extend", "request_id": "q", "body": body}
    as_tenant = {"user": "gateway", "on_behalf_of": "tenant"}
    outcome = cell.fold(Kind.REQUEST, payload, origin={"user": "gateway"})
    assert outcome["reason"] == "not-owner"
    assert cell.fold(Kind.REQUEST, payload, origin=as_tenant)["reply"]["status"] == "ok"


def test_a_stranger_is_told_the_home_and_raises_nothing(cell: Cell) -> None:
    """`allocate` is how everybody finds the room; with more peers it would be `extend`."""
    cell.allocate(user="meetings", peers=4)
    reply = cell.allocate(user="lessons", peers=10, ttl_ms=60_000)
    assert (reply["outcome"], reply["fits"], reply["reserved_peers"]) == ("existing", False, 4)
    assert reply["held_until_ms"] == cell.now_ms + 60_000
    assert cell.allocate(user="lessons", peers=4)["fits"] is True
    reply = cell.allocate(user="meetings", peers=10)
    assert (reply["fits"], reply["reserved_peers"]) == (True, 10)


def test_a_room_keeps_its_owner_when_it_moves(cell: Cell) -> None:
    """Also where a stranger is the first to ask for it once its server is lost."""
    cell.allocate(user="meetings", regions=["eu"])
    assert asked(cell, "move", "meetings") == "ok"
    home = cell.home()
    assert home is not None
    cell.created("room", home)
    cell.register(home, life=LIFE + 1)
    assert cell.phase() == "stranded"
    assert asked(cell, "extend", "lessons") == "not-owner"
    assert cell.allocate(user="lessons")["outcome"] == "moved"
    assert asked(cell, "extend", "lessons") == "not-owner"
    assert asked(cell, "extend", "meetings") == "ok"
    wishes = orjson.loads(cell.view.rooms["room"].wishes)
    assert wishes == {"owner": "meetings", "regions": ["eu"]}


def test_a_room_that_ended_has_no_owner_any_more(cell: Cell) -> None:
    allocation_id = cell.allocate(user="meetings")["allocation_id"]
    cell.ask("release", room_id="room", user="meetings", allocation_id=allocation_id)
    cell.allocate(user="lessons")
    assert asked(cell, "extend", "meetings") == "not-owner"
    assert asked(cell, "extend", "lessons") == "ok"


def test_what_a_server_made_by_itself_is_everybodys(cell: Cell) -> None:
    cell.created("room", "a")
    assert asked(cell, "extend", "lessons") == "ok"
    cell.allocate(user="meetings")
    assert asked(cell, "extend", "lessons") == "ok"


def test_what_was_allocated_before_the_limit_is_everybodys() -> None:
    """So what the tables of older journals hold is what the rules make of their records."""
    cell = two_servers(operators="ops")
    cell.allocate(user="meetings")
    cell.fold(Kind.SETTINGS, {"owner_only": True})
    assert asked(cell, "extend", "lessons") == "ok"
    cell.ask("allocate", room_id="later", user="meetings")
    body = {"room_id": "later", "user": "lessons", "peers": 6}
    assert cell.ask("extend", **body)["reason"] == "not-owner"
    cell.fold(Kind.SETTINGS, {"owner_only": False})
    assert cell.ask("extend", **body)["reply"]["status"] == "ok"
    cell.fold(Kind.SETTINGS, {"owner_only": True})
    assert cell.ask("extend", **body)["reason"] == "not-owner"
    assert cell.replay().digest() == cell.view.digest()
    view = cell.view
    again = View.load(view.dump(), offset=view.offset, recorded_at_ms=view.recorded_at_ms)
    assert may_change(again.limits, again.rooms["later"], "lessons") is False


def test_an_empty_list_names_no_operator() -> None:
    limits = Limits(owner_only=True, operators=" , ")
    room = Room("room", wishes='{"owner":"meetings"}')
    assert not may_change(limits, room, "")
    assert not may_change(limits, room, "ops")
    assert owner_to_note(limits, "") == {}
