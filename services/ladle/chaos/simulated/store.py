"""`Store` on the simulation's database: every call takes its time, and may go wrong.

A call travels, happens, and its answer travels back, each a step of the world and not of the
caller: who is killed or frozen meanwhile has asked all the same.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from contextvars import Context
from random import Random
from typing import Any, TypeVar

from ladle.chaos.simulated.database import Database
from ladle.chaos.simulated.faults import Dice, Fault
from ladle.core.record import Kind, Record
from ladle.journal.store import (
    BadData,
    Batch,
    CommitUnknown,
    Head,
    Key,
    Lease,
    LeaseLost,
    OutboxCursor,
    SchemaTooNew,
    Snapshot,
    Steady,
    StoreBroken,
    StoreBusy,
    StoreError,
    Values,
)

T = TypeVar("T")


class SteadyTables:
    """One state of the tables, handed out in slices."""

    def __init__(self, state: Snapshot) -> None:
        self.head = state.head
        self._tables = state.tables

    async def slices(self, table: str) -> AsyncIterator[Sequence[Values]]:
        rows = self._tables[table]
        for first in range(0, len(rows), SLICE):
            await asyncio.sleep(0)
            yield rows[first : first + SLICE]


SLICE = 50
USUAL_MS = 3
BUSY_MS = 2_000
"""How long a store tries before it says that it is busy, as the real ones do."""


class SimulatedStore:
    """One process's connection.

    `on_step(step)` is told of an append: "committing" and "committed" (at the database), "told".
    `is_cut`: the network to the database is gone; calls end as busy and change nothing.
    `edition`: of the program that uses it: it brings an older schema up, and a newer keeps it out.
    `on_power_loss()`: the database's machine goes out in the middle of an append.
    """

    def __init__(self, database: Database, dice: Dice, chance: Random, edition: int) -> None:
        self._database = database
        self._edition = edition
        self.on_power_loss: Callable[[], None] = lambda: None
        self._dice = dice
        self._random = chance.random
        self._free_at = 0.0
        self._broken: StoreBroken | None = None
        self.is_cut = False
        self.is_dead = False
        self.on_step: Callable[[str], None] = lambda step: None

    async def open(self) -> None:
        await self._call(self._bring_up)

    def _bring_up(self) -> None:
        self._refuse_newer()
        self._database.edition = self._edition

    def _refuse_newer(self) -> None:
        if self._database.edition > self._edition:
            raise SchemaTooNew(f"written by edition {self._database.edition}")

    async def close(self) -> None:
        """Nothing is kept."""

    # Reading

    async def lease(self) -> Lease | None:
        def look() -> Lease | None:
            self._refuse_newer()
            return self._database.row

        return await self._call(look)

    async def head(self) -> Head:
        return await self._call(lambda: self._database.head)

    async def load(self) -> Snapshot:
        return await self._call(self._database.load)

    async def row(self, table: str, key: Key) -> Values | None:
        return await self._call(lambda: self._database.tables[table].get(key))

    async def records(self, after_offset: int, limit: int) -> list[Record]:
        return await self.history(after_offset=after_offset, limit=limit)

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
        history = self._database.history
        return await self._call(lambda: history(after_offset, limit, room_id, server_id, kinds))

    async def anchors(self, kind: Kind) -> list[Record]:
        return await self._call(lambda: self._database.anchors(kind))

    @asynccontextmanager
    async def steady(self) -> AsyncIterator[Steady]:
        yield SteadyTables(await self.load())

    async def snapshots(self) -> list[int]:
        return await self._call(lambda: sorted(self._database.kept))

    async def snapshot(self, offset: int) -> list[bytes]:
        return await self._call(lambda: self._database.snapshot(offset))

    # Writing

    async def keep_snapshot(self, offset: int, part: int, content: bytes) -> None:
        keep = self._database.keep_snapshot
        await self._call(lambda: keep(offset, part, content), writes=True)

    async def drop_snapshot(self, offset: int) -> None:
        await self._call(lambda: self._database.drop_snapshot(offset), writes=True)

    async def drop_records(self, through: int) -> None:
        # Nobody archives here; were the head of the list gone, every offset would be off.
        raise NotImplementedError("the simulation keeps all records")

    async def take_lease(self, holder: str, seen: Lease | None) -> Lease | None:
        def take() -> Lease | None:
            self._refuse_newer()
            return self._database.take_lease(holder, seen)

        return await self._call(take, writes=True)

    async def beat(self, mine: Lease) -> Lease:
        return await self._call(lambda: self._database.beat(self._fenced(mine)), writes=True)

    async def give_up(self, mine: Lease) -> None:
        await self._call(lambda: self._database.give_up(mine), writes=True)

    async def append(self, mine: Lease, batch: Batch) -> None:
        append = self._database.append
        await self._call(lambda: append(self._fenced(mine), batch), writes=True, batch=batch)

    async def erase(self, mine: Lease, batch: Batch, offsets: Sequence[int]) -> None:
        erase = self._database.erase
        await self._call(lambda: erase(mine, batch, offsets), writes=True, batch=batch)

    async def resolve(self, mine: Lease, batch: Batch, before: Head) -> bool:
        resolve = self._database.resolve
        return await self._call(lambda: resolve(self._fenced(mine), batch, before), writes=True)

    async def move_outbox(self, mine: Lease, cursor: OutboxCursor) -> None:
        move = self._database.move_outbox
        await self._call(lambda: move(self._fenced(mine), cursor), writes=True)

    def _fenced(self, mine: Lease) -> Lease:
        """The row says which edition wrote it: a newer program's is nobody else's."""
        if self._database.edition > self._edition:
            raise LeaseLost(f"term {mine.term} of {mine.holder} is over: a newer program writes")
        return mine

    # The way there and back

    async def _call(
        self, work: Callable[[], T], *, writes: bool = False, batch: Batch | None = None
    ) -> T:
        if self.is_dead:
            raise StoreBroken("this process is gone")
        if self._broken is not None and writes:
            raise StoreBroken(f"the store stopped at an error before: {self._broken}")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        # One connection: what was asked first happens first.
        at = self._free_at = max(self._free_at, loop.time() + self._travel_s(writes))
        loop.call_at(at, self._happens, work, done, writes, batch, context=Context())
        return await done

    def _travel_s(self, writes: bool) -> float:
        if self.is_cut:
            return BUSY_MS / 1_000
        if writes and self._dice.strikes(Fault.STORE_SLOW):
            return self._dice.between(Fault.STORE_SLOW, 200, 5_000) / 1_000
        return self._random() * USUAL_MS / 1_000

    def _happens(
        self,
        work: Callable[[], Any],
        done: "asyncio.Future[Any]",
        writes: bool,
        batch: Batch | None,
    ) -> None:
        if batch is not None:
            self.on_step("committing")
        result: Any = None
        error: Exception | None
        error, does = self._fault(writes, batch)
        if does:
            try:
                result = work()
            except (StoreError, KeyError) as refused:
                error = refused if error is None else error
        if batch is not None:
            self.on_step("committed")
        loop = asyncio.get_running_loop()
        loop.call_later(
            self._random() * USUAL_MS / 1_000,
            self._answers,
            *(done, result, error, batch is not None),
            context=Context(),
        )

    def _fault(self, writes: bool, batch: Batch | None) -> tuple[Exception | None, bool]:
        """What the caller is told instead of the answer, and whether the work is done at all."""
        dice = self._dice
        if self.is_cut:
            return StoreBusy("no connection to the database"), False
        if self._broken is not None and writes:
            return StoreBroken(str(self._broken)), False
        if not writes:
            busy = dice.strikes(Fault.STORE_BUSY)
            return (StoreBusy("locked"), False) if busy else (None, True)
        if asyncio.get_running_loop().time() * 1_000_000 < self._database.full_until_us:
            self._broken = StoreBroken("database or disk is full")
            return self._broken, False
        if dice.strikes(Fault.STORE_BROKEN):
            self._broken = StoreBroken("disk I/O error")
            return self._broken, dice.one_of_two(Fault.STORE_BROKEN)
        if batch is None:
            if dice.strikes(Fault.STORE_BUSY):
                # The answer to a beat or a take-over may be what was lost.
                return StoreBusy("connection lost"), dice.one_of_two(Fault.STORE_BUSY)
            return None, True
        return self._append_fault(batch)

    def _append_fault(self, batch: Batch) -> tuple[Exception | None, bool]:
        dice = self._dice
        if dice.strikes(Fault.TORN_TAIL):
            # What the transaction had written by then is taken back when the database starts again.
            self.on_power_loss()
            return CommitUnknown("the database's machine lost power inside COMMIT"), False
        if any(_is_bad(record) for record in batch.records):
            return BadData("a value that this database does not take"), False
        if dice.strikes(Fault.STORE_UNKNOWN):
            does = dice.one_of_two(Fault.STORE_UNKNOWN)
            return CommitUnknown("the connection broke inside COMMIT"), does
        if dice.strikes(Fault.STORE_BUSY):
            return StoreBusy("locked"), False
        return None, True

    def _answers(
        self, done: "asyncio.Future[Any]", result: Any, error: Exception | None, tell: bool
    ) -> None:
        if not done.done():
            if error is None:
                done.set_result(result)
            else:
                done.set_exception(error)
        if tell:
            self.on_step("told")


BAD = b"bad-data~"
"""What the simulated database refuses: it stands for all that a real one does."""


def _is_bad(record: Record) -> bool:
    return BAD in record.body and record.kind != "rejected"
