"""Publishing on one channel: confirms pipelined, returns told apart, direct replies received."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable

from aiormq import Channel
from aiormq.exceptions import (
    AMQPChannelError,
    ChannelInvalidStateError,
    DeliveryError,
    PublishError,
)

from .amqp_consuming import Deliveries, close_channel
from .amqp_line import LOSSES, Line, cancelled_by_a_loss, insist_on_a_cancel, unhurried
from .amqp_messages import properties_of
from .link import (
    DIRECT_REPLY_TO,
    LinkDown,
    LinkError,
    OnMessages,
    OutcomeUnknown,
    Outgoing,
    Refused,
    Unroutable,
)

log = logging.getLogger(__name__)

_GRACE_S = 0.25
_FLUSH_WAIT_S = 5.0
_HELD_MAX = 10_000

_UNCONFIRMED_MAX = 128
"""More at once wait here, unsent: of a burst aiormq writes some hundred a second on a busy machine,
and the time for a confirm would be over for the last ones before they are written."""


class Publishing:
    """Confirmed publishing; its channel is opened when first needed and again after it closed.

    With `on_replies` the same channel consumes direct replies, as RabbitMQ asks for, and
    `on_lost` tells of its end: the replies to what was asked on it will not come.
    """

    def __init__(
        self,
        line: Line,
        *,
        confirm_timeout_ms: int,
        on_replies: OnMessages | None = None,
        on_lost: Callable[[str], None] | None = None,
    ) -> None:
        self._line = line
        self._confirm_timeout_s = confirm_timeout_ms / 1000
        self._on_replies = on_replies
        self._on_lost = on_lost
        self._channel: Channel | None = None
        self._opening: asyncio.Task[Channel] | None = None
        self._lock = asyncio.Lock()
        self._in_flight: dict[asyncio.Task[object], None] = {}
        self._room = asyncio.Semaphore(_UNCONFIRMED_MAX)
        self._alone: bool | None = None

    @property
    def is_open(self) -> bool:
        return self._channel is not None and not self._channel.is_closed

    async def publish(self, message: Outgoing) -> None:
        """Publish and wait for the confirm; raises as Link.publish says.

        The time-out of the confirm begins when the message has its turn, not with the call.
        """
        async with self._room:  # fair, too
            await self._publish(message)

    async def _publish(self, message: Outgoing) -> None:
        async with self._lock:  # fair: messages leave in the order of their calls
            if not self._line.is_up:
                raise LinkDown("not connected")
            channel = await self._opened()
            task: asyncio.Task[object] = asyncio.ensure_future(
                channel.basic_publish(
                    message.body,
                    exchange=message.exchange,
                    routing_key=message.routing_key,
                    properties=properties_of(message),
                    mandatory=message.mandatory,
                    timeout=self._confirm_timeout_s,
                    wait=False,
                )
            )
            self._in_flight[task] = None
            task.add_done_callback(self._settled)
        try:
            await task
        except asyncio.CancelledError as error:
            if cancelled_by_a_loss():
                raise OutcomeUnknown("the connection was lost before the confirm") from error
            raise
        except LOSSES as error:
            raise self._what_happened(error, message) from error

    def _settled(self, task: asyncio.Task[object]) -> None:
        failed = not task.cancelled() and isinstance(task.exception(), AMQPChannelError)
        if failed and self._alone is None:
            self._alone = len(self._in_flight) == 1
        self._in_flight.pop(task, None)

    def _what_happened(self, error: BaseException, message: Outgoing) -> LinkError:
        """The Link's word for the way a publish ended."""
        match error:
            case PublishError():
                return Unroutable(f"{message.exchange}/{message.routing_key}: no queue is bound")
            case DeliveryError():
                return Refused(f"{message.exchange}/{message.routing_key}: the broker nacked it")
            case ChannelInvalidStateError():
                return LinkDown("the channel closed before the message was sent")
            case AMQPChannelError() if self._alone or f"'{message.exchange}'" in str(error):
                return Refused(str(error))
            case _:
                # Another message may have closed the channel, after this one was taken.
                return OutcomeUnknown(f"no confirm: {error!r}")

    async def open(self) -> None:
        """Open the channel now. Raises LinkDown, Refused."""
        async with self._lock:
            await self._opened()

    async def _opened(self) -> Channel:
        if self._channel is not None and not self._channel.is_closed:
            return self._channel
        # One opening for all: whoever began it may be cancelled, and the next one comes in.
        if self._opening is None or self._opening.done():
            self._opening = unhurried(self._open())
        try:
            return await asyncio.shield(self._opening)
        except asyncio.CancelledError as error:
            if cancelled_by_a_loss():
                raise LinkDown("the connection was lost") from error
            raise
        except LinkDown:
            raise
        except LOSSES as error:
            raise LinkDown(f"cannot open a channel: {error!r}") from error

    async def _open(self) -> Channel:
        channel = await self._line.channel(confirms=True)
        if self._on_replies is not None:
            life = Deliveries(channel, DIRECT_REPLY_TO, 0, self._on_replies, no_ack=True)
            await channel.basic_consume(DIRECT_REPLY_TO, life.receive, no_ack=True)
        self._channel = channel
        self._alone = None
        channel.closing.add_done_callback(lambda closing: self._closed(channel, closing))
        return channel

    def _closed(self, channel: Channel, closing: "asyncio.Future[object]") -> None:
        error = None if closing.cancelled() else closing.exception()
        # aiormq rejects the confirms that it waits for, but not a call that waits for room in
        # the write queue of a dead connection: that one would hang for ever.
        asyncio.get_running_loop().call_later(_GRACE_S, _cancel_all, list(self._in_flight))
        if self._channel is channel:
            self._channel = None
        if self._on_lost is not None:
            self._on_lost(f"the channel of the replies closed: {error!r}")

    async def flush(self) -> None:
        """Wait, for a bounded time, for the confirms that are under way."""
        if self._in_flight:
            await asyncio.wait(set(self._in_flight), timeout=_FLUSH_WAIT_S)


