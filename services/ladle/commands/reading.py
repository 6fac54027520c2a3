"""The reading operations from a shell: lookup, view, rooms, explain."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer
from rich.table import Table

from ladle.commands.asking import asked, client_for
from ladle.commands.bars import bar, permille_of
from ladle.commands.operations import Json, RoomArgument
from ladle.commands.output import out, print_json
from ladle_contracts.client import PlacementClient
from ladle_contracts.replies import LookupReply, Reply, RoomsReply, RoomState, ViewReply

R = TypeVar("R", bound=Reply)


def lookup(room: RoomArgument, json_: Json = False) -> None:
    """Say where a room is, without asking for one.

    Example: ladle lookup standup
    """
    reply = _ask(lambda client: client.lookup(room))
    if json_:
        _print_json(reply)
        return
    _print_lookup(reply)


def _print_lookup(reply: LookupReply) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bright_black")
    table.add_column()
    server = reply.server
    worker = f", worker {server.worker_id}" if server.worker_id else ""
    table.add_row("room", f"[bold]{reply.room_id}[/]  {reply.room_state}")
    table.add_row("server", f"[bold]{server.server_id}[/]{worker}, {server.liveness}")
    table.add_row("address", server.ws_url or f"{server.host}:{server.port}")
    table.add_row("reserved", f"{reply.reserved_peers} peers, {reply.reserved_consumers} consumers")
    table.add_row("allocation", f"{reply.allocation_id}  generation {reply.generation}")
    if reply.held_until:
        table.add_row("held until", reply.held_until)
    out.print(table)


def view(
    region: Annotated[str | None, typer.Option(help="Only servers of this region.")] = None,
    server: Annotated[str | None, typer.Option(help="Only this server.")] = None,
    at: Annotated[int | None, typer.Option(min=0, help="As it was at this journal offset.")] = None,
    json_: Json = False,
) -> None:
    """Print the load view: servers, workers, consumers.

    Example: ladle view --region eu-west
    """
    reply = _ask(lambda client: client.view(region=region, server_id=server, at_offset=at))
    if json_:
        _print_json(reply)
        return
    _print_view(reply)


def _print_view(reply: ViewReply) -> None:
    table = Table(box=None, padding=(0, 1), header_style="bright_black")
    for name in ("server", "region", "state", "rooms", "worker", "load", "", "used", "seen", "cpu"):
        right = name in ("rooms", "used", "seen", "cpu")
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    for server in reply.servers:
        state = server.liveness if server.administration == "open" else server.administration
        first = [server.server_id, server.region or "-", state, str(server.rooms)]
        for worker in server.workers:
            permille = permille_of(worker.used, worker.capacity)
            table.add_row(
                *first,
                worker.worker_id + ("" if worker.state == "running" else " (died)"),
                bar(permille, 12, hatched=state == "draining", grey=server.liveness != "up"),
                f"{permille / 10:.0f} %",
                f"{worker.used}/{worker.capacity}",
                str(worker.observed),
                f"{worker.cpu_permille / 10:.0f} %",
            )
            first = ["", "", "", ""]
        if not server.workers:
            table.add_row(*first, "-", "", "", "", "", "")
    out.print(table)
    totals = reply.totals
    out.print(
        f"\nat offset {reply.offset}: {totals.servers} servers, {totals.workers} workers, "
        f"{totals.rooms} rooms, {totals.used} of {totals.capacity} consumers; "
        f"the largest room that fits has {reply.largest_room_peers} peers"
    )


def rooms(
    server: Annotated[str | None, typer.Option(help="Only rooms on this server.")] = None,
    state: Annotated[
        RoomState | None,
        typer.Option(help="held, held-again, active, active-held or stranded."),
    ] = None,
    after: Annotated[str | None, typer.Option(help="Start behind this room id.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 100,
    json_: Json = False,
) -> None:
    """List rooms in the order of their ids.

    Example: ladle rooms --server sfu-eu-1 --state active
    """
    reply: RoomsReply = _ask(
        lambda client: client.rooms(server_id=server, state=state, after=after, limit=limit)
    )
    if json_:
        _print_json(reply)
        return
    table = Table(box=None, padding=(0, 1), header_style="bright_black")
    for name in ("room", "state", "server", "worker", "peers", "consumers", "reserved"):
        table.add_column(
            name, justify="right" if name in ("peers", "consumers", "reserved") else "left"
        )
    for room in reply.rooms:
        table.add_row(
            room.room_id,
            room.room_state,
            room.server_id,
            room.worker_id or "-",
            str(room.peers),
            str(room.consumers),
            str(room.reserved_consumers),
        )
    out.print(table if reply.rooms else "no rooms")
    if reply.more:
        out.print(f"[dim]more: ladle rooms --after {reply.rooms[-1].room_id}[/]")


def explain(
    room: RoomArgument,
    generation: Annotated[
        int | None, typer.Option(min=1, help="An earlier home; the present one unless given.")
    ] = None,
    json_: Json = False,
) -> None:
    """Say in sentences why a room is where it is, and what happened since.

    Example: ladle explain standup
    """
    reply = _ask(lambda client: client.explain(room, generation=generation))
    if json_:
        _print_json(reply)
        return
    for line in reply.lines:
        out.print(line, markup=False)


def _ask(ask: Callable[[PlacementClient], Awaitable[R]]) -> R:
    async def run() -> R:
        async with client_for() as client:
            return await ask(client)

    with asked():
        return asyncio.run(run())


def _print_json(reply: Reply) -> None:
    print_json(reply.model_dump(mode="json", exclude_none=True))
