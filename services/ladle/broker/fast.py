"""The fast link: FastStream and aio-pika around it, its own frames on the hot path.

What is declared, consumed and reconnected is FastStream's and aio-pika's doing; deliveries, acks,
publishes and confirms are read and written by the `Wire` under them, whole batches at a time. The
price: FastStream's middlewares do not see these messages; their user counts and traces itself.
Source: docs/adr/0010-fast-link.md.
"""

import asyncio
import contextlib
import logging
import ssl
from collections import defaultdict
from collections.abc import Sequence

from aio_pika import IncomingMessage
from faststream.rabbit.subscriber.usecase import RabbitSubscriber

from ladle_contracts.link import (
    DIRECT_REPLY_TO,
    LinkDown,
    LinkError,
    LinkState,
    Message,
    OnMessages,
    OnState,
    OutcomeUnknown,
    Outgoing,
    Refused,
)

from .confirms import Confirms
from .held import Held
from .lane import Lane, Sink
from .publishing import Publishing
from .reply_nodes import ReplyNodes
from .subscribers import HEARTBEAT_S, Subscribers, with_heartbeat
from .wire import Tap, Wire, wired_connection

log = logging.getLogger(__name__)

WAITING_BYTES_MAX = 64_000_000
"""Above it nothing more is written: the broker does not read, and memory is not endless."""

HELD_BYTES_MAX = 16_000_000
"""Answers that wait for the publishing connection: seconds' worth at the highest rate."""

_CONFIRM_WAIT_S = 5.0


class FastSubscription:
    """A consumer of the fast link; `Consumer` of the Link interface."""

    def __init__(self, link: "FastLink", queue: str, subscriber: RabbitSubscriber) -> None:
        self._link = link
        self._subscriber = subscriber
        self.queue = queue

    async def cancel(self) -> None:
        await self._link._unsubscribe(self.queue, self._subscriber)