class Sending:
    """Publishing without confirms, for replies: written in order, lost where the link is down."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._waiting: deque[Outgoing] = deque(maxlen=_HELD_MAX)
        self._writer: asyncio.Task[None] | None = None
        self._channel: Channel | None = None

    def send(self, messages: Iterable[Outgoing]) -> None:
        """Write them now, or when the line is up again: see `resume` and `forget`."""
        self._waiting.extend(messages)
        self.resume()

    def forget(self) -> None:
        """Lose what was not written."""
        self._waiting.clear()

    def resume(self) -> None:
        """Go on writing, where the line is up."""
        if not self._line.is_up:
            return
        if self._waiting and (self._writer is None or self._writer.done()):
            self._writer = asyncio.create_task(self._write(), name="send")

    async def _write(self) -> None:
        while self._waiting and self._line.is_up:
            message = self._waiting.popleft()
            try:
                async with asyncio.timeout(_FLUSH_WAIT_S):
                    await self._write_one(message, drain=not self._waiting)
            except LOSSES as error:
                insist_on_a_cancel()
                if self._line.is_lost:
                    self._waiting.appendleft(message)
                    return
                log.debug("a message to %s was lost: %r", message.routing_key, error)
            except asyncio.CancelledError:
                if not cancelled_by_a_loss():
                    raise

    async def _write_one(self, message: Outgoing, *, drain: bool) -> None:
        if self._channel is None or self._channel.is_closed:
            self._channel = await self._line.channel(confirms=False)
        await self._channel.basic_publish(
            message.body,
            exchange=message.exchange,
            routing_key=message.routing_key,
            properties=properties_of(message),
            mandatory=message.mandatory,
            wait=drain,
        )

    async def flush(self) -> None:
        """Wait, for a bounded time, until what was sent is in the socket, then close the channel.

        The close is answered by the broker, so everything before it was read.
        """
        if self._writer is not None:
            await asyncio.wait({self._writer}, timeout=_FLUSH_WAIT_S)
            self._writer.cancel()
        if self._channel is not None and not self._channel.is_closed:
            await close_channel(self._channel)


def _cancel_all(tasks: list[asyncio.Task[object]]) -> None:
    for task in tasks:
        task.cancel()
