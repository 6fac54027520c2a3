"""The fast link's place on the wire: between the socket and aiormq, one `Wire` a connection.

aiormq takes a transport factory. Ours gives it a reader and a writer as usual, but looks at the
frames: those of registered consumers and of confirmed publishes stay here, one list a read; all
others go on unchanged, so aiormq, aio-pika and FastStream declare, consume, reconnect as ever. What
leaves is joined: everything written in one turn of the event loop is one write to the socket.

What the tap knows it reads off the bytes in both directions (a consumer from Basic.Consume going
out, a channel's life from Channel.OpenOk coming in), never from private state of the libraries.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, cast

from aio_pika import RobustConnection
from aiormq.connection import SSLContextProvider, TransportFactory
from aiormq.exceptions import AMQPConnectionError
from yarl import URL

from .frames import (
    BASIC_CANCEL,
    BASIC_CANCEL_OK,
    CHANNEL_CLOSE,
    CHANNEL_CLOSE_OK,
    CHANNEL_OPEN_OK,
    CONNECTION_BLOCKED,
    CONNECTION_CLOSE,
    CONNECTION_OPEN_OK,
    CONNECTION_TUNE_OK,
    CONNECTION_UNBLOCKED,
    FRAME_END,
    FRAME_EXTRA,
    FRAME_HEAD,
    HEARTBEAT,
    METHOD,
    U16,
    U32,
    method_id,
    read_short,
)
from .lane import Lane, Sink

log = logging.getLogger(__name__)

HEARTBEAT_EVERY_S = 1.0
"""aiormq takes a broker for dead that sends it no frame; ours are counted to it this often."""

FRAME_MAX = 131_072
"""RabbitMQ's frame size, where the connection agrees on none."""

_HEAD_BYTES = 7


class Tap:
    """What outlives the connections: the registered queues, and who hears of changes."""

    def __init__(self, on_change: Callable[[str], None]) -> None:
        self.sinks: dict[str, Sink] = {}
        self.wire: Wire | None = None
        self.lanes: dict[int, Lane] = {}
        self.blocked = False
        self._on_change = on_change

    def lane(self, number: int) -> Lane | None:
        """The present life of a channel, by its number."""
        return None if self.wire is None else self.wire.lanes.get(number)

    def is_consuming(self, queue: str) -> bool:
        """Whether a consumer of this queue stands on the present connection."""
        lanes = () if self.wire is None else self.wire.lanes.values()
        return any(sink.queue == queue for lane in lanes for sink in lane.sinks.values())

    def began(self, wire: "Wire") -> None:
        """A connection is open."""
        self.wire, self.blocked = wire, False
        self._on_change("connected")

    def ended(self, wire: "Wire", why: str) -> None:
        """A connection is gone, with all its lanes."""
        if self.wire is wire:
            self.wire, self.blocked = None, False
            self._on_change(why)

    def changed(self, why: str) -> None:
        """Something on the present connection changed."""
        self._on_change(why)

    def set_blocked(self, blocked: bool, why: str) -> None:
        """The broker raised or cleared an alarm."""
        self.blocked = blocked
        self._on_change(why)


