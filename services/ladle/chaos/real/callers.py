"""Callers who ask all the time, and write down what they were answered and when."""

import asyncio
import itertools
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from ladle_contracts.client import PlacementClient
from ladle_contracts.errors import PlacementError
from ladle_contracts.replies import PlacedReply

HELD_MS = 600_000
"""As long as a hold may last: what was answered should still be held at the end."""


@dataclass(slots=True)
class Callers:
    """Answers by room, in the order in which they came; the asks that ended otherwise."""

    answers: dict[str, list[PlacedReply]] = field(default_factory=lambda: defaultdict(list))
    failures: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    attempted: int = 0
    answered_at_s: list[float] = field(default_factory=list)
    """Of each answer, on the monotonic clock."""
    came: asyncio.Event = field(default_factory=asyncio.Event)
    """Set with every answer."""

    @property
    def acknowledged(self) -> int:
        return len(self.answered_at_s)

    @property
    def failed(self) -> int:
        return sum(map(len, self.failures.values()))

    async def ask(self, client: PlacementClient, room_id: str) -> None:
        self.attempted += 1
        try:
            reply = await client.allocate(room_id, peers=2, ttl_ms=HELD_MS)
        except PlacementError as error:
            self.failures[room_id].append(str(error))
        else:
            self.answers[room_id].append(reply)
            self.answered_at_s.append(time.monotonic())
            self.came.set()

    async def answered(self, more: int, within_s: float) -> bool:
        """Wait for so many more answers; False where they do not come."""
        wanted = self.acknowledged + more
        try:
            async with asyncio.timeout(within_s):
                while self.acknowledged < wanted:
                    self.came.clear()
                    await self.came.wait()
        except TimeoutError:
            return False
        return True

    def silence_s(self, since_s: float, until_s: float) -> float:
        """The longest time in between without an answer."""
        between = [at for at in self.answered_at_s if since_s < at < until_s]
        points = [since_s, *between, until_s]
        return max(after - before for before, after in itertools.pairwise(points))


@asynccontextmanager
async def asking(
    client: PlacementClient, callers: Callers, *, count: int = 6, pause_s: float = 0.1
) -> AsyncIterator[None]:
    """So many ask for a new room, and then for it once more; at the end each gets its answer."""
    numbers, over = itertools.count(), asyncio.Event()

    async def caller() -> None:
        while not over.is_set():
            room_id = f"chaos-{next(numbers)}"
            await callers.ask(client, room_id)
            await callers.ask(client, room_id)
            await asyncio.sleep(pause_s)

    tasks = [asyncio.create_task(caller()) for _ in range(count)]
    try:
        yield
        over.set()
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
