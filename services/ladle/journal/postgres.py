"""The store for larger users: PostgreSQL through asyncpg, a batch in one round trip."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import asyncpg

from ladle.core.record import FIRST_PREV_HASH
from ladle.journal import statements
from ladle.journal.batch import BatchRows, happened, refuse_ahead, rows_of
from ladle.journal.engine import IDLE_IN_TRANSACTION_MS, connect_postgres, engine_for
from ladle.journal.postgres_errors import ConnectionLost, translate
from ladle.journal.reads import JournalReads
from ladle.journal.schema import VERSION, refuse_newer
from ladle.journal.store import (
    Batch,
    CommitUnknown,
    Head,
    Lease,
    LeaseLost,
    OutboxCursor,
    StoreBroken,
    StoreBusy,
    StoreError,
)
from ladle.journal.url import PostgresUrl

T = TypeVar("T")
RETRY_S = 0.05
Work = Callable[[asyncpg.Connection], Awaitable[T]]


def _marks(count: int) -> list[str]:
    return [f"${number}" for number in range(1, count + 1)]


class PostgresStore(JournalReads):
    """`Store` on one PostgreSQL database.

    busy_ms: how long a lock, a lost connection or a serialisation failure is waited out before it
        is StoreBusy; also the time limit of a statement.
    Appends have a connection of their own, so that a beat never queues behind a batch's bytes.
    Not for a pooler in transaction mode: the statements are prepared.
    """

    def __init__(self, url: PostgresUrl, *, busy_ms: int = 2_000) -> None:
        super().__init__(engine_for(url, busy_ms), translate, busy_ms)
        self._appends = _Line(url, busy_ms)
        self._leases = _Line(url, busy_ms)
        self._broken: StoreBroken | None = None

    async def open(self) -> None:
        await super().open()
        self._appends.open = self._leases.open = True

    async def close(self) -> None:
        await self._appends.close()
        await self._leases.close()
        await super().close()

    async def take_lease(self, holder: str, seen: Lease | None) -> Lease | None:
        async def take(connection: asyncpg.Connection) -> Lease | None:
            text = statements.first_lease(_marks(2))
            given: tuple[Any, ...] = (holder, VERSION)
            if seen is not None:
                text = statements.next_lease(_marks(6))
                given = (holder, VERSION, seen.term, seen.holder, seen.beats, VERSION)
            term = await connection.fetchval(f'{text} RETURNING "term"', *given)
            if term is not None:
                return Lease(term, holder, 0)
            written = await connection.fetchval('SELECT "schema_version" FROM "lease"')
            refuse_newer(written or VERSION)
            return None

        return await self._leases.run(take)

    async def beat(self, mine: Lease) -> Lease:
        async def beat(connection: asyncpg.Connection) -> Lease:
            return Lease(mine.term, mine.holder, await _fence(connection, mine))

        return await self._leases.run(beat)

    async def give_up(self, mine: Lease) -> None:
        async def leave(connection: asyncpg.Connection) -> None:
            await connection.execute(statements.give_up(_marks(3)), *_mine(mine))

        await self._leases.run(leave)

    async def append(self, mine: Lease, batch: Batch) -> None:
        text, given = _append(mine, batch, rows_of(batch))

        async def append(connection: asyncpg.Connection) -> None:
            await _run_append(connection, text, given)

        await self._append_once(append)

    async def erase(self, mine: Lease, batch: Batch, offsets: Sequence[int]) -> None:
        """As `Store.erase`; the old rows' space is given back, and overwritten, by VACUUM."""
        text, given = _append(mine, batch, rows_of(batch))
        erasing = statements.erase("''::bytea", '"offset" = ANY($1::bigint[])')

        async def erase(connection: asyncpg.Connection) -> None:
            async with connection.transaction(isolation="read_committed"):
                await _run_append(connection, text, given)
                await connection.execute(erasing, list(offsets))

        await self._append_once(erase)

    async def _append_once(self, append: Work[None]) -> None:
        if self._broken is not None:
            raise StoreBroken(f"the store stopped at an error before: {self._broken}")
        try:
            await self._appends.run(append, once=True)
        except ConnectionLost as error:
            raise CommitUnknown(str(error)) from error
        except StoreBroken as error:
            self._broken = error
            raise

    async def resolve(self, mine: Lease, batch: Batch, before: Head) -> bool:
        async def resolve(connection: asyncpg.Connection) -> bool:
            # Two statements on purpose. The first waits for the lost one's lock, should it still
            # run; a read in the same statement would not see what it commits meanwhile.
            async with connection.transaction(isolation="read_committed"):
                await _fence(connection, mine)
                return happened(await _head(connection), batch, before)

        return await self._appends.run(resolve)

    async def keep_snapshot(self, offset: int, part: int, content: bytes) -> None:
        await self._execute(statements.keep_part(_marks(3)), offset, part, content)

    async def drop_snapshot(self, offset: int) -> None:
        await self._execute(statements.drop_parts("$1"), offset)

    async def drop_records(self, through: int) -> None:
        await self._execute(statements.drop_records("$1"), through)

    async def _execute(self, text: str, *given: object) -> None:
        """One statement that may be repeated, beside the appends."""

        async def execute(connection: asyncpg.Connection) -> None:
            await connection.execute(text, *given)

        await self._leases.run(execute)

    async def move_outbox(self, mine: Lease, cursor: OutboxCursor) -> None:
        async def move(connection: asyncpg.Connection) -> None:
            async with connection.transaction(isolation="read_committed"):
                await _fence(connection, mine)
                refuse_ahead(cursor, await _head(connection))
                await connection.execute(statements.outbox(_marks(2)), cursor.offset, cursor.index)

        await self._leases.run(move)


