"""Time in the simulation: one loop's time for all, and a wall clock that somebody may set."""

import asyncio

from ladle.chaos.simulated.loop import SimulatedLoop

EPOCH_MS = 1_763_802_000_000
"""Unix time at which every simulation begins."""


class SimulatedClock:
    """`Clock` of one machine. `wall_off_ms`: how far its wall clock was set from the true time."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop
        self.wall_off_ms = 0

    def monotonic_ms(self) -> int:
        return self._loop.now_us // 1_000

    def unix_ms(self) -> int:
        return EPOCH_MS + self._loop.now_us // 1_000 + self.wall_off_ms

    async def sleep(self, duration_ms: int) -> None:
        await asyncio.sleep(duration_ms / 1_000)
