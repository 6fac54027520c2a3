"""The run's own time: milliseconds since its start, and an end that wakes everybody who waits."""

import asyncio
from contextlib import suppress


class DemandOver(Exception):
    """The run takes no further step: what is in a room stays, nothing new begins."""


class Timeline:
    """Steps of a script wait here for their moment. Lives in one event loop."""

    def __init__(self) -> None:
        self._start = asyncio.get_running_loop().time()
        self._over = False
        self._waiting: set[asyncio.Event] = set()

    @property
    def is_over(self) -> bool:
        return self._over

    def now_ms(self) -> int:
        return round((asyncio.get_running_loop().time() - self._start) * 1000)

    def end(self) -> None:
        """Wake everybody with DemandOver; later waits raise it at once."""
        self._over = True
        for event in self._waiting:
            event.set()

    async def until(self, at_ms: float, wake: asyncio.Event | None = None) -> bool:
        """Wait for the moment; True when it came, False where `wake` was set before.

        Raises DemandOver. A moment that has passed still lets a set `wake` go first.
        """
        event = wake or asyncio.Event()
        if self._over:
            raise DemandOver
        self._waiting.add(event)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._start + at_ms / 1000):
                    await event.wait()
        finally:
            self._waiting.discard(event)
        if self._over:
            raise DemandOver
        return not event.is_set()

    async def pause(self, duration_ms: float) -> None:
        """Wait for `duration_ms` from now. Raises DemandOver."""
        await self.until(self.now_ms() + duration_ms)
