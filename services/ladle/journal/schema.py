"""The schema's version: bring a database up to this program, and keep older programs out."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from ladle.journal.engine import driver_errors, engine_for
from ladle.journal.store import ForeignDatabase, SchemaTooNew, SchemaTooOld, StoreError
from ladle.journal.tables import LEASE, Base
from ladle.journal.url import PostgresUrl, SqliteUrl, parse

FOREIGN = "it is another program's database"
VERSION = 5
"""Grows with every migration and with every change of what a record means.

It is the number of the newest revision in migrations/versions; a change of the record format
alone ships a revision that changes no table. A program takes the lease only of a database whose
version it knows: an older one would fold the newer records wrongly.
"""

BUSY_MS = 30_000  # a migration may wait for a writer to finish
_LOCK = 0x6C61646C65  # "ladle": two programs that upgrade at once take turns


async def upgrade(url: str) -> int:
    """Bring the database at `url` to this program's schema, from empty or older; the version.

    One transaction: a failed migration leaves what was. A running older writer loses its lease.
    Raises SchemaTooNew, StoreError where the URL is bad or the database cannot be reached.
    """
    target = parse(url)
    async with _connected(target, writes=True) as connection:
        if isinstance(target, PostgresUrl):
            await connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
        await connection.run_sync(_upgrade)
    return VERSION


async def current(url: str) -> int | None:
    """The version of the database at `url`; None where it has no tables of Ladle's.

    Raises StoreError where the URL is bad or the database cannot be reached.
    """
    target = parse(url)
    if isinstance(target, SqliteUrl) and not target.path.exists():
        return None
    async with _connected(target, writes=False) as connection:
        return await connection.run_sync(_version)


async def check(connection: AsyncConnection) -> None:
    """Raise SchemaTooOld or SchemaTooNew unless the database is of exactly this program's schema.

    ForeignDatabase where its tables are called like Ladle's and are another program's.
    The lease counts too: a newer program may have written records without a new table.
    """
    version = await connection.run_sync(_version)
    if version is None or version < VERSION:
        found = "has no tables" if version is None else f"is at version {version}"
        raise SchemaTooOld(
            f"the database {found}, this program needs {VERSION}: run `ladle db upgrade`"
        )
    await connection.run_sync(_check_columns)
    written = await connection.scalar(LEASE.select().with_only_columns(LEASE.c.schema_version))
    refuse_newer(max(version, written or 0))


def refuse_newer(version: int) -> None:
    """Raise SchemaTooNew where `version` is above this program's."""
    if version > VERSION:
        raise SchemaTooNew(
            f"the database was written by version {version}, this program knows {VERSION}: "
            "run a newer Ladle"
        )


def alembic_config(connection: Connection) -> Config:
    """Alembic on the migrations that are shipped in this package, on an open connection."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


@asynccontextmanager
async def _connected(
    target: SqliteUrl | PostgresUrl, *, writes: bool
) -> AsyncIterator[AsyncConnection]:
    """A transaction on the database; what its driver raises becomes StoreError."""
    shown = target.path if isinstance(target, SqliteUrl) else target.shown
    faults: tuple[type[Exception], ...]
    faults = (SQLAlchemyError, OSError, TimeoutError, *driver_errors(target))
    engine = engine_for(target, BUSY_MS, writes=writes)
    try:
        if isinstance(target, SqliteUrl):
            target.path.parent.mkdir(parents=True, exist_ok=True)
        async with engine.begin() as connection:
            yield connection
    except StoreError:
        raise
    except faults as error:
        cause = getattr(error, "orig", None) or error
        raise StoreError(f"LADLE_DATABASE_URL, {shown}: {cause}") from error
    finally:
        await engine.dispose()


def _upgrade(connection: Connection) -> None:
    refuse_newer(_version(connection) or 0)
    command.upgrade(alembic_config(connection), "head")
    # From here on the fence of a running older writer finds no row.
    older: Any = LEASE.c.schema_version < VERSION
    connection.execute(LEASE.update().where(older).values(schema_version=VERSION))


def _version(connection: Connection) -> int | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if revision is not None and not (str(revision).isascii() and str(revision).isdigit()):
        # Alembic's table is in many databases, and its revisions are mostly no numbers.
        raise ForeignDatabase(f"{FOREIGN}: its revision is {str(revision)[:40]!r}")
    return None if revision is None else int(revision)


def _check_columns(connection: Connection) -> None:
    """On SQLite, where any table takes any value unless it is declared STRICT.

    What is not of the declared types would fail somewhere in the middle of an audit, as a defect
    of Ladle's. PostgreSQL holds its types itself.
    """
    if connection.dialect.name != "sqlite":
        return
    listed = connection.exec_driver_sql("PRAGMA table_list")
    strict = {row.name for row in listed if row.schema == "main" and row.strict}
    for table in Base.metadata.tables.values():
        if table.name not in strict:
            raise ForeignDatabase(f"{FOREIGN}: it has no table {table.name} of Ladle's")
        found = connection.exec_driver_sql(f'PRAGMA table_xinfo("{table.name}")')
        types = {row.name: row.type.upper() for row in found}
        for column in table.columns:
            wanted = column.type.compile(connection.dialect)
            if types.get(column.name) != wanted:
                raise ForeignDatabase(
                    f"{FOREIGN}: table {table.name} has no column {column.name} of type {wanted}"
                )
