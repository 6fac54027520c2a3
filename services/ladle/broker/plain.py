"""The plain link of the service: FastStream consumes, aio-pika publishes, nothing is by-passed.

About a third of the fast link's speed. It shows what FastStream does by itself, and is the way back
should a new version of the libraries break the fast one.
"""

import ssl
from collections.abc import Sequence
from typing import Any

from aio_pika import IncomingMessage, RobustConnection
from aiormq import Channel
from faststream.rabbit.subscriber.usecase import RabbitSubscriber

from ladle_contracts.amqp import AioPikaLink
from ladle_contracts.amqp_consuming import Deliveries
from ladle_contracts.amqp_readable import ReadableFactory
from ladle_contracts.link import LinkDown, LinkState, Message, OnMessages, Outgoing, Refused

from .reply_nodes import ReplyNodes
from .subscribers import HEARTBEAT_S, Subscribers, with_heartbeat


class FastStreamSubscription:
    """One queue and the lives of its channel; `Consumer` of the Link interface."""

    def __init__(
        self, link: "FastStreamLink", queue: str, on_messages: OnMessages, no_ack: bool
    ) -> None:
        self._link = link
        self._on_messages = on_messages
        self._no_ack = no_ack
        self._life: Deliveries | None = None
        self.subscriber: RabbitSubscriber | None = None
        self.queue = queue

    async def take(self, raw: IncomingMessage) -> None:
        """Hand a delivery on; another channel object than the last one's is another life."""
        channel = raw.channel
        if not isinstance(channel, Channel) or channel.is_closed:
            return
        if self._life is None or self._life.channel is not channel:
            self._life = self._link._begin(channel, self.queue, self._on_messages, self._no_ack)
        self._life.take(_message_of(raw, self.queue, self._life.epoch))

    async def flush(self) -> None:
        """Wait until the acks given so far are in the socket."""
        if self._life is not None:
            await self._life.flush()

    async def cancel(self) -> None:
        await self._link._unsubscribe(self)


class FastStreamLink(AioPikaLink):
    """`Link` whose consuming side is FastStream's; see AioPikaLink for the rest."""

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
        super().__init__(
            url,
            name=name,
            ssl_context=ssl_context,
            heartbeat_s=heartbeat_s,
            connect_timeout_ms=connect_timeout_ms,
            confirm_timeout_ms=confirm_timeout_ms,
        )

        def make() -> Subscribers:
            return Subscribers(
                with_heartbeat(url, heartbeat_s),
                name=f"{name} (consuming)",
                ssl_context=ssl_context,
                reconnect_interval_s=reconnect_interval_ms / 1000,
                connect_timeout_s=connect_timeout_ms / 1000,
                connection_class=_readable_connection,
            )

        self._reply_nodes = ReplyNodes(with_heartbeat(url, heartbeat_s), ssl_context, super().send)
        self._make_subscribers = make
        self._subscribers: Subscribers | None = None
        self._consumed: dict[str, FastStreamSubscription] = {}

    @property
    def is_up(self) -> bool:
        return super().is_up and self._is_consuming

    @property
    def _is_consuming(self) -> bool:
        connection = self._subscribers.connection if self._subscribers else None
        return connection is not None and connection.connected.is_set()

    async def open(self) -> None:
        """Connect; a second call does nothing. Raises LinkDown where the broker is not there."""
        if self._subscribers is not None:
            return
        self._subscribers = self._make_subscribers()
        try:
            await self._subscribers.open()
            await super().open()
        except BaseException:
            await self.close()
            raise
        connection = self._subscribers.connection
        if connection is not None:
            connection.close_callbacks.add(self._on_consuming_lost)
            connection.reconnect_callbacks.add(self._on_consuming_back)

    def _on_consuming_lost(self, _connection: Any, error: BaseException | None = None) -> None:
        self._tell_state(f"connection lost: {error!r}")

    def _on_consuming_back(self, _connection: Any, *_: Any) -> None:
        self._tell_state("connected")

    async def close(self) -> None:
        subscribers, self._subscribers = self._subscribers, None
        if subscribers is not None:
            for subscription in list(self._consumed.values()):
                if subscription.subscriber is not None:
                    await subscribers.unsubscribe(subscription.subscriber)
                await subscription.flush()
            await subscribers.close()
        self._consumed.clear()
        await self._reply_nodes.close()
        await super().close()

    async def consume(  # type: ignore[override]
        self, queue: str, on_messages: OnMessages, *, prefetch: int, no_ack: bool = False
    ) -> FastStreamSubscription:
        """Consume on a channel of its own, again after every reconnection.

        Raises LinkDown where there is no connection, Refused where there is no such queue, no
        right to it, or a consumer of it on this link.
        """
        if self._subscribers is None or not self._is_consuming:
            raise LinkDown("there is no connection to the broker")
        if queue in self._consumed:
            raise Refused(f"this link consumes {queue} already")
        subscription = FastStreamSubscription(self, queue, on_messages, no_ack)
        self._consumed[queue] = subscription
        try:
            subscription.subscriber = await self._subscribers.subscribe(
                queue, subscription.take, prefetch=prefetch, no_ack=no_ack
            )
        except BaseException:
            self._consumed.pop(queue, None)
            raise
        return subscription

    def send(self, messages: Sequence[Outgoing]) -> None:
        if allowed := self._reply_nodes.pass_on(messages):
            super().send(allowed)

    def _on_line_state(self, state: LinkState, reason: str) -> None:
        if not self._out.is_up:
            self._reply_nodes.forget()
        super()._on_line_state(state, reason)

    def _begin(
        self, channel: Channel, queue: str, on_messages: OnMessages, no_ack: bool
    ) -> Deliveries:
        life = Deliveries(channel, queue, next(self._epochs), on_messages, no_ack=no_ack)
        self._lives[life.epoch] = life
        channel.closing.add_done_callback(lambda _: self._end(life))
        return life

    def _end(self, life: Deliveries) -> None:
        self._lives.pop(life.epoch, None)
        life.end()

    async def _unsubscribe(self, subscription: FastStreamSubscription) -> None:
        self._consumed.pop(subscription.queue, None)
        if self._subscribers is not None and subscription.subscriber is not None:
            await self._subscribers.unsubscribe(subscription.subscriber)


def _readable_connection(*args: Any, **kwargs: Any) -> RobustConnection:
    """aio-pika's connection, which no message can end; aio-pika has no argument for it."""
    connection = RobustConnection(*args, **kwargs)
    connection.kwargs["transport_factory"] = ReadableFactory()
    return connection


def _message_of(raw: IncomingMessage, queue: str, epoch: int) -> Message:
    """A delivery as the users of a Link see it; aio-pika has made seconds of the expiration."""
    expiration = raw.expiration
    return Message(
        body=raw.body,
        queue=queue,
        exchange=raw.exchange or "",
        routing_key=raw.routing_key or "",
        headers=raw.headers or {},
        content_type=raw.content_type,
        type=raw.type,
        message_id=raw.message_id,
        correlation_id=raw.correlation_id,
        reply_to=raw.reply_to,
        expiration_ms=round(float(str(expiration)) * 1000) if expiration is not None else None,
        user_id=raw.user_id,
        redelivered=bool(raw.redelivered),
        epoch=epoch,
        tag=raw.delivery_tag or 0,
    )
