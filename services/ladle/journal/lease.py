"""Who writes: wait for the lease, beat while it lasts, give it up at the end."""

import logging
from collections.abc import Callable
from typing import NoReturn

from ladle.journal.store import Lease, LeaseLost, Store, StoreBusy, StoreError
from ladle_contracts.clock import Clock

log = logging.getLogger("ladle.lease")

LOOKS_PER_LEASE = 4
"""Beats and looks in one `lease_ms`: a holder may miss two and keep it."""

LOOK_MS_MAX = 500
"""A standby looks at least this often, for a lease that is given up is to be taken at once."""


class LeaseKeeper:
    """The lease of one process. `holder` names it and no other process, ever.

    The take-over rule: the row has not changed for `lease_ms` on this process's own monotonic
    clock. Nobody's wall clock decides, and a holder that was only slow is fenced by its term.
    """

    def __init__(self, store: Store, *, holder: str, clock: Clock, lease_ms: int = 3_000) -> None:
        if not holder:
            raise ValueError("a holder without a name is how a free lease looks")
        self._store = store
        self._holder = holder
        self._clock = clock
        self._lease_ms = lease_ms
        self._pause_ms = max(1, lease_ms // LOOKS_PER_LEASE)
        self.reaches_store = False
        """Was the row there at the last look or beat? What readiness asks."""

    async def acquire(self, *, may_take: Callable[[], bool] = lambda: True) -> Lease:
        """Wait until the lease is free or its holder silent, and take the next term.

        may_take: asked each time before taking it; a process that nobody reaches must not.
        The term is committed when this returns, so a view that is loaded now misses nothing that
        an earlier term wrote. Raises SchemaTooNew, StoreBroken.
        """
        seen: Lease | None = None
        unchanged_since_ms: int | None = None
        while True:
            # The time before a look and the time after the first one: what lies between them is
            # certainly not longer than the row stood still.
            before_ms = self._clock.monotonic_ms()
            try:
                row = await self._store.lease()
                self.reaches_store = True
                if unchanged_since_ms is None or row != seen:
                    seen, unchanged_since_ms = row, self._clock.monotonic_ms()
                silent_ms = before_ms - unchanged_since_ms
                if may_take() and (self._is_free(row) or silent_ms >= self._lease_ms):
                    taken = await self._store.take_lease(self._holder, row)
                    if taken is not None:
                        log.info("took the lease", extra={"term": taken.term})
                        return taken
                    unchanged_since_ms = None
            except StoreBusy as error:
                # Not seen is not silent: the row may have changed meanwhile.
                unchanged_since_ms = None
                self.reaches_store = False
                log.warning("cannot look at the lease: %s", error)
            await self._clock.sleep(min(self._pause_ms, LOOK_MS_MAX))

    def _is_free(self, row: Lease | None) -> bool:
        # Our own name there: a take-over of ours was committed and its answer was lost.
        return row is None or row.holder in {"", self._holder}

    async def run(self, mine: Lease) -> NoReturn:
        """Beat until cancelled. Raises LeaseLost where another holds it, StoreBroken.

        A store that is busy or away does not end the term: nobody else can take it there either,
        and the fence decides when it is back.
        """
        while True:
            try:
                await self._store.beat(mine)
                self.reaches_store = True
            except StoreBusy as error:
                self.reaches_store = False
                log.warning("cannot beat: %s", error)
            await self._clock.sleep(self._pause_ms)

    async def give_up(self, mine: Lease) -> None:
        """Let a standby take over at once. Never raises: at worst it waits for `lease_ms`."""
        try:
            await self._store.give_up(mine)
        except LeaseLost:
            return
        except StoreError as error:
            log.warning("cannot give the lease up, a standby will wait: %s", error)
