"""The embedded store: SQLite through aiosqlite, a batch in one hop to its thread."""

import sqlite3
from collections.abc import Callable, Sequence
from typing import TypeVar

from ladle.core.record import FIRST_PREV_HASH
from ladle.journal import statements
from ladle.journal.batch import BatchRows, happened, refuse_ahead, rows_of
from ladle.journal.engine import SqliteConnection, connect_sqlite, engine_for
from ladle.journal.reads import JournalReads
from ladle.journal.schema import VERSION, refuse_newer
from ladle.journal.sqlite_errors import translate
from ladle.journal.store import (
    Batch,
    Head,
    Lease,
    LeaseLost,
    OutboxCursor,
    SchemaTooOld,
    StoreBroken,
    StoreError,
)
from ladle.journal.url import SqliteUrl

T = TypeVar("T")
_MARKS = ("?", "?", "?")


class SqliteStore(JournalReads):
    """`Store` on one SQLite file.

    busy_ms: how long a transaction waits for another process's before it is StoreBusy.
    One connection writes, in the order asked; others read beside it. After an I/O error the store
    is broken for good: what the kernel has dropped, a retry would only seem to write.
    """

    def __init__(self, url: SqliteUrl, *, busy_ms: int = 2_000) -> None:
        super().__init__(engine_for(url, busy_ms), translate, busy_ms)
        self._url = url
        self._busy_ms = busy_ms
        self._writer: SqliteConnection | None = None
        self._broken: StoreBroken | None = None

    async def open(self) -> None:
        if not self._url.path.exists():
            raise SchemaTooOld(f"no database at {self._url.path}: run `ladle db upgrade`")
        await super().open()
        try:
            self._writer = await connect_sqlite(self._url, self._busy_ms)
        except sqlite3.Error as error:
            raise translate(error) or error from error

    async def close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            await writer.close()
        await super().close()

    async def take_lease(self, holder: str, seen: Lease | None) -> Lease | None:
        return await self._write(_take, holder, seen)

    async def beat(self, mine: Lease) -> Lease:
        return await self._write(_beat, mine)

    async def give_up(self, mine: Lease) -> None:
        await self._write(_give_up, mine)

    async def append(self, mine: Lease, batch: Batch) -> None:
        await self._write(_append, mine, batch, rows_of(batch))

    async def erase(self, mine: Lease, batch: Batch, offsets: Sequence[int]) -> None:
        """As `Store.erase`; the file's pages are overwritten, and the write-ahead log emptied.

        A process that reads just then keeps the log: it is overwritten when it is used again.
        """
        await self._pragma("secure_delete = ON")
        await self._write(_erase, mine, batch, rows_of(batch), offsets)
        await self._pragma("wal_checkpoint(TRUNCATE)")

    async def resolve(self, mine: Lease, batch: Batch, before: Head) -> bool:
        return await self._write(_resolve, mine, batch, before)

    async def move_outbox(self, mine: Lease, cursor: OutboxCursor) -> None:
        await self._write(_move_outbox, mine, cursor)

    async def keep_snapshot(self, offset: int, part: int, content: bytes) -> None:
        await self._write(_run, statements.keep_part(_MARKS), (offset, part, content))

    async def drop_snapshot(self, offset: int) -> None:
        await self._write(_run, statements.drop_parts("?"), (offset,))

    async def drop_records(self, through: int) -> None:
        await self._write(_run, statements.drop_records("?"), (through,))

    async def _pragma(self, text: str) -> None:
        if self._writer is None:
            raise StoreError("the store is not open")
        try:
            await self._writer.run(
                lambda connection: connection.execute(f"PRAGMA {text}").fetchall()
            )
        except sqlite3.Error as error:
            raise translate(error) or error from error

    async def _write(self, work: Callable[..., T], *args: object) -> T:
        """`work` as one transaction in the writer's thread."""
        if self._broken is not None:
            raise StoreBroken(f"the store stopped at an error before: {self._broken}")
        if self._writer is None:
            raise StoreError("the store is not open")
        try:
            return await self._writer.run(_transaction, work, *args)
        except Exception as error:
            fault = translate(error)
            if fault is None:
                raise
            if isinstance(fault, StoreBroken):
                self._broken = fault
            if fault is error:
                raise
            raise fault from error


