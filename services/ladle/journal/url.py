"""`LADLE_DATABASE_URL` taken apart: which database, and where."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from ladle.journal.postgres_tls import SECRETS, check_tls
from ladle.journal.store import StoreError
from ladle_contracts.tls import TlsFileError

FORMS = "sqlite:///path/to/ladle.db or postgresql://user:password@host:5432/database"


@dataclass(frozen=True, slots=True)
class SqliteUrl:
    """A database file; its folder must exist or be creatable."""

    path: Path


@dataclass(frozen=True, slots=True)
class PostgresUrl:
    """A libpq connection URI as asyncpg reads it; `shown` has no password in it, nor a key's."""

    dsn: str
    shown: str
    over_tls: bool = False
    """Over TLS or not at all."""


def parse(url: str) -> SqliteUrl | PostgresUrl:
    """The database that a URL names; the driver's name in it (`+aiosqlite`) may be left out.

    Raises StoreError, naming the setting and the forms that it takes, never the password; also
    where a file for TLS that it names cannot be used.
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
        try:
            over_tls = check_tls({name: str(value) for name, value in plain.query.items()})
        except TlsFileError as error:
            raise StoreError(str(error)) from error
        shown = str(plain.difference_update_query(SECRETS))
        return PostgresUrl(plain.render_as_string(hide_password=False), shown, over_tls)
    raise StoreError(f"LADLE_DATABASE_URL: {name!r} is no database that Ladle knows; give {FORMS}")
