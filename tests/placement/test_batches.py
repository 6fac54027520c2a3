"""How batches form, and what waits for their commit."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from ladle.core.record import Kind
from ladle_contracts.events import RoomCreated
from ladle_contracts.requests import Lookup
from tests.placement.writing import Writing, writing


@pytest.fixture
async def w(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Writing]:
    """A writer that has caught up, with one server of one worker."""
    async with writing(tmp_path, monkeypatch) as made:
        await made.register()
        yield made


async def test_a_lone_message_does_not_wait(w: Writing) -> None:
    """Not a millisecond passes between the question and its answer."""
    now_ms = w.clock.monotonic_ms()
    reply = await w.reply(await w.allocate("standup"))
    assert (reply["outcome"], reply["server"]["server_id"]) == ("placed", "sfu-1")
    assert w.clock.monotonic_ms() == now_ms
    assert len(w.store.appends[-1].records) == 1


async def test_a_batch_forms_while_the_store_is_busy(w: Writing) -> None:
    """What comes during a commit goes together into the next one, in the order of arrival."""
    w.store.hold()
    appended = len(w.store.appends)
    first = await w.allocate("room-0")
    await w.until(lambda: len(w.store.appends) == appended + 1, "the first append")
    others = [await w.allocate(f"room-{n}") for n in range(1, 21)]
    await w.until(lambda: len(w.term.writer.batch.records) == 20, "twenty folded requests")
    w.store.release()
    for each in (first, *others):
        assert (await w.reply(each))["outcome"] == "placed"
    sizes = [len(batch.records) for batch in w.store.appends[appended:]]
    assert sizes == [1, 20]
    assert [reply["room_id"] for reply in w.replies()] == [f"room-{n}" for n in range(21)]
    offsets = [reply["journal_offset"] for reply in w.replies()]
    assert offsets == sorted(offsets)


async def test_a_batch_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with writing(tmp_path, monkeypatch, batch_records_max=5) as w:
        await w.register()
        appended = len(w.store.appends)
        for n in range(12):
            await w.allocate(f"room-{n}")
        await w.until(lambda: len(w.replies()) == 12, "all answers")
        sizes = [len(batch.records) for batch in w.store.appends[appended:]]
        assert max(sizes) <= 5
        assert sum(sizes) == 12


async def test_a_stop_does_not_wait_for_a_commit_that_was_cancelled(w: Writing) -> None:
    """As where the whole process is cancelled in mid stop: nothing more comes of it."""
    w.store.hold()
    await w.allocate("room-0")
    writer = w.term.writer
    await w.until(lambda: writer._in_flight is not None, "the commit")
    assert writer._in_flight is not None
    writer._in_flight.cancel()
    async with asyncio.timeout(5):
        await writer.drain()
    w.store.release()


async def test_no_reply_and_no_ack_before_the_commit(w: Writing) -> None:
    """Journal before reply: a crash in between must leave nothing that was promised."""
    w.store.hold()
    asked = await w.allocate("standup")
    await w.quiet_but_held()
    assert "standup" in w.term.writer.view.rooms
    assert (w.replies(asked), w.unacked()) == ([], 1)
    head = await w.store.head()
    w.store.release()
    reply = await w.reply(asked)
    await w.quiet()
    assert w.unacked() == 0
    assert reply["journal_offset"] > head.offset
    record = await w.store.record(reply["journal_offset"])
    assert record is not None
    assert orjson.loads(record.body)["outcome"]["reply"]["allocation_id"] == reply["allocation_id"]


async def test_no_ack_of_an_event_before_the_commit(w: Writing) -> None:
    w.store.hold()
    await w.created("adopted")
    await w.quiet_but_held()
    assert "adopted" in w.term.writer.view.rooms
    assert w.unacked() == 1
    w.store.release()
    await w.quiet()
    assert w.unacked() == 0


async def test_the_reply_goes_out_before_the_ack(w: Writing) -> None:
    """The other way round a crash in between would leave a caller without an answer for good."""
    w.link.told.clear()
    await w.reply(await w.allocate("standup"))
    await w.quiet()
    assert w.link.told == ["reply", "ack"]


async def test_a_read_sees_no_more_than_what_is_durable(w: Writing) -> None:
    """It is answered from the view, which is ahead, and so waits for what it saw."""
    w.store.hold()
    written = await w.allocate("standup")
    read = await w.ask(Lookup(room_id="standup"))
    await w.until(lambda: "standup" in w.term.writer.view.rooms, "the room folded")
    assert w.replies() == []
    w.store.release()
    answer = await w.reply(read)
    assert answer["allocation_id"] == (await w.reply(written))["allocation_id"]
    assert answer["journal_offset"] == (await w.store.head()).offset


async def test_a_read_alone_writes_nothing(w: Writing) -> None:
    head = await w.store.head()
    appended = len(w.store.appends)
    answer = await w.reply(await w.ask(Lookup(room_id="nowhere")))
    assert answer["error"]["code"] == "unknown-room"
    assert await w.store.head() == head
    assert len(w.store.appends) == appended


async def test_a_copy_inside_the_open_batch_is_acked_with_it(w: Writing) -> None:
    """The first copy is folded and not durable: an ack now could be for nothing."""
    w.store.hold()
    await w.allocate("busy")  # the store has something to do
    await w.created("room")
    again = w.sequences["sfu-1"]
    await w.event("sfu-1", RoomCreated(room_id="room", worker_id="0"), sequence=again)
    await w.until(lambda: w.unacked(w.topology.inbox) == 2, "both copies delivered")
    await w.until(lambda: len(w.term.writer.batch.acks) == 2, "both copies folded")
    w.store.release()
    await w.quiet()
    assert w.unacked() == 0
    events = [r for r in await w.records() if r.kind == Kind.EVENT and r.room_id == "room"]
    assert len(events) == 1
    assert w.metrics.events.of("room-created", "duplicate").value == 1


async def test_a_request_again_inside_the_open_batch_gets_the_same_answer(w: Writing) -> None:
    w.store.hold()
    first = await w.allocate("room", request_id="same")
    second = await w.allocate("room", request_id="same")
    await w.until(lambda: len(w.term.writer.batch.recalled) == 1, "both folded")
    assert w.replies() == []
    w.store.release()
    answers = [await w.reply(first), await w.reply(second)]
    assert answers[0] == answers[1]
    await w.quiet()
    assert w.unacked() == 0
    assert (await w.kinds()).count("request") == 1


async def test_the_same_id_for_another_question_is_a_conflict(w: Writing) -> None:
    first = await w.reply(await w.allocate("room", request_id="same"))
    second = await w.reply(await w.allocate("another", request_id="same"))
    assert first["status"] == "ok"
    assert second["error"]["code"] == "conflict"
    assert "another" not in w.term.writer.view.rooms
