"""A standby that becomes the writer keeps nothing on its channel, which lives on."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ladle.placement.callers import Callers
from ladle.placement.standby import Standby
from ladle_contracts.clock import SystemClock
from ladle_contracts.link import Outgoing
from tests.fixtures.memory_link import MemoryLink
from tests.placement.writing import Writing, writing


@pytest.fixture
async def w(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Writing]:
    async with writing(tmp_path, monkeypatch) as made:
        yield made


async def test_a_read_whose_dead_letter_is_on_its_way_goes_back(w: Writing) -> None:
    link = MemoryLink(w.broker)
    await link.open()
    standby = Standby(
        store=w.store,
        link=link,
        clock=SystemClock(),
        metrics=w.metrics,
        topology=w.topology,
        callers=Callers.of(w.settings, w.clock),
    )
    running = asyncio.create_task(standby.run(prefetch=10))
    await w.until(lambda: standby._consumer is not None, "a standby that consumes")
    for consumer in [
        each for each in w.broker.consumers[w.topology.queries] if each.link is not link
    ]:
        await consumer.cancel()
    link.hold_confirms()
    body = b'{"room_id": "standup"}'
    await w.peer.publish(
        Outgoing(w.topology.placement_requests, "lookup", body, reply_to="placement.inbox")
    )
    await w.until(lambda: len(w.broker.queues[w.topology.dead_letters]) == 1, "the dead letter")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await standby.end()
    waiting = w.broker.queues[w.topology.queries]
    assert [message.body for message in waiting] == [body]
    assert link.is_up
    await link.close()
