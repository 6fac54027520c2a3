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
from aiormq.exceptions import AMQPChannelError
from faststream import AckPolicy
from faststream.rabbit import Channel, RabbitBroker, RabbitMessage, RabbitQueue
from faststream.rabbit.subscriber.usecase import RabbitSubscriber
from yarl import URL

from ladle_contracts.amqp_line import LOSSES, cancelled_by_a_loss
from ladle_contracts.link import LinkDown, Refused

log = logging.getLogger(__name__)

OnRaw = Callable[[IncomingMessage], Awaitable[None]]

_STOP_TIMEOUT_S = 5.0


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
        self.connection: RobustConnection | None = None

    async def open(self) -> None:
        """Connect. Raises LinkDown."""
        try:
            self.connection = await self._broker.connect()
            await self._broker.start()
        except LOSSES as error:
            raise LinkDown(
                f"cannot connect to {self._url.host}:{self._url.port}: {error}"
            ) from error

    async def close(self) -> None:
        """Stop the subscribers and close the connection, in whatever state it is."""
        connection, self.connection = self.connection, None
        for subscriber in list(self._running):
            await self.unsubscribe(subscriber)
        await _whatever_happens(self._broker.stop())
        if connection is not None:
            # FastStream leaves it open where a subscriber could not be stopped.
            await _whatever_happens(connection.close())

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
        try:
            await subscriber.start()
        except AMQPChannelError as error:
            raise Refused(f"cannot consume {queue}: {error}") from error
        except LOSSES as error:
            raise LinkDown(f"connection lost while consuming {queue}: {error!r}") from error
        except asyncio.CancelledError as error:
            if cancelled_by_a_loss():
                raise LinkDown(f"connection lost while consuming {queue}") from error
            raise
        self._running.add(subscriber)
        return subscriber

    async def unsubscribe(self, subscriber: RabbitSubscriber) -> None:
        """Cancel a consumer; its channel stays, and with it what is not acked yet."""
        self._running.discard(subscriber)
        await _whatever_happens(subscriber.stop())


async def _whatever_happens(ending: Awaitable[object]) -> None:
    """Wait for an end that a lost connection may spoil, or hold up for ever."""
    try:
        async with asyncio.timeout(_STOP_TIMEOUT_S * 2):
            await ending
    except (*LOSSES, ExceptionGroup) as error:
        log.debug("closing the consuming connection: %r", error)
    except asyncio.CancelledError:
        if not cancelled_by_a_loss():
            raise


async def _undecoded(message: RabbitMessage) -> IncomingMessage:
    return message.raw_message
