"""Plain statuses wait for company, a second at most, and nothing of them is lost meanwhile."""

from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from ladle.core.record import Kind, Record
from ladle_contracts.events import RoomCreated, WorkerState, WorkerStatus
from tests.placement.writing import LIFE, Writing, writing


@pytest.fixture
async def w(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Writing]:
    """A writer that has caught up, with three servers."""
    async with writing(tmp_path, monkeypatch) as made:
        for number in (1, 2, 3):
            await made.register(f"sfu-{number}")
        yield made


def statuses_in(record: Record) -> int:
    return len(orjson.loads(record.body)["payload"]["statuses"])


def shared(records: list[Record]) -> list[Record]:
    return [record for record in records if record.kind == Kind.STATUSES]


async def test_they_wait_a_second_and_share_one_record(w: Writing) -> None:
    head = await w.store.head()
    await w.status("sfu-1", consumers=10)
    await w.advance(600)
    await w.status("sfu-2", consumers=20)
    await w.advance(399)
    assert await w.store.head() == head
    assert w.unacked() == 2, "an ack before the record could be for nothing"
    await w.advance(1)
    (record,) = await w.records(head.offset)
    assert (record.kind, statuses_in(record)) == (Kind.STATUSES, 2)
    assert w.unacked() == 0
    view = w.term.writer.view
    assert [view.workers[f"sfu-{n}", "0"].observed for n in (1, 2, 3)] == [10, 20, 0]


async def test_the_shared_record_is_the_last_of_its_batch(w: Writing) -> None:
    """Also where other messages come into the batch after their second is over."""
    w.store.hold()
    await w.created("first")
    await w.quiet_but_held()
    await w.status("sfu-1", consumers=10)
    await w.advance_held(1_000)
    await w.created("second", "sfu-2")
    await w.created("third", "sfu-3")
    await w.quiet_but_held()
    w.store.release()
    await w.quiet()
    kinds = [record.kind for record in w.store.appends[-1].records]
    assert kinds == [Kind.EVENT, Kind.EVENT, Kind.STATUSES]
    await w.tables_are_the_journal()


async def test_a_restart_does_not_overtake_what_the_former_life_said(w: Writing) -> None:
    """Behind it that status would be of an older life: rejected, and its server asked who it is."""
    head = await w.store.head()
    await w.status("sfu-1", consumers=10)
    await w.event(
        "sfu-1", RoomCreated(room_id="new", worker_id="0"), sequence=1, incarnation=LIFE + 1
    )
    await w.quiet()
    records = await w.records(head.offset)
    assert [record.kind for record in records] == [Kind.STATUSES, Kind.EVENT]
    assert b"server-rejected" not in b"".join(record.body for record in records)
    assert w.unacked() == 0


async def test_the_death_of_a_worker_does_not_wait(w: Writing) -> None:
    """Its rooms are stranded at once, in a record that is found by the server."""
    head = await w.store.head()
    died = WorkerState(
        worker_id="0",
        state="died",
        consumers=0,
        producers=0,
        rooms=0,
        cpu_permille=0,
        memory_bytes=0,
    )
    await w.event("sfu-1", WorkerStatus(workers=[died]))
    await w.quiet()
    (record,) = await w.records(head.offset)
    assert (record.kind, record.server_id) == (Kind.EVENT, "sfu-1")


async def test_a_full_record_does_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with writing(tmp_path, monkeypatch, statuses_max=4) as w:
        await w.register()
        head = await w.store.head()
        for _ in range(4):
            await w.status()
        await w.quiet()
        (record,) = await w.records(head.offset)
        assert statuses_in(record) == 4


async def test_a_complete_status_has_its_own_record_at_once(w: Writing) -> None:
    head = await w.store.head()
    await w.status("sfu-1", rooms=[], complete=True)
    await w.quiet()
    assert await w.kinds(head.offset) == ["event"]


async def test_a_second_copy_is_acked_no_earlier_than_the_first_is_durable(w: Writing) -> None:
    """The first delivery may be of a lost connection: this ack is the one that counts."""
    sent = await w.status("sfu-1", consumers=10)
    await w.quiet()
    await w.peer.publish(sent)
    await w.created("other", "sfu-2")
    await w.quiet()
    assert w.unacked() == 2, "the event beside them is durable, the status is not"
    await w.advance(1_000)
    assert w.unacked() == 0
    (record,) = shared(await w.records())
    assert statuses_in(record) == 1
    assert w.metrics.events.of("worker-status", "duplicate").value == 1


async def test_a_copy_of_a_durable_one_is_acked_at_once(w: Writing) -> None:
    sent = await w.status("sfu-1", consumers=10)
    await w.advance(1_000)
    head = await w.store.head()
    await w.peer.publish(sent)
    await w.quiet()
    assert w.unacked() == 0
    assert await w.store.head() == head


async def test_those_that_wait_are_written_before_a_clean_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop does not give them back to the queue where it can as well write them."""
    async with writing(tmp_path, monkeypatch) as w:
        await w.register()
        await w.status(consumers=7)
        await w.quiet()
        assert w.unacked() == 1
        await w.term.end(clean=True, grace_ms=5_000)
        assert len(shared(await w.records())) == 1
        assert not w.broker.queues[w.topology.inbox]


async def test_they_are_written_before_the_writer_says_that_it_has_caught_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Caught up means: all that had piled up stands in the view."""
    async with writing(tmp_path, monkeypatch) as w:
        await w.register()
        await w.status(consumers=7)
        await w.quiet()
        w.link.disconnect()
        w.link.reconnect()
        await w.until(lambda: w.term.caught_up, "the marker")
        await w.quiet()
        kinds = await w.kinds()
        assert kinds[-3:] == ["bus-up", "statuses", "caught-up"]
        assert w.unacked() == 0


async def test_no_server_is_silent_whose_status_waits(w: Writing) -> None:
    """Its third interval ends while its status waits for company: that counts first."""
    await w.register("sfu-9")
    await w.advance(14_500)
    for number in (1, 2, 3):
        await w.status(f"sfu-{number}")
    head = await w.store.head()
    await w.advance(500)
    records = await w.records(head.offset)
    assert [record.kind for record in records] == [Kind.STATUSES, Kind.TICK]
    said = orjson.loads(records[1].body)["outcome"]["outbound"]
    assert [(event["type"], event["server_id"]) for event in said] == [("server-stale", "sfu-9")]
