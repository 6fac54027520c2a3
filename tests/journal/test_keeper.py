"""When a standby takes the lease: on its own monotonic clock, and on nothing else."""

import asyncio

import pytest

from ladle.journal.lease import LeaseKeeper
from ladle.journal.store import Lease, LeaseLost, SchemaTooNew, StoreBroken, StoreBusy
from ladle_contracts.clock import SystemClock
from tests.fixtures.manual_clock import ManualClock
from tests.journal.making import batch_after, writer_of

LEASE_MS = 3_000


class LeaseRow:
    """The lease methods of a store, in memory, at once; what a test sets is what is seen."""

    def __init__(self, row: Lease | None) -> None:
        self.row = row
        self.fails: Exception | None = None
        self.beats = 0

    async def lease(self):
        if self.fails:
            raise self.fails
        return self.row

    async def take_lease(self, holder, seen):
        if self.row != seen:
            return None
        self.row = Lease(seen.term + 1 if seen else 1, holder, 0)
        return self.row

    async def beat(self, mine):
        if self.fails:
            raise self.fails
        self.beats += 1
        return mine

    async def give_up(self, mine):
        if self.fails:
            raise self.fails
        self.row = Lease(mine.term, "", 0)


def keeper(row, clock, holder="standby"):
    return LeaseKeeper(row, holder=holder, clock=clock, lease_ms=LEASE_MS)


@pytest.fixture
def clock():
    return ManualClock()


@pytest.mark.parametrize("row", [None, Lease(4, "", 9), Lease(4, "standby", 0)])
async def test_a_free_lease_is_taken_at_once(clock, row):
    """Nobody's, given up, or our own: a take-over whose answer was lost."""
    taken = await keeper(LeaseRow(row), clock).acquire()
    assert (taken.term, taken.holder) == (row.term + 1 if row else 1, "standby")


async def test_a_silent_holder_loses_it_after_lease_ms(clock):
    row = LeaseRow(Lease(4, "writer", 7))
    waiting = asyncio.create_task(keeper(row, clock).acquire())
    await clock.advance(LEASE_MS - 1)
    assert not waiting.done()
    await clock.advance(1)
    assert await waiting == Lease(5, "standby", 0)


async def test_a_beating_holder_keeps_it(clock):
    """Any change of the row starts the wait anew."""
    row = LeaseRow(Lease(4, "writer", 0))
    waiting = asyncio.create_task(keeper(row, clock).acquire())
    for beats in range(1, 20):
        await clock.advance(LEASE_MS - 1_000)
        row.row = Lease(4, "writer", beats)
    assert not waiting.done()
    await clock.advance(LEASE_MS + 1_000)
    assert waiting.done()


async def test_a_wall_clock_that_jumps_takes_nothing(clock):
    row = LeaseRow(Lease(4, "writer", 7))
    waiting = asyncio.create_task(keeper(row, clock).acquire())
    await clock.advance(1_000)
    clock.step_unix(86_400_000)
    await clock.advance(LEASE_MS - 1_001)
    assert not waiting.done()
    waiting.cancel()


async def test_time_without_a_look_is_no_silence(clock):
    """The database was away: the holder may have beaten all the while."""
    row = LeaseRow(Lease(4, "writer", 7))
    waiting = asyncio.create_task(keeper(row, clock).acquire())
    await clock.advance(1_000)
    row.fails = StoreBusy("away")
    await clock.advance(10 * LEASE_MS)
    row.fails = None
    await clock.advance(LEASE_MS - 1)
    assert not waiting.done()
    await clock.advance(1_000)
    assert waiting.done()


async def test_a_slow_look_does_not_count_as_silence(clock):
    """The answer was on its way for longer than the lease: only what lies between looks counts."""

    class Slow(LeaseRow):
        async def lease(self):
            row = self.row
            await clock.sleep(2 * LEASE_MS)
            return row

    waiting = asyncio.create_task(keeper(Slow(Lease(4, "writer", 7)), clock).acquire())
    await clock.advance(4 * LEASE_MS)
    assert not waiting.done()
    waiting.cancel()


async def test_somebody_faster_starts_the_wait_anew(clock):
    class Raced(LeaseRow):
        async def take_lease(self, holder, seen):
            self.row = Lease(9, "faster", 0)
            return None

    waiting = asyncio.create_task(keeper(Raced(None), clock).acquire())
    await clock.advance(LEASE_MS)
    assert not waiting.done()
    waiting.cancel()


