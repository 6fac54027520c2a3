"""Request and reply over a link: any number of calls at once, each with a deadline.

What is retried, and with which id, decides whether a room may be placed twice:
- nothing was sent: the same id, as soon as there is a connection;
- the outcome is unknown: the same id, by which Ladle gives the answer that it gave before;
- silence: the same message, after five seconds, ten, twenty and so on. Replies are not stored, and
  a broker that is just starting loses some without a word: RabbitMQ 3.10 drops direct replies
  between opening its port and the end of its boot;
- refused, retryable, and the refusal stands in the journal: a new id, as the old one would get the
  recorded refusal for ten minutes; never where the caller chose the id;
- refused, retryable, not in the journal: the same id.
All of it within the caller's time, and `attempts_max` times at most. A refusal is final where what
is left is less than it took: asked again, the caller would end with an outcome that nobody knows.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Any

from .clock import Clock
from .envelope import ContractViolation, decode_reply, encode_request
from .errors import (
    BadReply,
    Forbidden,
    OutcomeUnknownError,
    PlacementError,
    RequestTimedOut,
    ServiceAbsent,
    Unreachable,
    error_of,
)
from .link import (
    DIRECT_REPLY_TO,
    Link,
    LinkDown,
    LinkState,
    Message,
    OutcomeUnknown,
    Outgoing,
    Refused,
    Unroutable,
)
from .replies import ErrorReply, Reply
from .requests import OPERATION_NAMES, Body

log = logging.getLogger(__name__)

_PAUSE_FIRST_MS = 200
_SILENCE_FIRST_MS = 5_000
_DOWN_PAUSE_MS = 50
_JITTER = 0.25


class Calls:
    """The pending calls of one client."""

    def __init__(
        self,
        link: Link,
        clock: Clock,
        *,
        cell: str,
        attempts_max: int,
        user_id: str | None,
        on_behalf_of: str | None,
        chance: random.Random,
        new_id: Callable[[], str],
    ) -> None:
        self._link = link
        self._clock = clock
        self._cell = cell
        self._attempts_max = attempts_max
        self._user_id = user_id
        self._on_behalf_of = on_behalf_of
        self._chance = chance
        self._new_id = new_id
        self._pending: dict[str, asyncio.Future[Message | None]] = {}
        self._up = asyncio.Event()
        self._closed = False
        self.reply_to = DIRECT_REPLY_TO
        self.late_replies = 0
        self.retries = 0

    def attach(self) -> None:
        """Follow the link's state; call once it is open."""
        self._link.watch(self._on_state)
        if self._link.is_up:
            self._up.set()

    def on_replies(self, messages: list[Message]) -> None:
        """Replies find their call by correlation id; one that nobody waits for came too late."""
        for message in messages:
            waiting = self._pending.pop(message.correlation_id or "", None)
            if waiting is None or waiting.done():
                self.late_replies += 1
            else:
                waiting.set_result(message)

    def close(self) -> None:
        """End all calls; one that was sent does not know whether it worked."""
        self._closed = True
        self.abandon()
        self._up.set()

    def abandon(self) -> None:
        """The replies to what was asked so far will not come."""
        pending, self._pending = self._pending, {}
        for waiting in pending.values():
            if not waiting.done():
                waiting.set_result(None)

    def _on_state(self, state: LinkState, _reason: str) -> None:
        if state is LinkState.DOWN:
            self._up.clear()
            self.abandon()
        elif state is LinkState.UP:
            self._up.set()

    async def call(self, body: Body, *, timeout_ms: int, request_id: str | None) -> Reply:
        """Ask, and give the successful answer. Raises PlacementError."""
        call = _Call(body, request_id, self._clock.monotonic_ms() + timeout_ms, self._new_id())
        while True:
            if self._closed:
                raise call.not_done(Unreachable("the client is closed"))
            try:
                reply = await self._attempt(call)
            except LinkDown as down:
                await self._wait_for_connection(call, down)
                continue
            except OutcomeUnknown as unknown:
                call.maybe_done = True
                self._count(call, call.unknown("no answer will come", unknown))
                continue
            if isinstance(reply, Reply):
                return reply
            await self._rest_after(call, reply)

    async def _attempt(self, call: "_Call") -> Reply | ErrorReply:
        """One message and its answer. Raises LinkDown, OutcomeUnknown and what is final."""
        remaining_ms = self._remaining_ms(call)
        if remaining_ms <= 0:
            raise call.timed_out()
        call.asked_ms = self._clock.monotonic_ms()
        try:
            answer = await self._exchange(call, self._new_id(), remaining_ms)
        except Unroutable as error:
            raise call.not_done(
                ServiceAbsent(f"nobody takes requests in {self._cell!r}")
            ) from error
        except Refused as error:
            raise call.not_done(_of_refusal(error)) from error
        if answer is _TIMED_OUT:
            call.maybe_done = True
            raise call.timed_out()
        try:
            return decode_reply(call.operation, answer)
        except ContractViolation as violation:
            raise call.naming(BadReply(f"the answer is not readable: {violation}")) from violation

    def _message(self, call: "_Call", correlation_id: str) -> Outgoing:
        return encode_request(
            call.body,
            request_id=call.request_id,
            correlation_id=correlation_id,
            reply_to=self.reply_to,
            timeout_ms=max(1, self._remaining_ms(call)),
            cell=self._cell,
            user_id=self._user_id,
            on_behalf_of=self._on_behalf_of,
        )

    async def _exchange(self, call: "_Call", correlation_id: str, limit_ms: int) -> Message:
        """Publish and wait for the reply, whichever of reply and confirm comes first."""
        reply: asyncio.Future[Message | None] = asyncio.get_running_loop().create_future()
        self._pending[correlation_id] = reply
        timer = asyncio.ensure_future(self._clock.sleep(limit_ms))
        silence_ms = _SILENCE_FIRST_MS
        try:
            while not await self._ask(call, correlation_id, reply, timer, silence_ms):
                call.maybe_done = True
                self.retries += 1
                silence_ms *= 2
            answer = reply.result() if reply.done() else None
            return _TIMED_OUT if answer is None else answer
        finally:
            self._pending.pop(correlation_id, None)
            timer.cancel()
            await asyncio.gather(timer, return_exceptions=True)

    async def _ask(
        self,
        call: "_Call",
        correlation_id: str,
        reply: "asyncio.Future[Message | None]",
        timer: "asyncio.Task[None]",
        silence_ms: int,
    ) -> bool:
        """Send it once and wait. False where it was sent and all was silent for this long."""
        sending = asyncio.ensure_future(self._link.publish(self._message(call, correlation_id)))
        silence: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        waited: set[asyncio.Future[Any]] = {reply, sending, timer}
        try:
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and not reply.done():
                sending.result()
                # Not all callers at once, whom one restart of the broker made wait.
                silence_ms = round(silence_ms * (1 + _JITTER * self._chance.random()))
                silence = asyncio.ensure_future(self._clock.sleep(silence_ms))
                waited = {reply, timer, silence}
                await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if reply.done() and reply.result() is None:
                await self._why_abandoned(sending, timer)
                raise OutcomeUnknown("the connection was lost before the answer")
            return reply.done() or timer.done()
        finally:
            for future in (sending, silence):
                future.cancel()
            await asyncio.gather(sending, silence, return_exceptions=True)

    async def _why_abandoned(
        self, sending: "asyncio.Task[None]", timer: "asyncio.Task[None]"
    ) -> None:
        """Let the publish say what became of it: a refusal takes the channel of the replies along,
        and a message that was never sent is not an unknown outcome. Raises what it ended with."""
        if not self._closed:
            await asyncio.wait({sending, timer}, return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            sending.result()

    async def _wait_for_connection(self, call: "_Call", down: LinkDown) -> None:
        # A pause even where the link says that it is up, so as not to spin while it opens.
        remaining_ms = self._remaining_ms(call)
        connected = asyncio.ensure_future(self._up.wait())
        pause = asyncio.ensure_future(self._clock.sleep(min(_DOWN_PAUSE_MS, max(remaining_ms, 1))))
        timer = asyncio.ensure_future(self._clock.sleep(max(remaining_ms, 1)))
        try:
            await asyncio.wait({connected, timer}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({pause, timer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for future in (connected, pause, timer):
                future.cancel()
            await asyncio.gather(connected, pause, timer, return_exceptions=True)
        if self._remaining_ms(call) <= 0 and not self._closed:
            raise call.not_done(Unreachable(f"no connection to the broker: {down}")) from down

    async def _rest_after(self, call: "_Call", reply: ErrorReply) -> None:
        """Wait as long as Ladle asks for, or raise its refusal where a retry is of no use."""
        error = call.naming(error_of(reply))
        call.maybe_done = False
        recorded = reply.journal_offset is not None
        if not error.retryable or (recorded and call.id_is_the_callers):
            raise error
        pause_ms = error.retry_after_ms
        if pause_ms is None:
            pause_ms = _PAUSE_FIRST_MS * 2**call.attempts
        # Later, never earlier, and not all callers at once.
        pause_ms = round(pause_ms * (1 + _JITTER * self._chance.random()))
        self._count(call, error)
        # Who waited long for a refusal may wait as long for the next: where the time left is less,
        # the refusal in hand is worth more than an outcome that nobody knows.
        waited_ms = self._clock.monotonic_ms() - call.asked_ms
        if pause_ms + round(waited_ms * (1 + _JITTER)) >= self._remaining_ms(call):
            raise error
        if recorded:
            call.request_id = self._new_id()
        await self._clock.sleep(pause_ms)

    def _count(self, call: "_Call", error: PlacementError) -> None:
        call.attempts += 1
        if call.attempts >= self._attempts_max:
            raise error
        self.retries += 1

    def _remaining_ms(self, call: "_Call") -> int:
        return call.deadline_ms - self._clock.monotonic_ms()


class _Call:
    """One call through all of its attempts. `maybe_done`: an earlier attempt may have worked."""

    def __init__(self, body: Body, request_id: str | None, deadline_ms: int, fresh_id: str) -> None:
        self.body = body
        self.operation = OPERATION_NAMES[type(body)]
        self.id_is_the_callers = request_id is not None
        self.request_id = request_id or fresh_id
        self.deadline_ms = deadline_ms
        self.asked_ms = 0
        self.attempts = 0
        self.maybe_done = False

    def naming(self, error: PlacementError) -> PlacementError:
        """The error, with the id to ask again with."""
        error.request_id = self.request_id
        return error

    def unknown(self, what: str, cause: Exception) -> PlacementError:
        return self.naming(OutcomeUnknownError(f"{self.operation}: {what}: {cause}"))

    def timed_out(self) -> PlacementError:
        return self.naming(RequestTimedOut(f"{self.operation}: no answer in time"))

    def not_done(self, error: PlacementError) -> PlacementError:
        """The error, unless an attempt before it may have been carried out."""
        return (
            self.unknown("an earlier attempt may have worked", error) if self.maybe_done else error
        )


_TIMED_OUT = Message(b"")


def _of_refusal(error: Refused) -> PlacementError:
    """RabbitMQ's refusal of a request: no such exchange, or no right to it."""
    if "no exchange" in str(error):
        return ServiceAbsent(f"this cell was never declared: {error}")
    return Forbidden(f"the broker refused the request: {error}")
