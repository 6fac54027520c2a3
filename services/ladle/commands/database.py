"""`ladle db`: the journal's schema."""

import asyncio
from typing import Annotated

import typer

from ladle.commands.guard import check_database, command
from ladle.commands.output import UNREACHABLE, fail, print_json, show

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
        fail(UNREACHABLE, str(error), "install the newer ladle that wrote this database")
    except (StoreError, OSError) as error:
        fail(UNREACHABLE, str(error), "check LADLE_DATABASE_URL: `ladle doctor`")
    if json_:
        print_json({"before": before, "after": after})
    elif before == after:
        show(f"already at version {after}")
    else:
        show(f"upgraded from {'nothing' if before is None else before} to version {after}")
