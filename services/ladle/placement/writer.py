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
from collections.abc import Coroutine, Mapping
from typing import Any

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
    LeaseLost,
    Store,
)
from ladle.placement.backlog import Backlog, arrivals, refuse
from ladle.placement.batch import (
    Answer,
    Arrival,
    Committed,
    DeadLetter,
    Note,
    OpenBatch,
    Sent,
    WriterLimits,
)
from ladle.placement.bisection import Bisection
from ladle.placement.commit import commit
from ladle.placement.journaling import Scribe
from ladle.placement.metrics import Metrics
from ladle.placement.neighbours import Aftermath, Handler
from ladle.placement.replies import may_answer, reply_to, wire_reply
from ladle.placement.text import printable
from ladle.placement.timekeeper import Timekeeper
from ladle.placement.waiting import StatusKey, WaitingStatuses
from ladle_contracts.clock import Clock
from ladle_contracts.link import Link, Message, OnMessages

log = logging.getLogger("ladle.writer")

IDLE_TICK_MS = 1_000
"""How often the writer looks at its timers where nothing arrives."""

CLOSE_MS_MAX = 5_000
"""How long the end of a term waits for an append under way, which nobody may cancel lightly."""


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
        self.waiting = WaitingStatuses()
        self._link = link
        self._arrived = Backlog(limits.requests_wait_ms)
        self._in_flight: asyncio.Task[None] | None = None
        self._pump_scheduled = False
        self._notes: deque[Note] = deque()
        self._bisection = Bisection(limits.batch_records_max)
        self._folding: Arrival | None = None
        self._defect: Exception | None = None
        self._refused: Arrival | None = None
        self._closed = False
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    # -- arrivals ---------------------------------------------------------------------------

    def receiver(self, handler: Handler, *, requests: bool = False) -> OnMessages:
        """The link's callback for one queue; `requests`: what comes there can be refused."""

        def on_messages(messages: list[Message]) -> None:
            now_ms = self.clock.monotonic_ms()
            self._arrived.extend(arrivals(messages, handler, now_ms, requests=requests))
            self._schedule_pump()

        return on_messages

    def _schedule_pump(self) -> None:
        if not self._pump_scheduled:
            self._pump_scheduled = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_scheduled = False
        self._turn()
        if self._arrived and self._may_fold() and self._has_room():
            self._schedule_pump()

    def _turn(self, *, flush: bool = False) -> None:
        """Fold what has arrived; hand the open batch to the store if it is idle."""
        if not self._may_fold():
            return
        refuse(self._arrived.take_late(self.clock.monotonic_ms()), self._link, self.metrics)
        try:
            self._fold_arrived()
            if flush:
                self.flush_statuses()
            self._start_commit()
        except Exception as error:  # A defect in the fold: the view is no longer to be trusted.
            log.exception("folding failed; going back to what the tables say")
            self._defect = error
            if self._in_flight is None:
                self._run(self._rewind_for_defect())

    def _may_fold(self) -> bool:
        return not (self._closed or self.failed.done() or self._defect is not None)

    def _has_room(self) -> bool:
        return len(self.batch.arrivals) < self._bisection.limit

    def _fold_arrived(self) -> None:
        while self._notes:
            self._fold_note(*self._notes.popleft())
        self._tick_if_due()
        limit = self._bisection.limit
        for _ in range(limit):
            if not self._arrived or len(self.batch.arrivals) >= limit:
                return
            self._folding = arrival = self._arrived.popleft()
            self.batch.arrivals.append(arrival)
            arrival.handler(arrival, self)
            self._folding = None

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
        offset, now_ms = self.scribe.next_offset, self.timekeeper.now_ms()
        entry = Entry(offset, now_ms, self.lease.term, kind, origin, inputs, payload)
        outcome = apply(self.view, entry)
        self.batch.records.append(self.scribe.write(entry, outcome))
        outbound = outcome.get("outbound")
        if outbound:
            self.batch.committed.append(Committed(offset, now_ms, outbound))
        return entry, outcome

    def note(self, kind: Kind, payload: Mapping[str, Any]) -> None:
        """Record what the process itself learnt (the bus is back), with the next batch."""
        self._notes.append((kind, payload))
        self._schedule_pump()

    def _fold_note(self, kind: Kind, payload: Mapping[str, Any]) -> None:
        self.batch.notes.append((kind, payload))
        self.record(kind, origin={}, inputs={}, payload=payload)

    def answer(
        self, arrival: Arrival, answer: Mapping[str, Any], *, operation: str, offset: int | None
    ) -> None:
        """Reply to the request and ack it, once the open batch is durable.

        offset: of what the answer rests on; None where nothing of it is recorded.
        """
        outcome = str(answer.get("outcome") or answer.get("status"))
        if answer.get("status") == "error":
            outcome = answer["error"]["code"]
        self.batch.answers.append(
            Answer(arrival, answer, offset, self.lease.term, operation, outcome)
        )

    def turn_away(self, arrival: Arrival, answer: Mapping[str, Any] | None) -> None:
        """Answer and ack at once what leaves no trace; it takes no place of others in the batch."""
        request = arrival.message
        if answer is not None:
            body = wire_reply(answer, term=self.lease.term, offset=None)
            self._link.send([reply_to(request, body)])
        self._link.ack([request])
        self.batch.arrivals.pop()  # The last one, which is being folded.
        self._bisection.gone()

    def wait_for_company(self, arrival: Arrival, key: StatusKey, status: Packed) -> None:
        """A plain status: it shares a record with others that arrive within a second."""
        self.waiting.add(arrival, key, status, self.clock.monotonic_ms())
        if self._bisection.active:
            self.flush_statuses()

    def _flush_statuses_if_due(self) -> None:
        if not self.waiting:
            return
        waited_ms = self.waiting.waited_ms(self.clock.monotonic_ms())
        if (
            waited_ms >= self.limits.statuses_wait_ms
            or len(self.waiting) >= self.limits.statuses_max
        ):
            self.flush_statuses()

    def flush_statuses(self) -> None:
        """Fold the statuses that wait, as the open batch's last record."""
        if not self.waiting:
            return
        # From here on they are this batch's; most arrived with an earlier one.
        self.batch.arrivals.extend(self.waiting)
        self.batch.acks.extend(arrival.message for arrival in self.waiting)
        statuses = self.waiting.packed()
        self.waiting.clear()
        _, outcome = self.record(
            Kind.STATUSES, origin={}, inputs={}, payload={"statuses": statuses}
        )
        ignored = len(outcome.get("ignored", ()))
        self.metrics.events.of("worker-status", "applied").inc(len(statuses) - ignored)
        if ignored:
            self.metrics.events.of("worker-status", "ignored").inc(ignored)

    def _tick_if_due(self) -> None:
        due_ms, now_ms = next_due_ms(self.view), self.timekeeper.now_ms()
        if due_ms is not None and due_ms <= now_ms:
            if self.waiting.break_a_silence(self.view, now_ms):
                self.flush_statuses()
            self.record(Kind.TICK, origin={}, inputs={}, payload={})
        step = self.timekeeper.take_step()
        if step is not None:
            log.warning(
                "the wall clock was stepped",
                extra={"recorded_ms": step.recorded_ms, "utc_ms": step.utc_ms},
            )
            self._fold_note(
                Kind.CLOCK_STEP, {"recorded_ms": step.recorded_ms, "utc_ms": step.utc_ms}
            )

    # -- committing -------------------------------------------------------------------------

    def _start_commit(self) -> None:
        if self._in_flight is not None:
            return
        self._flush_statuses_if_due()
        if self.batch:
            batch, self.batch = self.batch, OpenBatch()
            batch.rows = self.view.take_changes()
            self._run(self._commit(batch))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        self._in_flight = asyncio.get_running_loop().create_task(self._to_the_end(work))

    async def _to_the_end(self, work: Coroutine[Any, Any, None]) -> None:
        """Do `work` on the store, and go on with what was folded or came up meanwhile."""
        try:
            await work
            if self._defect is not None:
                await self._rewind_for_defect()
        except Exception as error:
            self._fail(error)
            return
        self._in_flight = None
        # Without another turn of the loop: what arrived meanwhile is folded already.
        self._pump()

    async def _commit(self, batch: OpenBatch) -> None:
        try:
            if batch.records:
                await self._append(batch)
        except BadData as error:
            await self._rewind_for_refusal(batch, error)
        else:
            self._after(batch)

    async def _append(self, batch: OpenBatch) -> None:
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
            self.metrics.dead_letters.inc(dead.reason)
            self.aftermath.dead_letter(dead.message, dead.reason, dead.detail)
        if batch.committed:
            self.aftermath.publish(batch.committed)
        for callback in batch.after:
            callback()
        if self._bisection.active:
            self._bisection.passed(len(set(batch.arrivals)))

    def _answer(self, waiting: Answer, sent: Sent, now: float) -> None:
        request = waiting.arrival.message
        if may_answer(request.reply_to):
            body = wire_reply(waiting.answer, term=waiting.term, offset=waiting.offset)
            sent.replies.append(reply_to(request, body))
        sent.acks.append(request)
        self.metrics.requests.inc(waiting.operation, waiting.outcome)
        seconds = now - waiting.arrival.received
        self.metrics.request_seconds.observe(seconds, waiting.operation)

    # -- going back --------------------------------------------------------------------------

    async def _rewind_for_refusal(self, batch: OpenBatch, error: BadData) -> None:
        """The database refuses a value: smaller batches, until the message stands alone."""
        log.error("the database refused a batch of %d: %s", len(batch.arrivals), error)
        arrivals = list(dict.fromkeys(batch.arrivals))
        if not arrivals or arrivals == [self._refused]:
            # It is nothing that came from outside, or the refusal itself is refused.
            raise error
        alone = arrivals[0] if len(arrivals) == 1 else None
        await self._rewind([batch, self.batch], alone, "bad-data", error)
        if alone is None:
            self._bisection.narrow(len(arrivals), len(self._arrived))

    async def _rewind_for_defect(self) -> None:
        """A message on which the fold fails is refused, like one that no database takes."""
        error, culprit = self._defect, self._folding
        assert error is not None
        searched = self._bisection.active or not self.batch.arrivals
        if culprit is self._refused if culprit else searched:
            raise error
        await self._rewind([self.batch], culprit, "internal", error)
        if culprit is None:
            # One of the statuses that shared a record; they share none until it is found.
            self._bisection.narrow(2, len(self._arrived))

    async def _rewind(
        self, given_up: list[OpenBatch], culprit: Arrival | None, reason: str, error: Exception
    ) -> None:
        """Fold again from the tables all that was folded since, but `culprit`, which is refused.

        What is folded while the tables are read goes into one of `given_up`, and so is not lost.
        Raises LeaseLost where they are not where this writer left them: whether records were lost
        is looked at when a term begins, and not here.
        """
        snapshot = await self.store.load()
        if snapshot.head != self.committed:
            raise LeaseLost(
                f"the journal ends at {snapshot.head.offset}, this writer left it at "
                f"{self.committed.offset}"
            )
        again = dict.fromkeys([*(a for batch in given_up for a in batch.arrivals), *self.waiting])
        self._notes.extendleft(reversed([note for batch in given_up for note in batch.notes]))
        self.batch = OpenBatch()
        self.waiting.clear()
        self.view = View.load(
            snapshot.tables,
            offset=snapshot.head.offset,
            recorded_at_ms=snapshot.head.recorded_at_ms,
        )
        self.scribe = Scribe(snapshot.head)
        self._folding = self._defect = None
        self._refused = culprit
        if culprit is not None:
            del again[culprit]
            self.batch.arrivals.append(culprit)
            culprit.handler.refuse(culprit, self, reason, printable(str(error))[:500])
        self._arrived.put_back(list(again))

    def dead_letter(self, message: Message, reason: str, detail: str) -> None:
        """Send `message` to the dead letters once the open batch is durable."""
        self.batch.dead_letters.append(DeadLetter(message, reason, detail))

    def _fail(self, error: BaseException) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)

    # -- life -------------------------------------------------------------------------------

    async def run_timers(self) -> None:
        """Look at the timers and at waiting statuses as long as the term lasts."""
        while not (self.failed.done() or self._closed):
            wait_ms = IDLE_TICK_MS
            due_ms = next_due_ms(self.view)
            if due_ms is not None:
                wait_ms = min(wait_ms, max(1, due_ms - self.timekeeper.now_ms()))
            if self.waiting:
                waited_ms = self.waiting.waited_ms(self.clock.monotonic_ms())
                wait_ms = min(wait_ms, max(1, self.limits.statuses_wait_ms - waited_ms))
            await self.clock.sleep(wait_ms)
            self._pump()

    async def drain(self) -> None:
        """Fold and commit what has arrived, waiting statuses included; raises what failed."""
        while not self._closed:
            self._turn(flush=True)
            if self.failed.done():
                self.failed.result()
            if self._in_flight is not None and not self._in_flight.cancelled():
                await asyncio.wait([self._in_flight])
            elif self._in_flight is not None or not self._arrived:
                return
            await asyncio.sleep(0)

    async def close(self) -> None:
        """Fold and commit nothing more; an append under way has its end, within bounds."""
        self._closed = True
        in_flight = self._in_flight
        if in_flight is not None:
            await asyncio.wait([in_flight], timeout=CLOSE_MS_MAX / 1000)
            in_flight.cancel()
            await asyncio.gather(in_flight, return_exceptions=True)
        self.failed.cancel()
