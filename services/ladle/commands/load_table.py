"""The load view as a table: one line a worker."""

from collections.abc import Iterator

from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from ladle.commands.bars import bar, load_style, permille_of
from ladle.commands.output import has_width, many, out, plain, show
from ladle_contracts.replies import ServerView, ViewReply, WorkerView
from ladle_contracts.times import to_rfc3339

Row = dict[str, str | Text]
"""The cells of a line, by the names of their columns, from left to right."""

BAR_MAX, BAR_MIN = 16, 4
WIDTH_WITHOUT_BAR = 64
"""What the other columns take beside server ids of ordinary length."""
GAP = 2
OF_A_WORKER = ("%", "used", "seen", "cpu %")
NUMBERS = {"rooms", *OF_A_WORKER}
FOLDED = {"server", "region"}
GIVEN_UP = ("load", "seen", "cpu %", "rooms", "region", "state", "used")
"""First the one that is missed least: the bar says what the figure beside it says."""


def print_view(reply: ViewReply) -> None:
    """Servers with their workers, and the sums below."""
    if reply.servers:
        show(_table(reply))
        show("")
    for server in reply.servers:
        if server.administration != "open":
            show(_drain_of(server))
        if server.damped_until_ms is not None:
            why = f"came back {many(server.flaps, 'time')} of late and gets new rooms last"
            show(f"{server.server_id} {why}, until {_time(server.damped_until_ms)}")
        if server.share_permille is not None:
            share = f"{server.share_permille / 10:.1f} % of a share"
            show(f"{server.server_id} is new or back, with {share}")
    totals = reply.totals
    show(
        f"at offset {reply.offset:,}: {many(totals.servers, 'server')}, "
        f"{many(totals.workers, 'worker')}, {many(totals.rooms, 'room')}, "
        f"{totals.used:,} of {totals.capacity:,} consumers; "
        f"{_largest_room(reply.largest_room_peers)}"
    )


def _largest_room(peers: int) -> str:
    if not peers:
        return "nothing fits there now"
    return f"the largest room that fits has {many(peers, 'peer')}"


def _drain_of(server: ServerView) -> str:
    """Why it takes nothing new, and until when, where somebody said so."""
    why = f": {plain(server.drain_reason)}" if server.drain_reason else ", nobody said why"
    until = "" if server.drain_by_ms is None else f"; to be empty by {_time(server.drain_by_ms)}"
    return f"{server.server_id} is {server.administration}{why}{until}"


def _time(unix_ms: int) -> str:
    try:
        return to_rfc3339(unix_ms)
    except ValueError:  # Somebody's idea of never: a time that has no date.
        return f"{unix_ms} ms"


def _table(reply: ViewReply) -> Table:
    regions = any(server.region for server in reply.servers)
    names = max(len(server.server_id) for server in reply.servers)
    width = out.width - WIDTH_WITHOUT_BAR - names - (12 if regions else 0)
    rows = list(_rows(reply, max(BAR_MIN, min(BAR_MAX, width))))
    columns = [name for name in rows[0] if regions or name != "region"]
    if has_width():
        columns = _fitting(columns, rows, out.width)
    table = Table(box=None, padding=(0, GAP, 0, 0), header_style="bright_black")
    for name in columns:
        justify: JustifyMethod = "right" if name in NUMBERS else "left"
        table.add_column(name, justify=justify, overflow="fold", no_wrap=name not in FOLDED)
    for row in rows:
        table.add_row(*(row[name] for name in columns))
    return table


def _fitting(columns: list[str], rows: list[Row], width: int) -> list[str]:
    """Without those that a narrow terminal can do without, until the rest fits."""
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) + GAP for name in columns}
    for name in GIVEN_UP:
        if sum(widths.values()) <= width:
            break
        widths.pop(name, None)
    return list(widths)


def _rows(reply: ViewReply, bar_width: int) -> Iterator[Row]:
    """One a worker, and one of each server without; a server's own cells stand in its first."""
    for server in reply.servers:
        own: Row = {
            "server": server.server_id,
            "region": server.region or "-",
            "state": state_of(server),
            "rooms": str(server.rooms),
        }
        for worker in server.workers:
            yield {**own, **_worker(server, worker, bar_width)}
            own = dict.fromkeys(own, "")
        if not server.workers:
            yield {**own, "worker": "-", "load": "", **dict.fromkeys(OF_A_WORKER, "")}


def _worker(server: ServerView, worker: WorkerView, width: int) -> Row:
    permille = permille_of(worker.used, worker.capacity)
    died = worker.state == "died"
    grey = died or server.liveness != "up"
    return {
        "worker": f"{worker.worker_id} died" if died else worker.worker_id,
        "load": bar(permille, width, hatched=server.administration != "open", grey=grey),
        "%": Text(f"{permille / 10:.0f}", style=load_style(permille)),
        "used": f"{worker.used}/{worker.capacity}",
        "seen": str(worker.observed),
        "cpu %": f"{worker.cpu_permille / 10:.0f}",
    }


def state_of(server: ServerView) -> str:
    """The worse of its two axes, in one word; a server whose ports another one has says so."""
    if server.liveness != "up":
        return server.liveness
    if server.conflicting_with:
        return f"ports of {server.conflicting_with}"
    if server.administration != "open":
        return server.administration
    return "up" if server.damped_until_ms is None else "damped"
