"""What is read from the journal and the view: SQLModel queries, the same on both databases."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from sqlalchemy import Select, literal_column, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ladle.core.record import FIRST_PREV_HASH, Kind, Record
from ladle.journal import schema
from ladle.journal.engine import SqliteConnection
from ladle.journal.store import (
    Head,
    Key,
    Lease,
    OutboxCursor,
    Snapshot,
    StoreBusy,
    StoreError,
    Values,
)
from ladle.journal.tables import JOURNAL, KEEPING, LEASE, OUTBOX, SNAPSHOT, VIEW

T = TypeVar("T")
RETRY_S = 0.05

SLICE_ROWS = 500
"""Rows that are handed over at once: about a millisecond of this process's time."""

Translate = Callable[[BaseException], StoreError | None]


class JournalReads:
    """The reading half of a store, on an engine whose transactions show one state of the database.

    translate: the database's own error as a StoreError; None where it is none of the database's.
    busy_ms: for how long a read is tried again where the database is busy or away.
    """

    def __init__(self, engine: AsyncEngine, translate: Translate, busy_ms: int) -> None:
        self._engine = engine
        self._translate = translate
        self._busy_s = busy_ms / 1000

    async def open(self) -> None:
        """Raises SchemaTooOld or SchemaTooNew where the schema is not this program's."""
        await self._run(schema.check)

    async def close(self) -> None:
        await self._engine.dispose()

    async def lease(self) -> Lease | None:
        async def read(connection: AsyncConnection) -> Lease | None:
            columns = (LEASE.c.schema_version, LEASE.c.term, LEASE.c.holder, LEASE.c.beats)
            row = (await connection.execute(select(*columns))).one_or_none()
            if row is None:
                return None
            schema.refuse_newer(row[0])
            return Lease(*row[1:])

        return await self._run(read)

    async def head(self) -> Head:
        return await self._run(_head)

    async def load(self) -> Snapshot:
        """Everything in one transaction: the rows show exactly the head's state."""

        async def read(connection: AsyncConnection) -> Snapshot:
            head = await _head(connection)
            columns = (OUTBOX.c.offset, OUTBOX.c.index)
            cursor = (await connection.execute(select(*columns))).one_or_none()
            tables = {name: await self._rows(connection, table) for name, table in VIEW.items()}
            return Snapshot(head, tables, OutboxCursor(*(cursor or (0, 0))))

        return await self._run(read)

    @asynccontextmanager
    async def steady(self) -> AsyncIterator["SteadyRead"]:
        """One state of the view's tables, to be read in slices; it locks out no writer.

        Not tried again where the database is busy: who needs it comes back later.
        """
        try:
            async with self._engine.connect() as connection:
                yield SteadyRead(connection, await _head(connection))
        except StoreError:
            raise
        except Exception as error:
            fault = self._fault(error)
            if fault is None:
                raise
            raise fault from error

    async def anchors(self, kind: Kind) -> list[Record]:
        # Literals, not parameters: SQLite uses a partial index only where it can prove that the
        # rows it wants are in it.
        same = JOURNAL.c.kind == literal_column(f"'{kind.value}'")
        wanted = select(JOURNAL).where(text(KEEPING), same).order_by(JOURNAL.c.offset)

        async def read(connection: AsyncConnection) -> list[Record]:
            return [Record(*row) for row in await connection.execute(wanted)]

        return await self._run(read)

    async def snapshots(self) -> list[int]:
        wanted = select(SNAPSHOT.c.offset).distinct().order_by(SNAPSHOT.c.offset)

        async def read(connection: AsyncConnection) -> list[int]:
            return list(await connection.scalars(wanted))

        return await self._run(read)

    async def snapshot(self, offset: int) -> list[bytes]:
        wanted = select(SNAPSHOT.c.content).where(SNAPSHOT.c.offset == offset)

        async def read(connection: AsyncConnection) -> list[bytes]:
            return list(await connection.scalars(wanted.order_by(SNAPSHOT.c.part)))

        return await self._run(read)

    async def row(self, table: str, key: Key) -> Values | None:
        view = VIEW[table]
        same = [column == part for column, part in zip(view.primary_key, key, strict=True)]

        async def read(connection: AsyncConnection) -> Values | None:
            found = (await connection.execute(_view_rows(view).where(*same))).one_or_none()
            return None if found is None else tuple(found)

        return await self._run(read)

    async def records(self, after_offset: int, limit: int) -> list[Record]:
        async def read(connection: AsyncConnection) -> list[Record]:
            driver = (await connection.get_raw_connection()).driver_connection
            if isinstance(driver, SqliteConnection):
                rows: Iterable[Any] = await driver.run(_fetched, _RECORDS, (after_offset, limit))
            else:
                wanted = select(JOURNAL).where(JOURNAL.c.offset > after_offset)
                rows = await connection.execute(wanted.order_by(JOURNAL.c.offset).limit(limit))
            return [Record(*row) for row in rows]

        return await self._run(read)

    async def record(self, offset: int) -> Record | None:
        found = await self.history(after_offset=offset - 1, limit=1)
        return found[0] if found and found[0].offset == offset else None

    async def history(
        self,
        *,
        after_offset: int,
        limit: int,
        room_id: str | None = None,
        server_id: str | None = None,
        kinds: Sequence[str] = (),
    ) -> list[Record]:
        wanted = select(JOURNAL).where(JOURNAL.c.offset > after_offset)
        if room_id is not None:
            wanted = wanted.where(JOURNAL.c.room_id == room_id)
        if server_id is not None:
            wanted = wanted.where(JOURNAL.c.server_id == server_id)
        if kinds:
            wanted = wanted.where(JOURNAL.c.kind.in_(kinds))
        wanted = wanted.order_by(JOURNAL.c.offset).limit(limit)

        async def read(connection: AsyncConnection) -> list[Record]:
            return [Record(*row) for row in await connection.execute(wanted)]

        return await self._run(read)

    async def _rows(self, connection: AsyncConnection, table: Any) -> list[Values]:
        """All rows of a view table, as in the transaction that the connection is in."""
        wanted = _view_rows(table)
        driver = (await connection.get_raw_connection()).driver_connection
        if isinstance(driver, SqliteConnection):
            return await driver.run(_fetched, str(wanted.compile(dialect=self._engine.dialect)))
        return [tuple(row) for row in await connection.execute(wanted)]

    async def _run(self, read: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """`read` in one transaction, again while the database is busy or away."""
        until = time.monotonic() + self._busy_s
        while True:
            try:
                async with self._engine.connect() as connection:
                    return await read(connection)
            except StoreError:
                raise
            except Exception as error:
                fault = self._fault(error)
                if fault is None:
                    raise
                if not isinstance(fault, StoreBusy) or time.monotonic() > until:
                    raise fault from error
            await asyncio.sleep(RETRY_S)

    def _fault(self, error: Exception) -> StoreError | None:
        if not isinstance(error, DBAPIError):
            return self._translate(error)
        if error.connection_invalidated:
            return StoreBusy(f"the connection was lost while reading: {error.orig}")
        # SQLAlchemy wraps the driver's error, and for asyncpg its own wrapper of it.
        driver = error.orig or error
        return self._translate(driver.__cause__ or driver) or StoreError(str(error))


class SteadyRead:
    """As `snapshots.Steady`, on a connection whose transaction is open."""

    def __init__(self, connection: AsyncConnection, head: Head) -> None:
        self.head = head
        self._connection = connection

    async def slices(self, table: str) -> AsyncIterator[Sequence[Values]]:
        """All rows of a table in the order of their keys."""
        found = await self._connection.stream(_view_rows(VIEW[table]))
        async for rows in found.partitions(SLICE_ROWS):
            yield [tuple(row) for row in rows]


_QUOTED = ", ".join(f'"{column.name}"' for column in JOURNAL.columns)
_RECORDS = f'SELECT {_QUOTED} FROM journal WHERE "offset" > ? ORDER BY "offset" LIMIT ?'


def _fetched(connection: sqlite3.Connection, sql: str, given: Sequence[int] = ()) -> list[Any]:
    """In the connection's thread: whole logs and tables, whose rows SQLAlchemy makes once more."""
    return connection.execute(sql, given).fetchall()


def _view_rows(table: Any) -> Select[Any]:
    columns = [column for column in table.columns if column.name != "reflects_offset"]
    return select(*columns).order_by(*table.primary_key)


async def _head(connection: AsyncConnection) -> Head:
    journal = JOURNAL.c
    last = select(journal.offset, journal.hash, journal.recorded_at_ms)
    row = (await connection.execute(last.order_by(journal.offset.desc()).limit(1))).one_or_none()
    return Head(*row) if row else Head(0, FIRST_PREV_HASH, 0)
