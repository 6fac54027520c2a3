"""`ladle explain ROOM --why-not SERVER`: a recorded decision, made again for one server alone."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ladle.audit.why_not import NoDecision, NoServer, why_not
from ladle.commands.app import app
from ladle.core.record import Record
from tests.audit.recorded import SERVERS, Held, Life, sealed
from tests.core.cell import Cell


def held(cell: Cell) -> Held:
    return Held(list(sealed(cell.journal)))


def test_it_is_told_of_the_state_before_the_decision() -> None:
    """What came after, and would rule the server out now, is not what ruled it out then."""
    cell = Cell()
    cell.register("a")
    cell.register("b")
    cell.status("b", workers={"0": 100})
    cell.allocate("room", peers=4)
    cell.ask("drain", server_id="b")
    found = why_not(held(cell), "room", "b")
    assert found.offset == 5
    assert found.decision["winner"]["server_id"] == "a"
    assert found.pinned["winner"]["used"] == 100
    assert found.pinned["offset_seen"] == found.decision["offset_seen"] == 4
    assert found.lines[0].startswith("Server b would have done")


def test_each_generation_has_its_decision() -> None:
    cell = Cell()
    for name in ("a", "b", "c"):
        cell.register(name)
    cell.allocate("room", peers=4)
    cell.ask("move", room_id="room", if_generation=1, reason="test")
    cell.ask("extend", room_id="room", peers=5)
    assert why_not(held(cell), "room", "a", generation=1).lines == [
        "It was chosen: worker 0 of server a in eu."
    ]
    last = why_not(held(cell), "room", "a")
    assert (last.offset, last.decision["operation"]) == (6, "move")
    assert last.lines == ["Server a was out: it was to be avoided."]
    with pytest.raises(NoDecision):
        why_not(held(cell), "room", "a", generation=3)
    with pytest.raises(NoDecision):
        why_not(held(cell), "another", "a")


def test_a_room_that_nobody_named_is_found_by_the_name_that_it_got() -> None:
    cell = Cell()
    cell.register("a")
    room_id = cell.allocate(None)["room_id"]
    assert why_not(held(cell), room_id, "a").lines[0].startswith("It was chosen")


def test_a_server_that_came_later_was_not_there() -> None:
    cell = Cell()
    cell.register("a")
    cell.allocate("room")
    cell.register("b")
    with pytest.raises(NoServer) as refused:
        why_not(held(cell), "room", "b")
    assert (refused.value.servers, refused.value.offset) == (["a"], 3)


def test_every_decision_of_a_run_can_be_asked_about(life: Life, records: list[Record]) -> None:
    """Nothing is said of the winner but that it won, and of no other that it did."""
    rooms = sorted({r.room_id for r in records if r.room_id and b'"decision"' in r.body})
    won = 0
    for room_id in rooms[:5]:
        for server_id in SERVERS:
            found = why_not(Held(list(records)), room_id, server_id)
            winner = found.decision.get("winner", {}).get("server_id")
            said = found.lines[0].startswith("It was chosen")
            assert said == (winner == server_id)
            won += said
    assert won >= 2


def run(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["explain", *words])
    return result.exit_code, result.stdout, result.stderr


def test_the_command(database: Path, records: list[Record]) -> None:
    room_id = next(r.room_id for r in records if r.room_id and b'"decision"' in r.body)
    assert room_id is not None
    common = (room_id, "--why-not", "eu-2", "--source", str(database))
    code, out, err = run(*common, "--json")
    assert code == 0, err
    said = json.loads(out)
    assert said["decision"]["wish"]["cost"] > 0
    code, out, _ = run(*common)
    assert code == 0
    assert out.splitlines()[1:] == said["lines"]
    assert f"record {said['offset']} decided to" in out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("room-1", "--why-not", "eu-9"), 1, "there were eu-1, eu-2, eu-3, us-1"),
        (("nowhere", "--why-not", "eu-1"), 1, "holds no decision for room nowhere"),
        (("room-1", "--why-not", "eu-1", "--generation", "900"), 1, "of generation 900"),
    ],
)
def test_what_cannot_be_told_says_why(
    words: tuple[str, ...], code: int, said: str, database: Path
) -> None:
    left, _, err = run(*words, "--source", str(database))
    assert left == code
    assert said in " ".join(err.split())
