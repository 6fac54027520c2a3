"""Decisions as they fall, a line each: when, which room, what came of it, where, and why."""

from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ladle_contracts.requests import DecisionRecord

GAP = 2
WHERE_MAX = 26
ROOM_MIN, ROOM_MAX = 10, 32
WHY_MIN = 21


def decision_lines(decisions: Sequence[DecisionRecord], lines: int, width: int) -> RenderableType:
    """The newest first; times in UTC. Narrow terminals cut rooms and reasons, nothing else."""
    if not decisions:
        return Text("none yet", style="bright_black")
    rows = [_cells(decision) for decision in reversed(decisions[-lines:])]
    widths = _widths(rows, width)
    table = Table(box=None, padding=(0, GAP, 0, 0), show_header=False, expand=False)
    for cells in widths:
        table.add_column(no_wrap=True, overflow="ellipsis", width=cells)
    for row in rows:
        table.add_row(row[0], _end_of(row[1], widths[1]), *row[2:])
    return table


def _end_of(room: Text, width: int) -> Text:
    """Ids differ at their ends: what is cut off is the beginning."""
    return room if len(room) <= width else Text("…" + room.plain[1 - width :])


def _widths(rows: Sequence[tuple[Text, ...]], width: int) -> list[int]:
    """What each column gets: room ids and reasons share what the others leave."""
    when, room, size, outcome, where, _ = (
        max(len(row[column]) for row in rows) for column in range(6)
    )
    where = min(where, WHERE_MAX)
    left = width - when - size - outcome - where - 6 * GAP
    room = max(ROOM_MIN, min(room, ROOM_MAX, left - WHY_MIN))
    return [when, room, size, outcome, where, max(1, left - room)]


def _cells(decision: DecisionRecord) -> tuple[Text, ...]:
    record = decision.decision or {}
    where = "-"
    if decision.server_id:
        where = decision.server_id + (f"/{decision.worker_id}" if decision.worker_id else "")
    placed = decision.outcome in ("placed", "existing", "moved")
    style = "red" if not placed else "bright_black" if decision.outcome == "existing" else "green"
    return (
        Text(decision.recorded_at[11:19], style="bright_black"),
        Text(decision.room_id or "-"),
        _size(record),
        Text(decision.outcome or "-", style=style),
        Text(where, style="bold"),
        _why(decision, record),
    )


def _size(record: dict[str, object]) -> Text:
    """`12p`: the peers that were asked for."""
    wish = record.get("wish")
    peers = wish.get("peers") if isinstance(wish, dict) else None
    said = f"{peers}p" if peers is not None else ""
    return Text(said, style="bright_black", justify="right")


def _why(decision: DecisionRecord, record: dict[str, object]) -> Text:
    """How full winner and runner-up counted, or what the servers fell to."""
    if decision.outcome == "existing":
        return Text("has its home", style="bright_black")
    winner = record.get("winner")
    if not isinstance(winner, dict):
        fell = record.get("fell")
        reasons = fell if isinstance(fell, dict) else {}
        said = ", ".join(f"{count} {reason}" for reason, count in reasons.items() if count)
        return Text(said or "no server", style="bright_black")
    text = Text(f"{winner.get('permille', 0) / 10:.1f}")
    runners = record.get("runners_up")
    if isinstance(runners, list) and runners:
        second = runners[0]
        name = second.get("server_id", "")
        if second.get("worker_id"):
            name += f"/{second['worker_id']}"
        text.append(f" ≤ {name} {second.get('permille', 0) / 10:.1f}", "bright_black")
    return text.append(" %", "bright_black")
