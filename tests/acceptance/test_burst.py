"""Many callers at once on the real service: one home a room, and no worker above the others."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack

import pytest

from tests.acceptance.promises import servers
from tests.fixtures.service import Running

pytestmark = pytest.mark.broker

CAPACITY = 500
COST_OF_TWO = 4
"""Consumers: each of two people receives two streams of the other."""


async def test_twenty_callers_at_once_get_one_home(service: Running) -> None:
    """Over twenty connections: who is first decides, the others are told of it."""
    async with servers(service.settings.url, service.cell, 3), AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(service.client()) for _ in range(20)]
        answers = await asyncio.gather(*(client.allocate("standup", peers=4) for client in clients))
        assert {answer.room_id for answer in answers} == {"standup"}
        assert len({answer.allocation_id for answer in answers}) == 1
        assert len({(answer.server.server_id, answer.server.worker_id) for answer in answers}) == 1
        assert Counter(answer.outcome for answer in answers) == {"placed": 1, "existing": 19}
        assert len({answer.journal_offset for answer in answers}) == 20
        view = await clients[0].view()
        used = [worker.used for server in view.servers for worker in server.workers]
        assert sum(used) == 24, "the room's capacity is held once"


async def test_one_request_sent_twenty_times_is_one_request(service: Running) -> None:
    """Twenty copies with one id: one record, and the same answer for each."""
    async with servers(service.settings.url, service.cell, 3), service.client() as client:
        before = (await client.view()).offset
        answers = await asyncio.gather(
            *(client.allocate(peers=4, request_id="the-same") for _ in range(20))
        )
        assert len({answer.room_id for answer in answers}) == 1
        assert len({answer.allocation_id for answer in answers}) == 1
        assert {answer.outcome for answer in answers} == {"placed"}
        (offset,) = {answer.journal_offset for answer in answers}
        records = (await client.history(after_offset=before, limit=1_000)).records
        asked = [record.offset for record in records if record.kind == "request"]
        assert asked == [offset]


async def test_a_burst_is_spread_evenly(service: Running) -> None:
    """2,000 rooms of two at once on 80 workers: a load report comes later than the last of them."""
    async with (
        servers(service.settings.url, service.cell, 20, capacity=CAPACITY),
        service.client(timeout_ms=60_000) as client,
    ):
        answers = await asyncio.gather(
            *(client.allocate(f"room-{n}", peers=2) for n in range(2_000))
        )
        assert {answer.outcome for answer in answers} == {"placed"}
        assert len({answer.allocation_id for answer in answers}) == 2_000
        view = await client.view()
    used = [worker.used for server in view.servers for worker in server.workers]
    assert len(used) == 80
    assert sum(used) == 2_000 * COST_OF_TWO
    assert max(used) <= CAPACITY
    assert max(used) / (sum(used) / len(used)) <= 1.1
    placed = Counter((answer.server.server_id, answer.server.worker_id) for answer in answers)
    assert {count * COST_OF_TWO for count in placed.values()} == set(used)


async def test_a_burst_beyond_all_capacity_is_refused_in_part(service: Running) -> None:
    """What fits is placed, the rest is told so; no worker is filled beyond its capacity."""
    async with (
        servers(service.settings.url, service.cell, 2, workers=2, capacity=CAPACITY),
        service.client(attempts_max=1) as client,
    ):
        # 21 rooms of 24 consumers fit on a worker of 500 with 4 left, where nothing more fits.
        results = await asyncio.gather(
            *(client.allocate(f"room-{n}", peers=4) for n in range(120)), return_exceptions=True
        )
        view = await client.view()
    codes = Counter(getattr(result, "code", "placed") for result in results)
    assert codes == {"placed": 4 * (CAPACITY // 24), "no-capacity": 120 - 4 * (CAPACITY // 24)}
    used = [worker.used for server in view.servers for worker in server.workers]
    assert used == [CAPACITY // 24 * 24] * 4
