"""The plain Link: aio-pika, one RabbitMQ, nothing else to install.

Publishing and consuming have a connection each, because a memory or disk alarm of the broker
blocks a connection that publishes, and its acks with it. The second one is opened only when
something is consumed: a caller that allocates needs one connection.
"""

import asyncio
import itertools
import logging
import ssl
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence

from aiormq import Channel
from aiormq.abc import ArgumentsType

from .amqp_consuming import Deliveries, Subscription, close_channel
from .amqp_line import LOSSES, Line, finish, insist_on_a_cancel
from .amqp_publishing import Publishing, Sending
from .link import (
    DIRECT_REPLY_TO,
    LinkDown,
    LinkError,
    LinkState,
    Message,
    OnMessages,
    OnState,
    Outgoing,
    Refused,
    one_by_one,
)

log = logging.getLogger(__name__)

Declare = Callable[[Channel], Awaitable[None]]

SUBSCRIPTION_EXPIRES_MS = 24 * 60 * 60 * 1000
"""A named subscription that nobody reads goes after a day, and what waited in it with it."""


class AioPikaLink:
    """`Link` over aio-pika. `url` is amqp:// or amqps://; its query may carry aiormq's options.

    `ssl_context` serves amqps (see ClientSettings.ssl_context). Times in milliseconds but
    `heartbeat_s`, which is AMQP's own unit: a dead peer is noticed after three of them.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str = "ladle",
        ssl_context: ssl.SSLContext | None = None,
        heartbeat_s: int = 10,
        connect_timeout_ms: int = 10_000,
        confirm_timeout_ms: int = 30_000,
    ) -> None:
        self._confirm_timeout_ms = confirm_timeout_ms
        self._watchers: list[OnState] = []
        self._lives: dict[int, Deliveries] = {}
        self._subscriptions: list[Subscription] = []
        self._declarations: dict[str, Declare] = {}
        self._epochs = itertools.count(1)
        self._lock = asyncio.Lock()
        self._told_up = False
        self._reopener: asyncio.Task[None] | None = None

        def line(role: str, on_up: Callable[[], Awaitable[None]]) -> Line:
            return Line(
                url,
                name=f"{name} ({role})",
                ssl_context=ssl_context,
                heartbeat_s=heartbeat_s,
                connect_timeout_ms=connect_timeout_ms,
                on_up=on_up,
                on_state=self._on_line_state,
            )

        self._out = line("publishing", self._restore_replies)
        self._in = line("consuming", self._restore_subscriptions)
        self._publishing = Publishing(self._out, confirm_timeout_ms=confirm_timeout_ms)
        self._requesting: Publishing | None = None
        self._sending = Sending(self._out)

    @property
    def user(self) -> str:
        """The user of the connection, which is all that RabbitMQ accepts as `user_id`."""
        return self._out.url.user or "guest"

    @property
    def _is_consuming(self) -> bool:
        return self._in.is_up

    @property
    def is_up(self) -> bool:
        """Connected, and able to receive replies where that was asked for."""
        replies = self._requesting is None or self._requesting.is_open
        return self._out.is_up and (self._in.is_up or not self._in.is_open) and replies

    def watch(self, on_state: OnState) -> None:
        self._watchers.append(on_state)

    def unwatch(self, on_state: OnState) -> None:
        """Stop telling `on_state`; unknown watchers are ignored."""
        if on_state in self._watchers:
            self._watchers.remove(on_state)

    async def open(self) -> None:
        """Connect; a second call does nothing. Raises LinkDown where the broker is not there."""
        async with self._lock:
            if not self._out.is_open:
                await self._out.open()
                self._tell_state("connected")

    async def close(self) -> None:
        for subscription in self._subscriptions:
            await subscription.cancel()
        if self._reopener is not None:
            self._reopener.cancel()
            await asyncio.gather(self._reopener, return_exceptions=True)
        for part in (*self._subscriptions, self._publishing, self._requesting, self._sending):
            if part is not None:
                await part.flush()
        self._subscriptions.clear()
        self._lives.clear()
        self._requesting = None
        await self._out.close()
        await self._in.close()
        self._tell_state("closed")

    # Receiving

    async def consume(
        self, queue: str, on_messages: OnMessages, *, prefetch: int, no_ack: bool = False
    ) -> Subscription:
        """Consume on a channel of its own, again after every reconnection.

        Raises LinkDown where there is no connection, Refused where there is no such queue or
        no right to it. Once it runs, a queue that is deleted is tried until it is back.
        """
        await self._open_consuming()
        subscription = Subscription(
            self._in,
            queue,
            on_messages,
            prefetch=prefetch,
            no_ack=no_ack,
            lives=self._lives,
            next_epoch=lambda: next(self._epochs),
            prepare=self._declarations.get(queue),
        )
        try:
            await subscription.start()
        except asyncio.CancelledError:
            subscription.cancelled = True
            raise
        self._subscriptions.append(subscription)
        return subscription

    def ack(self, messages: Sequence[Message]) -> None:
        self._settle(messages, None)

    def nack(self, messages: Sequence[Message], *, requeue: bool) -> None:
        self._settle(messages, requeue)

    def _settle(self, messages: Sequence[Message], requeue: bool | None) -> None:
        by_epoch: dict[int, list[int]] = defaultdict(list)
        for message in messages:
            by_epoch[message.epoch].append(message.tag)
        for epoch, tags in by_epoch.items():
            life = self._lives.get(epoch)
            if life is not None:
                life.settle(tags, requeue)

    # Publishing

    async def listen_for_replies(self, on_messages: OnMessages) -> None:
        """Receive direct replies; a second call replaces nothing and is refused."""
        if self._requesting is not None:
            raise Refused("this link already listens for replies")
        requesting = Publishing(
            self._out,
            confirm_timeout_ms=self._confirm_timeout_ms,
            on_replies=on_messages,
            on_lost=self._on_replies_lost,
        )
        await requesting.open()
        self._requesting = requesting

    async def publish(self, message: Outgoing) -> None:
        if message.reply_to == DIRECT_REPLY_TO:
            if self._requesting is None:
                raise Refused("nobody listens for direct replies: call listen_for_replies first")
            await self._requesting.publish(message)
        else:
            await self._publishing.publish(message)

    async def publish_all(self, messages: Sequence[Outgoing]) -> list[LinkError | None]:
        return await one_by_one(self.publish, messages)

    def send(self, messages: Sequence[Outgoing]) -> None:
        # After a restart of the broker the consuming connection may be back first: the answers
        # to what it brings, which is acked, wait for the other one. Where both are down, the
        # broker delivers the questions again.
        if self._out.is_up or self._is_consuming:
            self._sending.send(messages)

    # Declaring, for the two kinds of queue that a caller makes itself

    async def declare_reply_queue(self, queue: str) -> None:
        """An exclusive queue that goes with its connection and returns with the next one."""

        async def declare(channel: Channel) -> None:
            await channel.queue_declare(queue, exclusive=True, auto_delete=True)

        await self._declare(queue, declare)

    async def declare_subscription(
        self,
        queue: str,
        exchange: str,
        keys: Sequence[str],
        *,
        keep: bool = False,
        without: Sequence[str] = (),
    ) -> None:
        """A queue bound to `exchange` by each of `keys`, and by none of `without` any more.

        With `keep` it is durable and gathers while its reader is away, for a day; without, it
        is exclusive and goes with the connection.
        """

        async def declare(channel: Channel) -> None:
            arguments: ArgumentsType = {"x-expires": SUBSCRIPTION_EXPIRES_MS} if keep else {}
            await channel.queue_declare(
                queue, durable=keep, exclusive=not keep, auto_delete=not keep, arguments=arguments
            )
            for key in keys:
                await channel.queue_bind(queue, exchange, key)
            # Afterwards: what both an old and a new key wants is never missed.
            for key in without:
                await channel.queue_unbind(queue, exchange, key)

        await self._declare(queue, declare)

    async def _declare(self, queue: str, declare: Declare) -> None:
        await self._open_consuming()
        try:
            await finish(self._declare_once(declare))
        except LinkDown:
            raise
        except LOSSES as error:
            raise Refused(f"cannot declare {queue}: {error}") from error
        self._declarations[queue] = declare

    async def _declare_once(self, declare: Declare) -> None:
        channel = await self._in.channel(confirms=False)
        try:
            await declare(channel)
        finally:
            await close_channel(channel)

    # Up and down

    async def _open_consuming(self) -> None:
        async with self._lock:
            if not self._out.is_open:
                raise LinkDown("the link is not open")
            if not self._in.is_open:
                await self._in.open()

    async def _restore_replies(self) -> None:
        if self._requesting is not None:
            await self._requesting.open()

    async def _restore_subscriptions(self) -> None:
        for subscription in self._subscriptions:
            await subscription.restore()

    def _on_replies_lost(self, reason: str) -> None:
        if not self._out.is_up:
            return
        self._tell_state(reason)
        self._reopener = asyncio.create_task(self._reopen_replies(), name="reopen replies")

    async def _reopen_replies(self) -> None:
        while self._out.is_up and self._requesting is not None and not self._requesting.is_open:
            try:
                await self._requesting.open()
            except LinkDown as error:
                insist_on_a_cancel()
                log.info("the channel of the replies stays closed: %s", error)
                await asyncio.sleep(0.5)
        self._tell_state("replies are received again")

    def _on_line_state(self, state: LinkState, reason: str) -> None:
        if state in (LinkState.UP, LinkState.DOWN):
            if not self._out.is_up and not self._is_consuming:
                self._sending.forget()
            self._sending.resume()
            self._tell_state(reason)
        else:
            self._tell(state, reason)

    def _tell_state(self, reason: str) -> None:
        """Two connections and a channel are one link: it changes state when their sum does."""
        is_up = self.is_up
        if is_up != self._told_up:
            self._told_up = is_up
            self._tell(LinkState.UP if is_up else LinkState.DOWN, reason)

    def _tell(self, state: LinkState, reason: str) -> None:
        for on_state in list(self._watchers):
            try:
                on_state(state, reason)
            except Exception:
                log.exception("a watcher of the link failed")
