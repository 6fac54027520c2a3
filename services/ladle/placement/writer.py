"""The one writer of a cell: fold what arrived, commit, and only then answer and ack.

Arrivals are folded into the in-memory view at once and gather in an open batch; a batch is handed
to the store whenever the store is idle. So batches form by themselves under load and a lone
message does not wait. The view may be ahead of the store by the batch in flight and the open
one; nothing of it is visible outside before its commit. Where a commit fails for good the view is
thrown away with it: the tables say what is true.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ladle.core.apply import apply
from ladle.core.compact_status import Packed
from ladle.core.record import Entry, Kind
from ladle.core.timers import next_due_ms
from ladle.core.view import View
from ladle.journal.store import (
    BadData,
    Batch,
    Changes,
    Head,
    Lease,
    OutboxCursor,
    Store,
)
from ladle.placement.batch import Answer, Arrival, Committed, DeadLetter, OpenBatch, Sent
from ladle.placement.commit import commit
from ladle.placement.journaling import Scribe
from ladle.placement.metrics import Metrics
from ladle.placement.replies import may_answer, reply_to, wire_reply
from ladle.placement.text import printable
from ladle.placement.timekeeper import Timekeeper
from ladle_contracts.clock import Clock
from ladle_contracts.link import Link, Message

log = logging.getLogger("ladle.writer")

StatusKey = tuple[str, int, int]
"""server_id, incarnation, sequence."""

IDLE_TICK_MS = 1_000
"""How often the writer looks at its timers where nothing arrives."""


@dataclass(frozen=True, slots=True)
class WriterLimits:
    """How much one batch takes, and how long statuses wait for company."""

    batch_records_max: int = 512
    statuses_wait_ms: int = 1_000
    statuses_max: int = 500


class Handler(Protocol):
    """Folds one message into the writer's open batch. Raises nothing for bad input."""

    def __call__(self, arrival: Arrival, writer: "Writer") -> None: ...


class Aftermath(Protocol):
    """What the service does once a batch is durable, besides replies and acks."""

    def dead_letter(self, message: Message, reason: str, detail: str) -> None: ...

    def publish(self, committed: Iterable[Committed]) -> None: ...

    def cursor(self) -> OutboxCursor | None: ...

    def recall(self, message: Message, offset: int, operation: str) -> None: ...

    def welcome(self, server_id: str) -> None: ...


