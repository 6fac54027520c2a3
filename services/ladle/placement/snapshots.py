"""The writer's snapshots: one each so many records, made beside the writing."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from ladle.core.record import Kind
from ladle.journal.snapshots import anchored, capture, keep
from ladle.journal.store import Store, StoreBroken, StoreError
from ladle_contracts.clock import Clock

log = logging.getLogger("ladle.snapshots")

LOOK_MS = 2_000
"""How often the journal's length is looked at; a number in memory, so nothing is asked."""


class Snapshots:
    """Makes snapshots for one term of the lease.

    every: records between two; 0 makes none. committed: offset of the last committed record.
    note: writes a record with the next batch.
    """

    def __init__(
        self,
        store: Store,
        *,
        every: int,
        clock: Clock,
        committed: Callable[[], int],
        note: Callable[[Kind, Mapping[str, Any]], None],
    ) -> None:
        self._store = store
        self._every = every
        self._clock = clock
        self._committed = committed
        self._note = note
        self._last: int | None = None

    async def run(self) -> None:
        """Until cancelled. A store that is busy or away is tried again; raises StoreBroken."""
        while self._every:
            try:
                if self._last is None:
                    self._last = await self._tidy()
                if self._committed() - self._last >= self._every:
                    self._last = await self._make()
            except StoreBroken:
                raise
            except StoreError as error:
                log.warning("no snapshot yet, trying on: %s", error)
            await self._clock.sleep(LOOK_MS)

    async def _tidy(self) -> int:
        """Drop what an earlier term began and never anchored; the offset of the last one."""
        known = {anchor.offset for anchor in await anchored(self._store)}
        for offset in await self._store.snapshots():
            if offset not in known:
                await self._store.drop_snapshot(offset)
        return max(known, default=0)

    async def _make(self) -> int:
        made = await capture(self._store)
        await keep(self._store, made)
        self._note(Kind.SNAPSHOT, made.payload)
        log.info("made a snapshot", extra=made.payload)
        return made.head.offset
