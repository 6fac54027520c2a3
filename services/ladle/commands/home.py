"""A room's home for a person: where, for how long, for how many."""

from rich.table import Table

from ladle.commands.output import plain, show
from ladle_contracts.replies import HomeServer, LookupReply, PlacedReply


def print_home(reply: PlacedReply | LookupReply) -> None:
    """Two columns; what a program needs of it is in --json."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bright_black", no_wrap=True)
    table.add_column(overflow="fold")
    outcome = f"{reply.outcome}, " if isinstance(reply, PlacedReply) else ""
    table.add_row("room", f"[bold]{reply.room_id}[/], {outcome}{reply.room_state}")
    table.add_row("server", _server(reply.server))
    address = reply.server.ws_url or f"{reply.server.host}:{reply.server.port}"
    table.add_row("address", plain(address))
    if isinstance(reply, PlacedReply):
        if reply.region_fallback:
            table.add_row("region", "[yellow]none of those asked for had room[/]")
        if not reply.fits:
            table.add_row("fits", "[yellow]no: its worker cannot carry that many[/]")
    table.add_row("reserved", f"{reply.reserved_peers} peers, {reply.reserved_consumers} consumers")
    if reply.held_until:
        table.add_row("held until", reply.held_until)
    table.add_row("allocation", f"{reply.allocation_id}, generation {reply.generation}")
    table.add_row("journal", f"offset {reply.journal_offset}, term {reply.term}")
    show(table)


def _server(server: HomeServer) -> str:
    said = f"[bold]{server.server_id}[/]"
    if server.worker_id:
        said += f", worker {server.worker_id}"
    if server.region:
        said += f", {server.region}"
    return said if server.liveness == "up" else f"{said}, [yellow]{server.liveness}[/]"
