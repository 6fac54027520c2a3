"""A stop within seconds, whatever is under way: a broker that is silent must not hold it up.

What does not end in time is left to the end of the process: nothing depends on it any more, for
what was not acked comes again.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger("ladle.placement")

CANCEL_MS_MAX = 1_000
"""How long something that was cancelled may take to its end."""


async def unless_stopped(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do `work` to its end, or cancel it at a stop; whether it came to its end."""
    task = asyncio.create_task(work)
    try:
        await _either(task, stop)
        if task.done():
            await task
            return True
        return False
    finally:
        await _cancelled(task)


async def within(
    ms_max: int, what: str, work: Coroutine[Any, Any, object], after: asyncio.Event | None = None
) -> None:
    """Do `work`, which ends something, for a bounded time, counted from `after` where it is given.

    Raises what it raises in that time.
    """
    task = asyncio.create_task(work)
    try:
        if after is not None:
            await _either(task, after)
        await asyncio.wait([task], timeout=ms_max / 1000)
        if task.done():
            await task
        else:
            log.warning("%s took more than %d ms; going on without", what, ms_max)
    finally:
        await _cancelled(task)


async def _either(task: "asyncio.Task[Any]", event: asyncio.Event) -> None:
    waiting = asyncio.create_task(event.wait())
    try:
        await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


async def _cancelled(task: "asyncio.Task[Any]") -> None:
    if not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=CANCEL_MS_MAX / 1000)
    if task.done() and not task.cancelled():
        task.exception()  # Seen: whoever waited for it has it already, or does not wait any more.
