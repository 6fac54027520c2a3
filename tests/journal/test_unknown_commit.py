"""The connection breaks inside COMMIT: what happened is found out and never guessed."""

import asyncio
import contextlib

import asyncpg
import pytest

from ladle.core.record import FIRST_PREV_HASH
from ladle.journal.store import CommitUnknown, Head, LeaseLost, StoreBusy
from tests.journal.cutter import APPENDED, Cutter, holding_the_lease_row
from tests.journal.making import batch_after, fresh_store, head_of, writer_of

EMPTY = Head(0, FIRST_PREV_HASH, 0)


# What `resolve` says, on both databases.


async def test_it_happened(store):
    mine = await writer_of(store)
    batch = batch_after(EMPTY, 3)
    await store.append(mine, batch)
    assert await store.resolve(mine, batch, EMPTY) is True


async def test_it_did_not_happen(store):
    mine = await writer_of(store)
    batch = batch_after(EMPTY, 3)
    assert await store.resolve(mine, batch, EMPTY) is False
    await store.append(mine, batch)
    assert await store.records(0, 10) == list(batch.records)


async def test_a_head_that_is_neither_ends_the_writer(store):
    """Somebody else wrote: going on would fork the chain."""
    mine = await writer_of(store)
    await store.append(mine, batch_after(EMPTY, 1, settings={"a": "1"}))
    with pytest.raises(LeaseLost):
        await store.resolve(mine, batch_after(EMPTY, 2), EMPTY)


async def test_resolving_needs_the_lease(store, other):
    former = await writer_of(store, "a")
    await writer_of(other, "b")
    with pytest.raises(LeaseLost):
        await store.resolve(former, batch_after(EMPTY), EMPTY)


# PostgreSQL, through a proxy that cuts.


@pytest.fixture
async def cutter(postgres_url):
    async with Cutter(postgres_url) as cutter:
        yield cutter


@pytest.fixture
async def cut_store(cutter, postgres_url):
    """A store behind the proxy, on a database that is up to date."""
    direct = await fresh_store(postgres_url)
    await direct.close()
    store = await fresh_store(cutter.url, busy_ms=1_000)
    yield store
    await store.close()


@pytest.mark.postgres
async def test_cut_after_the_commit(cutter, cut_store):
    mine = await writer_of(cut_store)
    # Once before: a new connection first asks for types, which ends in the same words.
    await cut_store.append(mine, batch_after(EMPTY, settings={"a": "0"}))
    before = await cut_store.head()
    batch = batch_after(before, 2, settings={"a": "1"})
    cutter.swallow_after = APPENDED
    with pytest.raises(CommitUnknown):
        await cut_store.append(mine, batch)
    cutter.swallow_after = None
    assert await cut_store.resolve(mine, batch, before) is True
    assert await cut_store.records(1, 10) == list(batch.records)
    then = batch_after(head_of(batch.records[-1]))
    await cut_store.append(mine, then)


@pytest.mark.postgres
async def test_cut_before_the_server_heard_of_it(cutter, cut_store):
    mine = await writer_of(cut_store)
    await cut_store.append(mine, batch_after(EMPTY))
    before = await cut_store.head()
    batch = batch_after(before, settings={"a": "1"})
    cutter.deaf = True
    with pytest.raises(CommitUnknown):
        await cut_store.append(mine, batch)
    cutter.deaf = False
    assert await cut_store.resolve(mine, batch, before) is False
    await cut_store.append(mine, batch)
    assert await cut_store.head() == head_of(batch.records[-1])


@pytest.mark.postgres
async def test_a_server_that_stays_away_is_busy_and_nothing_is_guessed(cutter, cut_store):
    mine = await writer_of(cut_store)
    batch = batch_after(EMPTY)
    cutter.deaf = True
    with pytest.raises((CommitUnknown, StoreBusy)):
        await cut_store.append(mine, batch)
    with pytest.raises(StoreBusy):
        await cut_store.resolve(mine, batch, EMPTY)
    cutter.deaf = False
    assert await cut_store.resolve(mine, batch, EMPTY) is False


async def append_once(store, mine, batch, before):
    """The writer's loop: after an unknown outcome look, then write the same bytes or not."""
    for _ in range(20):
        with contextlib.suppress(CommitUnknown, StoreBusy):
            await store.append(mine, batch)
            return
        while True:
            with contextlib.suppress(StoreBusy):
                if await store.resolve(mine, batch, before):
                    return
                break
    raise AssertionError("neither written nor refused")


@pytest.mark.postgres
async def test_a_lost_append_that_comes_through_late_is_not_written_twice(
    cutter, cut_store, postgres_url
):
    """The server still works on the statement of a connection that its client gave up.

    It waits for the lease row; the writer meanwhile looks, finds nothing, and writes again.
    """
    mine = await writer_of(cut_store)
    warm = batch_after(EMPTY)
    await cut_store.append(mine, warm)
    before = head_of(warm.records[-1])
    batch = batch_after(before, 2)
    async with holding_the_lease_row(postgres_url):
        lost = asyncio.create_task(cut_store.append(mine, batch))
        await _until_somebody_waits(postgres_url)
        cutter.cut()
        with pytest.raises(CommitUnknown):
            await lost
        again = asyncio.create_task(append_once(cut_store, mine, batch, before))
        await asyncio.sleep(0.2)
    await again
    assert await cut_store.records(1, 10) == list(batch.records)
    assert await cut_store.resolve(mine, batch, before) is True


async def _until_somebody_waits(url):
    connection = await asyncpg.connect(url)
    try:
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        for _ in range(250):
            if await connection.fetchval(waiting):
                return
            await asyncio.sleep(0.02)
        raise AssertionError("nobody waits for a lock")
    finally:
        await connection.close()


@pytest.mark.postgres
async def test_a_terminated_backend_is_no_lost_batch(postgres_url):
    """An administrator ends the sessions in the middle of each append, a little later each time."""
    store = await fresh_store(postgres_url)
    admin = await asyncpg.connect(postgres_url)
    mine = await writer_of(store)
    head = EMPTY
    for number in range(25):
        batch = batch_after(head, 2)
        appending = asyncio.create_task(append_once(store, mine, batch, head))
        await asyncio.sleep(number * 0.0002)
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await appending
        head = head_of(batch.records[-1])
    await admin.close()
    records = await store.records(0, 100)
    assert [record.offset for record in records] == list(range(1, 51))
    await store.close()
