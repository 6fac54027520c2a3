"""Time as an interface: writer, publisher and client ask a `Clock`, so that a test can be one."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Two clocks and a way to wait; milliseconds throughout."""

    def monotonic_ms(self) -> int:
        """Milliseconds since some fixed point; never goes back."""
        ...

    def unix_ms(self) -> int:
        """Unix time, UTC, in milliseconds; may be stepped by the operator or NTP."""
        ...

    async def sleep(self, duration_ms: int) -> None:
        """Wait for `duration_ms`; zero yields to the loop once."""
        ...


class SystemClock:
    """The machine's clocks."""

    def monotonic_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000

    def unix_ms(self) -> int:
        return time.time_ns() // 1_000_000

    async def sleep(self, duration_ms: int) -> None:
        await asyncio.sleep(duration_ms / 1000)
