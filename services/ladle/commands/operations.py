"""The writing operations from a shell: allocate, extend, move, release, drain, undrain."""

import uuid
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from ladle.commands.asking import ask
from ladle.commands.guard import command
from ladle.commands.home import print_home
from ladle.commands.output import USAGE, fail, many, print_json, show
from ladle_contracts.client import PlacementClient
from ladle_contracts.fields import HOLD_MS_MAX
from ladle_contracts.replies import DrainReply, PlacedReply, ReleaseReply, Reply

Json = Annotated[bool, typer.Option("--json", help="Print the reply as one JSON object.")]
RoomArgument = Annotated[str, typer.Argument(metavar="ROOM", help="Room id.")]
ServerArgument = Annotated[str, typer.Argument(metavar="SERVER", help="Server id.")]
PeersOption = Annotated[int, typer.Option("--peers", "-p", min=1, help="Participants.")]
PublishersOption = Annotated[
    int | None, typer.Option(min=0, help="How many of them send; unless given, all.")
]
RegionsOption = Annotated[
    list[str], typer.Option("--region", help="Preferred region; may be given several times.")
]
RequestIdOption = Annotated[
    str | None,
    typer.Option(help="To ask again where an outcome is unknown: nothing is done twice."),
]
AvoidOption = Annotated[list[str], typer.Option("--avoid", help="Server not to place on.")]

NOTHING: list[str] = []


@command
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
        int | None,
        typer.Option(min=100, max=HOLD_MS_MAX, help="How long it is held, ms; 30000 unless given."),
    ] = None,
    metadata: Annotated[
        list[str],
        typer.Option(help="NAME=VALUE kept with the room, never used to place it; repeatable."),
    ] = NOTHING,
    request_id: RequestIdOption = None,
    json_: Json = False,
) -> None:
    """Ask for a room's home: the one it has, or a new one.

    Example: ladle allocate standup --peers 10 --region eu-west
    """
    labels, kept = pairs("--label", label), pairs("--metadata", metadata)
    _print(
        lambda client, request_id: client.allocate(
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
            metadata=kept,
            request_id=request_id,
        ),
        request_id,
        json_,
    )


@command
def extend(
    room: RoomArgument,
    peers: PeersOption,
    publishers: PublishersOption = None,
    region: RegionsOption = NOTHING,
    request_id: RequestIdOption = None,
    json_: Json = False,
) -> None:
    """Ask for room for more peers in a room that has a home.

    Example: ladle extend standup --peers 16
    """
    _print(
        lambda client, request_id: client.extend(
            room_id=room, peers=peers, publishers=publishers, regions=region, request_id=request_id
        ),
        request_id,
        json_,
    )


@command
def move(
    room: RoomArgument,
    reason: Annotated[str, typer.Option(help="Why; stands in the journal.")],
    generation: Annotated[
        int, typer.Option("--if-generation", min=1, help="Refuse if it moved meanwhile.")
    ],
    avoid: AvoidOption = NOTHING,
    request_id: RequestIdOption = None,
    json_: Json = False,
) -> None:
    """Give a room another home; the old server is told to close it.

    Example: ladle move standup --if-generation 1 --reason "noisy neighbour"
    """
    _print(
        lambda client, request_id: client.move(
            room_id=room,
            if_generation=generation,
            reason=reason,
            avoid=avoid,
            request_id=request_id,
        ),
        request_id,
        json_,
    )


@command
def release(
    room: RoomArgument,
    allocation: Annotated[str, typer.Option(help="The allocation_id that allocate answered.")],
    request_id: RequestIdOption = None,
    json_: Json = False,
) -> None:
    """End a hold that nobody confirmed; an active room is told to close.

    Example: ladle release standup --allocation default-1234
    """
    _print(
        lambda client, request_id: client.release(
            room_id=room, allocation_id=allocation, request_id=request_id
        ),
        request_id,
        json_,
    )


@command
def drain(
    server: ServerArgument,
    reason: Annotated[str | None, typer.Option(help="Why; stands in the journal.")] = None,
    drain_by_ms: Annotated[
        int | None,
        typer.Option(min=0, help="Told to the server: be empty by then, ms since 1970 UTC."),
    ] = None,
    request_id: RequestIdOption = None,
    json_: Json = False,
) -> None:
    """Place nothing new on a server; outlives its restarts until `ladle undrain`.

    Example: ladle drain sfu-eu-1 --reason "kernel update"
    """
    _print(
        lambda client, request_id: client.drain(
            server_id=server, reason=reason, drain_by_ms=drain_by_ms, request_id=request_id
        ),
        request_id,
        json_,
    )


@command
def undrain(
    server: ServerArgument,
    reason: Annotated[str | None, typer.Option(help="Why; stands in the journal.")] = None,
    request_id: RequestIdOption = None,
    json_: Json = False,
) -> None:
    """Let a drained server take new rooms again.

    Example: ladle undrain sfu-eu-1
    """
    _print(
        lambda client, request_id: client.undrain(
            server_id=server, reason=reason, request_id=request_id
        ),
        request_id,
        json_,
    )


def pairs(option: str, given: list[str]) -> dict[str, str]:
    """NAME=VALUE options as a dict; leaves with 2 where one has no `=`."""
    parsed = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            fail(USAGE, f"{option}: {pair!r} is not NAME=VALUE")
        parsed[name] = value
    return parsed


def _print(
    question: Callable[[PlacementClient, str], Awaitable[Reply]],
    request_id: str | None,
    json_: bool,
) -> None:
    # With an id of its own, a refusal comes at once: a client's default is to ask on for as long
    # as its time-out, and a person wants the answer that there is now.
    chosen = request_id or uuid.uuid4().hex
    reply = ask(lambda client: question(client, chosen))
    if json_:
        print_json(reply.model_dump(mode="json", exclude_none=True))
    elif isinstance(reply, PlacedReply):
        print_home(reply)
    elif isinstance(reply, ReleaseReply):
        closing = " until its server has closed it" if reply.room_state == "active" else ""
        show(f"room [bold]{reply.room_id}[/] is {reply.room_state}{closing}")
    elif isinstance(reply, DrainReply):
        show(
            f"server [bold]{reply.server_id}[/] is {reply.administration}, "
            f"with {many(reply.rooms, 'room')}"
        )
