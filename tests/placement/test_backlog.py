"""Ten thousand callers at once: each is answered or told to come again, within bounds."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ladle.core.record import Kind
from ladle.placement.backlog import Backlog
from ladle.placement.batch import Arrival
from ladle_contracts.link import Message
from tests.placement.writing import REPLIES, Writing, writing


def arrival(
    name: str, arrived_ms: int, *, request: bool = True, size: int = 1, own_ms: int | None = None
) -> Arrival:
    message = Message(b"x" * size, message_id=name, expiration_ms=own_ms)
    handler: Any = None
    return Arrival(message, handler, 0.0, arrived_ms, request)


def names(arrivals: list[Arrival]) -> list[str | None]:
    return [each.message.message_id for each in arrivals]


def rest(backlog: Backlog) -> list[str | None]:
    return names([backlog.popleft() for _ in range(len(backlog))])


def test_late_requests_leave_and_events_stay_in_order() -> None:
    backlog = Backlog(100)
    backlog.extend(
        [
            arrival("event-1", 0, request=False),
            arrival("late-1", 0),
            arrival("event-2", 5, request=False),
            arrival("late-2", 9),
            arrival("in-time", 10),
            arrival("event-3", 10, request=False),
        ]
    )
    assert names(backlog.take_late(109)) == ["late-1"]
    assert names(backlog.take_late(110)) == ["late-2"]
    assert backlog.take_late(110) == []
    assert rest(backlog) == ["event-1", "event-2", "in-time", "event-3"]


def test_events_alone_wait_for_ever() -> None:
    backlog = Backlog(100)
    backlog.extend([arrival("event", 0, request=False)])
    assert backlog.take_late(1_000_000) == []
    assert rest(backlog) == ["event"]


def test_too_many_bytes_are_too_much_at_once() -> None:
    """A full prefetch of the largest bodies would be gigabytes."""
    backlog = Backlog(100, bytes_max=10)
    first, second = arrival("a", 0, size=6), arrival("b", 0, size=5)
    backlog.extend([first, second, arrival("event", 0, request=False, size=99)])
    assert names(backlog.take_late(0)) == ["b"]
    assert backlog.popleft() is first
    backlog.extend([second])
    assert backlog.take_late(0) == [], "there is room again"
    assert rest(backlog) == ["event", "b"]


def test_what_is_put_back_waits_again() -> None:
    backlog = Backlog(100, bytes_max=10)
    backlog.extend([arrival("a", 0, size=6), arrival("b", 50)])
    backlog.put_back([backlog.popleft()])
    backlog.extend([arrival("c", 60, size=5)])
    assert names(backlog.take_late(101)) == ["c", "a"]
    assert rest(backlog) == ["b"]


def test_who_has_less_time_waits_half_of_it_wherever_it_stands() -> None:
    backlog = Backlog(100)
    first, short = arrival("first", 0, own_ms=1_000), arrival("short", 0, own_ms=60)
    backlog.extend(
        [
            first,
            short,
            arrival("event", 0, request=False, own_ms=2),
            arrival("shorter", 5, own_ms=20),
            arrival("long", 6, own_ms=200),
        ]
    )
    assert backlog.take_late(15) == []
    assert names(backlog.take_late(16)) == ["shorter"]
    assert len(backlog) == 4
    # Taken for a batch, and put back: it waits as before. What was folded is no matter any more.
    taken = [backlog.popleft(), backlog.popleft()]
    assert taken == [first, short]
    assert backlog.take_late(31) == []
    backlog.put_back(taken)
    assert names(backlog.take_late(31)) == ["short"]
    assert names(backlog.take_late(101)) == ["first"]
    assert backlog.take_late(106) == []
    assert rest(backlog) == ["event", "long"]


def test_all_who_wait_may_leave_at_once() -> None:
    backlog = Backlog(100)
    backlog.extend([arrival("a", 0, own_ms=10), arrival("b", 0), arrival("c", 0, own_ms=12)])
    assert names(backlog.take_late(200)) == ["a", "c", "b"]
    assert len(backlog) == 0
    assert not backlog


def outcomes(w: Writing) -> Counter[str]:
    return Counter(reply.get("outcome") or reply["error"]["code"] for reply in w.replies())


async def test_ten_thousand_at_once_are_answered_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that hangs keeps nobody waiting; who was refused left no trace and may ask again."""
    async with writing(tmp_path, monkeypatch, batch_records_max=100) as w:
        await w.register(capacity=10_000_000)
        head = await w.store.head()
        answered = w.broker.queues[REPLIES]
        w.store.hold()
        first = await w.allocate("first")
        await w.until(lambda: len(w.store.appends) > 0, "a commit that hangs")
        for number in range(10_000):
            await w.allocate(f"room-{number}")
        arrived = w.term.writer._arrived
        await w.until(lambda: len(arrived) > 9_800, "the callers")
        assert not answered
        await w.clock.advance(w.settings.requests_wait_ms + 1_001)
        await w.until(lambda: len(answered) > 0, "the refusals")
        refused = outcomes(w)
        assert set(refused) == {"unavailable"}
        assert 9_800 <= refused["unavailable"] <= 9_900, "all but those that are being committed"
        assert len(arrived) <= 1, "what the broker kept back until there was room"
        hints = [reply["error"]["retry_after_ms"] for reply in w.replies()]
        assert all(reply["error"]["retryable"] for reply in w.replies())
        assert all("journal_offset" not in reply for reply in w.replies())
        assert max(Counter(hints).values()) <= 10, "they come back spread over seconds"
        w.store.release()
        await w.until(lambda: len(answered) == 10_001, "the answers")
        assert outcomes(w) == refused | {"placed": 10_001 - refused["unavailable"]}
        assert w.replies(first)[0]["outcome"] == "placed"
        assert w.unacked() == 0
        records = [r for r in await w.store.records(head.offset, 20_000) if r.kind == Kind.REQUEST]
        assert len(records) == outcomes(w)["placed"]
        again = await w.allocate("room-9999", "request-10001")
        assert (await w.reply(again))["outcome"] == "placed"
