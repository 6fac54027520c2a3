"""The reading operations from a shell: lookup, view, rooms, explain."""

from typing import Annotated

import typer
from rich.table import Table

from ladle.commands.asking import ask
from ladle.commands.audit_source import SOURCE_HELP, ArchiveOption
from ladle.commands.explaining import explain_from
from ladle.commands.guard import command
from ladle.commands.home import print_home
from ladle.commands.load_table import print_view
from ladle.commands.operations import Json, RoomArgument
from ladle.commands.output import hanging, out, print_json, show
from ladle.commands.why_not import explain_why_not
from ladle_contracts.replies import Reply, RoomsReply, RoomState


@command
def lookup(room: RoomArgument, json_: Json = False) -> None:
    """Say where a room is, without asking for one.

    Example: ladle lookup standup
    """
    reply = ask(lambda client: client.lookup(room))
    if json_:
        _print_json(reply)
    else:
        print_home(reply)


@command
def view(
    region: Annotated[str | None, typer.Option(help="Only servers of this region.")] = None,
    server: Annotated[str | None, typer.Option(help="Only this server.")] = None,
    at: Annotated[
        int | None, typer.Option(min=0, metavar="OFFSET", help="As it was at this journal offset.")
    ] = None,
    json_: Json = False,
) -> None:
    """Print the load view: servers, workers, consumers.

    Example: ladle view --region eu-west
    """
    reply = ask(lambda client: client.view(region=region, server_id=server, at_offset=at))
    if json_:
        _print_json(reply)
    else:
        print_view(reply)


@command
def rooms(
    server: Annotated[str | None, typer.Option(help="Only rooms on this server.")] = None,
    state: Annotated[
        RoomState | None,
        typer.Option(
            # Named, or Typer takes this metavar for the option's name.
            "--state",
            metavar="STATE",
            help="Only held, held-again, active, active-held or stranded ones.",
        ),
    ] = None,
    after: Annotated[
        str | None, typer.Option(metavar="ROOM", help="Start behind this room id.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 100,
    json_: Json = False,
) -> None:
    """List rooms in the order of their ids.

    Example: ladle rooms --server sfu-eu-1 --state active
    """
    reply = ask(
        lambda client: client.rooms(server_id=server, state=state, after=after, limit=limit)
    )
    if json_:
        _print_json(reply)
        return
    if not reply.rooms:
        show("no rooms")
        return
    show(_rooms_table(reply))
    if reply.more:
        show(f"[dim]more: --after {reply.rooms[-1].room_id}[/]")


def _rooms_table(reply: RoomsReply) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bright_black")
    table.add_column("room", overflow="fold")
    for name in ("state", "server", "worker"):
        table.add_column(name, no_wrap=True)
    for name in ("peers", "consumers", "reserved"):
        table.add_column(name, justify="right", no_wrap=True)
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
    return table


@command
def explain(
    room: RoomArgument,
    generation: Annotated[
        int | None, typer.Option(min=1, help="An earlier home; the present one unless given.")
    ] = None,
    why_not: Annotated[
        str | None,
        typer.Option("--why-not", metavar="SERVER", help="Why it did not go to this server."),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--source", metavar="SOURCE", help=f"Ask no service: {SOURCE_HELP}"),
    ] = None,
    archive: ArchiveOption = None,
    json_: Json = False,
) -> None:
    """Say in sentences why a room is where it is, and what happened since; or why not elsewhere.

    With --source or --archive the journal tells it, wherever it is, and no service is asked.
    --why-not folds the journal to the decision and makes it again for that server alone.
    Example: ladle explain standup --why-not sfu-2 --source sqlite:///ladle.db
    """
    if why_not is not None:
        explain_why_not(room, why_not, generation, source, archive, json_)
        return
    if source is not None or archive is not None:
        explain_from(room, generation, source, archive, json_)
        return
    reply = ask(lambda client: client.explain(room, generation=generation))
    if json_:
        _print_json(reply)
        return
    for line in reply.lines:
        show(hanging(line, out.width) if out.is_terminal else line, markup=False)


def _print_json(reply: Reply) -> None:
    print_json(reply.model_dump(mode="json", exclude_none=True))
