"""The broker's stream in the simulation: what a placement process reads before it writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from ladle.broker.stream import Logged, Start
from ladle.chaos.simulated.clock import EPOCH_MS

if TYPE_CHECKING:
    from ladle.chaos.simulated.link import SimulatedLink
    from ladle.chaos.simulated.placement_process import PlacementProcess
    from ladle.chaos.simulated.world import World


class SimulatedStream:
    """On a connection of its own; what is under way may be lost like everything else."""

    def __init__(self, world: World, link: SimulatedLink) -> None:
        self._world = world
        self._link = link

    async def until_now(self, start: Start) -> AsyncIterator[Logged]:
        """All from there on; the broker gives whole chunks, and this one whole messages."""
        try:
            found = await self._link.read_stream(self._world.topology.log, start)
        except asyncio.CancelledError:
            self._world.losses.cut_short()
            raise
        for position, message in found:
            yield Logged(position, message)


def first_of(start: Start, times_us: list[int]) -> int:
    """The position from which to read."""
    if isinstance(start, datetime):
        since_us = int(start.timestamp() * 1_000_000) - EPOCH_MS * 1_000
        return sum(at_us < since_us for at_us in times_us)
    if isinstance(start, int):
        return start
    return {"first": 0, "last": max(0, len(times_us) - 1), "next": len(times_us)}[start]


@asynccontextmanager
async def opened_stream(
    world: World, process: PlacementProcess, within_s: float
) -> AsyncIterator[SimulatedStream]:
    """`OpenStream` of one process. Raises LinkDown where the broker is away."""
    world.losses.begin_look(process.name)
    async with process.connected() as link:
        yield SimulatedStream(world, link)
