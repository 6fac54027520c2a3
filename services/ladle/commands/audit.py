"""`ladle audit`: read a journal from anywhere, prove it, go back in it."""

from typing import TYPE_CHECKING, Annotated

import typer

from ladle.commands.audit_erase import erase
from ladle.commands.audit_export import checkpoint, consistency, export, keygen
from ladle.commands.audit_source import (
    ArchiveOption,
    JsonOption,
    Progress,
    SourceOption,
    cell_of,
    default_source,
    opened,
    reading,
)
from ladle.commands.audit_stream import is_stream, refuse, timeline_stream, verify_stream
from ladle.commands.audit_text import (
    change_json,
    happening_json,
    print_change,
    print_happening,
    print_report,
    report_json,
)
from ladle.commands.audit_whatif import whatif
from ladle.commands.guard import command
from ladle.commands.load_table import print_view
from ladle.commands.output import NO, USAGE, fail, print_json, show
from ladle_contracts.replies import ViewReply
from ladle_contracts.times import to_rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable

    from ladle.audit.export_rows import Moment
    from ladle.audit.witness import Witness

app = typer.Typer(
    no_args_is_help=True,
    help="Prove a journal, and go back in it; only `erase` writes. Exit codes: 0 verified, "
    "1 violation, 2 usage, 3 unreadable or of an unknown schema, 4 incomplete, 5 unreachable.",
)

When = Annotated[str, typer.Argument(metavar="WHEN", help="A journal offset, or a time in UTC.")]


@app.callback()
def _group() -> None:
    """Prove a journal, and go back in it."""


@app.command()
@command
def verify(
    source: SourceOption = None,
    archive: ArchiveOption = None,
    against_stream: Annotated[
        bool,
        typer.Option(
            "--against-stream",
            help="Compare with the broker's stream placement.log as well (LADLE_AMQP_URL).",
        ),
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            min=1,
            max=256,
            metavar="N",
            help="Processes, each for the records between two kept snapshots; all cores if not "
            "given, one with --against-stream.",
        ),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Check chain, offsets, every outcome and the view's rows; say what is wrong or missing.

    Of a broker's stream (amqp://...): order, copies and holes of what was said; then exit code 4.

    Example: ladle audit verify --source sqlite:///ladle.db
    """
    from ladle.audit.parts import cores, verify_in_parts
    from ladle.audit.verify import verify as run

    if source is not None and is_stream(source, archive):
        if against_stream:
            refuse("the broker's stream cannot be its own witness", "leave out --against-stream")
        verify_stream(source, json_)
    if against_stream:
        with opened(source, archive, with_lacks=True) as log:
            report = run(log, Progress(), hear=_listening(cell_of(log, refuse_other=True)))
    else:
        given, count = source or default_source(), jobs or cores()
        with reading():
            report = verify_in_parts(given, archive, Progress(), jobs=count)
    if json_:
        print_json(report_json(report))
    else:
        print_report(report)
    if report.exit_code:
        raise typer.Exit(report.exit_code)


def _listening(cell: str) -> "Callable[[], Witness]":
    from ladle.audit.listening import listen
    from ladle_contracts.settings import ClientSettings
    from ladle_contracts.topology import Topology

    settings = ClientSettings()
    topology = Topology(cell)
    return lambda: listen(settings.url, topology, settings.ssl_context())


@app.command()
@command
def at(
    when: When,
    source: SourceOption = None,
    archive: ArchiveOption = None,
    from_start: Annotated[
        bool,
        typer.Option("--from-start", help="Fold from the first record and trust no snapshot."),
    ] = False,
    json_: JsonOption = False,
) -> None:
    """Print the load view as it was, folded from the records or from the nearest snapshot below.

    Example: ladle audit at 2026-11-22T09:00:00Z --source export/
    """
    from ladle.audit.replay import Replay
    from ladle.core import queries

    moment = moment_of(when)
    with opened(source, archive) as log:
        replay = Replay(log, Progress(), near=None if from_start else moment)
        replay.to(moment)
    view, start = replay.view, replay.start
    reply = queries.fleet_view(view)
    time_ = to_rfc3339(view.recorded_at_ms) if view.offset else None
    if json_:
        rooms = queries.rooms(view, limit=len(view.rooms))["rooms"]
        told = {"recorded_at": time_, "digest": view.digest(), "rooms": rooms}
        print_json({**reply, **told, "snapshot": None if start is None else start.offset})
        return
    print_view(ViewReply.model_validate({**reply, "term": 0, "journal_offset": view.offset}))
    when_ = f"recorded at {time_}" if time_ else "before the first record"
    show(f"{when_}, digest of all rows {view.digest()}")
    if start is not None:
        show(
            f"from the snapshot of record {start.offset}, which record {start.anchored_at} anchors "
            f"and {view.offset - start.offset:,} records follow"
        )


@app.command()
@command
def diff(
    before: Annotated[str, typer.Argument(metavar="A", help="An offset, or a time in UTC.")],
    after: Annotated[str, typer.Argument(metavar="B", help="A later one.")],
    source: SourceOption = None,
    archive: ArchiveOption = None,
    table: Annotated[
        str | None,
        typer.Option("--table", metavar="TABLE", help="Only rows of this table of the view."),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Print the rows of the view that differ between two moments.

    Example: ladle audit diff 1200 1300 --table room
    """
    from ladle.audit.changes import changes, state_of
    from ladle.audit.replay import Replay
    from ladle.core.rows import TABLES

    if table is not None and table not in TABLES:
        fail(USAGE, f"there is no table {table}", f"one of {', '.join(TABLES)}")
    first, second = moment_of(before), moment_of(after)
    with opened(source, archive) as log:
        replay = Replay(log, Progress(), near=first)
        replay.to(first)
        offset, state = replay.view.offset, state_of(replay.view)
        replay.to(second)
    found = [
        change for change in changes(state, state_of(replay.view)) if table in (None, change.table)
    ]
    if json_:
        told = {"before": offset, "after": replay.view.offset}
        print_json({**told, "changes": [change_json(change) for change in found]})
        return
    for change in found:
        print_change(change)
    show(f"{len(found)} rows differ between record {offset} and record {replay.view.offset}")


@app.command()
@command
def timeline(
    name: Annotated[str, typer.Argument(metavar="ROOM|SERVER", help="A room's or server's id.")],
    source: SourceOption = None,
    archive: ArchiveOption = None,
    json_: JsonOption = False,
) -> None:
    """Tell what became of a room or a server, record by record; exit 1 where nothing names it.

    Of a broker's stream (amqp://...) it tells what was said, message by message.

    Example: ladle audit timeline standup
    """
    from ladle.audit.replay import Replay
    from ladle.audit.timeline import timeline as run

    if source is not None and is_stream(source, archive):
        timeline_stream(source, name, json_)
        return
    told = []
    with opened(source, archive) as log:
        for happening in run(Replay(log, Progress()), name):
            if json_:
                told.append(happening_json(happening))
            else:
                told.append({})
                print_happening(happening, name)
    if json_:
        print_json({"name": name, "records": told})
    if not told:
        advice = "names are as they were typed, upper and lower case included: is it this journal?"
        fail(NO, f"no record is about a room or a server {name}", advice)


def moment_of(text: str) -> "Moment":
    """An offset or a time as typed."""
    from ladle.audit.export_rows import Moment

    try:
        return Moment.parse(text)
    except ValueError as error:
        fail(USAGE, str(error), "an offset such as 1234, or a time such as 2026-11-22T09:00:00Z")


for each in (whatif, export, keygen, checkpoint, consistency, erase):
    app.command()(each)
