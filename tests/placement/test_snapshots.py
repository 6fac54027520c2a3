"""The service's own snapshots: one each so many records, beside the writing, anchored."""

import asyncio
from itertools import pairwise
from pathlib import Path

import pytest

from ladle.core.record import Kind
from ladle.journal import fold
from ladle.journal.open import open_store
from ladle.journal.snapshots import anchored, nearest
from ladle.journal.store import StoreBusy
from ladle.placement import snapshots as module
from ladle.placement.snapshots import Snapshots
from ladle_contracts.errors import NoServers
from tests.fixtures.manual_clock import ManualClock, settle
from tests.fixtures.service import running_service
from tests.journal.making import fresh_store
from tests.journal.small_writer import small_writer
from tests.journal.test_fold import busy_day


@pytest.mark.broker
async def test_the_service_makes_them(
    broker_url: str, cell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_MS", 20)
    url = f"sqlite:///{tmp_path}/ladle.db"
    store = open_store(url)
    async with running_service(broker_url, cell, url, snapshot_records=20) as service:
        await store.open()
        async with service.client(attempts_max=1) as client, asyncio.timeout(60):
            while len(await anchored(store)) < 2:
                with pytest.raises(NoServers):
                    await client.allocate("standup")
    anchors = await anchored(store)
    assert all(later.offset - earlier.offset >= 20 for earlier, later in pairwise(anchors))
    for anchor in anchors:
        view = await nearest(store, anchor.offset)
        assert view is not None
        assert view.offset == anchor.offset
        folded = await fold.view_at(store, anchor.offset, start=fold.View())
        assert view.digest() == folded.digest() == anchor.digest
    assert (await fold.check(store)).holds
    await store.close()


@pytest.fixture
async def store(tmp_path: Path):
    opened = await fresh_store(f"sqlite:///{tmp_path}/ladle.db")
    yield opened
    await opened.close()


async def test_what_was_begun_and_never_anchored_is_dropped(store) -> None:
    """A writer that was killed between the parts and the anchor leaves parts behind."""
    await store.keep_snapshot(3, 0, b"half of one")
    writer = await small_writer(store)
    await busy_day(writer, seed=1)
    clock, notes = ManualClock(), []
    each = Snapshots(
        store,
        every=10**6,
        clock=clock,
        committed=lambda: writer.head.offset,
        note=lambda kind, payload: notes.append(kind),
    )
    running = asyncio.create_task(each.run())
    while await store.snapshots():
        await settle()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert notes == []


async def test_a_busy_store_is_tried_again(store, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = await small_writer(store)
    await busy_day(writer, seed=1)
    clock, notes, tries = ManualClock(), [], []
    capture = module.capture

    async def busy_once(asked):
        tries.append(1)
        if len(tries) == 1:
            raise StoreBusy("another process is at it")
        return await capture(asked)

    monkeypatch.setattr(module, "capture", busy_once)
    each = Snapshots(
        store,
        every=10,
        clock=clock,
        committed=lambda: writer.head.offset,
        note=lambda kind, payload: notes.append((kind, payload["offset"])),
    )
    running = asyncio.create_task(each.run())
    while not notes:
        await settle()
        await clock.advance(module.LOOK_MS)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert len(tries) == 2
    assert notes == [(Kind.SNAPSHOT, writer.head.offset)]
    assert await store.snapshots() == [writer.head.offset]


async def test_none_are_made_where_none_are_wanted(store) -> None:
    each = Snapshots(
        store, every=0, clock=ManualClock(), committed=lambda: 10**9, note=lambda *_: None
    )
    await each.run()
    assert await store.snapshots() == []
