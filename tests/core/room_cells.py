"""Each cell of the room table, carried out and written down: `python -m tests.core.room_cells`.

The lines in room_table.txt were read by people; a rule that changes shows there first.
"""

import json
from pathlib import Path

from ladle.core.case import Asked, Case, Told
from ladle.core.decide import Decision
from ladle.core.room import turn
from ladle.core.room_table import CANNOT, TABLE, What
from ladle.core.rows import COLUMNS
from ladle.core.step import Step
from ladle.core.view import View
from ladle.core.words import Phase
from tests.core.cell import LIFE, START_MS, Cell

GOLDEN = Path(__file__).with_name("room_table.txt")
WATCHED = ("room", "router", "stamp", "closing")


def cell_in(phase: Phase) -> Cell:
    """The room "room" in this phase on the server "home"; "other" has another fit."""
    cell = Cell()
    cell.register("home")
    if phase != Phase.NOWHERE:
        cell.allocate(peers=4)
    if phase == Phase.HELD_AGAIN:
        cell.allocate()
    if phase in (Phase.ACTIVE, Phase.ACTIVE_HELD, Phase.STRANDED):
        cell.created("room", "home")
        cell.status("home", workers={"0": 10}, rooms={"room": 10})
    if phase == Phase.ACTIVE_HELD:
        cell.allocate()
    cell.register("other", workers=2)
    if phase == Phase.STRANDED:
        cell.event("server-deregistered", "home", {})
    assert cell.phase() == phase
    cell.now_ms += 1000
    return cell


def case_of(cell: Cell, what: What) -> Case:
    """The case in which this happens to the room."""
    view = cell.view
    step = Step(view, view.offset + 1, cell.now_ms)
    home = Told("home", (LIFE, 90), "0", "named", peers=3, seen=12)
    away = Told("other", (LIFE, 80), "1", "named")
    told = {
        What.CREATED: home,
        What.DELETED: Told("home", (LIFE, 90)),
        What.CREATED_AWAY: away,
        What.CREATED_EXPIRED: away,
        What.CREATED_RELEASED: away,
        What.LOST: Told("home", (0, 0)),
        What.RETURNED: Told("home", (0, 0)),
        What.GONE: Told("home", (0, 0)),
        What.AGED: Told("home", (0, 0)),
    }.get(what)
    winner = {"server_id": "other", "worker_id": "0"}
    asked = {
        What.PLACED: Asked(3, 3, 2, 12, 30_000, "{}", Decision({"winner": winner})),
        What.MOVED: Asked(3, 3, 2, 12, 30_000, "{}", Decision({"winner": winner})),
        What.ASKED_AGAIN: Asked(5, 5, 2, 40, 60_000),
        What.EXTENDED: Asked(6, 6, 2, 60, 0),
        What.RELEASED: Asked(0, 0, 0, 0, 0),
    }.get(what)
    return Case.of(step, "room", told=told, asked=asked, reason="why")


def line_of(what: What, phase: Phase) -> str:
    """The cell as it is carried out: next phase, rows that changed, what is said."""
    if TABLE[what][phase] is CANNOT:
        return f"{what} {phase}: cannot happen\n"
    cell = cell_in(phase)
    before = rows_of(cell.view)
    case = case_of(cell, what)
    turn(case, what)
    lines = [f"{what} {phase} -> {cell.phase()}"]
    lines += [f"    {change}" for change in changes(before, rows_of(cell.view))]
    for out in case.step.outbound:
        data = " ".join(f"{name}={_value(value)}" for name, value in sorted(out["data"].items()))
        lines.append(f"    {'say' if out['what'] == 'event' else 'tell'} {out['type']} {data}")
    return "\n".join(lines) + "\n"


def rows_of(view: View) -> dict[str, dict[str, str]]:
    """Each watched row by its table and key, columns as text."""
    dump = view.dump()
    return {
        f"{name} {values[0]} {values[1]}" if name != "room" else f"room {values[0]}": {
            column: _value(value) for column, value in zip(COLUMNS[name], values, strict=True)
        }
        for name in WATCHED
        for values in dump[name]
    }


def changes(before: dict[str, dict[str, str]], after: dict[str, dict[str, str]]) -> list[str]:
    """What changed, column by column; of a new row what is not blank."""
    lines = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if new is None:
            lines.append(f"- {name}")
        elif old is None:
            blank = ("0", "None", '""', '"{}"')
            told = [f"{column}={value}" for column, value in new.items() if value not in blank]
            lines.append(f"+ {name}: {' '.join(told)}")
        elif old != new:
            told = [f"{c}={old[c]}>{new[c]}" for c in new if old[c] != new[c]]
            lines.append(f"~ {name}: {' '.join(told)}")
    return lines


def _value(value: object) -> str:
    """Times relative to the start of the test, so that a line can be read."""
    if isinstance(value, int) and value >= LIFE:
        return "LIFE" if value == LIFE else f"T{value - START_MS:+d}"
    return "None" if value is None else json.dumps(value)


def all_lines() -> str:
    return "".join(line_of(what, phase) for what in What for phase in Phase)


if __name__ == "__main__":
    GOLDEN.write_text(all_lines())