def _transaction(connection: sqlite3.Connection, work: Callable[..., T], *args: object) -> T:
    # IMMEDIATE: the write lock is taken here, so what `work` reads stays true to the commit.
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = work(connection, *args)
        connection.execute("COMMIT")
    except BaseException:
        # SQLite has rolled back by itself after some errors.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return result


def _run(connection: sqlite3.Connection, text: str, given: tuple[object, ...]) -> None:
    connection.execute(text, given)


def _fence(connection: sqlite3.Connection, mine: Lease) -> None:
    marked = connection.execute(statements.fence(_MARKS), (mine.term, mine.holder, VERSION))
    if marked.rowcount != 1:
        raise LeaseLost(f"term {mine.term} of {mine.holder} is over")


def _head(connection: sqlite3.Connection) -> Head:
    row = connection.execute(statements.HEAD).fetchone()
    return Head(*row) if row else Head(0, FIRST_PREV_HASH, 0)


def _append(connection: sqlite3.Connection, mine: Lease, batch: Batch, rows: BatchRows) -> None:
    _fence(connection, mine)
    first = batch.records[0]
    head = _head(connection)
    if (head.offset + 1, head.hash) != (first.offset, first.prev_hash):
        raise LeaseLost(f"the journal ends at {head.offset}, the batch begins at {first.offset}")
    connection.executemany(statements.sqlite_insert_records(), rows.journal)
    for changed in rows.view:
        if changed.drops:
            connection.executemany(statements.sqlite_drop(changed.table), changed.drops)
        if changed.puts:
            connection.executemany(statements.sqlite_put(changed.table), changed.puts)
    if batch.outbox is not None:
        _put_cursor(connection, batch.outbox)


def _erase(
    connection: sqlite3.Connection,
    mine: Lease,
    batch: Batch,
    rows: BatchRows,
    offsets: Sequence[int],
) -> None:
    _append(connection, mine, batch, rows)
    text = statements.erase("x''", '"offset" = ?')
    connection.executemany(text, [(offset,) for offset in offsets])


def _resolve(connection: sqlite3.Connection, mine: Lease, batch: Batch, before: Head) -> bool:
    _fence(connection, mine)
    return happened(_head(connection), batch, before)


def _move_outbox(connection: sqlite3.Connection, mine: Lease, cursor: OutboxCursor) -> None:
    _fence(connection, mine)
    refuse_ahead(cursor, _head(connection))
    _put_cursor(connection, cursor)


def _put_cursor(connection: sqlite3.Connection, cursor: OutboxCursor) -> None:
    connection.execute(statements.outbox(_MARKS), (cursor.offset, cursor.index))


def _take(connection: sqlite3.Connection, holder: str, seen: Lease | None) -> Lease | None:
    row = connection.execute('SELECT "schema_version" FROM "lease"').fetchone()
    refuse_newer(row[0] if row else VERSION)
    if seen is None:
        taken = connection.execute(statements.first_lease(_MARKS), (holder, VERSION))
    else:
        was = (seen.term, seen.holder, seen.beats)
        taken = connection.execute(
            statements.next_lease("??????"), (holder, VERSION, *was, VERSION)
        )
    if taken.rowcount != 1:
        return None
    return Lease(seen.term + 1 if seen else 1, holder, 0)


def _beat(connection: sqlite3.Connection, mine: Lease) -> Lease:
    _fence(connection, mine)
    beats = connection.execute('SELECT "beats" FROM "lease" WHERE "id" = 1').fetchone()[0]
    return Lease(mine.term, mine.holder, beats)


def _give_up(connection: sqlite3.Connection, mine: Lease) -> None:
    connection.execute(statements.give_up(_MARKS), (mine.term, mine.holder, VERSION))
