"""`LADLE_DATABASE_URL` taken apart: which database, and where."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from ladle.journal.postgres_tls import SECRETS, check_tls
from ladle.journal.store import StoreError
from ladle_contracts.tls import TlsFileError

PORT_MAX = 65_535
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")

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


def parse(url: str, setting: str = "LADLE_DATABASE_URL") -> SqliteUrl | PostgresUrl:
    """The database that a URL names; the driver's name in it (`+aiosqlite`) may be left out.

    setting: where the URL stands, for errors. Raises StoreError, naming the setting, the part of
    the URL that is wrong and the forms that it takes, never the password; also where a file for
    TLS that it names cannot be used.
    """
    try:
        made = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise StoreError(f"{setting} {_wrong(url)}; give {FORMS}") from error
    name = made.get_backend_name()
    if made.drivername in {"sqlite", "sqlite+aiosqlite"}:
        if made.database in {None, "", ":memory:"}:
            raise StoreError(
                f"{setting}: it names no file, and a journal in memory is none; give "
                "sqlite:///path/to/ladle.db"
            )
        if made.query:
            raise StoreError(
                f"{setting}: SQLite takes no options; leave out what begins with the question mark"
            )
        return SqliteUrl(Path(str(made.database)))
    if made.drivername in {"postgresql", "postgresql+asyncpg", "postgres"}:
        plain = made.set(drivername="postgresql")
        query = {name: str(value) for name, value in plain.query.items()}
        _check(plain.port, query, setting)
        try:
            over_tls = check_tls(query)
        except TlsFileError as error:
            raise StoreError(str(error)) from error
        shown = str(plain.difference_update_query(SECRETS))
        return PostgresUrl(plain.render_as_string(hide_password=False), shown, over_tls)
    raise StoreError(f"{setting}: {name!r} is no database that Ladle knows; give {FORMS}")


def _check(port: int | None, query: Mapping[str, str], setting: str) -> None:
    """What the driver would fail at when it connects, as if the server were away."""
    if port is not None and not 0 < port <= PORT_MAX:
        raise StoreError(f"{setting}: its port {port} is none; they are 1 to {PORT_MAX}")
    mode = query.get("sslmode", "prefer")
    if mode not in SSL_MODES:
        raise StoreError(f"{setting}: its sslmode {mode!r} is none of {', '.join(SSL_MODES)}")


def _wrong(url: str) -> str:
    """Which part of what is no URL; nothing of what it says, for that may be a password."""
    scheme, slashes, rest = url.partition("://")
    authority, _, path = rest.partition("/")
    if not slashes or not scheme:
        return "is not a database URL"
    host = authority.rpartition("@")[2]
    if host.count("[") != host.count("]"):
        return "is not a database URL: its host has a bracket that is not closed"
    port = host.rpartition("]")[2].rpartition(":")[2] if ":" in host else ""
    # A slash in a password makes a part of it look like a port.
    if port and not port.isdecimal() and "@" not in path:
        return f"is not a database URL: its port is no number from 1 to {PORT_MAX}"
    return "is not a database URL"
