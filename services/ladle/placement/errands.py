"""Work beside the writer that nobody awaits piece by piece, and that ends with its term."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any


class Errands:
    """Tasks of one owner; what fails is logged under `about`, for nobody else will see it."""

    def __init__(self, about: str, log: logging.Logger) -> None:
        self._about = about
        self._log = log
        # In the order of their start, which a set would not keep: whoever is cancelled gives its
        # message back, and the messages go back as they came.
        self._tasks: dict[asyncio.Task[None], None] = {}

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Start `work` and keep hold of it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("%s failed", self._about, exc_info=error)

    async def settle(self) -> None:
        """Wait until all that was started, also meanwhile, has ended."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """Cancel what still runs, in order; what was not acked comes again, to whoever is next."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
