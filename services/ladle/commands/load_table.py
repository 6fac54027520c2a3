"""The load view as a table: one line a worker."""

from rich.table import Table
from rich.text import Text

from ladle.commands.bars import bar, load_style, permille_of
from ladle.commands.output import many, out, plain, show
from ladle_contracts.replies import ServerView, ViewReply, WorkerView
from ladle_contracts.times import to_rfc3339

BAR_MAX, BAR_MIN = 16, 4
WIDTH_WITHOUT_BAR = 64
"""What the other columns take beside server ids of ordinary length."""


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
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bright_black")
    table.add_column("server", overflow="fold")
    if regions:
        table.add_column("region", overflow="fold")
    table.add_column("state", no_wrap=True)
    table.add_column("rooms", justify="right", no_wrap=True)
    table.add_column("worker", no_wrap=True)
    table.add_column("load", no_wrap=True)
    for name in ("%", "used", "seen", "cpu %"):
        table.add_column(name, justify="right", no_wrap=True)
    names = max(len(server.server_id) for server in reply.servers)
    width = out.width - WIDTH_WITHOUT_BAR - names - (12 if regions else 0)
    for server in reply.servers:
        first = [server.server_id, *([server.region or "-"] if regions else [])]
        first += [state_of(server), str(server.rooms)]
        for worker in server.workers:
            table.add_row(*first, *_worker(server, worker, max(BAR_MIN, min(BAR_MAX, width))))
            first = [""] * len(first)
        if not server.workers:
            table.add_row(*first, "-")
    return table


def _worker(server: ServerView, worker: WorkerView, width: int) -> tuple[str | Text, ...]:
    permille = permille_of(worker.used, worker.capacity)
    died = worker.state == "died"
    return (
        f"{worker.worker_id} died" if died else worker.worker_id,
        bar(
            permille,
            width,
            hatched=server.administration != "open",
            grey=died or server.liveness != "up",
        ),
        Text(f"{permille / 10:.0f}", style=load_style(permille)),
        f"{worker.used}/{worker.capacity}",
        str(worker.observed),
        f"{worker.cpu_permille / 10:.0f}",
    )


def state_of(server: ServerView) -> str:
    """The worse of its two axes, in one word; a server whose ports another one has says so."""
    if server.liveness != "up":
        return server.liveness
    if server.conflicting_with:
        return f"ports of {server.conflicting_with}"
    if server.administration != "open":
        return server.administration
    return "up" if server.damped_until_ms is None else "damped"
