"""The fast link's publishing connection: two channels, opened again whenever one is missing.

aio-pika keeps the connection. It would restore channels too, but it gives up one that the broker
closes while it is being restored, and two mistakes in a row are enough for that; so these are
aiormq's, kept by a task that opens what is not there.
"""

import asyncio
import logging
import ssl

import aio_pika
from aio_pika import RobustConnection
from aiormq.abc import AbstractConnection, DeliveredMessage
from yarl import URL

from ladle_contracts.link import DIRECT_REPLY_TO, LinkDown

from .lane import Lane
from .losses import as_link_down, whatever_happens
from .wire import Tap, wired_connection

log = logging.getLogger(__name__)

CONFIRMED_CHANNEL = 1
SENDING_CHANNEL = 2

_CLOSE_TIMEOUT_S = 5.0
_PAUSE_S = 0.1
"""Between attempts to open a channel: a caller's mistake, repeated, should not become a storm."""


class Publishing:
    """One connection with a confirming channel, which also gets direct replies, and a plain one."""

    def __init__(self, tap: Tap) -> None:
        self._tap = tap
        self._connection: RobustConnection | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._lock = asyncio.Lock()
        self.listening = False

    async def open(
        self,
        url: URL,
        *,
        name: str,
        ssl_context: ssl.SSLContext | None,
        reconnect_interval_s: float,
        timeout_s: float,
    ) -> None:
        """Connect and open both channels. Raises LinkDown."""
        to = f"{url.host}:{url.port}"
        async with as_link_down(f"cannot connect to {to}", greeting_tls=url.scheme == "amqps"):
            self._connection = await aio_pika.connect_robust(
                url,
                timeout=timeout_s,
                ssl_context=ssl_context,
                client_properties={"connection_name": name},
                connection_class=wired_connection(self._tap),
                reconnect_interval=reconnect_interval_s,
            )
            async with asyncio.timeout(timeout_s):
                await self._open_missing()
        self._keeper = asyncio.create_task(self._keep(), name="keep the publishing channels")

    async def close(self) -> None:
        """Close the connection, in whatever state it is; what was written before has arrived."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
        connection, self._connection = self._connection, None
        self.listening = False
        if connection is not None:
            await whatever_happens(connection.close(), _CLOSE_TIMEOUT_S)

    @property
    def confirmed(self) -> Lane | None:
        """The channel for confirmed publishes, once it confirms."""
        lane = self._tap.lane(CONFIRMED_CHANNEL)
        return lane if lane is not None and lane.confirms is not None else None

    @property
    def sending(self) -> Lane | None:
        """The channel for what nobody waits for."""
        return self._tap.lane(SENDING_CHANNEL)

    @property
    def hears_replies(self) -> bool:
        return self._tap.is_consuming(DIRECT_REPLY_TO)

    async def listen(self) -> None:
        """Consume direct replies on the confirming channel, now and whenever it opens again."""
        async with as_link_down("cannot listen for replies"):
            await self._open_missing(replies=True)
        if not self.hears_replies:
            raise LinkDown("cannot listen for replies: the connection is being set up")
        self.listening = True

    def look(self) -> None:
        """Something changed: see whether a channel is missing."""
        self._wake.set()

    async def _keep(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                async with as_link_down("cannot open the publishing channels"):
                    await self._open_missing()
            except LinkDown as error:
                log.debug("%s; trying again", error)
            await asyncio.sleep(_PAUSE_S)
            # The wire is open a moment before aio-pika shows its connection: look again.
            if self._tap.wire is not None and not self._is_complete:
                self._wake.set()

    @property
    def _is_complete(self) -> bool:
        replies = self.hears_replies or not self.listening
        return self.confirmed is not None and self.sending is not None and replies

    async def _open_missing(self, *, replies: bool = False) -> None:
        async with self._lock:
            raw = self._raw()
            if raw is None:
                return
            for number, confirms in ((CONFIRMED_CHANNEL, True), (SENDING_CHANNEL, False)):
                if self._tap.lane(number) is None:
                    await raw.channel(number, publisher_confirms=confirms, timeout=_CLOSE_TIMEOUT_S)
            channel = raw.channels.get(CONFIRMED_CHANNEL)
            if (replies or self.listening) and not self.hears_replies and channel is not None:
                await channel.basic_consume(
                    DIRECT_REPLY_TO, _not_tapped, no_ack=True, timeout=_CLOSE_TIMEOUT_S
                )

    def _raw(self) -> AbstractConnection | None:
        """aiormq's connection, if it is open on the present wire."""
        transport = self._connection.transport if self._connection is not None else None
        if transport is None or transport.connection.is_closed or self._tap.wire is None:
            return None
        return transport.connection


async def _not_tapped(message: DeliveredMessage) -> None:
    log.error("a reply to %r passed the wire by", message.routing_key)
