"""What is appended is what is read, on both databases, byte for byte."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ladle.core.record import FIRST_PREV_HASH
from ladle.core.rows import COLUMNS, TABLES
from ladle.journal.chain import verify
from ladle.journal.store import Batch, Changes, Head, LeaseLost, OutboxCursor
from tests.journal.making import batch_after, head_of, record_after, writer_of

EMPTY = Head(0, FIRST_PREV_HASH, 0)


async def test_an_empty_journal_has_a_head_before_the_first_record(store):
    snapshot = await store.load()
    assert snapshot.head == EMPTY == await store.head()
    assert {name: list(rows) for name, rows in snapshot.tables.items()} == {n: [] for n in TABLES}
    assert snapshot.outbox == OutboxCursor(0, 0)
    assert await store.record(1) is None


async def test_records_come_back_as_they_went_in(store):
    mine = await writer_of(store)
    batch = batch_after(EMPTY, 5, room_id="standup", server_id="sfu-1")
    await store.append(mine, batch)
    assert await store.records(0, 10) == list(batch.records)
    assert await store.records(2, 2) == list(batch.records[2:4])
    assert await store.record(3) == batch.records[2]
    assert await store.head() == head_of(batch.records[-1])


async def test_the_chain_holds_over_batches(store):
    mine = await writer_of(store)
    head = EMPTY
    for count in (1, 3, 2):
        batch = batch_after(head, count)
        await store.append(mine, batch)
        head = head_of(batch.records[-1])
    read = await store.records(0, 10)
    assert len(read) == 6
    assert verify(read, after_offset=0, after_hash=FIRST_PREV_HASH) is None


async def test_rows_are_put_replaced_and_dropped(store):
    mine = await writer_of(store)
    first = batch_after(EMPTY, settings={"a": "1", "b": "2"})
    await store.append(mine, first)
    then = batch_after(head_of(first.records[-1]), settings={"b": "3", "c": "4"})
    then.changes.rows["setting"][("a",)] = None
    await store.append(mine, then)
    assert (await store.load()).tables["setting"] == [("b", "3"), ("c", "4")]


async def test_dropping_what_is_not_there_is_no_error(store):
    """A row that came and went within one batch was never written."""
    mine = await writer_of(store)
    record = record_after(EMPTY)
    changes = Changes({"router": {("standup", 0): None}, "timer": {("register", "sfu-1"): None}})
    await store.append(mine, Batch([record], changes))
    assert (await store.head()).offset == 1


async def test_every_table_takes_rows(store):
    """All columns set, all nullable ones empty, and a two-column key deleted again."""
    mine = await writer_of(store)
    full = {name: _values(name, "x", 7, empty=False) for name in TABLES}
    sparse = {name: _values(name, "y", 8, empty=True) for name in TABLES}
    rows = {
        name: {_key(name, full[name]): full[name], _key(name, sparse[name]): sparse[name]}
        for name in TABLES
    }
    await store.append(mine, Batch([record_after(EMPTY)], Changes(rows)))
    tables = (await store.load()).tables
    assert {name: list(rows) for name, rows in tables.items()} == {
        name: [full[name], sparse[name]] for name in TABLES
    }
    head = await store.head()
    drops = {name: {_key(name, full[name]): None} for name in TABLES}
    await store.append(mine, Batch([record_after(head)], Changes(drops)))
    tables = (await store.load()).tables
    assert {name: list(rows) for name, rows in tables.items()} == {
        name: [sparse[name]] for name in TABLES
    }


def _values(table, text, number, *, empty):
    hints = TABLES[table].__annotations__
    found = []
    for column in COLUMNS[table]:
        hint = str(hints[column])
        if empty and "None" in hint:
            found.append(None)
        else:
            found.append(number if "int" in hint else text)
    return tuple(found)


def _key(table, values):
    return tuple(values[COLUMNS[table].index(column)] for column in TABLES[table].KEY)


async def test_rows_carry_the_offset_that_they_reflect(store, database_url):
    from sqlalchemy import text

    from ladle.journal.engine import engine_for
    from ladle.journal.url import parse

    mine = await writer_of(store)
    await store.append(mine, batch_after(EMPTY, 3, settings={"a": "1"}))
    engine = engine_for(parse(database_url), 1_000)
    async with engine.connect() as connection:
        offsets = await connection.scalars(text("SELECT reflects_offset FROM setting"))
        assert list(offsets) == [3]
    await engine.dispose()


async def test_a_batch_that_does_not_follow_the_head_is_refused(store):
    """A gap, a fork and a repetition: each would break the chain for ever."""
    mine = await writer_of(store)
    first = batch_after(EMPTY, 2)
    await store.append(mine, first)
    head = await store.head()
    gap = batch_after(Head(head.offset + 1, head.hash, 0))
    fork = batch_after(Head(head.offset, "f" * 64, 0))
    for wrong in (gap, fork, first):
        with pytest.raises(LeaseLost):
            await store.append(mine, wrong)
    assert await store.records(0, 10) == list(first.records)


async def test_two_batches_with_one_offset_are_one(store):
    """The same head, another record: the second finds the first there."""
    mine = await writer_of(store)
    await store.append(mine, batch_after(EMPTY, settings={"a": "1"}))
    with pytest.raises(LeaseLost):
        await store.append(mine, batch_after(EMPTY, settings={"a": "2"}))
    assert (await store.load()).tables["setting"] == [("a", "1")]


def test_a_batch_without_records_is_no_batch():
    with pytest.raises(ValueError, match="behind the journal"):
        Batch([], Changes({"setting": {("a",): ("a", "1")}}))


async def test_a_large_batch(store):
    mine = await writer_of(store)
    batch = batch_after(EMPTY, 500, settings={f"s{n}": str(n) for n in range(500)})
    await store.append(mine, batch)
    assert await store.records(0, 1_000) == list(batch.records)
    assert len((await store.load()).tables["setting"]) == 500


# What PostgreSQL takes as text: everything but NUL and lone surrogates.
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
INT64 = st.integers(-(2**63), 2**63 - 1)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=TEXTS, number=INT64, body=st.binary(max_size=200), salt=st.binary(max_size=32))
async def test_values_survive_bit_for_bit(store, text, number, body, salt):
    """Whatever fits a column comes back as it went in: type, sign, length, every code point."""
    from dataclasses import replace

    mine = await writer_of(store)
    head = await store.head()
    record = replace(record_after(head, room_id=text), body=body, salt=salt)
    rows = {"timer": {("kind", text): ("kind", text, number, 0)}}
    await store.append(mine, Batch([record], Changes(rows)))
    assert await store.record(record.offset) == record
    kept = [row for row in (await store.load()).tables["timer"] if row[1] == text]
    assert kept == [("kind", text, number, 0)]
    assert [type(value) for value in kept[0]] == [str, str, int, int]