class Wire(asyncio.StreamReaderProtocol):
    """One connection to the broker, from the first byte to the last."""

    def __init__(
        self, tap: Tap, reader: asyncio.StreamReader, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(reader, loop=loop)
        self.lanes: dict[int, Lane] = {}
        self.frame_max = FRAME_MAX
        self._tap = tap
        self._reader = reader
        self._event_loop = loop
        self._socket: asyncio.WriteTransport | None = None
        self._is_open = False
        self._rest = b""
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._fed_at = 0.0
        self._why = ""

    # From the broker

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # No isinstance: uvloop's transports have the interface and not the base class.
        self._socket = cast(asyncio.Transport, transport)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        buffer = self._rest + data if self._rest else data
        position, end = 0, len(buffer)
        kept: list[bytes] = []
        filled: list[Sink] = []
        while end - position >= FRAME_EXTRA:
            kind, channel, size = FRAME_HEAD.unpack_from(buffer, position)
            stop = position + size + FRAME_EXTRA
            if stop > end:
                break
            if buffer[stop - 1] != FRAME_END:
                stop = end  # nonsense: aiormq finds out and closes
                kept.append(buffer[position:stop])
                position = stop
                break
            lane = self.lanes.get(channel)
            if lane is not None and kind == METHOD:
                after = lane.take_whole(buffer, position, end, filled)
                if after > position:
                    position = after
                    continue
            start = position + _HEAD_BYTES
            if lane is None or not lane.take(kind, buffer, start, stop - 1, filled):
                if kind == METHOD:
                    self._noted(channel, buffer, start)
                kept.append(buffer[position:stop])
            position = stop
        self._rest = buffer[position:]
        self._feed(kept)
        for sink in filled:
            self._hand_over(sink)

    def _feed(self, kept: list[bytes]) -> None:
        """Give aiormq its frames; where there are none, a sign of life now and then."""
        now = self._event_loop.time()
        if kept:
            self._fed_at = now
            self._reader.feed_data(b"".join(kept))
        elif self._is_open and now - self._fed_at >= HEARTBEAT_EVERY_S:
            self._fed_at = now
            self._reader.feed_data(HEARTBEAT)

    def _hand_over(self, sink: Sink) -> None:
        batch, sink.batch = sink.batch, []
        try:
            sink.on_messages(batch)
        except Exception:
            # The batch stays unacked: the broker redelivers it when this channel ends.
            log.exception("the handler of %s failed", sink.queue)

    def _noted(self, channel: int, buffer: bytes, start: int) -> None:
        """See what a method frame that goes on to aiormq says about connection and channels."""
        method = method_id(buffer, start)
        if channel == 0:
            self._noted_on_connection(method, buffer, start)
        elif method == CHANNEL_OPEN_OK:
            self._open_lane(channel)
        elif method == CHANNEL_CLOSE:
            (code,) = U16.unpack_from(buffer, start + 4)
            self._end_lane(channel, f"{code} {read_short(buffer, start + 6)[0]}", code)
        elif method == CHANNEL_CLOSE_OK:
            self._end_lane(channel, "the channel was closed")
        elif method in (BASIC_CANCEL, BASIC_CANCEL_OK) and channel in self.lanes:
            self.lanes[channel].forget(buffer, start)
            self._tap.changed("a consumer ended")

    def _noted_on_connection(self, method: int, buffer: bytes, start: int) -> None:
        if method == CONNECTION_OPEN_OK:
            self._is_open = True
            self._tap.began(self)
        elif method == CONNECTION_BLOCKED:
            self._tap.set_blocked(True, f"blocked: {read_short(buffer, start + 4)[0]}")
        elif method == CONNECTION_UNBLOCKED:
            self._tap.set_blocked(False, "unblocked")
        elif method == CONNECTION_CLOSE:
            (code,) = U16.unpack_from(buffer, start + 4)
            self._why = f"{code} {read_short(buffer, start + 6)[0]}"

    def _open_lane(self, number: int) -> None:
        lane = self.lanes[number] = Lane(number, self.write)
        self._tap.lanes[lane.epoch] = lane
        self._tap.changed("a channel opened")

    def _end_lane(self, number: int, why: str, code: int = 0) -> None:
        lane = self.lanes.pop(number, None)
        if lane is not None:
            # At once: a frame of ours behind aiormq's CloseOk would cost the whole connection.
            del self._tap.lanes[lane.epoch]
            lane.end(why, code)
            self._tap.changed(why)

    def eof_received(self) -> bool | None:
        if self._rest:
            self._reader.feed_data(self._rest)
            self._rest = b""
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._out.clear()
        self._is_open = False
        why = self._why or (f"connection lost: {exc}" if exc else "connection closed")
        for number in list(self.lanes):
            self._end_lane(number, why)
        self._tap.ended(self, why)
        super().connection_lost(exc)

    # To the broker

    @property
    def waiting_bytes(self) -> int:
        """What was written and has not left: the broker reads slowly, or not at all."""
        unsent = self._socket.get_write_buffer_size() if self._socket is not None else 0
        return unsent + self._out_bytes

    def write(self, data: bytes) -> None:
        """Write whole frames; all of one turn of the loop leave together."""
        if not self._out:
            self._event_loop.call_soon(self.flush)
        self._out.append(data)
        self._out_bytes += len(data)

    def wrote(self, data: bytes) -> None:
        """Note what aiormq is about to write: it writes each method in a call of its own."""
        if len(data) <= _HEAD_BYTES + 4 or data[0] != METHOD:
            return
        _, channel, _ = FRAME_HEAD.unpack_from(data, 0)
        method = method_id(data, _HEAD_BYTES)
        if method == CONNECTION_TUNE_OK:
            self.frame_max = U32.unpack_from(data, _HEAD_BYTES + 6)[0] or FRAME_MAX
        elif channel in self.lanes:
            self.lanes[channel].wrote(method, data, self._tap.sinks)
            self._tap.changed("a channel was set up")

    def flush(self) -> None:
        """Write now what is waiting."""
        out, self._out, self._out_bytes = self._out, [], 0
        if out and self._socket is not None and not self._socket.is_closing():
            self._socket.write(b"".join(out))


class JoiningWriter(asyncio.StreamWriter):
    """The writer that aiormq gets: its frames share the out-buffer with those of the fast link."""

    def __init__(
        self,
        transport: asyncio.WriteTransport,
        wire: Wire,
        reader: asyncio.StreamReader,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(transport, wire, reader, loop)
        self._wire = wire

    def write(self, data: bytes | bytearray | memoryview) -> None:
        frames = bytes(data)
        self._wire.wrote(frames)
        self._wire.write(frames)

    async def drain(self) -> None:
        self._wire.flush()
        await super().drain()

    def write_eof(self) -> None:
        self._wire.flush()
        super().write_eof()

    def close(self) -> None:
        self._wire.flush()
        super().close()


class WireFactory(TransportFactory):
    """Connects aiormq through a fresh `Wire`, with TLS where the address says amqps."""

    def __init__(self, tap: Tap) -> None:
        self._tap = tap

    async def create(
        self, url: URL, **kwargs: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        provider: SSLContextProvider = kwargs.pop("ssl_context_provider")
        context = await provider.get_context() if url.scheme == "amqps" else None
        reader = asyncio.StreamReader(loop=loop)
        wire = Wire(self._tap, reader, loop)
        try:
            transport, _ = await loop.create_connection(
                lambda: wire, url.host or "localhost", url.port or 5672, ssl=context, **kwargs
            )
        except OSError as error:
            raise AMQPConnectionError(*error.args) from error
        return reader, JoiningWriter(transport, wire, reader, loop)


def wired_connection(tap: Tap) -> Callable[..., RobustConnection]:
    """What stands in for aio-pika's connection class: the same, on the tap's wires."""

    def make(*args: Any, **kwargs: Any) -> RobustConnection:
        connection = RobustConnection(*args, **kwargs)
        connection.kwargs["transport_factory"] = WireFactory(tap)
        return connection

    return make
