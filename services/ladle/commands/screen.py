"""One picture of the fleet: a pure function of a view and the last decisions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from ladle.commands.bars import bar, load_style, permille_of
from ladle.commands.decision_lines import decision_lines
from ladle.commands.output import many
from ladle_contracts.replies import ServerView
from ladle_contracts.requests import DecisionRecord, ViewReply

BAR_MIN, BAR_MAX = 4, 12
ID_MAX = 24
DECISIONS_MIN = 4
LINES_BESIDE = 6
"""Two of the header, two rules, the servers' heading, and the last one that keys stand in."""


@dataclass(frozen=True, slots=True)
class Screen:
    """How large the terminal is (cells) and what it should show first."""

    width: int
    height: int
    sort: str = "load"
    first: int = 0
    trouble: str = ""
    keys: str = ""


def frame(view: ViewReply, decisions: Sequence[DecisionRecord], screen: Screen) -> RenderableType:
    """The whole screen: totals, servers by workers, decisions as they fell, newest first."""
    servers = sorted(view.servers, key=_order(screen.sort))
    first = first_shown(len(servers), screen)
    shown = servers[first : first + rows_for_servers(screen)]
    lines = screen.height - LINES_BESIDE - max(1, len(shown)) - bool(screen.trouble)
    return Group(
        *_header(view, screen),
        Rule(_title(first, len(shown), len(servers), screen), align="left", style="bright_black"),
        _servers(shown, screen.width),
        Rule("decisions", align="left", style="bright_black"),
        decision_lines(decisions, max(1, lines), screen.width),
        Text(screen.keys[: screen.width - 1], style="bright_black", end=""),
    )


def rows_for_servers(screen: Screen) -> int:
    """Decisions keep a third of the screen, at least a few lines."""
    lines = screen.height - LINES_BESIDE - bool(screen.trouble)
    return max(2, lines - max(DECISIONS_MIN, lines // 3))


def first_shown(servers: int, screen: Screen) -> int:
    """Where scrolling stops: the last page is full."""
    return max(0, min(screen.first, servers - rows_for_servers(screen)))


def _title(first: int, shown: int, servers: int, screen: Screen) -> str:
    if shown == servers:
        return f"servers by {screen.sort}"
    return f"servers by {screen.sort}, {first + 1} to {first + shown} of {servers}"


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


def _header(view: ViewReply, screen: Screen) -> list[RenderableType]:
    totals = view.totals
    line = Text("ladle top", style="bold", no_wrap=True, overflow="ellipsis")
    for count, word, style in _states(view.servers):
        line.append(f"   {count} {word}", style=style)
    line.append(f"   {totals.rooms:,} rooms", style="default")
    line.append(f"   offset {view.journal_offset:,}   term {view.term}", style="bright_black")
    permille = permille_of(totals.used, totals.capacity)
    numbers = f" {permille / 10:.1f} %"
    rest = (
        f"   {totals.used:,} of {totals.capacity:,} consumers"
        f"   {_largest_room(view.largest_room_peers)}"
    )
    load = Text("load ", no_wrap=True, overflow="ellipsis")
    room = screen.width - len("load ") - len(numbers) - len(rest)
    load.append_text(bar(permille, max(10, min(40, room))))
    load.append(numbers, style=load_style(permille))
    load.append(rest)
    if not screen.trouble:
        return [line, load]
    trouble = Text(f"not up to date: {screen.trouble}", no_wrap=True, overflow="ellipsis")
    trouble.stylize("bold red")
    return [line, load, trouble]


def _largest_room(peers: int) -> str:
    return f"largest room: {many(peers, 'peer')}" if peers else "no room fits now"


def _states(servers: Sequence[ServerView]) -> list[tuple[int, str, str]]:
    """(count, word, style) of the states that there are; `up` always."""
    counts = [
        (sum(s.liveness == "up" for s in servers), "up", "green"),
        (sum(s.liveness == "stale" for s in servers), "stale", "yellow"),
        (sum(s.liveness == "lost" for s in servers), "lost", "red"),
        (sum(s.administration != "open" for s in servers), "draining", "magenta"),
    ]
    return [part for part in counts if part[0] or part[1] == "up"]


def _servers(servers: Sequence[ServerView], width: int) -> RenderableType:
    if not servers:
        return Text("no server has registered yet", style="yellow")
    # Where no server names its region, the column is room for bars.
    regions = any(server.region for server in servers)
    states = [_state(server) for server in servers]
    names = min(ID_MAX, max(6, *(len(server.server_id) for server in servers)))
    region = min(12, max(6, *(len(server.region or "-") for server in servers))) if regions else 0
    state = max(5, *(len(text) for text in states))
    table = Table(box=None, padding=(0, 2, 0, 0), expand=False, header_style="bright_black")
    table.add_column("server", no_wrap=True, width=names)
    if regions:
        table.add_column("region", no_wrap=True, width=region, style="bright_black")
    table.add_column("state", no_wrap=True, width=state)
    table.add_column("rooms", justify="right", no_wrap=True, width=6)
    table.add_column("load", justify="right", no_wrap=True, width=5)
    table.add_column("workers", no_wrap=True)
    taken = names + 2 + state + 2 + 6 + 2 + 5 + 2 + (region + 2 if regions else 0)
    for server, state_text in zip(servers, states, strict=True):
        used, capacity = _load(server)
        permille = permille_of(used, capacity)
        table.add_row(
            server.server_id,
            *([server.region or "-"] if regions else []),
            state_text,
            f"{server.rooms:,}",
            Text(f"{permille / 10:.0f} %", style=load_style(permille)),
            _workers(server, width - taken - 1),
        )
    return table


def _state(server: ServerView) -> Text:
    if server.liveness == "lost":
        return Text("✗ lost", style="red")
    if server.liveness == "stale":
        return Text(f"? {server.silent_ms // 1000} s", style="yellow")
    if server.conflicting_with:
        return Text("! ports", style="yellow")
    if server.administration != "open":
        return Text(f"▒ {server.administration}", style="magenta")
    if server.damped_until_ms is not None:
        return Text("~ damped", style="yellow")
    if server.share_permille is not None:
        return Text("◔ new", style="green")
    return Text("● up", style="green")


def _workers(server: ServerView, room: int) -> Text:
    """A bar for each worker, as wide as `room` allows; those that do not fit as a number."""
    count = max(1, len(server.workers))
    width = max(BAR_MIN, min(BAR_MAX, room // count - 1))
    fits = len(server.workers)
    if fits * (width + 1) > room:
        fits = max(1, (room - len("+99")) // (width + 1))
    text = Text()
    for worker in server.workers[:fits]:
        if worker.state == "died":
            text.append("died".center(width, "×"), style="red")
        else:
            text.append_text(
                bar(
                    max(permille_of(worker.used, worker.capacity), worker.cpu_permille),
                    width,
                    hatched=server.administration != "open",
                    grey=server.liveness != "up",
                )
            )
        text.append(" ")
    if len(server.workers) > fits:
        text.append(f"+{len(server.workers) - fits}", style="bright_black")
    return text
