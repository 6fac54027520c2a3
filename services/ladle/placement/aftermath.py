"""What follows a commit besides the reply: dead letters, recalled answers, the outbox."""

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence

import orjson

from ladle.broker.dead_letters import dead_letter
from ladle.journal.chain import content_of
from ladle.journal.store import OutboxCursor, Store, StoreError
from ladle.placement.batch import Committed
from ladle.placement.errands import Errands
from ladle.placement.metrics import Metrics
from ladle.placement.outbox import Outbox
from ladle.placement.replies import error_answer, may_answer, reply_to, wire_reply
from ladle.placement.text import printable
from ladle_contracts.clock import Clock
from ladle_contracts.link import Link, LinkError, Message
from ladle_contracts.topology import Topology

log = logging.getLogger("ladle.writer")

PAUSE_MS = (100, 500, 2_000, 5_000)


class AfterCommit:
    """Runs the slow part of what a commit allows, without holding up the next batch."""

    def __init__(
        self,
        *,
        store: Store,
        link: Link,
        clock: Clock,
        topology: Topology,
        metrics: Metrics,
        outbox: Outbox,
        declare: Callable[[Sequence[str]], Awaitable[None]],
    ) -> None:
        self._store = store
        self._link = link
        self._clock = clock
        self._topology = topology
        self._metrics = metrics
        self._outbox = outbox
        self._declare = declare
        self._registered: set[str] = set()
        self._errands = Errands("what follows a commit", log)

    def publish(self, committed: Iterable[Committed]) -> None:
        """Hand outbound messages to the outbox."""
        self._outbox.add(committed)

    def cursor(self) -> OutboxCursor | None:
        """How far the outbox is, to ride along with the next batch."""
        return self._outbox.take_cursor()

    def dead_letter(self, message: Message, reason: str, detail: str) -> None:
        """Copy to the dead letters, then ack; not acked before the copy is confirmed."""
        self._errands.run(self._dead_letter(message, reason, detail))

    def welcome(self, server_id: str) -> None:
        """Declare the command queue of a server that registered; it waits for it.

        Many may register at once, after a restart of the fleet: they share one connection.
        """
        is_idle = not self._registered
        self._registered.add(server_id)
        if is_idle:
            self._errands.run(self._declare_queues())

    async def _declare_queues(self) -> None:
        attempt = 0
        while self._registered:
            wanted = sorted(self._registered)
            try:
                await self._declare(wanted)
            except LinkError as error:
                log.warning("command queues were not declared; trying again: %s", error)
                await self._clock.sleep(PAUSE_MS[min(attempt, len(PAUSE_MS) - 1)])
                attempt += 1
            else:
                self._registered.difference_update(wanted)

    def recall(self, message: Message, offset: int, operation: str) -> None:
        """Answer a redelivered request with what was recorded for it."""
        self._errands.run(self._recall(message, offset, operation))

    async def _dead_letter(self, message: Message, reason: str, detail: str) -> None:
        copy = dead_letter(message, self._topology, reason, printable(detail))
        attempt = 0
        while True:
            try:
                await self._link.publish(copy)
                break
            except LinkError as error:
                log.warning("a dead letter was not taken; trying again: %s", error)
                await self._clock.sleep(PAUSE_MS[min(attempt, len(PAUSE_MS) - 1)])
                attempt += 1
        self._link.ack([message])

    async def _recall(self, message: Message, offset: int, operation: str) -> None:
        body = await self._recorded_reply(offset)
        if may_answer(message.reply_to):
            self._link.send([reply_to(message, body)])
        self._link.ack([message])
        self._metrics.requests.inc(operation, "recalled")

    async def _recorded_reply(self, offset: int) -> bytes:
        for pause_ms in (*PAUSE_MS[:2], None):
            try:
                record = await self._store.record(offset)
            except StoreError as error:
                log.warning("a recorded answer could not be read: %s", error)
                if pause_ms is not None:
                    await self._clock.sleep(pause_ms)
                continue
            if record is None or not record.body:
                # Erased: what was answered is not known any more, and never will be.
                return orjson.dumps(error_answer("unavailable", "the recorded answer was erased"))
            reply = content_of(record)["outcome"]["reply"]
            return wire_reply(reply, term=record.term, offset=offset)
        # Without an offset: a caller who reads one takes this refusal for the recorded answer, and
        # would ask with a new id for what was done already.
        return orjson.dumps(
            error_answer("unavailable", "the recorded answer cannot be read now", retryable=True)
        )

    async def settle(self) -> None:
        """Wait for what is under way."""
        await self._errands.settle()

    async def close(self) -> None:
        """Cancel what is under way; what it has not acked comes again."""
        await self._errands.close()
