"""FastStream's part of a link: one connection for consuming, a subscriber and a channel a queue.

Every subscriber has a channel of its own, as FastStream's default, one channel for all, has no
prefetch limit and falls with the first mistake of any of them. The queues are never declared here
(declare.py does that), and FastStream neither acks nor replies.
"""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable

from aio_pika import IncomingMessage, RobustConnection
from aiormq import Channel as RawChannel
from aiormq.abc import AbstractConnection
from aiormq.exceptions import AMQPChannelError
from faststream import AckPolicy
from faststream.rabbit import Channel, RabbitBroker, RabbitMessage, RabbitQueue
from faststream.rabbit.subscriber.usecase import RabbitSubscriber
from yarl import URL

from ladle_contracts.link import Refused

from .losses import as_link_down, whatever_happens

log = logging.getLogger(__name__)

OnRaw = Callable[[IncomingMessage], Awaitable[None]]

_STOP_TIMEOUT_S = 5.0
_WATCH_EVERY_S = 1.0
_MISSING_CHECKS_MAX = 3


HEARTBEAT_S = 3
"""Of the placement service. The broker gives up a silent peer after two to three of these, aiormq
after three of a second more, which is 12 s. Until then a frozen writer is still given requests."""


def with_heartbeat(url: str, heartbeat_s: int) -> URL:
    """The address with a heartbeat, unless it names one: the default of 60 s is three minutes."""
    parsed = URL(url)
    return parsed if "heartbeat" in parsed.query else parsed.update_query(heartbeat=heartbeat_s)


class Subscribers:
    """FastStream's broker and its subscribers; it reconnects and consumes again by itself."""

    def __init__(
        self,
        url: URL,
        *,
        name: str,
        ssl_context: ssl.SSLContext | None,
        reconnect_interval_s: float,
        connect_timeout_s: float,
        connection_class: Callable[..., RobustConnection] = RobustConnection,
    ) -> None:
        self._url = url
        self._broker = RabbitBroker(
            str(url),
            timeout=connect_timeout_s,
            reconnect_interval=reconnect_interval_s,
            graceful_timeout=_STOP_TIMEOUT_S,
            apply_types=False,
            logger=None,
        )
        # FastStream has no argument for these; aio-pika's connect_robust takes them.
        self._broker._connection_kwargs.update(
            connection_class=connection_class,
            ssl_context=ssl_context,
            client_properties={"connection_name": name},
        )
        self._channels: dict[str, Channel] = {}
        self._running: set[RabbitSubscriber] = set()
        self._endings: set[asyncio.Task[None]] = set()
        self._guard: asyncio.Task[None] | None = None
        self.connection: RobustConnection | None = None

    async def open(self) -> None:
        """Connect. Raises LinkDown."""
        to = f"{self._url.host}:{self._url.port}"
        async with as_link_down(
            f"cannot connect to {to}", greeting_tls=self._url.scheme == "amqps"
        ):
            self.connection = await self._broker.connect()
            await self._broker.start()
        self._guard = asyncio.create_task(self._watch_channels(), name="watch the channels")

    async def _watch_channels(self) -> None:
        """Begin the connection anew where a channel or a consumer stays away.

        aio-pika restores a channel that the broker closed; one that is closed again meanwhile it
        gives up, and its consumer would be silent for ever. So would one whose queue was deleted:
        the broker cancels it. On a new connection it fails aloud, until the queue is there.
        """
        missing = 0
        while True:
            await asyncio.sleep(_WATCH_EVERY_S)
            raw = self._raw()
            missing = missing + 1 if raw is not None and not self._is_complete(raw) else 0
            if raw is not None and missing > _MISSING_CHECKS_MAX:
                log.warning("a consumer does not come back: connecting anew")
                missing = 0
                await whatever_happens(raw.close(), _STOP_TIMEOUT_S)

    def _is_complete(self, raw: AbstractConnection) -> bool:
        """A channel for each queue beside the connection's own, a consumer for each subscriber."""
        channels = [channel for channel in raw.channels.values() if isinstance(channel, RawChannel)]
        consumers = sum(len(channel.consumers) for channel in channels)
        return len(raw.channels) > len(self._channels) and consumers >= len(self._running)

    def _raw(self) -> AbstractConnection | None:
        """aiormq's connection, if it is open."""
        transport = self.connection.transport if self.connection is not None else None
        if transport is None or transport.connection.is_closed:
            return None
        return transport.connection

    async def close(self) -> None:
        """Stop the subscribers and close the connection, in whatever state it is."""
        connection, self.connection = self.connection, None
        if self._guard is not None:
            self._guard.cancel()
            await asyncio.gather(self._guard, return_exceptions=True)
        for subscriber in list(self._running):
            await self.unsubscribe(subscriber)
        await asyncio.gather(*self._endings)
        await whatever_happens(self._broker.stop(), _STOP_TIMEOUT_S * 2)
        if connection is not None:
            # FastStream leaves it open where a subscriber could not be stopped.
            await whatever_happens(connection.close(), _STOP_TIMEOUT_S)

    async def subscribe(
        self, queue: str, on_raw: OnRaw, *, prefetch: int, no_ack: bool
    ) -> RabbitSubscriber:
        """Consume a queue; `on_raw` gets each message as aio-pika made it.

        Raises Refused (no such queue, no right), LinkDown.
        """
        # A second subscriber of a queue gets its first one's channel: FastStream would use it
        # anyway for the queue that it remembers, and a new one each time would pile up.
        channel = self._channels.setdefault(queue, Channel(prefetch_count=prefetch))
        subscriber = self._broker.subscriber(
            RabbitQueue(queue, declare=False),
            channel=channel,
            ack_policy=AckPolicy.ACK_FIRST if no_ack else AckPolicy.MANUAL,
            no_reply=True,
            persistent=False,
            # A body that is not what it says is for our own envelope to judge, not to be lost here.
            decoder=_undecoded,
        )
        subscriber(on_raw)
        async with as_link_down(f"cannot consume {queue}"):
            try:
                await subscriber.start()
            except AMQPChannelError as error:
                raise Refused(f"cannot consume {queue}: {error}") from error
        self._running.add(subscriber)
        return subscriber

    async def unsubscribe(self, subscriber: RabbitSubscriber) -> None:
        """Cancel a consumer; its channel stays, and with it what is not acked yet.

        It is cancelled also where the caller stops waiting: half a cancel ends the channel.
        """
        self._running.discard(subscriber)
        ending = asyncio.create_task(whatever_happens(_end(subscriber), _STOP_TIMEOUT_S))
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)
        await asyncio.shield(ending)


async def _end(subscriber: RabbitSubscriber) -> None:
    """Cancel at the broker before FastStream ends: it drops what comes in between, unacked."""
    queue, tag = subscriber._queue_obj, subscriber._consumer_tag
    if queue is not None and tag is not None and not queue.channel.is_closed:
        subscriber._consumer_tag = None
        await queue.cancel(tag)
    await subscriber.stop()


async def _undecoded(message: RabbitMessage) -> IncomingMessage:
    return message.raw_message
