"""Ten thousand callers who wake up at once on a real broker: answered, or refused with a code.

That each hears within its own time is held in simulated time, in tests/chaos/test_bounds.py: here
the callers share the machine with all that they ask.
"""

import asyncio
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest

from ladle.broker.fast import FastLink
from ladle_contracts.client import TIMEOUT_MS, PlacementClient
from ladle_contracts.envelope import encode_event, encode_request
from ladle_contracts.events import ServerDescription, ServerRegistered, WorkerDescription
from ladle_contracts.link import DIRECT_REPLY_TO, Message
from ladle_contracts.requests import Allocate
from tests.fixtures.placement_process import PlacementProcess, placement_process

pytestmark = [pytest.mark.broker, pytest.mark.slow]

CALLERS = 10_000
HANG_S = 240.0
"""No more than a guard: who has no answer by then was forgotten."""

DEFAULTS: dict[str, int] = {}

STRICT = {
    # Less than a busy machine needs, so that some are refused for that.
    "requests_wait_ms": 100,
    # All of them are one user here, and no machine is so slow that the rate admits them all.
    "caller_requests_per_s": 100,
    "caller_burst": 5_000,
}

GROWTH_BYTES_MAX = 150_000_000
"""Ten thousand requests that wait, and thousands of rooms, above a service that does nothing."""


LIFE = 1_763_802_000_000


class Callers:
    """Each asks once for a room of its own and waits for the end of it."""

    def __init__(self, link: FastLink, cell: str, time_ms: int) -> None:
        self._link = link
        self._cell = cell
        self._time_ms = time_ms
        self._open: set[str] = set()
        self._all_heard = asyncio.Event()
        self.codes: Counter[str] = Counter()
        self.homes: set[str] = set()
        self.wrong: list[str] = []

    async def ask(self) -> None:
        """All at once; every one of the requests has reached the broker afterwards."""
        await self._link.listen_for_replies(self._on_replies)
        self._open = {f"room-{number}" for number in range(CALLERS)}
        requests = [
            encode_request(
                Allocate(room_id=room, ttl_ms=600_000),
                request_id=room,
                correlation_id=room,
                reply_to=DIRECT_REPLY_TO,
                timeout_ms=self._time_ms,
                cell=self._cell,
                user_id=self._link.user,
            )
            for room in sorted(self._open)
        ]
        # Who was never sent is never answered: a burst that is lost here is no hang there.
        assert Counter(map(repr, await self._link.publish_all(requests))) == {"None": CALLERS}

    async def all_heard(self) -> None:
        """Each has an answer or a refusal."""
        async with asyncio.timeout(HANG_S):
            await self._all_heard.wait()

    def _on_replies(self, messages: list[Message]) -> None:
        for message in messages:
            self._hear(message.correlation_id or "", orjson.loads(message.body))
        if not self._open:
            self._all_heard.set()

    def _hear(self, room: str, reply: dict[str, object]) -> None:
        if room not in self._open:
            self.wrong.append(f"a second answer for {room}")
        self._open.discard(room)
        error = reply.get("error")
        if isinstance(error, dict):
            self.codes[error["code"]] += 1
            if not (error["retryable"] and error["retry_after_ms"] > 0):
                self.wrong.append(f"no time to come again: {error}")
        else:
            self.codes[str(reply["outcome"])] += 1
            self.homes.add(str(reply["allocation_id"]))


async def register(link: FastLink, cell: str, client: PlacementClient) -> None:
    """A server with room for all, whose silence is no matter of this test."""
    server = ServerDescription(host="sfu.example.org", status_interval_ms=3_600_000)
    workers = [WorkerDescription(worker_id=str(n), capacity_consumers=1_000_000) for n in range(4)]
    await link.publish(
        encode_event(
            ServerRegistered(server=server, workers=workers),
            server_id="sfu-1",
            event_id="start",
            time_ms=LIFE,
            incarnation=LIFE,
            sequence=1,
            cell=cell,
        )
    )
    async with asyncio.timeout(HANG_S):
        while not (await client.view()).servers:
            await asyncio.sleep(0.05)


@asynccontextmanager
async def paused(process: PlacementProcess) -> AsyncIterator[None]:
    """It answers nobody, so that all of them wait when it goes on."""
    process.send(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send(signal.SIGCONT)


def peak_bytes(process: PlacementProcess) -> int:
    """The most memory that was ever resident in it."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (kilobytes,) = re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(kilobytes) * 1024


@pytest.mark.parametrize(
    ("settings", "time_ms"), [(DEFAULTS, TIMEOUT_MS), (STRICT, 600_000)], ids=["defaults", "strict"]
)
async def test_ten_thousand_wake_up_at_once(
    settings: dict[str, int], time_ms: int, broker_url: str, cell: str, tmp_path: Path
) -> None:
    """Nobody is forgotten, nobody hears twice, and the service stays small and goes on.

    With the defaults no request runs out in silence: the service has it before its time is up, and
    whoever it has gets an answer.
    """
    link = FastLink(broker_url, name="callers")
    async with (
        placement_process(
            tmp_path,
            amqp_url=broker_url,
            cell=cell,
            database_url=f"sqlite:///{tmp_path}/ladle.db",
            **settings,
        ) as process,
        PlacementClient.connect(
            broker_url, cell=cell, timeout_ms=120_000, attempts_max=100
        ) as latecomer,
    ):
        await process.ready()
        await link.open()
        try:
            await register(link, cell, latecomer)
            before = peak_bytes(process)
            callers = Callers(link, cell, time_ms)
            async with paused(process):
                await callers.ask()
            await callers.all_heard()
            grown = peak_bytes(process) - before
        finally:
            await link.close()
        assert (await latecomer.allocate("late")).outcome == "placed"
    assert not callers.wrong
    assert set(callers.codes) <= {"placed", "unavailable", "rate-limited"}, callers.codes
    assert callers.codes.total() == CALLERS
    assert 0 < callers.codes["placed"] == len(callers.homes)
    assert (callers.codes["placed"] < CALLERS) or settings is DEFAULTS
    assert grown < GROWTH_BYTES_MAX
