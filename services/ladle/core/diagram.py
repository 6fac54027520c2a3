"""The room table as a Mermaid state diagram and as a Markdown table, for docs/rooms.md."""

from ladle.core.room_table import CANNOT, TABLE, Cell
from ladle.core.words import Phase


def mermaid() -> str:
    """Every way from one phase into another; what leaves a room in its phase is in the table."""
    ways: dict[tuple[Phase, Phase], list[str]] = {}
    for what, cells in TABLE.items():
        for phase, cell in cells.items():
            if cell.next is not None:
                ways.setdefault((phase, cell.next), []).append(what)
    lines = ["stateDiagram-v2", f"    [*] --> {_name(Phase.NOWHERE)}"]
    for (before, after), whats in ways.items():
        lines.append(f"    {_name(before)} --> {_name(after)}: {', '.join(whats)}")
    return "\n".join(lines) + "\n"


def markdown() -> str:
    """One row for each thing that happens, one column for each phase."""
    lines = [
        f"| what happens | {' | '.join(Phase)} |",
        f"| --- |{' --- |' * len(Phase)}",
    ]
    for what, cells in TABLE.items():
        lines.append(f"| `{what}` | {' | '.join(_cell(cells[phase]) for phase in Phase)} |")
    return "\n".join(lines) + "\n"


def _cell(cell: Cell) -> str:
    if cell is CANNOT:
        return ""
    effects = ", ".join(effect.__name__.replace("_", " ") for effect in cell.effects)
    if cell.next is not None:
        return f"**{cell.next}**: {effects}"
    return effects or "stays"


def _name(phase: Phase) -> str:
    """Mermaid reads a hyphen as an arrow."""
    return phase.replace("-", "_")
