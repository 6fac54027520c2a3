"""The writing operations from a shell: allocate, extend, move, release, drain, undrain."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer
from rich.table import Table

from ladle.commands.asking import asked, client_for
from ladle.commands.output import USAGE, fail, out, print_json
from ladle_contracts.client import PlacementClient
from ladle_contracts.replies import DrainReply, PlacedReply, ReleaseReply, Reply

Json = Annotated[bool, typer.Option("--json", help="Print the reply as one JSON object.")]
RoomArgument = Annotated[str, typer.Argument(metavar="ROOM", help="Room id.")]
ServerArgument = Annotated[str, typer.Argument(metavar="SERVER", help="Server id.")]
PeersOption = Annotated[int, typer.Option("--peers", "-p", min=1, help="Participants.")]
PublishersOption = Annotated[
    int | None, typer.Option(min=0, help="How many of them send; all unless given.")
]
RegionsOption = Annotated[
    list[str], typer.Option("--region", help="Preferred region; may be given several times.")
]
AvoidOption = Annotated[list[str], typer.Option("--avoid", help="Server not to place on.")]

NOTHING: list[str] = []


def allocate(
    room: Annotated[
        str | None, typer.Argument(metavar="[ROOM]", help="Room id; a new one unless given.")
    ] = None,
    peers: PeersOption = 2,
    publishers: PublishersOption = None,
    streams: Annotated[int, typer.Option(min=0, help="Streams of each publisher.")] = 2,
    region: RegionsOption = NOTHING,
    require_region: Annotated[
        bool, typer.Option("--require-region", help="Refuse rather than use another region.")
    ] = False,
    label: Annotated[
        list[str], typer.Option(help="NAME=VALUE that the server must carry; repeatable.")
    ] = NOTHING,
    server: Annotated[str | None, typer.Option(help="Only this server will do.")] = None,
    avoid: AvoidOption = NOTHING,
    ttl_ms: Annotated[
        int | None, typer.Option(help="How long the home is held, ms; 30000 unless given.")
    ] = None,
    json_: Json = False,
) -> None:
    """Ask for a room's home: the one it has, or a new one.

    Example: ladle allocate standup --peers 10 --region eu-west
    """
    labels = pairs("--label", label)
    _print(
        lambda client: client.allocate(
            room_id=room,
            peers=peers,
            publishers=publishers,
            streams_per_publisher=streams,
            regions=region,
            region_mode="require" if require_region else "prefer",
            labels=labels,
            server_id=server,
            avoid=avoid,
            ttl_ms=ttl_ms,
        ),
        json_,
    )


def extend(
    room: RoomArgument,
    peers: PeersOption,
    publishers: PublishersOption = None,
    region: RegionsOption = NOTHING,
    json_: Json = False,
) -> None:
    """Ask for room for more peers in a room that has a home.

    Example: ladle extend standup --peers 16
    """
    _print(
        lambda client: client.extend(
            room_id=room, peers=peers, publishers=publishers, regions=region
        ),
        json_,
    )


def move(
    room: RoomArgument,
    reason: Annotated[str, typer.Option(help="Why; stands in the journal.")],
    generation: Annotated[
        int, typer.Option("--if-generation", min=1, help="Refuse if it moved meanwhile.")
    ],
    avoid: AvoidOption = NOTHING,
    json_: Json = False,
) -> None:
    """Give a room another home; the old server is told to close it.

    Example: ladle move standup --if-generation 1 --reason "noisy neighbour"
    """
    _print(
        lambda client: client.move(
            room_id=room, if_generation=generation, reason=reason, avoid=avoid
        ),
        json_,
    )


def release(
    room: RoomArgument,
    allocation: Annotated[str, typer.Option(help="The allocation_id that allocate answered.")],
    json_: Json = False,
) -> None:
    """End a hold that nobody confirmed; an active room is told to close.

    Example: ladle release standup --allocation default-1234
    """
    _print(lambda client: client.release(room_id=room, allocation_id=allocation), json_)


def drain(
    server: ServerArgument,
    reason: Annotated[str | None, typer.Option(help="Why; stands in the journal.")] = None,
    json_: Json = False,
) -> None:
    """Place nothing new on a server; outlives its restarts until `ladle undrain`.

    Example: ladle drain sfu-eu-1 --reason "kernel update"
    """
    _print(lambda client: client.drain(server_id=server, reason=reason), json_)


def undrain(
    server: ServerArgument,
    reason: Annotated[str | None, typer.Option(help="Why; stands in the journal.")] = None,
    json_: Json = False,
) -> None:
    """Let a drained server take new rooms again.

    Example: ladle undrain sfu-eu-1
    """
    _print(lambda client: client.undrain(server_id=server, reason=reason), json_)


def pairs(option: str, given: list[str]) -> dict[str, str]:
    """NAME=VALUE options as a dict; leaves with 2 where one has no `=`."""
    parsed = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            fail(USAGE, f"{option}: {pair!r} is not NAME=VALUE")
        parsed[name] = value
    return parsed


def _print(ask: Callable[[PlacementClient], Awaitable[Reply]], json_: bool) -> None:
    async def run() -> Reply:
        async with client_for() as client:
            return await ask(client)

    with asked():
        reply = asyncio.run(run())
    if json_:
        print_json(reply.model_dump(mode="json", exclude_none=True))
    elif isinstance(reply, PlacedReply):
        print_home(reply)
    elif isinstance(reply, ReleaseReply):
        out.print(f"room [bold]{reply.room_id}[/] is {reply.room_state} now")
    elif isinstance(reply, DrainReply):
        out.print(
            f"server [bold]{reply.server_id}[/] is {reply.administration}, "
            f"{reply.rooms} rooms are there"
        )


def print_home(reply: PlacedReply) -> None:
    """A home for a person: where, for how long, for how many."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bright_black")
    table.add_column()
    worker = f", worker {reply.server.worker_id}" if reply.server.worker_id else ""
    fallback = "  (no listed region had room)" if reply.region_fallback else ""
    table.add_row("room", f"[bold]{reply.room_id}[/]  {reply.outcome}, {reply.room_state}")
    table.add_row("server", f"[bold]{reply.server.server_id}[/]{worker}{fallback}")
    table.add_row("address", reply.server.ws_url or f"{reply.server.host}:{reply.server.port}")
    if not reply.fits:
        table.add_row("fits", "[yellow]no: its worker cannot carry that many[/]")
    table.add_row("reserved", f"{reply.reserved_peers} peers, {reply.reserved_consumers} consumers")
    if reply.held_until:
        table.add_row("held until", reply.held_until)
    table.add_row(
        "allocation",
        f"{reply.allocation_id}  generation {reply.generation}, "
        f"journal offset {reply.journal_offset}",
    )
    out.print(table)
