"""The room table as a Graphviz digraph and as a Markdown table, for docs/rooms.md."""

from ladle.core.room_table import CANNOT, TABLE, Cell
from ladle.core.words import Phase


def ways() -> dict[tuple[Phase, Phase], list[str]]:
    """Every way from one phase into another, and what leads there."""
    found: dict[tuple[Phase, Phase], list[str]] = {}
    for what, cells in TABLE.items():
        for phase, cell in cells.items():
            if cell.next is not None:
                found.setdefault((phase, cell.next), []).append(what)
    return found


def dot() -> str:
    """The ways as arrows; what leaves a room in its phase is in the table alone."""
    lines = [
        "digraph rooms {",
        '    graph [bgcolor="transparent", nodesep=0.4, ranksep=0.5]',
        '    node [shape=box, style="rounded,filled", fillcolor="#e8f0fa", color="#2980b9",'
        ' fontname="Helvetica,Arial,sans-serif", fontsize=17]',
        '    edge [fontname="Helvetica,Arial,sans-serif", fontsize=14, color="#555555"]',
    ]
    for (before, after), whats in ways().items():
        # One thing a line: a label as wide as all of them would push the arrows apart.
        label = "\\n".join(whats)
        lines.append(f'    "{before}" -> "{after}" [label="{label}"]')
    return "\n".join([*lines, "}"]) + "\n"


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
