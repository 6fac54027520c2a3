"""One picture of the fleet: a pure function of a view and the last decisions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from ladle.commands.bars import bar, load_style, permille_of
from ladle_contracts.replies import ServerView
from ladle_contracts.requests import DecisionRecord, ViewReply

WORKER_WIDTH = 8
DECISIONS_MIN = 5


@dataclass(frozen=True, slots=True)
class Screen:
    """How large the terminal is (cells) and what it should show first."""

    width: int
    height: int
    sort: str = "load"
    first: int = 0
    trouble: str = ""


def frame(view: ViewReply, decisions: Sequence[DecisionRecord], screen: Screen) -> RenderableType:
    """The whole screen: totals, servers by workers, decisions as they fell, newest first."""
    servers = sorted(view.servers, key=_order(screen.sort))
    # Header and rules take seven lines; decisions get a third, at least a few.
    decision_lines = max(DECISIONS_MIN, (screen.height - 7) // 3)
    rows = max(3, screen.height - 7 - decision_lines)
    first = min(screen.first, max(0, len(servers) - rows))
    shown = servers[first : first + rows]
    decision_lines = max(decision_lines, screen.height - 7 - max(1, len(shown)))
    hidden = len(servers) - len(shown)
    title = f"servers by {screen.sort}" + (f", {hidden} more" if hidden else "")
    return Group(
        _header(view, screen),
        Rule(title, align="left", style="bright_black"),
        _servers(shown, screen.width),
        Rule("decisions", align="left", style="bright_black"),
        _decisions(decisions, decision_lines),
    )


def _order(sort: str) -> Callable[[ServerView], tuple[int, str]]:
    def load(server: ServerView) -> tuple[int, str]:
        used, capacity = _load(server)
        return (-permille_of(used, capacity), server.server_id)

    if sort == "id":
        return lambda server: (0, server.server_id)
    if sort == "rooms":
        return lambda server: (-server.rooms, server.server_id)
    return load


def _load(server: ServerView) -> tuple[int, int]:
    return sum(w.used for w in server.workers), sum(w.capacity for w in server.workers)


def _header(view: ViewReply, screen: Screen) -> RenderableType:
    totals = view.totals
    up = sum(s.liveness == "up" for s in view.servers)
    stale = sum(s.liveness == "stale" for s in view.servers)
    lost = sum(s.liveness == "lost" for s in view.servers)
    draining = sum(s.administration != "open" for s in view.servers)
    line = Text("ladle top", style="bold")
    line.append(f"   offset {view.journal_offset:,}   term {view.term}   ", style="default")
    line.append(f"{up} up", style="green")
    for count, word, style in (
        (stale, "stale", "yellow"),
        (lost, "lost", "red"),
        (draining, "draining", "magenta"),
    ):
        if count:
            line.append(f"  {count} {word}", style=style)
    line.append(f"   {totals.rooms:,} rooms")
    permille = permille_of(totals.used, totals.capacity)
    load = Text("load ")
    load.append_text(bar(permille, max(10, min(40, screen.width - 60))))
    load.append(f" {permille / 10:.1f} %  ", style=load_style(permille))
    load.append(f"{totals.used:,} of {totals.capacity:,} consumers   ")
    load.append(f"largest room that fits: {view.largest_room_peers} peers")
    parts: list[RenderableType] = [line, load]
    if screen.trouble:
        parts.append(Text(f"not up to date: {screen.trouble}", style="bold red"))
    return Group(*parts)


def _servers(servers: Sequence[ServerView], width: int) -> RenderableType:
    if not servers:
        return Text("no server has registered yet", style="yellow")
    table = Table(box=None, padding=(0, 1), expand=False, header_style="bright_black")
    table.add_column("server", no_wrap=True)
    table.add_column("region", no_wrap=True, style="bright_black")
    table.add_column("state", no_wrap=True)
    table.add_column("rooms", justify="right")
    table.add_column("load", justify="right")
    table.add_column("workers", no_wrap=True)
    fits = max(1, (width - 52) // (WORKER_WIDTH + 1))
    for server in servers:
        used, capacity = _load(server)
        permille = permille_of(used, capacity)
        table.add_row(
            server.server_id,
            server.region or "-",
            _state(server),
            str(server.rooms),
            Text(f"{permille / 10:.0f} %", style=load_style(permille)),
            _workers(server, fits),
        )
    return table


def _state(server: ServerView) -> Text:
    if server.liveness == "lost":
        return Text("✗ lost", style="red")
    if server.liveness == "stale":
        return Text(f"? {server.silent_ms // 1000} s", style="yellow")
    if server.administration != "open":
        return Text(f"▒ {server.administration}", style="magenta")
    return Text("● up", style="green")


def _workers(server: ServerView, fits: int) -> Text:
    text = Text()
    for worker in server.workers[:fits]:
        if worker.state == "died":
            text.append("died".center(WORKER_WIDTH, "×"), style="red")
        else:
            text.append_text(
                bar(
                    max(permille_of(worker.used, worker.capacity), worker.cpu_permille),
                    WORKER_WIDTH,
                    hatched=server.administration != "open",
                    grey=server.liveness != "up",
                )
            )
        text.append(" ")
    if len(server.workers) > fits:
        text.append(f"+{len(server.workers) - fits}", style="bright_black")
    return text


def _decisions(decisions: Sequence[DecisionRecord], lines: int) -> RenderableType:
    if not decisions:
        return Text("none yet", style="bright_black")
    table = Table(box=None, padding=(0, 1), show_header=False, expand=False)
    for _ in range(6):
        table.add_column(no_wrap=True, overflow="ellipsis")
    for decision in reversed(decisions[-lines:]):
        table.add_row(*_decision(decision))
    return table


def _decision(decision: DecisionRecord) -> tuple[Text, ...]:
    record = decision.decision or {}
    refused = record.get("winner") is None
    where = "-"
    if decision.server_id:
        where = decision.server_id + (f"/{decision.worker_id}" if decision.worker_id else "")
    return (
        Text(decision.recorded_at[11:19], style="bright_black"),
        Text(decision.room_id or "-"),
        _size(record),
        Text(decision.outcome or "-", style="red" if refused else "green"),
        Text(where, style="bold"),
        _why(record),
    )


def _size(record: dict[str, object]) -> Text:
    wish = record.get("wish")
    peers = wish.get("peers") if isinstance(wish, dict) else None
    return Text(
        f"{peers} peers" if peers is not None else "", style="bright_black", justify="right"
    )


def _why(record: dict[str, object]) -> Text:
    """Winner and runner-up with their load, or what the servers fell to."""
    winner = record.get("winner")
    if not isinstance(winner, dict):
        fell = record.get("fell")
        reasons = fell if isinstance(fell, dict) else {}
        said = ", ".join(f"{count} {reason}" for reason, count in reasons.items() if count)
        return Text(said or "no server", style="bright_black")
    text = Text(f"at {winner.get('permille', 0) / 10:.1f} %", style="default")
    runners = record.get("runners_up")
    if isinstance(runners, list) and runners:
        second = runners[0]
        name = second.get("server_id", "")
        if second.get("worker_id"):
            name += f"/{second['worker_id']}"
        text.append(f", before {name} at {second.get('permille', 0) / 10:.1f} %", "bright_black")
    return text
