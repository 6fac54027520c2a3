"""A database as a source: journal and view of one cell, read only, beside a writer or without."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import AsyncAdaptedQueuePool, event, func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from ladle.audit.archivings import last_archiving
from ladle.audit.errors import Altered, BadSource, SourceError, Unreachable, Unreadable
from ladle.audit.source import PAGE, Claim, Item, Rows
from ladle.core.view import View
from ladle.journal.engine import SqliteConnection, engine_for
from ladle.journal.reads import JournalReads
from ladle.journal.snapshots import Anchor, BadSnapshot, anchored, text_of, view_of
from ladle.journal.sqlite_errors import translate as translate_sqlite
from ladle.journal.store import (
    Head,
    NotLetIn,
    SchemaTooNew,
    SchemaTooOld,
    StoreBusy,
    StoreError,
)
from ladle.journal.tables import VIEW
from ladle.journal.url import SqliteUrl, parse
from ladle.journal.whose import cell_of

T = TypeVar("T")
BUSY_MS = 5_000
"""For how long a locked or absent database is waited for."""

CONNECT_ADVICE = "check the address, and that this machine may connect: `ladle doctor`"


class Reads(JournalReads):
    """The journal's reads, and one more for an audit."""

    async def newest_offset(self) -> int:
        """The newest record that any row of the view reflects; 0 for empty tables."""

        async def read(connection: AsyncConnection) -> int:
            newest = [
                await connection.scalar(select(func.max(table.c.reflects_offset)))
                for table in VIEW.values()
            ]
            return max((offset for offset in newest if offset is not None), default=0)

        return await self._run(read)


class DatabaseSource:
    """Journal and view at a database URL.

    It has an event loop of its own, so that an audit reads as a straight line; not for use inside
    a running loop. Raises SourceError from every method.
    """

    def __init__(self, url: str) -> None:
        try:
            target = parse(url, "the database URL")
        except StoreError as error:
            raise BadSource(str(error), "give a path or one of these forms") from error
        self.name = str(target.path) if isinstance(target, SqliteUrl) else target.shown
        self._runner = asyncio.Runner()
        try:
            self._reads = _reads(target)
            self._run(self._reads.open)
            self._head: Head = self._run(self._reads.head)
            self._anchors = self._run(lambda: anchored(self._reads))
            first = self._run(lambda: self._reads.records(0, 1))
            self.begins = first[0].offset if first else 1
            self._cell = self._run(lambda: cell_of(self._reads)) if self._head.offset else None
            lease = self._run(self._reads.lease)
            self._settled = lease is None or not lease.holder
            self._archiving = self._run(lambda: last_archiving(self._reads))
        except BaseException:
            self.close()
            raise

    def claim(self) -> Claim:
        """The head as it was when the source was opened: a writer beside it may go on."""
        told = self._archiving
        return Claim(
            head=self._head,
            snapshots=tuple(each.offset for each in self._anchors),
            # While records are being taken out, some of the archived ones are still here.
            settled=self._settled,
            cell=self._cell,
            archived=min(told.last_offset, self.begins - 1) if told else 0,
        )

    def rows(self) -> Rows | None:
        """All view rows in one consistent read; what is audited ends at its head from now on."""
        snapshot = self._run(self._reads.load)
        self._head = snapshot.head
        newest = self._run(self._reads.newest_offset)
        # Read a moment later, so a writer may have gone on: only without one it tells of a loss.
        head = self._run(self._reads.head)
        return Rows(snapshot, newest if head == snapshot.head else 0)

    def pages(self, after_offset: int = 0) -> Iterator[list[Item]]:
        """Records up to the head that `claim` tells; they never change, so no transaction spans."""
        after = after_offset
        while after < self._head.offset:
            count = min(PAGE, self._head.offset - after)
            page = self._run(lambda: self._reads.records(after, count))  # noqa: B023
            if not page:
                return
            yield [record for record in page if record.offset <= self._head.offset]
            after = page[-1].offset

    def snapshots(self) -> list[Anchor]:
        kept = set(self._run(self._reads.snapshots))
        return [anchor for anchor in self._anchors if anchor.offset in kept]

    def hold(self, anchor: Anchor) -> None:
        """Its digest tells; to make a view of each would take longer than the fold between two."""
        self._kept(anchor, text_of)

    def view_of(self, anchor: Anchor) -> View:
        return self._kept(anchor, view_of)

    def _kept(self, anchor: Anchor, read: Callable[[list[bytes], Anchor], T]) -> T:
        try:
            return read(self._run(lambda: self._reads.snapshot(anchor.offset)), anchor)
        except BadSnapshot as error:
            raise Altered(
                f"the snapshot of record {anchor.offset} in {self.name} is not the one that was "
                f"anchored: {error}",
                "`ladle audit verify` folds the journal without it",
            ) from error

    def share_read(self, offset: int) -> float | None:
        return offset / self._head.offset if self._head.offset else None

    def close(self) -> None:
        reads = getattr(self, "_reads", None)
        if reads is not None:
            self._runner.run(reads.close())
        self._runner.close()

    def _run(self, work: Callable[[], Awaitable[T]]) -> T:
        async def run() -> T:
            return await work()

        try:
            return self._runner.run(run())
        except SourceError:
            raise
        except SchemaTooNew as error:
            raise Unreadable(
                str(error), "audit it with the Ladle that wrote it, or a newer one"
            ) from error
        except SchemaTooOld as error:
            raise Unreadable(
                f"{self.name} holds no journal of this program: {error}",
                "check that it is Ladle's database; `ladle db upgrade` brings an older one up",
            ) from error
        except (StoreBusy, NotLetIn) as error:
            raise Unreachable(f"{self.name}: {error}", CONNECT_ADVICE) from error
        except (StoreError, sqlite3.DatabaseError) as error:
            raise Unreadable(
                f"{self.name} cannot be read: {error}",
                "the file is damaged or no database of Ladle's: audit a copy or an export",
            ) from error
        except OSError as error:
            raise Unreachable(f"{self.name}: {error}", CONNECT_ADVICE) from error