class _Line:
    """One connection, used by one caller at a time, made anew where it was lost."""

    def __init__(self, url: PostgresUrl, busy_ms: int) -> None:
        self._url = url
        self._busy_ms = busy_ms
        self._lock = asyncio.Lock()
        self._connection: asyncpg.Connection | None = None
        self.open = False

    async def close(self) -> None:
        self.open = False
        async with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None and not connection.is_closed():
                # Politely, but not for long: the other side may be gone.
                try:
                    await connection.close(timeout=self._busy_ms / 1000)
                except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                    connection.terminate()

    async def run(self, work: Work[T], *, once: bool = False) -> T:
        """`work` on the connection, again while the database is busy or away, until busy_ms.

        once: a connection that is lost during `work` is ConnectionLost at once, for what `work`
        did may be committed.
        """
        if not self.open:
            raise StoreError("the store is not open")
        until = time.monotonic() + self._busy_ms / 1000
        async with self._lock:
            while True:
                connected = False
                try:
                    connection = await self._connected()
                    connected = True
                    async with asyncio.timeout(self._busy_ms / 1000 + 1):
                        return await work(connection)
                except Exception as error:
                    fault = self._fault(error)
                    if fault is None or fault is error:
                        raise
                    given_up = not isinstance(fault, StoreBusy) or time.monotonic() > until
                    if given_up or (once and connected and isinstance(fault, ConnectionLost)):
                        raise _outcome(fault, connected) from error
                await asyncio.sleep(RETRY_S)

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect_postgres(
                self._url, self._busy_ms, idle_ms=IDLE_IN_TRANSACTION_MS
            )
        return self._connection

    def _fault(self, error: Exception) -> StoreError | None:
        fault = translate(error)
        if isinstance(fault, ConnectionLost) and self._connection is not None:
            self._connection.terminate()
            self._connection = None
        return fault


def _outcome(fault: StoreError, connected: bool) -> StoreError:
    """A connection that could not be had did nothing: busy, and not lost with something on it."""
    return fault if connected or not isinstance(fault, ConnectionLost) else StoreBusy(str(fault))


def _mine(mine: Lease) -> tuple[int, str, int]:
    return (mine.term, mine.holder, VERSION)


async def _fence(connection: asyncpg.Connection, mine: Lease) -> int:
    """Lock the lease row, if it is mine, until the transaction ends; its beats."""
    text = f'{statements.fence(_marks(3))} RETURNING "beats"'
    beats = await connection.fetchval(text, *_mine(mine))
    if beats is None:
        raise LeaseLost(f"term {mine.term} of {mine.holder} is over")
    return int(beats)


async def _head(connection: asyncpg.Connection) -> Head:
    row = await connection.fetchrow(statements.HEAD)
    return Head(*row) if row else Head(0, FIRST_PREV_HASH, 0)


async def _run_append(connection: asyncpg.Connection, text: str, given: list[Any]) -> None:
    try:
        ((fenced,),) = await connection.fetch(text, *given)
    except asyncpg.UniqueViolationError as error:
        # The offsets are taken: an append that was thought lost has come through after all, or
        # somebody writes without a lease. The head tells which.
        raise CommitUnknown(f"the batch's offsets are taken: {error}") from error
    if fenced != 1:
        raise LeaseLost(f"term {given[0]} is over, or the head is not the batch's")


def _append(mine: Lease, batch: Batch, rows: BatchRows) -> tuple[str, list[Any]]:
    """The batch's statement and its parameters; rows become one array a column."""
    first = batch.records[0]
    given: list[Any] = [*_mine(mine), first.offset, first.prev_hash]
    given.extend(zip(*rows.journal, strict=True))
    tables = []
    for changed in rows.view:
        tables.append((changed.table, bool(changed.puts), bool(changed.drops)))
        given.extend(zip(*changed.puts, strict=True))
        given.extend(zip(*changed.drops, strict=True))
    if batch.outbox is not None:
        given += [batch.outbox.offset, batch.outbox.index]
    return statements.postgres_append(tuple(tables), batch.outbox is not None), given
