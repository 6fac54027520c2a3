"""`LADLE_DATABASE_URL` taken apart: which database, and where."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from ladle.journal.store import StoreError

FORMS = "sqlite:///path/to/ladle.db or postgresql://user:password@host:5432/database"


@dataclass(frozen=True, slots=True)
class SqliteUrl:
    """A database file; its folder must exist or be creatable."""

    path: Path


@dataclass(frozen=True, slots=True)
class PostgresUrl:
    """A libpq connection URI as asyncpg reads it; `shown` has no password in it."""

    dsn: str
    shown: str


def parse(url: str) -> SqliteUrl | PostgresUrl:
    """The database that a URL names; the driver's name in it (`+aiosqlite`) may be left out.

    Raises StoreError, naming the setting and the forms that it takes, never the password.
    """
    try:
        made = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise StoreError(f"LADLE_DATABASE_URL is not a database URL; give {FORMS}") from error
    name = made.get_backend_name()
    if made.drivername in {"sqlite", "sqlite+aiosqlite"}:
        if made.database in {None, "", ":memory:"} or made.query:
            raise StoreError(
                "LADLE_DATABASE_URL: SQLite needs a file and takes no options, for a journal in "
                "memory is none; give sqlite:///path/to/ladle.db"
            )
        return SqliteUrl(Path(str(made.database)))
    if made.drivername in {"postgresql", "postgresql+asyncpg", "postgres"}:
        plain = made.set(drivername="postgresql")
        return PostgresUrl(plain.render_as_string(hide_password=False), str(plain))
    raise StoreError(f"LADLE_DATABASE_URL: {name!r} is no database that Ladle knows; give {FORMS}")
