"""When the writer knows that it has read all that had piled up, and what time may do from then."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from ladle.core.limits import RULES
from ladle.core.record import Kind, Record
from ladle.placement.on_event import MARKER_HEADER
from ladle.placement.settings import PlacementSettings
from ladle.placement.term import MARKER_AGAIN_MS
from ladle_contracts.envelope import encode_event
from ladle_contracts.events import RoomCreated, ServerDescription, ServerRegistered
from ladle_contracts.link import Outgoing
from tests.fixtures.memory_link import MemoryBroker, MemoryLink
from tests.placement.writing import LIFE, Writing, writing


@pytest.fixture
async def w(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Writing]:
    """A writer that has caught up."""
    async with writing(tmp_path, monkeypatch) as made:
        yield made


async def piled_up(broker: MemoryBroker, peer: MemoryLink) -> None:
    """What servers said before anybody wrote."""
    said: list[Any] = [ServerRegistered(server=ServerDescription(host="a"), workers=[])]
    said += [RoomCreated(room_id=f"room-{n}") for n in range(20)]
    for sequence, data in enumerate(said, 1):
        message = encode_event(
            data,
            server_id="sfu-1",
            event_id=f"early-{sequence}",
            time_ms=LIFE,
            incarnation=LIFE,
            sequence=sequence,
        )
        await peer.publish(message)


def payload(record: Record) -> Any:
    return orjson.loads(record.body)["payload"]


async def test_what_had_piled_up_is_read_before_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First who writes, then all that waited, then that it has caught up."""
    async with writing(tmp_path, monkeypatch, before=piled_up, settle_ms=60_000) as w:
        records = await w.records()
        kinds = [record.kind for record in records]
        assert kinds == ["writer-active", "settings", *["event"] * 21, "caught-up"]
        assert payload(records[0])["holder"] == "writer-1"
        assert payload(records[1]) == {"settle_ms": 60_000, "rules": RULES}
        assert w.unacked() == 0


async def test_what_is_new_since_a_journal_began_is_on_from_a_record_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Absent means off: what was folded without them still comes out the same."""
    known = PlacementSettings.model_fields
    wanted = {name: known[name].default for name in ("flap_ms", "slow_start_ms")}
    async with writing(tmp_path, monkeypatch, **wanted) as w:
        await w.register()
        (said,) = [payload(each) for each in await w.records() if each.kind == "settings"]
        assert wanted == {"flap_ms": 300_000, "slow_start_ms": 60_000}
        assert said == wanted | {"rules": RULES}
        assert ("slow-start", "sfu-1") in w.term.writer.view.timers
        await w.tables_are_the_journal()


async def test_not_caught_up_before_its_record_is_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readiness says no more than the journal does."""
    async with writing(tmp_path, monkeypatch, caught_up=False) as w:
        w.store.hold()
        await w.until(lambda: "caught-up" in folded(w), "the marker")
        assert not w.term.caught_up
        w.store.release()
        await w.until(lambda: w.term.caught_up, "the commit")


def folded(w: Writing) -> list[str]:
    batches = [w.term.writer.batch.records, *(batch.records for batch in w.store.appends)]
    return [record.kind for records in batches for record in records]


async def test_a_marker_that_somebody_purged_is_put_there_again(w: Writing) -> None:
    """Or no timer would run until the next connection."""
    w.link.disconnect()
    w.broker.queues[w.topology.inbox].clear()
    purge = w.broker.route

    def lose_markers(message: Any, sender: Any) -> bool:
        return True if MARKER_HEADER in message.headers else purge(message, sender)

    w.broker.route = lose_markers  # type: ignore[method-assign]
    w.link.reconnect()
    await w.advance(MARKER_AGAIN_MS - 1_000)
    assert not w.term.caught_up
    w.broker.route = purge  # type: ignore[method-assign]
    await w.advance(2_000)
    await w.until(lambda: w.term.caught_up, "the second marker")


