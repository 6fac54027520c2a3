"""Ten thousand callers who wake up at once on a real broker: answered, or told to come again."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

from ladle.placement.settings import PlacementSettings
from ladle_contracts.amqp import AioPikaLink
from ladle_contracts.envelope import encode_event, encode_request
from ladle_contracts.events import ServerDescription, ServerRegistered, WorkerDescription
from ladle_contracts.link import Message
from ladle_contracts.requests import Allocate
from tests.fixtures.service import Running, running_service

pytestmark = [pytest.mark.broker, pytest.mark.slow]

CALLERS = 10_000
LIFE = 1_763_802_000_000
WAIT_MS = 100
"""Less than any service needs for all of them, so that some are refused."""


class Callers:
    """Each has one room to ask for, with one request id, until it is placed."""

    def __init__(self, settings: PlacementSettings) -> None:
        self._cell = settings.cell
        self._link = AioPikaLink(settings.url, name="callers")
        self._replies = f"reply.{settings.cell}"
        self._open: set[str] = set()
        self._all_heard = asyncio.Event()
        self.outcomes: Counter[str] = Counter()
        self.homes: dict[str, str] = {}
        self.refused: list[str] = []

    async def start(self) -> None:
        await self._link.open()
        await self._link.declare_reply_queue(self._replies)
        await self._link.consume(self._replies, self._on_replies, prefetch=1_000, no_ack=True)

    async def close(self) -> None:
        await self._link.close()

    async def ask(self, rooms: list[str]) -> None:
        """All at once."""
        self._open, self.refused = set(rooms), []
        self._all_heard.clear()
        await self._link.publish_all(
            [
                encode_request(
                    Allocate(room_id=room, peers=2, ttl_ms=600_000),
                    request_id=room,
                    correlation_id=room,
                    reply_to=self._replies,
                    timeout_ms=600_000,
                    cell=self._cell,
                )
                for room in rooms
            ]
        )

    async def all_heard(self) -> None:
        """Each has an answer."""
        async with asyncio.timeout(120):
            await self._all_heard.wait()

    def _on_replies(self, messages: list[Message]) -> None:
        for message in messages:
            room, reply = message.correlation_id or "", orjson.loads(message.body)
            assert room in self._open, f"a second answer for {room}"
            self._open.discard(room)
            self._hear(room, reply)
        if not self._open:
            self._all_heard.set()

    def _hear(self, room: str, reply: dict[str, Any]) -> None:
        if reply["status"] == "ok":
            self.outcomes[reply["outcome"]] += 1
            self.homes[room] = reply["allocation_id"]
            return
        self.outcomes[reply["error"]["code"]] += 1
        assert reply["error"]["retryable"]
        assert reply["error"]["retry_after_ms"] >= 1_000
        self.refused.append(room)


def workers_of(running: Running) -> list[object]:
    assert running.service.term is not None
    return list(running.service.term.writer.view.workers)


async def register(running: Running) -> None:
    """Ten servers with room for all, whose silence is no matter of this test."""
    async with running.link() as link:
        for number in range(10):
            server = ServerDescription(host="sfu.example.org", status_interval_ms=3_600_000)
            workers = [WorkerDescription(worker_id="0", capacity_consumers=1_000_000)]
            await link.publish(
                encode_event(
                    ServerRegistered(server=server, workers=workers),
                    server_id=f"sfu-{number}",
                    event_id=f"start-{number}",
                    time_ms=LIFE,
                    incarnation=LIFE,
                    sequence=1,
                    cell=running.cell,
                )
            )


async def test_ten_thousand_wake_up_at_once(broker_url: str, cell: str, tmp_path: Path) -> None:
    """Nobody is forgotten, nobody hears twice, and who comes again is placed."""
    database = f"sqlite:///{tmp_path}/ladle.db"
    async with running_service(broker_url, cell, database) as running:
        await register(running)
        await running.until(lambda: len(workers_of(running)) == 10, "the fleet")
        callers = Callers(running.settings)
        await callers.start()
    try:
        # Nobody answers while they ask, so that all of them wait when somebody does.
        await callers.ask([f"room-{number}" for number in range(CALLERS)])
        async with running_service(broker_url, cell, database, requests_wait_ms=WAIT_MS) as running:
            await callers.all_heard()
            assert callers.outcomes.total() == CALLERS
            assert set(callers.outcomes) == {"placed", "unavailable"}
            while callers.refused:
                before = len(callers.homes)
                await callers.ask(callers.refused)
                await callers.all_heard()
                assert len(callers.homes) > before, "those who came again were all refused again"
            assert len(set(callers.homes.values())) == CALLERS
            assert running.service.term is not None
            writer = running.service.term.writer
            assert len(writer.view.rooms) == CALLERS, "a refusal left no trace"
            assert len(writer._arrived) == 0
    finally:
        await callers.close()
