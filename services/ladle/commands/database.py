"""`ladle db`: the journal's schema."""

import asyncio
from typing import Annotated

import typer

from ladle.commands.output import SERVICE_MODULES, UNREACHABLE, fail, needs, out, print_json

app = typer.Typer(no_args_is_help=True, help="The database of journal and view.")


@app.callback()
def _group() -> None:
    """The database of journal and view."""


@app.command()
@needs("service", *SERVICE_MODULES)
def upgrade(
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Bring the schema up to this program's version, from nothing or from an older one.

    Example: ladle db upgrade   (LADLE_DATABASE_URL says which database)
    """
    from sqlalchemy.exc import SQLAlchemyError

    from ladle.journal import schema
    from ladle.journal.store import StoreError
    from ladle.placement.settings import PlacementSettings

    url = PlacementSettings().database
    try:
        before = asyncio.run(schema.current(url))
        after = asyncio.run(schema.upgrade(url))
    except (StoreError, SQLAlchemyError, OSError) as error:
        fail(UNREACHABLE, str(error), "check LADLE_DATABASE_URL")
    if json_:
        print_json({"before": before, "after": after})
    elif before == after:
        out.print(f"already at version {after}")
    else:
        out.print(f"upgraded from {'nothing' if before is None else before} to version {after}")
