"""What is read is one state of the database, and history is found by what it names."""

import asyncio
import time

import pytest
from sqlalchemy import select

from ladle.core.record import FIRST_PREV_HASH, Kind
from ladle.journal.engine import engine_for
from ladle.journal.store import Batch, Changes, Head, OutboxCursor
from ladle.journal.tables import JOURNAL, VIEW
from ladle.journal.url import parse
from tests.journal.making import batch_after, head_of, record_after, writer_of

EMPTY = Head(0, FIRST_PREV_HASH, 0)


async def test_two_selects_in_one_transaction_see_one_state(store, database_url):
    """Without a BEGIN of our own, SQLite's second SELECT saw what was committed in between."""
    mine = await writer_of(store)
    engine = engine_for(parse(database_url), 1_000)
    last = select(JOURNAL.c.offset).order_by(JOURNAL.c.offset.desc()).limit(1)
    async with engine.connect() as connection:
        assert (await connection.execute(last)).scalar() is None
        await store.append(mine, batch_after(EMPTY, settings={"a": "1"}))
        assert (await connection.execute(last)).scalar() is None
        assert (await connection.execute(select(VIEW["setting"]))).all() == []
    async with engine.connect() as connection:
        assert (await connection.execute(last)).scalar() == 1
    await engine.dispose()


async def test_a_load_beside_a_writer_is_never_torn(store, other):
    """Each batch writes its offset into two tables and the outbox: a load sees all or none."""
    mine = await writer_of(store)
    writing = True

    async def write():
        head = EMPTY
        while writing:
            record = record_after(head)
            here = record.offset
            rows = {
                "server": {},
                "setting": {("at",): ("at", str(here))},
                "timer": {("at", "x"): ("at", "x", here, 0)},
            }
            await store.append(mine, Batch([record], Changes(rows), OutboxCursor(here, 0)))
            head = head_of(record)
            await asyncio.sleep(0)

    writer = asyncio.create_task(write())
    seen = set()
    until = time.monotonic() + 30
    while len(seen) < 12 and time.monotonic() < until:
        snapshot = await other.load()
        at = snapshot.head.offset
        seen.add(at)
        if at:
            assert snapshot.tables["setting"] == [("at", str(at))]
            assert snapshot.tables["timer"] == [("at", "x", at, 0)]
            assert snapshot.outbox == OutboxCursor(at, 0)
    writing = False
    await writer
    assert len(seen) == 12


async def test_a_standby_reads_what_the_writer_committed(store, other):
    mine = await writer_of(store)
    batch = batch_after(EMPTY, 3, settings={"a": "1"})
    await store.append(mine, batch)
    assert await other.load() == await store.load()
    assert await other.records(0, 10) == list(batch.records)


@pytest.fixture
async def told(store):
    """Offsets 1 to 6: room a twice, room b once, servers x and y, two kinds."""
    mine = await writer_of(store)
    about = [
        ("a", "x", Kind.REQUEST),
        ("a", "y", Kind.EVENT),
        ("b", "x", Kind.REQUEST),
        (None, "x", Kind.EVENT),
        (None, None, Kind.TICK),
        ("a", None, Kind.REQUEST),
    ]
    head, records = EMPTY, []
    for room_id, server_id, kind in about:
        records.append(record_after(head, room_id=room_id, server_id=server_id, kind=kind))
        head = head_of(records[-1])
    await store.append(mine, Batch(records, Changes()))
    return store


@pytest.mark.parametrize(
    ("wanted", "offsets"),
    [
        ({}, [1, 2, 3, 4, 5, 6]),
        ({"room_id": "a"}, [1, 2, 6]),
        ({"room_id": "a", "after_offset": 1}, [2, 6]),
        ({"room_id": "a", "limit": 1}, [1]),
        ({"server_id": "x"}, [1, 3, 4]),
        ({"room_id": "a", "server_id": "x"}, [1]),
        ({"kinds": ("request",)}, [1, 3, 6]),
        ({"kinds": ("tick", "event")}, [2, 4, 5]),
        ({"room_id": "a", "kinds": ("request",)}, [1, 6]),
        ({"room_id": "nobody"}, []),
        ({"after_offset": 6}, []),
        ({"limit": 0}, []),
    ],
)
async def test_history(told, wanted, offsets):
    found = await told.history(**{"after_offset": 0, "limit": 100, **wanted})
    assert [record.offset for record in found] == offsets


async def test_a_record_by_its_offset(told):
    assert (await told.record(4)).offset == 4
    assert await told.record(7) is None
    assert await told.record(0) is None