async def test_another_ones_marker_means_nothing(w: Writing) -> None:
    """One that an earlier writer left in the queue."""
    head = await w.store.head()
    left = Outgoing("", w.topology.inbox, b"{}", headers={MARKER_HEADER: "of another"})
    await w.peer.publish(left)
    await w.quiet()
    assert w.unacked() == 0
    assert await w.store.head() == head


async def test_an_event_with_the_markers_header_is_an_event(w: Writing) -> None:
    """Whoever sends it: it would be acked unseen otherwise."""
    await w.register()
    head = await w.store.head()
    created = encode_event(
        RoomCreated(room_id="standup", worker_id="0"),
        server_id="sfu-1",
        event_id="with-a-header",
        time_ms=LIFE,
        incarnation=LIFE,
        sequence=2,
    )
    created.headers = {MARKER_HEADER: "mine"}
    await w.peer.publish(created)
    await w.quiet()
    assert "standup" in w.term.writer.view.rooms
    straight = Outgoing("", w.topology.inbox, created.body, headers={MARKER_HEADER: "mine"})
    await w.peer.publish(straight)
    await w.quiet()
    assert await w.kinds(head.offset) == ["event", "rejected"]
    assert w.unacked() == 0


async def test_an_idle_minute_writes_nothing(w: Writing) -> None:
    head = await w.store.head()
    await w.advance(60_000)
    assert await w.store.head() == head


async def test_a_tick_is_written_when_one_is_due_and_not_before(w: Writing) -> None:
    await w.register()
    await w.reply(await w.allocate("room", ttl_ms=10_000))
    head = await w.store.head()
    for _ in range(4):
        await w.advance(2_400)
        await w.status()
        await w.advance(0)
    assert "room" in w.term.writer.view.rooms
    assert set(await w.kinds(head.offset)) == {"statuses"}
    await w.advance(1_000)
    (tick,) = [record for record in await w.records(head.offset) if record.kind == Kind.TICK]
    (said,) = orjson.loads(tick.body)["outcome"]["outbound"]
    assert said["type"] == "allocation-expired"
    assert 10_000 <= tick.recorded_at_ms - w.clock._start_ms <= 11_000
    assert "room" not in w.term.writer.view.rooms


async def test_a_stepped_wall_clock_ends_nothing(w: Writing) -> None:
    """An hour forward at once: journaled, and no hold has run out."""
    await w.register()
    await w.reply(await w.allocate("room"))
    before = (await w.records())[-1].recorded_at_ms
    w.clock.step_unix(3_600_000)
    await w.advance(2_000)
    records = await w.records()
    (step,) = [record for record in records if record.kind == Kind.CLOCK_STEP]
    assert payload(step)["utc_ms"] - payload(step)["recorded_ms"] >= 3_590_000
    assert records[-1].recorded_at_ms - before < 5_000
    assert w.term.writer.view.rooms["room"].phase == "held"


async def test_a_wall_clock_set_back_shuts_no_server_out(w: Writing) -> None:
    """Its life is known; only one that begins is held against the clock."""
    await w.register()
    w.clock.step_unix(-20 * 365 * 86_400_000)
    head = await w.store.head()
    await w.event("sfu-1", RoomCreated(room_id="standup", worker_id="0"))
    await w.event("sfu-9", ServerRegistered(server=ServerDescription(host="a"), workers=[]))
    await w.quiet()
    assert "standup" in w.term.writer.view.rooms
    assert "sfu-9" not in w.term.writer.view.servers
    assert "rejected" in await w.kinds(head.offset)


async def test_a_wall_clock_set_back_does_not_turn_the_journal_back(w: Writing) -> None:
    await w.register()
    w.clock.step_unix(-3_600_000)
    await w.reply(await w.allocate("room"))
    await w.advance(1_000)
    times = [record.recorded_at_ms for record in await w.records()]
    assert times == sorted(times)
    assert "clock-step" in await w.kinds()
