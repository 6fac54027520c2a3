"""Each cell of the room table does what its golden line says, and each of its effects is needed."""

from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ladle.core import diagram, room
from ladle.core.room_table import CANNOT, TABLE, Cell, What
from ladle.core.step import ImpossibleState
from ladle.core.words import Phase
from tests.core.room_cells import GOLDEN, case_of, cell_in, line_of

DOCS = Path(__file__).parents[2] / "docs" / "rooms.md"
PICTURE = DOCS.with_suffix(".svg")
CELLS = [(what, phase) for what in What for phase in Phase]


def golden() -> dict[tuple[str, str], str]:
    """Lines by what and phase."""
    found: dict[tuple[str, str], str] = {}
    for line in GOLDEN.read_text().splitlines(keepends=True):
        if not line.startswith(" "):
            what, phase = line.replace(":", "").split()[:2]
            found[what, phase] = ""
        found[what, phase] += line
    return found


@pytest.mark.parametrize(("what", "phase"), CELLS)
def test_cell(what: What, phase: Phase) -> None:
    assert line_of(what, phase) == golden()[what, phase]


def test_every_cell_is_written() -> None:
    assert list(TABLE) == list(What)
    assert all(list(cells) == list(Phase) for cells in TABLE.values())
    assert len(golden()) == len(CELLS)


@pytest.mark.parametrize(("what", "phase"), [(w, p) for w, p in CELLS if TABLE[w][p] is CANNOT])
def test_what_cannot_happen_is_refused(what: What, phase: Phase) -> None:
    cell = cell_in(phase)
    before = cell.view.digest()
    with pytest.raises(ImpossibleState):
        room.turn(case_of(cell, what), what)
    assert cell.view.digest() == before


@pytest.mark.parametrize(("what", "phase"), [(w, p) for w, p in CELLS if TABLE[w][p].effects])
def test_no_effect_can_be_taken_away(
    what: What, phase: Phase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any one effect of a cell its golden line would differ, or the cell would fail."""
    cell, line = TABLE[what][phase], golden()[what, phase]
    for position in range(len(cell.effects)):
        rest = cell.effects[:position] + cell.effects[position + 1 :]
        monkeypatch.setattr(room, "TABLE", _with(what, phase, Cell(cell.next, rest)))
        try:
            mutant = line_of(what, phase)
        except (ImpossibleState, KeyError, AssertionError):
            continue
        assert mutant != line, cell.effects[position].__name__
        monkeypatch.undo()


def _with(what: What, phase: Phase, cell: Cell) -> Mapping[What, Mapping[Phase, Cell]]:
    """The table with another cell there; the room comes into its phase by the others."""
    return {**TABLE, what: {**TABLE[what], phase: cell}}


def test_the_docs_show_the_table() -> None:
    """docs/rooms.md is drawn from the table; `python -m tests.core.draw_rooms` draws it anew."""
    text = DOCS.read_text()
    assert "](rooms.svg)" in text
    assert f"<!-- table -->\n{diagram.markdown()}<!-- end of table -->\n" in text


def test_the_picture_shows_the_ways() -> None:
    """docs/rooms.svg has each way of the table as an arrow with its labels, and no other."""
    svg = "{http://www.w3.org/2000/svg}"
    drawn = {}
    for group in ElementTree.parse(PICTURE).iter(f"{svg}g"):
        if group.get("class") == "edge":
            before, after = group.findtext(f"{svg}title", "").split("->")
            drawn[before, after] = [text.text for text in group.iter(f"{svg}text")]
    assert drawn == diagram.ways()
    assert all(f'"{before}" -> "{after}"' in diagram.dot() for before, after in drawn)
