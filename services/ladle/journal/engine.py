"""Connections: one way to connect to each database, and the SQLAlchemy engines on top of it.

The batch goes through the driver; reads and migrations go through SQLAlchemy. Both connect
here, so that they agree on durability, time limits and what a transaction is.
"""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite
from sqlalchemy import AsyncAdaptedQueuePool, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from ladle.journal.postgres_tls import POSTGRES
from ladle.journal.store import NotLetIn, StoreError, Untrusted
from ladle.journal.url import PostgresUrl, SqliteUrl
from ladle_contracts.tls import ended_behind_the_handshake, handshake_trouble

SQLITE_MIN = (3, 38, 0)  # STRICT tables (3.37) and what came right after them
# Under the lease: a writer that hangs inside a transaction must not outlive its term there.
IDLE_IN_TRANSACTION_MS = 2_000
WAL_RETRY_S = 0.01
LET_IN_ADVICE = (
    "its pg_hba.conf says who may come and how: user, password, TLS (sslmode) and certificate "
    "(sslcert, sslkey) stand in LADLE_DATABASE_URL"
)
STATEMENTS_CACHED = 256  # a batch's text depends on which tables it touches

T = TypeVar("T")


class SqliteConnection(aiosqlite.Connection):
    """An aiosqlite connection that runs a whole function in its thread."""

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """`function(sqlite3 connection, *args)` in the connection's thread, in one hop.

        A hop is what costs: nine awaited statements take three times as long as one function
        of nine statements.
        """
        result: T = await self._execute(function, self._conn, *args)  # type: ignore[no-untyped-call]
        return result


def _connect_file(path: Path, busy_ms: int) -> sqlite3.Connection:
    # isolation_level None: no hidden BEGIN; every transaction here is written out.
    connection = sqlite3.connect(
        path, timeout=busy_ms / 1000, isolation_level=None, cached_statements=STATEMENTS_CACHED
    )
    try:
        mode = _to_wal(connection, busy_ms)
        if mode != "wal":
            raise StoreError(f"{path}: SQLite cannot use a write-ahead log here (mode {mode})")
        # FULL: a commit has reached the disk. fullfsync: on macOS too; nothing elsewhere.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _to_wal(connection: sqlite3.Connection, busy_ms: int) -> str:
    """The journal mode after asking for WAL.

    Where two connections turn a new file at once, SQLite refuses one of them at once and does
    not wait as `timeout` says: both hold the lock that each would have to wait for.
    """
    deadline_s = time.monotonic() + busy_ms / 1000
    while True:
        try:
            return str(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])
        except sqlite3.OperationalError as error:
            locked = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not locked or time.monotonic() > deadline_s:
                raise
        time.sleep(WAL_RETRY_S)


async def connect_sqlite(url: SqliteUrl, busy_ms: int) -> SqliteConnection:
    """Open the file, in WAL mode, synchronous FULL.

    busy_ms: how long a statement waits for another process's lock.
    Raises StoreError where SQLite is too old or has no WAL there, sqlite3.Error otherwise.
    """
    if sqlite3.sqlite_version_info < SQLITE_MIN:
        raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old; Ladle needs 3.38 or newer")
    failed: list[Exception] = []

    def connect() -> sqlite3.Connection:
        # aiosqlite does not wait for its thread where connecting fails, and the thread may then
        # outlive the loop. So it gets a connection in any case, and closes it in order.
        try:
            return _connect_file(url.path, busy_ms)
        except Exception as error:
            failed.append(error)
            return sqlite3.connect(":memory:")

    connection = SqliteConnection(connect, iter_chunk_size=64)
    await connection
    if failed:
        await connection.close()
        raise failed[0]
    return connection


async def connect_postgres(url: PostgresUrl, busy_ms: int, *, idle_ms: int = 60_000) -> Any:
    """A connection of asyncpg with Ladle's time limits; commits are on disk when they return.

    busy_ms: how long a statement waits for another transaction's lock.
    idle_ms: how long a transaction may do nothing before the server ends it.
    Raises StoreError without the `postgres` extra, Untrusted, NotLetIn, else what asyncpg raises.
    """
    try:
        import asyncpg
    except ImportError as error:
        raise StoreError("PostgreSQL needs an extra: pip install 'ladle[postgres]'") from error
    ends = (ConnectionResetError, BrokenPipeError, asyncpg.ConnectionDoesNotExistError)
    try:
        connection = await asyncpg.connect(
            url.dsn,
            timeout=busy_ms / 1000,
            statement_cache_size=STATEMENTS_CACHED,
            server_settings={
                "application_name": "ladle",
                "default_transaction_isolation": "read committed",
                "lock_timeout": str(busy_ms),
                "idle_in_transaction_session_timeout": str(idle_ms),
                "timezone": "UTC",
            },
        )
    except asyncpg.InvalidAuthorizationSpecificationError as error:
        raise NotLetIn(f"PostgreSQL does not let Ladle in: {error}; {LET_IN_ADVICE}") from error
    except Exception as error:
        if (said := handshake_trouble(error, POSTGRES)) is not None:
            raise Untrusted(f"no connection to PostgreSQL: {said}") from error
        if url.over_tls and isinstance(error, ends):
            raise ConnectionResetError(ended_behind_the_handshake(POSTGRES)) from error
        raise
    # A server may be set to answer before the disk has it; the journal may not. Only `off` is
    # raised: who asks for more (remote_apply) keeps it.
    await connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false) "
        "WHERE current_setting('synchronous_commit') IN ('off', 'local')"
    )
    return connection


def driver_errors(url: SqliteUrl | PostgresUrl) -> tuple[type[Exception], ...]:
    """What the driver raises while connecting, where SQLAlchemy does not wrap it yet."""
    if isinstance(url, SqliteUrl):
        return (sqlite3.Error,)
    import asyncpg

    return (asyncpg.PostgresError, asyncpg.InterfaceError)


def engine_for(url: SqliteUrl | PostgresUrl, busy_ms: int, *, writes: bool = False) -> AsyncEngine:
    """An engine whose transactions are real ones on both databases.

    writes: for migrations, which must see what was committed while they waited for a lock; the
        others see one state of the whole database from their first statement on.
    """
    if isinstance(url, PostgresUrl):
        return create_async_engine(
            "postgresql+asyncpg://",
            async_creator=lambda: connect_postgres(url, busy_ms),
            isolation_level="READ COMMITTED" if writes else "REPEATABLE READ",
            pool_size=2,
            max_overflow=4,
        )
    engine = create_async_engine(
        "sqlite+aiosqlite://",
        async_creator=lambda: connect_sqlite(url, busy_ms),
        poolclass=AsyncAdaptedQueuePool,
        pool_size=2,
        max_overflow=4,
    )
    begin = "BEGIN IMMEDIATE" if writes else "BEGIN"

    # Without it a SELECT begins no transaction, and two of them see two states.
    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql(begin)

    return engine
