"""What a standby does while another process writes: answer reads.

All processes consume the queries queue, so the broker shares the reads out among them. A standby is
a little behind the writer; a reader who must see an own write sends `min_offset`, for which it is
waited here, and is refused as `unavailable` where that takes too long. Nothing is journaled here:
bad input is answered, and only logged.
"""

import asyncio
import logging
from typing import NoReturn

from ladle.broker.dead_letters import dead_letter
from ladle.journal.store import Store
from ladle.placement.callers import Callers, OverLimit
from ladle.placement.errands import Errands
from ladle.placement.follower import Follower
from ladle.placement.metrics import Metrics
from ladle.placement.on_query import (
    NOT_WRITING,
    Answer,
    JournalReads,
    behind,
    from_view,
)
from ladle.placement.refusals import (
    OVER_LIMIT,
    REFUSED,
    address_refusal,
    count_over_limit,
    error_for,
    reason_of,
)
from ladle.placement.replies import error_answer, may_answer, operation_label, reply_to, wire_reply
from ladle_contracts.clock import Clock
from ladle_contracts.envelope import Request
from ladle_contracts.link import Consumer, Link, LinkError, Message
from ladle_contracts.topology import Topology

log = logging.getLogger("ladle.standby")

WAIT_MS = 1_000
"""How long a read waits for its `min_offset`: some looks, and well below a caller's time-out."""

CONSUME_PAUSE_MS = 1_000
CANCEL_MS = 1_000


class Standby:
    """Answers reads from its start to its end; the term that may follow loads a view of its own."""

    def __init__(
        self,
        *,
        store: Store,
        link: Link,
        clock: Clock,
        metrics: Metrics,
        topology: Topology,
        callers: Callers,
    ) -> None:
        self.follower = Follower(store, clock)
        self._link = link
        self._metrics = metrics
        self._topology = topology
        self._clock = clock
        self._callers = callers
        self._ended = False
        self._reads = JournalReads(store)
        self._errands = Errands("a read on a standby", log)
        self._open: dict[tuple[int, int], Message] = {}  # in the order of their coming
        self._consumer: Consumer | None = None
        self._following: asyncio.Task[NoReturn] | None = None

    async def run(self, prefetch: int) -> NoReturn:
        """Follow the journal and, as soon as there is a view, consume; until cancelled."""
        self._following = asyncio.create_task(self.follower.run())
        while not await self.follower.reaches(0, WAIT_MS):
            pass  # No database yet: the reads wait in their queue, or are another process's.
        self._consumer = await self._consume(prefetch)
        log.info("answering reads as a standby", extra={"offset": self.follower.offset})
        # It does not end by itself; where it did, that is to be seen.
        await self._following
        raise AssertionError("following has no end")

    async def _consume(self, prefetch: int) -> Consumer:
        while True:
            try:
                return await self._link.consume(
                    self._topology.queries, self._on_messages, prefetch=prefetch
                )
            except LinkError as error:
                log.warning("a standby cannot consume yet: %s", error)
                await self._clock.sleep(CONSUME_PAUSE_MS)

    async def end(self) -> None:
        """Stop deliveries and let go; what was not answered goes back to the queue.

        Bounded: a process that has just taken the lease must not wait for a broker that is silent.
        """
        self._ended = True
        if self._consumer is not None:
            try:
                async with asyncio.timeout(CANCEL_MS / 1000):
                    await self._consumer.cancel()
            except (LinkError, TimeoutError) as error:
                log.debug("the consumer was gone already: %s", error)
        await self._errands.close()
        # The channel lives on when this process becomes the writer: nobody else would ever get
        # what is kept on it.
        self._link.nack(list(self._open.values()), requeue=True)
        self._open.clear()
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)

    def _on_messages(self, messages: list[Message]) -> None:
        if self._ended:
            self._link.nack(messages, requeue=True)
            return
        for message in messages:
            self._open[message.epoch, message.tag] = message
            self._errands.run(self._serve(message))

    async def _serve(self, message: Message) -> None:
        await self._settle(message)
        del self._open[message.epoch, message.tag]

    async def _settle(self, message: Message) -> None:
        if not may_answer(message.reply_to):
            if self._callers.may_ask(message):
                await self._refuse_address(message)
            else:
                self._too_many(message)
            return
        try:
            request, user = self._callers.read(message)
            self._callers.count(user)
        except REFUSED as error:
            if isinstance(error, OverLimit):
                count_over_limit(message, self._metrics)
            else:
                reason, detail = reason_of(error)
                log.warning("refused a read: %s", detail, extra={"reason": reason})
            answer: Answer = error_for(error)
        else:
            answer = NOT_WRITING if request.is_write else await self._answer(request)
        body = wire_reply(answer, term=self.follower.term, offset=self.follower.offset)
        self._link.send([reply_to(message, body)])
        self._link.ack([message])
        code = answer["error"]["code"] if answer["status"] == "error" else "ok"
        self._metrics.requests.inc(operation_label(message), code)

    async def _answer(self, request: Request) -> Answer:
        min_offset = getattr(request.body, "min_offset", 0)
        if not await self.follower.reaches(min_offset, WAIT_MS):
            return behind(self.follower.offset, min_offset)
        view = self.follower.view
        assert view is not None, "what is reached has been loaded"
        try:
            answer = from_view(view, request)
        except Exception:  # A defect; the writer would say the same.
            log.exception("a read of the view failed")
            return error_answer("internal", "the view cannot answer this")
        if answer is not None:
            return answer
        return await self._reads.answer(request)

    def _too_many(self, message: Message) -> None:
        """Of who cannot be answered: acked, and only counted."""
        count_over_limit(message, self._metrics)
        self._metrics.requests.inc(operation_label(message), OVER_LIMIT)
        self._link.ack([message])

    async def _refuse_address(self, message: Message) -> None:
        """To the dead letters; acked once the broker has the copy, else it comes again."""
        reason, detail = address_refusal(message)
        log.warning("refused a read: %s", detail, extra={"reason": reason})
        self._metrics.replies_refused.inc()
        self._metrics.requests.inc(operation_label(message), reason)
        try:
            await self._link.publish(dead_letter(message, self._topology, reason, detail))
        except LinkError as error:
            log.warning("a dead letter was not taken; the message comes again: %s", error)
            self._link.nack([message], requeue=True)
        else:
            self._link.ack([message])