def _reads(target: Any) -> Reads:
    if isinstance(target, SqliteUrl):
        return Reads(_sqlite_engine(target.path), translate_sqlite, BUSY_MS)
    try:
        # Late: who keeps to SQLite need not have asyncpg.
        from ladle.journal.postgres_errors import translate as translate_postgres
    except ImportError as error:
        raise BadSource(
            "PostgreSQL needs an extra of Ladle's", "pip install 'ladle[postgres]'"
        ) from error
    engine = engine_for(target, BUSY_MS).execution_options(postgresql_readonly=True)
    return Reads(engine, translate_postgres, BUSY_MS)


def _sqlite_engine(path: Path) -> AsyncEngine:
    if not path.is_file():
        raise Unreachable(f"there is no file {path}", "check the path")
    engine = create_async_engine(
        "sqlite+aiosqlite://",
        async_creator=lambda: _connect_read_only(path),
        poolclass=AsyncAdaptedQueuePool,
        pool_size=1,
    )

    # Without it a SELECT begins no transaction, and two of them see two states.
    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


async def _connect_read_only(path: Path) -> SqliteConnection:
    """The file, for reading alone, also on a medium that cannot be written."""
    failed: list[sqlite3.Error] = []

    def connect() -> sqlite3.Connection:
        # aiosqlite needs a connection in any case to end its thread in order.
        try:
            return _open_read_only(path)
        except sqlite3.Error as error:
            failed.append(error)
            return sqlite3.connect(":memory:")

    connection = SqliteConnection(connect, iter_chunk_size=64)
    await connection
    if failed:
        await connection.close()
        if getattr(failed[0], "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_CANTOPEN:
            raise Unreachable(f"{path}: {failed[0]}", "check who may read the file") from failed[0]
        raise failed[0]
    return connection


def _open_read_only(path: Path) -> sqlite3.Connection:
    """A write-ahead log needs a file beside the database; where none can be made, none is needed.

    `immutable` promises that nobody writes, which holds where nobody can.
    """
    address = path.absolute().as_uri()
    for mode in ("mode=ro", "mode=ro&immutable=1"):
        connection = sqlite3.connect(
            f"{address}?{mode}", uri=True, timeout=BUSY_MS / 1000, isolation_level=None
        )
        try:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except sqlite3.Error as error:
            connection.close()
            cannot_open = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_CANTOPEN
            log = path.with_name(f"{path.name}-wal")
            has_log = log.exists() and log.stat().st_size > 0
            if mode == "mode=ro" and cannot_open and not has_log:
                continue
            raise
        return connection
    raise AssertionError("the last mode returns or raises")