@pytest.mark.parametrize("error", [SchemaTooNew("newer"), StoreBroken("disk")])
async def test_what_waiting_cannot_mend_is_raised(clock, error):
    row = LeaseRow(None)
    row.fails = error
    with pytest.raises(type(error)):
        await keeper(row, clock).acquire()


async def test_it_beats_often_enough_to_miss_some(clock):
    row = LeaseRow(Lease(4, "writer", 0))
    running = asyncio.create_task(keeper(row, clock).run(row.row))
    await clock.advance(LEASE_MS)
    assert row.beats >= 3
    row.fails = StoreBusy("locked")
    await clock.advance(LEASE_MS)
    assert not running.done()
    row.fails = LeaseLost("term 4 is over")
    await clock.advance(LEASE_MS)
    with pytest.raises(LeaseLost):
        await running


async def test_giving_up_never_raises(clock):
    row = LeaseRow(Lease(4, "writer", 0))
    mine = row.row
    for error in (StoreBusy("away"), LeaseLost("over"), StoreBroken("disk")):
        row.fails = error
        await keeper(row, clock).give_up(mine)
    row.fails = None
    await keeper(row, clock).give_up(mine)
    assert row.row == Lease(4, "", 0)


async def test_it_knows_whether_it_reaches_the_row(clock):
    """Waiting and beating: a process without its database is not ready for anything."""
    row = LeaseRow(Lease(1, "other", 0))
    waits = keeper(row, clock)
    assert not waits.reaches_store
    waiting = asyncio.create_task(waits.acquire())
    await clock.advance(1)
    assert waits.reaches_store
    row.fails = StoreBusy("away")
    await clock.advance(LEASE_MS)
    assert not waits.reaches_store
    row.fails = None
    row.row = Lease(1, "", 0)
    await clock.advance(LEASE_MS)
    beating = asyncio.create_task(waits.run(await waiting))
    for fails, reaches in ((None, True), (StoreBusy("away"), False), (None, True)):
        row.fails = fails
        await clock.advance(LEASE_MS)
        assert waits.reaches_store is reaches
    beating.cancel()
    await asyncio.gather(beating, return_exceptions=True)


def test_a_holder_needs_a_name(clock):
    with pytest.raises(ValueError, match="name"):
        keeper(LeaseRow(None), clock, holder="")


async def test_a_standby_takes_over_on_a_real_store(store, other):
    """A writer that stops without a word, a standby, and then the writer again."""
    lease_ms = 600
    first = LeaseKeeper(store, holder="a", clock=SystemClock(), lease_ms=lease_ms)
    second = LeaseKeeper(other, holder="b", clock=SystemClock(), lease_ms=lease_ms)
    mine = await first.acquire()
    beating = asyncio.create_task(first.run(mine))
    standby = asyncio.create_task(second.acquire())
    await asyncio.sleep(3 * lease_ms / 1000)
    assert not standby.done()
    beating.cancel()
    taken = await asyncio.wait_for(standby, 5)
    assert (taken.term, taken.holder) == (2, "b")
    with pytest.raises(LeaseLost):
        await first.run(mine)
    await second.give_up(taken)
    assert (await asyncio.wait_for(first.acquire(), 5)).term == 3


async def test_a_writer_that_only_writes_keeps_it(store, other):
    """Its beats fail to get a turn, its appends do not."""
    lease_ms = 600
    mine = await writer_of(store, "a")
    keeper = LeaseKeeper(other, holder="b", clock=SystemClock(), lease_ms=lease_ms)
    standby = asyncio.create_task(keeper.acquire())
    for _ in range(15):
        await store.append(mine, batch_after(await store.head()))
        await asyncio.sleep(0.1)
    assert not standby.done()
    standby.cancel()
    await asyncio.gather(standby, return_exceptions=True)


async def test_a_process_that_nobody_reaches_takes_nothing(clock):
    """A standby without a broker would hold the lease against those who have one."""
    row, connected = LeaseRow(None), False
    waiting = asyncio.create_task(keeper(row, clock).acquire(may_take=lambda: connected))
    await clock.advance(10 * LEASE_MS)
    assert row.row is None
    connected = True
    await clock.advance(LEASE_MS)
    assert (await waiting).term == 1


async def test_a_lease_that_is_given_up_is_taken_at_once(clock):
    """However long the lease is: the next one writes within half a second."""
    row = LeaseRow(Lease(4, "writer", 7))
    waiting = asyncio.create_task(
        LeaseKeeper(row, holder="standby", clock=clock, lease_ms=60_000).acquire()
    )
    await clock.advance(10_000)
    row.row = Lease(4, "", 8)
    await clock.advance(500)
    assert (await waiting).term == 5
