"""Servers that never registered are told to, a bounded number of them."""

from pathlib import Path

import pytest

from ladle.placement import term as term_module
from ladle.placement.strangers import Strangers
from ladle_contracts.events import RoomCreated
from ladle_contracts.topology import COMMAND_QUEUE_EXPIRES_MS
from tests.fixtures.manual_clock import ManualClock
from tests.placement.writing import writing


async def test_a_day_admits_so_many() -> None:
    clock = ManualClock()
    strangers = Strangers(clock, most=2)
    assert strangers.admit("a")
    await clock.advance(1_000)
    assert strangers.admit("b")
    assert not strangers.admit("c")
    await clock.advance(1_000)
    assert strangers.admit("a"), "it has its place; from now on for a day"
    await clock.advance(COMMAND_QUEUE_EXPIRES_MS - 1_001)
    assert not strangers.admit("c")
    await clock.advance(1)
    assert strangers.admit("c"), "the queue of b has expired"
    assert not strangers.admit("b"), "that of a has not"


async def test_invented_names_make_few_queues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outbox goes on behind those that nobody takes, and who registers gets a queue."""
    monkeypatch.setattr(term_module, "Strangers", lambda clock: Strangers(clock, most=3))
    async with writing(tmp_path, monkeypatch) as w:
        for number in range(10):
            await w.event(f"ghost-{number}", RoomCreated(room_id="standup"), sequence=1)
        await w.quiet()
        await w.until(w.term._outbox.idle.is_set, "the outbox")
        queues = {f"{w.topology.media_commands}.ghost-{number}" for number in range(10)}
        assert len(queues & set(w.broker.queues)) == 3
        await w.register("ghost-9")
        name = f"{w.topology.media_commands}.ghost-9"
        await w.until(lambda: name in w.broker.queues, "the queue of a registered server")
