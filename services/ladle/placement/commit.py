"""One batch into the store, once: retries only what may be retried, resolves what is unknown."""

import logging

from ladle.journal.store import Batch, CommitUnknown, Head, Lease, Store, StoreBusy
from ladle_contracts.clock import Clock

log = logging.getLogger("ladle.writer")

RETRY_MS_MAX = 10_000
"""How long a busy or absent database is tried again. Longer, and callers have given up."""

PAUSE_MS = (10, 50, 200, 500, 1_000)


async def commit(store: Store, lease: Lease, batch: Batch, before: Head, clock: Clock) -> None:
    """Append `batch` after `before`, exactly once.

    Raises LeaseLost, BadData, StoreBroken as the store does, and StoreBusy after RETRY_MS_MAX.
    """
    started_ms = clock.monotonic_ms()
    attempt = 0
    unknown = False
    while True:
        try:
            # An append whose outcome is unknown is looked up under the lease lock before the
            # same bytes are written again.
            if unknown and await store.resolve(lease, batch, before):
                return
            unknown = False
            await store.append(lease, batch)
        except CommitUnknown as error:
            unknown = True
            reason: Exception = error
        except StoreBusy as error:
            reason = error
        else:
            return
        if clock.monotonic_ms() - started_ms > RETRY_MS_MAX:
            raise StoreBusy(f"gave up after {RETRY_MS_MAX} ms: {reason}") from reason
        log.warning("the store did not commit; trying again: %s", reason)
        await clock.sleep(PAUSE_MS[min(attempt, len(PAUSE_MS) - 1)])
        attempt += 1
