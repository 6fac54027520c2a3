"""Snapshots on both databases: the view at an offset, kept in parts, anchored in the chain."""

import asyncio
import gzip
from dataclasses import replace

import pytest

from ladle.core.record import Kind
from ladle.journal import fold, snapshots
from ladle.journal.alone import append_alone
from ladle.journal.snapshots import BadSnapshot, anchored, capture, keep, nearest, view_of
from ladle_contracts.clock import SystemClock
from tests.journal.small_writer import small_writer
from tests.journal.test_fold import busy_day


async def kept(store, writer):
    """A snapshot of what is committed, anchored by the writer."""
    made = await capture(store)
    await keep(store, made)
    writer.fold(Kind.SNAPSHOT, made.payload)
    await writer.commit()
    return made


async def test_a_snapshot_is_the_view_and_its_digest(store):
    writer = await small_writer(store)
    await busy_day(writer, seed=1)
    digest, offset = writer.view.digest(), writer.view.offset
    made = await kept(store, writer)
    assert (made.head.offset, made.digest) == (offset, digest)
    (anchor,) = await anchored(store)
    assert (anchor.offset, anchor.anchored_at) == (offset, offset + 1)
    view = view_of(await store.snapshot(offset), anchor)
    assert view.digest() == digest
    assert view.dump() == (await fold.view_at(store, offset, start=type(view)())).dump()


async def test_a_view_without_rows_has_a_digest_too(store):
    made = await capture(store)
    assert (made.head.offset, made.digest) == (0, fold.View().digest())


async def test_it_is_cut_to_parts_and_slices(store, monkeypatch):
    writer = await small_writer(store)
    await busy_day(writer, seed=2)
    monkeypatch.setattr(snapshots, "PART_BYTES", 700)
    monkeypatch.setattr("ladle.journal.reads.SLICE_ROWS", 2)
    made = await kept(store, writer)
    assert len(made.parts) > 3
    assert await store.snapshot(made.head.offset) == list(made.parts)
    assert await nearest(store, made.head.offset) is not None


async def test_going_back_starts_from_the_nearest_below(store, monkeypatch):
    writer = await small_writer(store)
    digests = await busy_day(writer, seed=3)
    first = await kept(store, writer)
    digests |= await busy_day(writer, seed=4)
    await kept(store, writer)
    digests |= await busy_day(writer, seed=5)
    read = []

    async def counted(after_offset, limit, records=store.records):
        found = await records(after_offset, limit)
        read.extend(found)
        return found

    monkeypatch.setattr(store, "records", counted)
    for offset in [min(digests), first.head.offset, first.head.offset + 9, max(digests)]:
        read.clear()
        at = max(each for each in digests if each <= offset)
        assert (await fold.view_at(store, at)).digest() == digests[at]
        below = [each.offset for each in await anchored(store) if each.offset <= at]
        assert len(read) == at - max(below, default=0)


async def test_one_that_is_not_the_anchored_one_is_passed_over(store):
    writer = await small_writer(store)
    digests = await busy_day(writer, seed=6)
    made = await kept(store, writer)
    offset = made.head.offset
    text = gzip.decompress(b"".join(made.parts))
    assert b'"open"' in text
    for spoiled in (gzip.compress(text.replace(b'"open"', b'"oped"', 1)), b"no gzip", None):
        await store.drop_snapshot(offset)
        assert await store.snapshots() == []
        if spoiled is not None:
            await store.keep_snapshot(offset, 0, spoiled)
            (anchor,) = await anchored(store)
            with pytest.raises(BadSnapshot):
                view_of([spoiled], anchor)
        assert await nearest(store, offset) is None
        assert (await fold.view_at(store, offset)).digest() == digests[offset]


async def test_an_anchor_that_was_changed_anchors_nothing(store):
    writer = await small_writer(store)
    await busy_day(writer, seed=7)
    await kept(store, writer)
    (record,) = await store.anchors(Kind.SNAPSHOT)
    assert snapshots.anchor_of(record) is not None
    changed = record.body.replace(b'"parts":1', b'"parts":2')
    assert changed != record.body
    assert snapshots.anchor_of(replace(record, body=changed)) is None
    assert snapshots.anchor_of(replace(record, term=9)) is None
    assert snapshots.anchor_of(replace(record, body=b"", salt=b"")) is None


async def test_a_part_is_kept_once(store):
    await store.keep_snapshot(5, 0, b"one")
    await store.keep_snapshot(5, 0, b"one")
    await store.keep_snapshot(5, 1, b"two")
    await store.keep_snapshot(7, 0, b"three")
    assert await store.snapshots() == [5, 7]
    assert await store.snapshot(5) == [b"one", b"two"]
    await store.drop_snapshot(5)
    await store.drop_snapshot(5)
    assert await store.snapshots() == [7]


async def test_only_records_of_that_kind_are_anchors(store):
    writer = await small_writer(store)
    await busy_day(writer, seed=8)
    assert await store.anchors(Kind.SNAPSHOT) == []
    await kept(store, writer)
    writer.fold(Kind.LOSS_ACCEPTED, {"head": 1})
    await writer.commit()
    assert [record.kind for record in await store.anchors(Kind.SNAPSHOT)] == ["snapshot"]
    assert [record.kind for record in await store.anchors(Kind.LOSS_ACCEPTED)] == ["loss-accepted"]


async def test_a_writer_goes_on_while_one_is_made(store, other, monkeypatch):
    """One state, read in many slices, between which the writer commits: nobody waits."""
    writer = await small_writer(store)
    for number in range(40):
        writer.ask("allocate", room_id=f"before-{number}")
    await writer.commit()
    digest, offset = writer.view.digest(), writer.view.offset
    monkeypatch.setattr("ladle.journal.reads.SLICE_ROWS", 1)
    begun = asyncio.Event()
    slices = 0
    cut = snapshots._Text.cut

    async def slow(self, *, last=False):
        nonlocal slices
        slices += 1
        if slices == 5:
            begun.set()
            await committed.wait()
        await cut(self, last=last)

    committed = asyncio.Event()
    monkeypatch.setattr(snapshots._Text, "cut", slow)
    making = asyncio.create_task(capture(other))
    await begun.wait()
    writer.ask("allocate", room_id="meanwhile")
    await writer.commit()
    committed.set()
    made = await making
    assert (made.head.offset, made.digest) == (offset, digest)
    assert slices > 40


async def test_a_command_anchors_under_a_term_of_its_own(store, other):
    writer = await small_writer(store)
    await busy_day(writer, seed=9)
    made = await capture(other)
    await keep(other, made)
    record = await append_alone(other, SystemClock(), "snapshot-1", Kind.SNAPSHOT, made.payload)
    assert (record.offset, record.term) == (made.head.offset + 1, writer.mine.term + 1)
    assert (await store.lease()).holder == ""
    assert (await fold.check(store)).holds
    assert await nearest(store, record.offset) is not None
