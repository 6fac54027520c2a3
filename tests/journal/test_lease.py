"""One writer at a time: terms, take-over, and a former holder who does not know it yet."""

import asyncio
import sys
import time

import pytest

from ladle.journal.store import Lease, LeaseLost, OutboxCursor
from tests.journal.making import batch_after, head_of, writer_of


async def test_the_first_term(store):
    assert await store.lease() is None
    assert await store.take_lease("a", None) == Lease(1, "a", 0)
    assert await store.lease() == Lease(1, "a", 0)


async def test_a_beat_shows(store, other):
    mine = await writer_of(store)
    assert await store.beat(mine) == Lease(1, "writer-1", 1)
    assert await other.lease() == Lease(1, "writer-1", 1)


async def test_an_append_beats_too(store, other):
    """A writer that is busy writing is alive."""
    mine = await writer_of(store)
    before = await other.lease()
    await store.append(mine, batch_after(await store.head()))
    assert await other.lease() != before


async def test_taking_needs_the_row_as_it_was_seen(store, other):
    mine = await writer_of(store, "a")
    seen = await other.lease()
    await store.beat(mine)
    assert await other.take_lease("b", seen) is None
    assert await other.take_lease("b", None) is None
    assert await other.take_lease("b", await other.lease()) == Lease(2, "b", 0)


async def test_a_zombie_appends_nothing(store, other):
    """The former holder wakes up and writes as if nothing had happened."""
    zombie = await writer_of(store, "a")
    head = await store.head()
    await store.append(zombie, batch_after(head, settings={"who": "a"}))
    head = await store.head()
    mine = await writer_of(other, "b")
    with pytest.raises(LeaseLost):
        await store.append(zombie, batch_after(head, settings={"who": "zombie"}))
    with pytest.raises(LeaseLost):
        await store.beat(zombie)
    with pytest.raises(LeaseLost):
        await store.move_outbox(zombie, OutboxCursor(1, 0))
    await other.append(mine, batch_after(head, term=2, settings={"who": "b"}))
    assert (await store.load()).tables["setting"] == [("who", "b")]
    assert [record.term for record in await store.records(0, 10)] == [1, 2]


async def test_a_zombie_with_the_new_holders_name_appends_nothing(store, other):
    """The name alone is no fence: the term is."""
    zombie = await writer_of(store, "same")
    await writer_of(other, "same")
    with pytest.raises(LeaseLost):
        await store.append(zombie, batch_after(await store.head()))


async def test_giving_up_frees_at_once(store, other):
    mine = await writer_of(store)
    await store.give_up(mine)
    freed = await other.lease()
    assert freed is not None
    assert (freed.term, freed.holder) == (1, "")
    assert await other.take_lease("b", freed) == Lease(2, "b", 0)
    with pytest.raises(LeaseLost):
        await store.append(mine, batch_after(await store.head()))


async def test_giving_up_what_is_lost_takes_it_from_nobody(store, other):
    former = await writer_of(store, "a")
    mine = await writer_of(other, "b")
    await store.give_up(former)
    assert await other.lease() == mine


@pytest.mark.parametrize("round_", range(5))
async def test_connections_race_for_the_first_term(store, other, round_):
    taken = await asyncio.gather(store.take_lease("a", None), other.take_lease("b", None))
    assert [lease.term for lease in taken if lease is not None] == [1]


@pytest.mark.parametrize("round_", range(5))
async def test_connections_race_for_the_next_term(store, other, round_):
    seen = await writer_of(store, "gone")
    taken = await asyncio.gather(store.take_lease("a", seen), other.take_lease("b", seen))
    assert [lease.term for lease in taken if lease is not None] == [2]


async def test_an_append_races_a_take_over(store, other):
    """Whoever comes first, no record of the old term follows one of the new."""
    mine = await writer_of(store, "a")
    head = await store.head()
    for _ in range(10):
        batch = batch_after(head, settings={"a": str(head.offset)})
        seen = await other.lease()
        appended, taken = await asyncio.gather(
            store.append(mine, batch), other.take_lease("b", seen), return_exceptions=True
        )
        if taken is None:
            assert appended is None
            head = head_of(batch.records[-1])
            continue
        expected = head if isinstance(appended, LeaseLost) else head_of(batch.records[-1])
        assert await other.head() == expected
        with pytest.raises(LeaseLost):
            await store.append(mine, batch_after(expected))
        return
    # The append won each time, so the standby saw a living holder: that is right as well.
    assert (await store.head()).offset == 10


async def test_the_outbox_goes_forward_only(store):
    mine = await writer_of(store)
    for _ in range(4):
        await store.append(mine, batch_after(await store.head()))
    for offset, index in ((3, 1), (3, 0), (2, 9)):
        await store.move_outbox(mine, OutboxCursor(offset, index))
        assert (await store.load()).outbox == OutboxCursor(3, 1)
    await store.move_outbox(mine, OutboxCursor(4, 0))
    assert (await store.load()).outbox == OutboxCursor(4, 0)


async def test_the_outbox_stays_where_there_are_records(store):
    """Under the writer an older backup was restored: what it published is not what is to come."""
    mine = await writer_of(store)
    await store.append(mine, batch_after(await store.head()))
    with pytest.raises(LeaseLost, match="ends at 1, what record 2 says"):
        await store.move_outbox(mine, OutboxCursor(2, 0))
    assert (await store.load()).outbox == OutboxCursor(0, 0)


async def test_the_outbox_rides_along(store):
    mine = await writer_of(store)
    await store.append(mine, batch_after(await store.head(), outbox=OutboxCursor(1, 2)))
    await store.append(mine, batch_after(await store.head(), outbox=OutboxCursor(1, 1)))
    assert (await store.load()).outbox == OutboxCursor(1, 2)


RACER = """
import asyncio, sys, time
from ladle.journal.open import open_store
async def race(url, name, at):
    store = open_store(url)
    await store.open()
    time.sleep(max(0, at - time.time()))
    lease = await store.take_lease(name, None)
    print(lease.term if lease else 0)
    await store.close()
asyncio.run(race(sys.argv[1], sys.argv[2], float(sys.argv[3])))
"""


async def test_processes_race_for_the_lease(store, database_url):
    """Three processes that start at the same instant; one is the writer."""
    at = str(time.time() + 4)
    racers = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", RACER, database_url, name, at), stdout=asyncio.subprocess.PIPE
        )
        for name in "abc"
    ]
    said = [(await racer.communicate())[0].decode().strip() for racer in racers]
    assert sorted(said) == ["0", "0", "1"]
    lease = await store.lease()
    assert lease is not None
    assert lease.holder == "abc"[said.index("1")]