class Writer:
    """Holds the view of a cell for one term of the lease."""

    def __init__(
        self,
        *,
        view: View,
        head: Head,
        lease: Lease,
        store: Store,
        link: Link,
        clock: Clock,
        metrics: Metrics,
        aftermath: Aftermath,
        limits: WriterLimits,
    ) -> None:
        self.view = view
        self.scribe = Scribe(head)
        self.lease = lease
        self.store = store
        self.clock = clock
        self.metrics = metrics
        self.aftermath = aftermath
        self.limits = limits
        self.timekeeper = Timekeeper(clock, not_before_ms=head.recorded_at_ms)
        self.committed = head
        self.batch = OpenBatch()
        self.waiting_statuses: dict[StatusKey, tuple[Arrival, Packed]] = {}
        self._statuses_since_ms = 0
        self._link = link
        self._arrived: deque[Arrival] = deque()
        self._in_flight: asyncio.Task[None] | None = None
        self._pump_scheduled = False
        self._singly = 0
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    # -- arrivals ---------------------------------------------------------------------------

    def receiver(self, handler: Handler) -> Callable[[list[Message]], None]:
        """The link's callback for one queue."""

        def on_messages(messages: list[Message]) -> None:
            now = time.perf_counter()
            self._arrived.extend(Arrival(message, handler, now) for message in messages)
            self._schedule_pump()

        return on_messages

    def _schedule_pump(self) -> None:
        if not self._pump_scheduled:
            self._pump_scheduled = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_scheduled = False
        if self.failed.done():
            return
        try:
            self._fold_arrived()
            self._start_commit()
            if self._arrived and len(self.batch.arrivals) < self._batch_limit():
                self._schedule_pump()
        except Exception as error:  # A defect in the fold: the view is no longer to be trusted.
            log.exception("folding failed; standing down")
            self._fail(error)

    def _fold_arrived(self) -> None:
        self._tick_if_due()
        limit = self._batch_limit()
        while self._arrived and len(self.batch.arrivals) < limit:
            arrival = self._arrived.popleft()
            self.batch.arrivals.append(arrival)
            arrival.handler(arrival, self)
        self._flush_statuses_if_due()

    def _batch_limit(self) -> int:
        return 1 if self._singly else self.limits.batch_records_max

    # -- folding ----------------------------------------------------------------------------

    def record(
        self,
        kind: Kind,
        *,
        origin: Mapping[str, Any],
        inputs: Mapping[str, Any],
        payload: Mapping[str, Any],
    ) -> tuple[Entry, dict[str, Any]]:
        """Give an input its offset and time, fold it, write its record into the open batch."""
        entry = Entry(
            offset=self.scribe.next_offset,
            recorded_at_ms=self.timekeeper.now_ms(),
            term=self.lease.term,
            kind=kind,
            origin=origin,
            inputs=inputs,
            payload=payload,
        )
        outcome = apply(self.view, entry)
        self.batch.records.append(self.scribe.write(entry, outcome))
        outbound = outcome.get("outbound")
        if outbound:
            self.batch.committed.append(Committed(entry.offset, entry.recorded_at_ms, outbound))
        return entry, outcome

    def note(self, kind: Kind, payload: Mapping[str, Any]) -> None:
        """Record what the process itself learnt (the bus is back), with the next batch."""
        self.record(kind, origin={}, inputs={}, payload=payload)
        self._schedule_pump()

    def answer(
        self, arrival: Arrival, answer: Mapping[str, Any], *, operation: str, offset: int
    ) -> None:
        """Reply to the request and ack it, once the open batch is durable."""
        outcome = str(answer.get("outcome") or answer.get("status"))
        if answer.get("status") == "error":
            outcome = answer["error"]["code"]
        self.batch.answers.append(
            Answer(arrival, answer, offset, self.lease.term, operation, outcome)
        )

    def reject(self, message: Message, reason: str, detail: str, digest: str) -> None:
        """Journal that input was refused: reason, size and digest, never the body."""
        self.record(
            Kind.REJECTED,
            origin={
                "exchange": message.exchange,
                "routing_key": printable(message.routing_key),
                "user": printable(message.user_id or ""),
            },
            inputs={},
            payload={
                "reason": reason,
                "detail": printable(detail)[:500],
                "size": len(message.body),
                "digest": digest,
            },
        )

    def wait_for_company(self, arrival: Arrival, key: StatusKey, status: Packed) -> None:
        """A plain status: it shares a record with others that arrive within a second."""
        if not self.waiting_statuses:
            self._statuses_since_ms = self.clock.monotonic_ms()
        self.waiting_statuses[key] = (arrival, status)

    def _flush_statuses_if_due(self) -> None:
        waiting = self.waiting_statuses
        if not waiting:
            return
        waited_ms = self.clock.monotonic_ms() - self._statuses_since_ms
        if waited_ms >= self.limits.statuses_wait_ms or len(waiting) >= self.limits.statuses_max:
            self.flush_statuses()

    def flush_statuses(self) -> None:
        """Fold the statuses that wait, as the open batch's last record."""
        waiting = list(self.waiting_statuses.values())
        self.waiting_statuses.clear()
        if not waiting:
            return
        _, outcome = self.record(
            Kind.STATUSES,
            origin={},
            inputs={},
            payload={"statuses": [status for _, status in waiting]},
        )
        self.batch.acks.extend(arrival.message for arrival, _ in waiting)
        ignored = len(outcome.get("ignored", ()))
        self.metrics.event("worker-status", "applied").inc(len(waiting) - ignored)
        if ignored:
            self.metrics.event("worker-status", "ignored").inc(ignored)

    def _tick_if_due(self) -> None:
        due_ms = next_due_ms(self.view)
        if due_ms is not None and due_ms <= self.timekeeper.now_ms():
            self.record(Kind.TICK, origin={}, inputs={}, payload={})
        step = self.timekeeper.take_step()
        if step is not None:
            log.warning(
                "the wall clock was stepped",
                extra={"recorded_ms": step.recorded_ms, "utc_ms": step.utc_ms},
            )
            self.record(
                Kind.CLOCK_STEP,
                origin={},
                inputs={},
                payload={"recorded_ms": step.recorded_ms, "utc_ms": step.utc_ms},
            )

    # -- committing -------------------------------------------------------------------------

    def _start_commit(self) -> None:
        if self._in_flight is None and self.batch:
            batch, self.batch = self.batch, OpenBatch()
            batch.rows = self.view.take_changes()
            self._in_flight = asyncio.get_running_loop().create_task(self._commit(batch))

    async def _commit(self, batch: OpenBatch) -> None:
        try:
            if batch.records:
                started = time.perf_counter()
                await commit(
                    self.store,
                    self.lease,
                    Batch(batch.records, Changes(batch.rows), self.aftermath.cursor()),
                    self.committed,
                    self.clock,
                )
                self.metrics.commit_seconds.observe(time.perf_counter() - started)
                self.metrics.batch_records.observe(len(batch.records))
                last = batch.records[-1]
                self.committed = Head(last.offset, last.hash, last.recorded_at_ms)
                self.metrics.journal_offset.set(last.offset)
        except BadData as error:
            await self._rewind(batch, error)
            return
        except Exception as error:
            self._fail(error)
            return
        self._after(batch)
        self._in_flight = None
        # What arrived meanwhile is folded already; hand it over without another turn.
        self._pump()

    def _after(self, batch: OpenBatch) -> None:
        """Everything here happens only because the batch is durable."""
        sent = Sent()
        now = time.perf_counter()
        for waiting in batch.answers:
            self._answer(waiting, sent, now)
        sent.acks.extend(batch.acks)
        if sent.replies:
            self._link.send(sent.replies)
        if sent.acks:
            self._link.ack(sent.acks)
        for recalled in batch.recalled:
            self.aftermath.recall(recalled.message, recalled.offset, recalled.operation)
        for dead in batch.dead_letters:
            self.metrics.dead_letters.labels(dead.reason).inc()
            self.aftermath.dead_letter(dead.message, dead.reason, dead.detail)
        if batch.committed:
            self.aftermath.publish(batch.committed)
        for callback in batch.after:
            callback()
        self._singly = max(0, self._singly - len(batch.arrivals))

    def _answer(self, waiting: Answer, sent: Sent, now: float) -> None:
        request = waiting.arrival.message
        if may_answer(request.reply_to):
            body = wire_reply(waiting.answer, term=waiting.term, offset=waiting.offset)
            sent.replies.append(reply_to(request, body))
        sent.acks.append(request)
        self.metrics.request(waiting.operation, waiting.outcome).inc()
        seconds = now - waiting.arrival.received
        self.metrics.request_took(waiting.operation).observe(seconds)

    async def _rewind(self, batch: OpenBatch, error: BadData) -> None:
        """The database refuses a value: fold again from the tables, one message a batch.

        The message that fails alone is the one; it is refused, and the others go through.
        """
        log.error("the database refused a batch; taking its messages one by one: %s", error)
        open_batch, self.batch = self.batch, OpenBatch()
        waiting = [arrival for arrival, _ in self.waiting_statuses.values()]
        self.waiting_statuses.clear()
        snapshot = await self.store.load()
        self.view = View.load(
            snapshot.tables,
            offset=snapshot.head.offset,
            recorded_at_ms=snapshot.head.recorded_at_ms,
        )
        self.scribe = Scribe(snapshot.head)
        self.committed = snapshot.head
        # A status that waits may stand in the batches as well; it is folded once.
        again = list(dict.fromkeys([*batch.arrivals, *open_batch.arrivals, *waiting]))
        if len(batch.arrivals) == 1:
            self._refuse(again.pop(0), str(error))
        else:
            self._singly = len(again)
        self._arrived.extendleft(reversed(again))
        self._in_flight = None
        self._schedule_pump()

    def _refuse(self, arrival: Arrival, detail: str) -> None:
        self.batch.arrivals.append(arrival)
        self.reject(arrival.message, "bad-data", detail, "")
        self.dead_letter(arrival.message, "bad-data", detail)

    def dead_letter(self, message: Message, reason: str, detail: str) -> None:
        """Send `message` to the dead letters once the open batch is durable."""
        self.batch.dead_letters.append(DeadLetter(message, reason, detail))

    def _fail(self, error: BaseException) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)

    # -- life -------------------------------------------------------------------------------

    async def run_timers(self) -> None:
        """Look at the timers and at waiting statuses as long as the term lasts."""
        while not self.failed.done():
            wait_ms = IDLE_TICK_MS
            due_ms = next_due_ms(self.view)
            if due_ms is not None:
                wait_ms = min(wait_ms, max(1, due_ms - self.timekeeper.now_ms()))
            if self.waiting_statuses:
                waited_ms = self.clock.monotonic_ms() - self._statuses_since_ms
                wait_ms = min(wait_ms, max(1, self.limits.statuses_wait_ms - waited_ms))
            await self.clock.sleep(wait_ms)
            self._pump()

    async def drain(self) -> None:
        """Fold and commit what has arrived, waiting statuses included; raises what failed."""
        while not self.failed.done():
            self._fold_arrived()
            self.flush_statuses()
            self._start_commit()
            if self._in_flight is None:
                if not self._arrived and not self.batch:
                    return
                continue
            await asyncio.wait([self._in_flight, self.failed], return_when="FIRST_COMPLETED")
        self.failed.result()
