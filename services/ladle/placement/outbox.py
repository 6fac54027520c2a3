"""Own events and commands: published after the commit, in order, at least once.

The journal is the outbox: each record holds what it sends, and a fenced cursor (offset, index)
says what the broker has confirmed. After a restart the cursor's successor is sent again, with the
same id.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ladle.core.record import Record
from ladle.journal.chain import content_of
from ladle.journal.store import Lease, LeaseLost, OutboxCursor, Store, StoreError
from ladle.placement.batch import Committed
from ladle.placement.metrics import Metrics
from ladle_contracts.clock import Clock
from ladle_contracts.link import Link, LinkError, Outgoing, Refused, Unroutable

log = logging.getLogger("ladle.outbox")

IN_FLIGHT_MAX = 128
"""Publishes awaiting their confirm: enough to fill the pipe, few to repeat after a crash."""

CURSOR_EVERY_MS = 2_000
"""Batches carry the cursor along; only where none comes does it get a commit of its own."""

PAUSE_MS = (50, 200, 1_000, 2_000)
READ_LIMIT = 500

Pending = tuple[Committed, int, Mapping[str, Any]]
"""record, index, outbound."""

Encode = Callable[[Committed, int, Mapping[str, Any]], Outgoing]
"""(record, index, outbound) -> the message."""


class Outbox:
    """Publishes what committed records hold. One per term of the lease."""

    def __init__(
        self,
        *,
        store: Store,
        link: Link,
        lease: Lease,
        cursor: OutboxCursor,
        head_offset: int,
        encode: Encode,
        declare_queue: Callable[[str], Any],
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._link = link
        self._lease = lease
        self._cursor = cursor
        self._saved = cursor
        self._saved_at_ms = clock.monotonic_ms()
        # Records up to here come from the store; later ones are handed over after their commit.
        self._from_store_until = head_offset
        self._encode = encode
        self._declare_queue = declare_queue
        self._clock = clock
        self._metrics = metrics
        self._queue: deque[Committed] = deque()
        self._work = asyncio.Event()
        self.idle = asyncio.Event()

    def add(self, committed: Iterable[Committed]) -> None:
        """Hand over what a commit made durable."""
        self._queue.extend(committed)
        self.idle.clear()
        self._work.set()
        self._metrics.outbox_lag.set(len(self._queue))

    def take_cursor(self) -> OutboxCursor | None:
        """The cursor if it moved since it was last saved or taken: a batch stores it for nothing.

        Where that batch fails, messages repeat after a restart, as they may.
        """
        if self._cursor == self._saved:
            return None
        self._saved, self._saved_at_ms = self._cursor, self._clock.monotonic_ms()
        return self._cursor

    async def run(self) -> None:
        """Publish until cancelled; raises LeaseLost."""
        await self._catch_up()
        while True:
            if not self._queue:
                self.idle.set()
                await self._wait_for_work()
            self._work.clear()
            await self._publish_some(self._take())

    async def _catch_up(self) -> None:
        """What an earlier term committed and did not see confirmed."""
        after = max(0, self._cursor.offset - 1)
        while after < self._from_store_until:
            records = await self._store.records(after, READ_LIMIT)
            records = [r for r in records if r.offset <= self._from_store_until]
            if not records:
                return
            items = [
                Committed(record.offset, record.recorded_at_ms, outbound)
                for record in records
                if (outbound := outbound_of(record))
            ]
            await self._publish_some(items)
            after = records[-1].offset
            self._advance(OutboxCursor(after, 0) if not items or items[-1].offset < after else None)

    def _take(self) -> list[Committed]:
        taken: list[Committed] = []
        count = 0
        while self._queue and count < IN_FLIGHT_MAX:
            item = self._queue.popleft()
            taken.append(item)
            count += len(item.outbound)
        return taken

    async def _publish_some(self, items: list[Committed]) -> None:
        after = (self._cursor.offset, self._cursor.index)
        pending = [
            (item, index, outbound)
            for item in items
            for index, outbound in enumerate(item.outbound)
            if (item.offset, index) > after
        ]
        attempt = 0
        while pending:
            # One record may send ten thousand; encoded in one go they would hold up the writer.
            slice_ = pending[:IN_FLIGHT_MAX]
            confirmed = await self._publish_in_order(slice_)
            if confirmed:
                item, index, _ = pending[confirmed - 1]
                self._advance(OutboxCursor(item.offset, index))
                attempt = 0
            pending = pending[confirmed:]
            if confirmed < len(slice_):
                await self._clock.sleep(PAUSE_MS[min(attempt, len(PAUSE_MS) - 1)])
                attempt += 1
            await self._save()
        self._metrics.outbox_lag.set(len(self._queue))

    async def _publish_in_order(self, pending: Sequence[Pending]) -> int:
        """How many of them, from the first, the broker has or never will.

        All are handed to one channel in order, so the broker has them in order; the cursor
        follows the contiguous prefix that was confirmed, and the others are published again.
        """
        encoded = [self._encoded(*one) for one in pending]
        sent = [message for message in encoded if message is not None]
        errors = iter(await self._link.publish_all(sent))
        confirmed: Counter[str] = Counter()
        done = 0
        for (_, _, outbound), message in zip(pending, encoded, strict=True):
            if message is not None:
                error = next(errors)
                if error is not None and not await self._is_settled(message, outbound, error):
                    break
                confirmed[outbound["what"]] += 1
            done += 1
        for what, count in confirmed.items():
            self._metrics.outbox.of(what).inc(count)
        return done

    def _encoded(self, item: Committed, index: int, outbound: Mapping[str, Any]) -> Outgoing | None:
        try:
            return self._encode(item, index, outbound)
        except (ValueError, TypeError, KeyError):
            # A defect, and the same one after a restart: it must not hold up all that follows.
            log.exception("record %d sends what cannot be encoded; skipped", item.offset)
            return None

    async def _is_settled(
        self, message: Outgoing, outbound: Mapping[str, Any], error: LinkError
    ) -> bool:
        """Whether that error is the last word; False asks for another try."""
        if isinstance(error, Unroutable) and outbound["what"] == "command":
            # The server's queue is not there (yet, or any more).
            try:
                await self._declare_queue(str(outbound["server_id"]))
                await self._link.publish(message)
            except Unroutable as still:
                error = still
            except LinkError as failed:
                # All that follows waits for this one: somebody must see why.
                log.warning("no queue for %s yet: %s", message.routing_key, failed)
                return False
            else:
                return True
        if isinstance(error, Unroutable):
            log.warning("nobody takes %s", message.routing_key)
            return True
        if isinstance(error, Refused):
            log.warning("the broker refused %s: %s", message.routing_key, error)
        return False

    def _advance(self, cursor: OutboxCursor | None) -> None:
        if cursor and (cursor.offset, cursor.index) > (self._cursor.offset, self._cursor.index):
            self._cursor = cursor

    async def _wait_for_work(self) -> None:
        """Wait; where nothing comes for a while the cursor is saved by itself."""
        if self._cursor == self._saved:
            await self._work.wait()
            return
        pause = asyncio.ensure_future(self._clock.sleep(CURSOR_EVERY_MS))
        work = asyncio.ensure_future(self._work.wait())
        try:
            await asyncio.wait([pause, work], return_when=asyncio.FIRST_COMPLETED)
        finally:
            pause.cancel()
            work.cancel()
        await self._save()

    async def _save(self, *, now: bool = False) -> None:
        now_ms = self._clock.monotonic_ms()
        due = now or now_ms - self._saved_at_ms >= CURSOR_EVERY_MS
        if not due or self._cursor == self._saved:
            return
        cursor = self._cursor
        try:
            await self._store.move_outbox(self._lease, cursor)
        except LeaseLost:
            raise
        except StoreError as error:
            log.warning("the outbox cursor was not saved; some messages may repeat: %s", error)
            return
        self._saved, self._saved_at_ms = cursor, now_ms

    async def settle(self) -> None:
        """Wait until all that was handed over is confirmed, and say so in the store."""
        await self.idle.wait()
        await self._save(now=True)


def outbound_of(record: Record) -> list[Mapping[str, Any]]:
    """What a record sends; nothing where its content was erased."""
    outbound: list[Mapping[str, Any]] = content_of(record).get("outcome", {}).get("outbound", [])
    return outbound
