"""No effect of the liveness table can be taken away: each shows in the rows or in what is said."""

from typing import Any

import pytest

from ladle.core import liveness
from ladle.core.liveness import TABLE, Cell, What
from ladle.core.rows import changed
from ladle.core.step import Step
from ladle.core.words import Liveness
from tests.core import cell as cells

SHARED: dict[str, Any] = {"media_ip": "192.0.2.1", "udp_ports": [40000, 40999]}
CELLS = [(what, state) for what, row in TABLE.items() for state, cell in row.items() if cell]


def server_in(state: Liveness) -> cells.Cell:
    """ "home" with a room, one that was moved away, a hole, and ports that "rival" wants too."""
    cell = cells.Cell(slow_start_ms=8_000, flap_ms=60_000)
    cell.register("home", **SHARED)
    cell.register("rival", **SHARED)
    cell.register("third")
    cell.created("stays", "home")
    cell.created("moved", "home")
    cell.ask("move", room_id="moved", if_generation=1, reason="deploy")
    cell.status("home", workers={"0": 9}, sequence=9)
    cell.now_ms += 1_000
    for server_id in ("rival", "third"):
        cell.status(server_id)
    if state == Liveness.STALE:
        cell.wait(14_000)
    if state == Liveness.LOST:
        cell.event("server-deregistered", "home", {}, sequence=10)
    assert cell.view.servers["home"].liveness == state
    cell.now_ms += 1_000
    return cell


def what_comes_of(what: What, state: Liveness) -> tuple[object, object]:
    """Rows and words after this happened to the server."""
    cell = server_in(state)
    if what == What.RESTARTED:
        row = cell.view.servers["home"]
        cell.view.put(changed(row, incarnation=row.incarnation + 1))
    step = Step(cell.view, cell.view.offset + 1, cell.now_ms)
    liveness.turn(step, "home", what, "why")
    return cell.view.dump(), step.outbound


@pytest.mark.parametrize(("what", "state"), CELLS)
def test_no_effect_can_be_taken_away(
    what: What, state: Liveness, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = TABLE[what][state]
    assert cell is not None
    whole = what_comes_of(what, state)
    for position in range(len(cell.effects)):
        rest = Cell(cell.next, cell.effects[:position] + cell.effects[position + 1 :])
        table = {**TABLE, what: {**TABLE[what], state: rest}}
        with monkeypatch.context() as patch:
            patch.setattr(liveness, "TABLE", table)
            mutant = what_comes_of(what, state)
        assert mutant != whole, cell.effects[position].__name__


def test_every_cell_is_written() -> None:
    assert list(TABLE) == list(What)
    assert all(list(row) == list(Liveness) for row in TABLE.values())