class FastLink:
    """`Link` for the placement service. Times in milliseconds but `heartbeat_s`, AMQP's own unit.

    `url` is amqp:// or amqps://, `ssl_context` serves amqps. Two connections: one consumes, one
    publishes, as an alarm of the broker blocks the connection that publishes.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str = "ladle",
        ssl_context: ssl.SSLContext | None = None,
        heartbeat_s: int = HEARTBEAT_S,
        reconnect_interval_ms: int = 1_000,
        connect_timeout_ms: int = 10_000,
        confirm_timeout_ms: int = 30_000,
    ) -> None:
        self._url = with_heartbeat(url, heartbeat_s)
        self._name = name
        self._ssl_context = ssl_context
        self._reconnect_interval_s = reconnect_interval_ms / 1000
        self._connect_timeout_s = connect_timeout_ms / 1000
        self._confirm_timeout_s = confirm_timeout_ms / 1000
        self._watchers: list[OnState] = []
        self._in = Tap(self._changed)
        self._out = Tap(self._changed)
        self._subscribers: Subscribers | None = None
        self._publishing = Publishing(self._out)
        self._held = Held(HELD_BYTES_MAX)
        self._reply_nodes = ReplyNodes(self._url, ssl_context, self._send)
        self._consuming = False
        self._publishes = False
        self._is_up = False
        self._is_blocked = False
        self._lock = asyncio.Lock()
        self._dropped = 0

    @property
    def user(self) -> str:
        """The user of the connection, which is all that RabbitMQ accepts as `user_id`."""
        return self._url.user or "guest"

    @property
    def dropped(self) -> int:
        """Sent messages that were lost: the link was down, the broker did not read, or their
        address is at no node of the broker."""
        return self._dropped + self._reply_nodes.dropped

    @property
    def is_up(self) -> bool:
        """Both connections stand; what was consumed is consumed again."""
        return self._is_up

    def watch(self, on_state: OnState) -> None:
        self._watchers.append(on_state)

    def unwatch(self, on_state: OnState) -> None:
        """Stop telling `on_state`; unknown watchers are ignored."""
        if on_state in self._watchers:
            self._watchers.remove(on_state)

    async def open(self) -> None:
        """Connect; a second call does nothing. Raises LinkDown where the broker is not there."""
        async with self._lock:
            if self._subscribers is not None:
                return
            try:
                await self._publishing.open(
                    self._url,
                    name=f"{self._name} (publishing)",
                    ssl_context=self._ssl_context,
                    reconnect_interval_s=self._reconnect_interval_s,
                    timeout_s=self._connect_timeout_s,
                )
                await self._open_consuming()
            except BaseException:
                await self._close_connections()
                raise
            self._changed("connected")

    async def _open_consuming(self) -> None:
        self._subscribers = Subscribers(
            self._url,
            name=f"{self._name} (consuming)",
            ssl_context=self._ssl_context,
            reconnect_interval_s=self._reconnect_interval_s,
            connect_timeout_s=self._connect_timeout_s,
            connection_class=wired_connection(self._in),
        )
        await self._subscribers.open()

    async def close(self) -> None:
        """Stop the consumers, wait a moment for confirms, close; what was written has arrived."""
        async with self._lock:
            lane = self._publishing.confirmed
            under_way = lane.confirms.under_way() if lane and lane.confirms else []
            if under_way:
                await asyncio.wait([group.done for group in under_way], timeout=_CONFIRM_WAIT_S)
            await self._close_connections()

    async def _close_connections(self) -> None:
        subscribers, self._subscribers = self._subscribers, None
        self._changed("closed")
        await self._reply_nodes.close()
        if subscribers is not None:
            await subscribers.close()
        await self._publishing.close()
        self._in.sinks.clear()
        self._out.sinks.clear()

    # Receiving

    async def consume(
        self, queue: str, on_messages: OnMessages, *, prefetch: int, no_ack: bool = False
    ) -> FastSubscription:
        """Consume on a channel of its own, again after every reconnection.

        Raises LinkDown where there is no connection, Refused where there is no such queue, no
        right to it, or a consumer of it on this link.
        """
        if self._subscribers is None or self._in.wire is None:
            raise LinkDown("there is no connection to the broker")
        if queue in self._in.sinks:
            raise Refused(f"this link consumes {queue} already")
        self._in.sinks[queue] = Sink(queue, on_messages, no_ack)
        try:
            subscriber = await self._subscribers.subscribe(
                queue, _not_tapped, prefetch=prefetch, no_ack=no_ack
            )
        except BaseException:
            self._in.sinks.pop(queue, None)
            raise
        return FastSubscription(self, queue, subscriber)

    async def _unsubscribe(self, queue: str, subscriber: RabbitSubscriber) -> None:
        # At once: who does not wait for the end may consume the queue again. What still comes for
        # this consumer goes where it went, for a lane knows that by the consumer's tag.
        self._in.sinks.pop(queue, None)
        if self._subscribers is not None:
            await self._subscribers.unsubscribe(subscriber)

    def ack(self, messages: Sequence[Message]) -> None:
        self._settle(messages, None)

    def nack(self, messages: Sequence[Message], *, requeue: bool) -> None:
        self._settle(messages, requeue)

    def _settle(self, messages: Sequence[Message], requeue: bool | None) -> None:
        by_epoch: dict[int, list[int]] = defaultdict(list)
        for message in messages:
            by_epoch[message.epoch].append(message.tag)
        for epoch, tags in by_epoch.items():
            lane = self._in.lanes.get(epoch)
            if lane is not None:
                lane.settle(tags, requeue)

    # Publishing

    async def listen_for_replies(self, on_messages: OnMessages) -> None:
        """Receive direct replies; a second call replaces nothing and is refused."""
        if DIRECT_REPLY_TO in self._out.sinks:
            raise Refused("this link already listens for replies")
        if self._publishing.confirmed is None:
            raise LinkDown("there is no connection to the broker")
        self._out.sinks[DIRECT_REPLY_TO] = Sink(DIRECT_REPLY_TO, on_messages, no_ack=True)
        try:
            await self._publishing.listen()
        except BaseException:
            self._out.sinks.pop(DIRECT_REPLY_TO, None)
            raise
        self._changed("replies are received")

    async def publish_all(self, messages: Sequence[Outgoing]) -> list[LinkError | None]:
        """As `publish`, for many: one write to the socket, one future and one time-out."""
        try:
            wire, lane, confirms = self._confirming()
        except LinkDown as down:
            return [down] * len(messages)
        outcomes = [self._written(wire, lane, message) for message in messages]
        written = [m for m, error in zip(messages, outcomes, strict=True) if error is None]
        if not written:
            return outcomes
        # Nothing is awaited since the first was written: the numbers are the broker's.
        awaited = confirms.begin(written)
        late = OutcomeUnknown(f"no confirm within {self._confirm_timeout_s:.0f} s")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._confirm_timeout_s):
                await awaited.done
        confirmed = awaited.outcomes(late)
        if len(written) == len(messages):
            return confirmed
        rest = iter(confirmed)
        return [next(rest) if error is None else error for error in outcomes]

    def _written(self, wire: Wire, lane: Lane, message: Outgoing) -> LinkError | None:
        """Write one message to be confirmed, or say why it was not written."""
        if message.reply_to == DIRECT_REPLY_TO:
            if not self._publishing.listening:
                return Refused("nobody listens for direct replies: call listen_for_replies first")
            if not self._publishing.hears_replies:
                return LinkDown("replies cannot be received yet")
        try:
            lane.publish(message, wire.frame_max)
        except (ValueError, TypeError) as error:
            return Refused(str(error))
        return None

    async def publish(self, message: Outgoing) -> None:
        (error,) = await self.publish_all([message])
        if error is not None:
            raise error

    def _confirming(self) -> tuple[Wire, Lane, Confirms]:
        """The channel for confirmed publishes. Raises LinkDown; nothing was sent."""
        lane, wire = self._publishing.confirmed, self._out.wire
        if lane is None or wire is None:
            raise LinkDown("there is no connection to the broker")
        if self._out.blocked:
            raise LinkDown("the broker takes no messages: it is short of memory or disk")
        if wire.waiting_bytes > WAITING_BYTES_MAX:
            raise LinkDown("the broker does not read")
        if lane.confirms is None:
            raise LinkDown("the connection is being set up")
        return wire, lane, lane.confirms

    def send(self, messages: Sequence[Outgoing]) -> None:
        if allowed := self._reply_nodes.pass_on(messages):
            self._send(allowed)

    def _send(self, messages: Sequence[Outgoing]) -> None:
        lane, wire = self._publishing.sending, self._out.wire
        if self._in.wire is not None and (lane is None or wire is None):
            # What is answered can still be acked: the answer must not be lost meanwhile.
            self._dropped += self._held.add(messages)
            return
        if lane is None or wire is None or wire.waiting_bytes > WAITING_BYTES_MAX:
            self._dropped += len(messages)
            return
        for message in messages:
            try:
                lane.publish(message, wire.frame_max)
            except (ValueError, TypeError) as error:
                self._dropped += 1
                log.warning("a message to %.80s was not sent: %s", message.routing_key, error)

    # Up and down

    def _changed(self, why: str) -> None:
        """Two connections are one link: it changes state when their sum does.

        A connection counts as up once all that it carries was set up; from then on only its own
        end counts. A queue that is deleted, or a channel that the broker closes over one mistake,
        comes back without the link being down; but a reply asked for on a lost channel will not
        come, so that one counts.
        """
        self._publishing.look()
        if self._out.wire is None:
            self._reply_nodes.forget()
        if self._held and self._publishing.sending is not None:
            self.send(self._held.take())
        self._consuming = self._in.wire is not None and (
            self._consuming or all(self._in.is_consuming(queue) for queue in self._in.sinks)
        )
        self._publishes = self._out.wire is not None and (self._publishes or self._has_channels())
        replies = not self._publishing.listening or self._publishing.hears_replies
        is_open = self._subscribers is not None
        is_up = is_open and self._consuming and self._publishes and replies
        if is_up != self._is_up:
            self._is_up = is_up
            self._tell(LinkState.UP if is_up else LinkState.DOWN, why)
        if self._out.blocked != self._is_blocked:
            self._is_blocked = self._out.blocked
            self._tell(LinkState.BLOCKED if self._is_blocked else LinkState.UNBLOCKED, why)

    def _has_channels(self) -> bool:
        return self._publishing.confirmed is not None and self._publishing.sending is not None

    def _tell(self, state: LinkState, why: str) -> None:
        for on_state in list(self._watchers):
            try:
                on_state(state, why)
            except Exception:
                log.exception("a watcher of the link failed")


async def _not_tapped(message: IncomingMessage) -> None:
    log.error("a delivery of %r passed the wire by", message.routing_key)
