"""The application's backend: asks Ladle where rooms are, on behalf of the people who come.

It keeps no home of its own: each ask goes to Ladle, so that a second caller is answered
`existing`. It counts every ask by its end, times the answers, and remembers what it was promised.
"""

import asyncio
import logging
import time
import uuid
from collections import Counter, deque

from ladle.fleet.home import Home
from ladle.fleet.report import Allocations
from ladle.fleet.timeline import DemandOver, Timeline
from ladle.fleet.workloads import RoomDemand
from ladle_contracts.client import PlacementClient
from ladle_contracts.errors import (
    BadReply,
    NoCapacity,
    NoServers,
    OutcomeUnknownError,
    PlacementError,
    RateLimited,
    RegionUnavailable,
    RoomTooLarge,
    ServiceAbsent,
    Unavailable,
    Unreachable,
)
from ladle_contracts.replies import PlacedReply

log = logging.getLogger(__name__)

REFUSALS = (NoServers, NoCapacity, RoomTooLarge, RegionUnavailable)
"""The answers that mean "no" to this room now; every other error is the service's fault."""

WAITED_FOR = (OutcomeUnknownError, ServiceAbsent, Unreachable, Unavailable, RateLimited)
"""What ends by itself, when the service or the broker is back: the same ask goes out again."""

LATENCIES_MAX = 100_000
"""The newest ones are kept: an endless run must not grow."""

RETRY_S = 0.25
"""Between two tries of one ask, while nobody answers."""


class Backend:
    """Asks through one client for any number of rooms at once."""

    def __init__(
        self,
        client: PlacementClient,
        timeline: Timeline,
        *,
        asks_max: int,
        patience_ms: int,
    ) -> None:
        """`asks_max`: asks under way at once; `patience_ms`: how long an ask is retried."""
        self.allocations = Allocations()
        self.latencies_ms: deque[float] = deque(maxlen=LATENCIES_MAX)
        self.refusals: Counter[str] = Counter()
        self.broken_promises: list[str] = []
        self.last_error: str | None = None
        self.extended = 0
        self.released = 0
        self._client = client
        self._timeline = timeline
        self._patience_ms = patience_ms
        self._gate = asyncio.Semaphore(asks_max)
        self._promised: dict[str, Home] = {}

    async def ask(self, demand: RoomDemand) -> Home | None:
        """All callers of the room's demand ask at once. None where none was given a home."""
        asks = (self.ask_again(demand) for _ in range(demand.callers))
        homes = [home for home in await asyncio.gather(*asks) if home is not None]
        for home in homes:
            # Nobody has joined yet: the room cannot have ended between two of these answers.
            self._hold_to(homes[0], home)
        return max(homes, key=lambda home: home.generation, default=None)

    async def ask_again(self, demand: RoomDemand) -> Home | None:
        """One caller asks where the room is. None: refused, or nobody answered in time.

        Raises DemandOver where the run ended before the ask was sent.
        """
        async with self._gate:
            if self._timeline.is_over:
                raise DemandOver
            self.allocations.attempted += 1
            try:
                reply = await self._allocate(demand)
            except PlacementError as error:
                self._count_failure(error)
                return None
        self._count(reply)
        return self._home(reply)

    async def extend(self, demand: RoomDemand) -> None:
        """More people are coming than were announced; a refusal is the room's own affair."""
        try:
            await self._client.extend(
                demand.room_id, peers=demand.grows_to, publishers=demand.publishers
            )
        except PlacementError as error:
            self._note(error)
        else:
            self.extended += 1

    async def release(self, home: Home) -> None:
        """Nobody comes: the capacity goes back at once."""
        try:
            await self._client.release(home.room_id, home.allocation_id)
        except PlacementError as error:
            self._note(error)
        else:
            self.released += 1

    def forget(self, room_id: str) -> None:
        """The room is over; the next one of that name owes nothing to it."""
        self._promised.pop(room_id, None)

    async def _allocate(self, demand: RoomDemand) -> PlacedReply:
        """Ask until answered, with one request id: a retry never makes a second home."""
        request_id = str(uuid.uuid4())
        give_up_s = time.monotonic() + self._patience_ms / 1000
        while True:
            began_s = time.perf_counter()
            try:
                reply = await self._client.allocate(
                    demand.room_id,
                    peers=demand.peers,
                    publishers=demand.publishers,
                    streams_per_publisher=demand.streams_per_publisher,
                    request_id=request_id,
                )
            except REFUSALS:
                self.latencies_ms.append((time.perf_counter() - began_s) * 1000)
                raise
            except BadReply:
                raise
            except WAITED_FOR as error:
                if time.monotonic() >= give_up_s:
                    raise
                log.info("asking again for %s: %s", demand.room_id, error)
                await asyncio.sleep(RETRY_S)
            else:
                self.latencies_ms.append((time.perf_counter() - began_s) * 1000)
                return reply

    def _count(self, reply: PlacedReply) -> None:
        match reply.outcome:
            case "placed":
                self.allocations.placed += 1
            case "existing":
                self.allocations.existing += 1
            case "moved":
                self.allocations.moved += 1

    def _count_failure(self, error: PlacementError) -> None:
        if isinstance(error, REFUSALS):
            self.allocations.refused += 1
            self.refusals[str(error.code)] += 1
            return
        self.allocations.errors += 1
        self._note(error)

    def _note(self, error: PlacementError) -> None:
        self.last_error = str(error)
        # A refusal is an answer like another; what is no answer is worth a line.
        level = logging.INFO if isinstance(error, REFUSALS) else logging.WARNING
        log.log(level, "Ladle answered: %s", error)

    def _home(self, reply: PlacedReply) -> Home:
        home = Home(
            room_id=reply.room_id,
            allocation_id=reply.allocation_id,
            generation=reply.generation,
            server_id=reply.server.server_id,
            worker_id=reply.server.worker_id,
        )
        before = self._promised.get(home.room_id)
        if before is not None and reply.outcome == "existing":
            self._hold_to(before, home)
        # Placed anew: the room had ended meanwhile, and its generations may begin again.
        self._promised[home.room_id] = home
        return home

    def _hold_to(self, before: Home, now: Home) -> None:
        """Two servers for one room in one generation are a broken promise."""
        if before.generation == now.generation and before.server_id != now.server_id:
            self.broken_promises.append(
                f"room {now.room_id} was said to be on {before.server_id} and on "
                f"{now.server_id}, both in generation {now.generation}"
            )
