"""`ladle db`: the journal's schema, snapshots, archive."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from ladle.commands.advice import DATABASE_ADVICE, NEWER_ADVICE
from ladle.commands.database_archive import archive
from ladle.commands.guard import check_database, command
from ladle.commands.output import NO, UNREACHABLE, fail, print_json, show
from ladle.commands.up_screen import without_password

if TYPE_CHECKING:
    from ladle.core.record import Record
    from ladle.journal.snapshots import Captured

app = typer.Typer(no_args_is_help=True, help="The database of journal and view.")


@app.callback()
def _group() -> None:
    """The database of journal and view."""


@app.command()
@command
def upgrade(
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Bring the schema up to this program's version, from nothing or from an older one.

    Example: ladle db upgrade   (LADLE_DATABASE_URL says which database)
    """
    from ladle.journal import schema
    from ladle.journal.store import SchemaTooNew, StoreError
    from ladle.placement.settings import PlacementSettings

    url = PlacementSettings().database
    check_database(url)
    try:
        before = asyncio.run(schema.current(url))
        after = asyncio.run(schema.upgrade(url))
    except SchemaTooNew as error:
        fail(UNREACHABLE, str(error), NEWER_ADVICE)
    except (StoreError, OSError) as error:
        fail(UNREACHABLE, str(error), DATABASE_ADVICE)
    if json_:
        print_json({"before": before, "after": after})
    elif before == after:
        show(f"already at version {after}")
    else:
        show(f"upgraded from {'nothing' if before is None else before} to version {after}")


@app.command()
@command
def snapshot(
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Keep the view as it is now, so that going back to what follows starts from here.

    The service does so by itself each LADLE_SNAPSHOT_RECORDS records. A writer that is active
    stands down for a moment and goes on. Exit code 1 where there is no record yet.

    Example: ladle db snapshot
    """
    from ladle.journal.store import SchemaTooNew, StoreError
    from ladle.placement.settings import PlacementSettings

    url = PlacementSettings().database
    check_database(url)
    try:
        done = asyncio.run(_snapshot(url))
    except SchemaTooNew as error:
        fail(UNREACHABLE, str(error), NEWER_ADVICE)
    except StoreError as error:
        said = f"LADLE_DATABASE_URL, {without_password(url)}: {error}"
        fail(UNREACHABLE, said, f"{DATABASE_ADVICE}; then run it again: nothing is half done")
    if done is None:
        fail(NO, "the journal is empty", "there is nothing to keep yet")
    made, record = done
    if json_:
        print_json({"status": "ok", **made.payload, "anchored_at": record.offset})
        return
    size = sum(map(len, made.parts))
    show(
        f"kept the view after record {made.head.offset} in {size:,} bytes; record "
        f"{record.offset} anchors its digest {made.digest}"
    )


async def _snapshot(url: str) -> "tuple[Captured, Record] | None":
    from ladle.core.record import Kind
    from ladle.journal.alone import append_alone, holder_name
    from ladle.journal.open import open_store
    from ladle.journal.snapshots import capture, keep
    from ladle_contracts.clock import SystemClock

    store = open_store(url)
    try:
        await store.open()
        made = await capture(store)
        if not made.head.offset:
            return None
        await keep(store, made)
        name = holder_name("snapshot")
        record = await append_alone(store, SystemClock(), name, Kind.SNAPSHOT, made.payload)
        # A writer whose term began meanwhile has dropped what nothing anchored yet.
        await keep(store, made)
        return made, record
    finally:
        await store.close()


app.command()(archive)
