"""A standby's view: loaded from the tables, kept up by the records that the writer commits.

It folds what was recorded, decides nothing and writes nothing, so that it is the writer's view as
of some committed offset, and as good for a read.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import NoReturn

from ladle.core.apply import apply
from ladle.core.record import FIRST_PREV_HASH, Record
from ladle.core.view import View
from ladle.journal.chain import open_record
from ladle.journal.fold import TURN, loaded
from ladle.journal.store import Store, StoreError
from ladle_contracts.clock import Clock

log = logging.getLogger("ladle.standby")

LOOK_MS = 200
"""How old a standby's answers may be, and how often it asks the database."""

PAGE = 500
"""Records read at once."""

RETRY_MS = 5_000
"""After a record that this program cannot fold: a newer one writes, or content was erased."""


class Follower:
    """Follows the journal until it is cancelled."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.view: View | None = None
        self.term = 0
        self._hash = FIRST_PREV_HASH
        self._store = store
        self._clock = clock
        self._moved = asyncio.Condition()

    @property
    def offset(self) -> int:
        """The last record in the view; 0 before the first load."""
        return 0 if self.view is None else self.view.offset

    async def run(self) -> NoReturn:
        """Look, fold, wait. What fails is said, and tried again from the tables."""
        while True:
            pause_ms = LOOK_MS
            try:
                await self._look()
            except StoreError as error:
                log.warning("the journal cannot be read; trying on: %s", error)
            except Exception:
                # The tables are what the writer made of that record: go on from there.
                log.exception("a record cannot be folded here; going back to the tables")
                self.view, pause_ms = None, RETRY_MS
            await self._clock.sleep(pause_ms)

    async def reaches(self, offset: int, within_ms: int) -> bool:
        """Wait until the view is at `offset` or later; False where that takes too long."""
        try:
            async with asyncio.timeout(within_ms / 1000), self._moved:
                await self._moved.wait_for(lambda: self.view is not None and self.offset >= offset)
        except TimeoutError:
            return False
        return True

    async def _look(self) -> None:
        if self.view is None:
            tables = await self._store.load()
            view = loaded(tables)
            lease = await self._store.lease()
            self.view, self._hash, self.term = view, tables.head.hash, lease.term if lease else 0
        else:
            await self._fold(self.view)
        async with self._moved:
            self._moved.notify_all()

    async def _fold(self, view: View) -> None:
        """Fold all that was committed since; reads see whole records, between two turns."""
        while records := await self._next(view.offset):
            for count, record in enumerate(records, 1):
                opened = open_record(record)
                apply(view, opened.entry, opened.outcome)
                self.term, self._hash = record.term, record.hash
                if count % TURN == 0:
                    await asyncio.sleep(0)
            # Changed rows are the writer's to store; here they would only pile up.
            view.take_changes()
            if len(records) < PAGE:
                return

    async def _next(self, offset: int) -> Sequence[Record]:
        """What follows the last record that was folded; none where that one is gone.

        It is read again, for it must be the same: an older backup may have been restored, and what
        was written there since is no continuation of what this view has seen.
        """
        head = await self._store.head()
        if (head.offset, head.hash) == (offset, self._hash):
            return ()
        if offset == 0:
            return await self._store.records(0, PAGE)
        last, *new = await self._store.records(offset - 1, PAGE + 1) or (None,)
        if last is not None and (last.offset, last.hash) == (offset, self._hash):
            return new
        log.warning("the journal has another record %d, or none; going back to the tables", offset)
        self.view = None
        return ()
