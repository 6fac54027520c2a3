"""A raw AMQP connection for load: messages are encoded beforehand, replies are counted as frames.

A benchmark measures the service only while its generator is not the bottleneck. This one keeps few
of the promises that a client would keep (one wait for all confirms, no reconnection) and so costs a
few microseconds a message.
"""

import socket
import struct
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from pamqp import base, commands, frame, header

_HEAD = struct.Struct(">BHI")
_FRAME_END = 1
_CHANNEL = 1
METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
_DELIVER = struct.pack(">HH", 60, 60)
_RETURN = struct.pack(">HH", 60, 50)
_ACK = struct.pack(">HH", 60, 80)
_NACK = struct.pack(">HH", 60, 120)
_SETTLED = struct.Struct(">QB")  # delivery tag, flags; the lowest bit: all up to it


class RawAmqpError(Exception):
    """The broker answered otherwise than the load expects."""


class RawConnection:
    """One blocking connection with one channel. Not for use outside benchmarks."""

    def __init__(self, url: str, *, timeout_s: float = 30.0) -> None:
        parts = urlsplit(url)
        if parts.scheme != "amqp":
            raise RawAmqpError("the load generator speaks plain amqp:// only")
        self._socket = socket.create_connection(
            (parts.hostname or "localhost", parts.port or 5672), timeout=timeout_s
        )
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()
        self._open(
            unquote(parts.username or "guest"),
            unquote(parts.password or "guest"),
            unquote(parts.path[1:]) if len(parts.path) > 1 else "/",
        )

    def _open(self, user: str, password: str, vhost: str) -> None:
        self._socket.sendall(b"AMQP\x00\x00\x09\x01")
        self._expect(commands.Connection.Start)
        self._send(
            commands.Connection.StartOk(
                client_properties={"product": "ladle bench"},
                mechanism="PLAIN",
                response=f"\0{user}\0{password}",
                locale="en_US",
            ),
            0,
        )
        tune = self._expect(commands.Connection.Tune)
        assert isinstance(tune, commands.Connection.Tune)
        self._send(commands.Connection.TuneOk(tune.channel_max, tune.frame_max, 0), 0)
        self._send(commands.Connection.Open(vhost), 0)
        self._expect(commands.Connection.OpenOk)
        self.call(commands.Channel.Open(), commands.Channel.OpenOk)

    def call(self, request: base.Frame, answer: type[base.Frame]) -> base.Frame:
        """A synchronous method on the channel."""
        self._send(request, _CHANNEL)
        return self._expect(answer)

    def consume(self, queue: str, *, no_ack: bool, prefetch: int = 0) -> None:
        """Start deliveries; on `amq.rabbitmq.reply-to` this opens the reply address."""
        if prefetch:
            self.call(commands.Basic.Qos(0, prefetch, False), commands.Basic.QosOk)
        self.call(commands.Basic.Consume(queue=queue, no_ack=no_ack), commands.Basic.ConsumeOk)

    def write(self, data: bytes) -> None:
        """Send bytes made by `encoded`."""
        self._socket.sendall(data)

    def confirm(self) -> None:
        """From here on the broker says of each publish when it has it, in numbers from 1."""
        self.call(commands.Confirm.Select(), commands.Confirm.SelectOk)

    def await_confirms(self, count: int) -> None:
        """Wait until the broker has the first `count` messages; nothing else may be on its way.

        What a quorum queue has only been sent is lost where its publisher goes first: the queue
        hears of that before it has written the last of it.
        Raises TimeoutError where the broker falls silent, RawAmqpError where it refuses one.
        """
        floor, above, buffer = 0, set[int](), self._buffer
        while floor < count:
            at = 0
            while (read := _frame(buffer, at)) is not None:
                _, payload, at = read
                number, multiple = _settled(payload)
                if multiple:
                    floor = max(floor, number)
                else:
                    above.add(number)
            del buffer[:at]
            while floor + 1 in above:
                floor += 1
                above.discard(floor)
            if floor < count:
                self._receive()

    def replies(self) -> Iterator[tuple[str, bytes]]:
        """What arrived, as (correlation id, body), after one blocking read; an ack is ("", b"").

        Raises TimeoutError where nothing arrives, RawAmqpError for anything unexpected.
        """
        yield from self._messages()
        self._receive()
        yield from self._messages()

    def _receive(self) -> None:
        data = self._socket.recv(1 << 20)
        if not data:
            raise RawAmqpError("the broker closed the connection")
        self._buffer += data

    def _messages(self) -> Iterator[tuple[str, bytes]]:
        """Complete messages at the front of the buffer; a partial one stays for the next read."""
        buffer, at, done = self._buffer, 0, 0
        while True:
            parsed = _one(buffer, at)
            if parsed is None:
                break
            done, correlation_id, body = parsed
            at = done
            if correlation_id is not None:
                yield correlation_id, body
        del buffer[:done]

    def _send(self, method: base.Frame, channel: int) -> None:
        self._socket.sendall(frame.marshal(method, channel))

    def _expect(self, kind: type[base.Frame]) -> base.Frame:
        while True:
            try:
                used, _, value = frame.unmarshal(bytes(self._buffer))
            except Exception:  # pamqp says "not yet" by several exceptions of its own.
                used, value = 0, None
            if used:
                del self._buffer[:used]
                if isinstance(value, kind):
                    return value
                if isinstance(value, commands.Connection.Close | commands.Channel.Close):
                    raise RawAmqpError(f"{value.reply_code} {value.reply_text}")
                continue
            data = self._socket.recv(1 << 16)
            if not data:
                raise RawAmqpError("the broker closed the connection; wrong user or vhost?")
            self._buffer += data

    def close(self) -> None:
        """Leave politely: what the broker has only read is lost with the connection. Errors no
        longer matter.
        """
        try:
            self._send(commands.Connection.Close(200, "done", 0, 0), 0)
            self._expect(commands.Connection.CloseOk)
        except (OSError, RawAmqpError):
            pass
        finally:
            self._socket.close()


def _one(buffer: bytearray, at: int) -> tuple[int, str | None, bytes] | None:
    """(end, correlation id or None, body) of the message or method that begins at `at`."""
    start = _frame(buffer, at)
    if start is None:
        return None
    kind, payload, end = start
    if kind == HEARTBEAT:
        return end, None, b""
    method = bytes(payload[:4])
    if method == _ACK:
        return end, "", b""
    if method == _RETURN:
        raise RawAmqpError("a message reached no queue; is the service declared?")
    if method != _DELIVER:
        raise RawAmqpError(f"unexpected method {struct.unpack('>HH', method)}")
    content = _frame(buffer, end)
    if content is None:
        return None
    _, head, end = content
    size = int.from_bytes(head[4:12], "big")
    body = bytearray()
    while len(body) < size:
        part = _frame(buffer, end)
        if part is None:
            return None
        _, piece, end = part
        body += piece
    return end, _correlation_id(head), bytes(body)


def _settled(payload: bytearray) -> tuple[int, bool]:
    """(number, and all below it?) of a confirm; (0, False) of a heartbeat."""
    if not payload:
        return 0, False
    method = bytes(payload[:4])
    if method == _NACK:
        raise RawAmqpError("the broker refused a message")
    if method != _ACK:
        raise RawAmqpError(f"unexpected method {struct.unpack('>HH', method)}")
    number, flags = _SETTLED.unpack_from(payload, 4)
    return number, bool(flags & 1)


def _frame(buffer: bytearray, at: int) -> tuple[int, bytearray, int] | None:
    if len(buffer) - at < _HEAD.size:
        return None
    kind, _, size = _HEAD.unpack_from(buffer, at)
    begin = at + _HEAD.size
    end = begin + size + _FRAME_END
    if len(buffer) < end:
        return None
    return kind, buffer[begin : begin + size], end


_FLAGS = struct.Struct(">H")
# Properties that stand before the correlation id in a content header, by flag and form.
_CONTENT_TYPE, _ENCODING, _HEADERS, _MODE, _PRIORITY, _CORRELATION = (
    1 << 15,
    1 << 14,
    1 << 13,
    1 << 12,
    1 << 11,
    1 << 10,
)


def _correlation_id(head: bytearray) -> str:
    """Read by hand: decoding all properties would cost ten times the rest of a reply."""
    flags = _FLAGS.unpack_from(head, 12)[0]
    if not flags & _CORRELATION:
        return ""
    at = 14
    for flag in (_CONTENT_TYPE, _ENCODING):
        if flags & flag:
            at += 1 + head[at]
    if flags & _HEADERS:
        at += 4 + int.from_bytes(head[at : at + 4], "big")
    at += bool(flags & _MODE) + bool(flags & _PRIORITY)
    return head[at + 1 : at + 1 + head[at]].decode()


def encoded(exchange: str, routing_key: str, body: bytes, properties: Mapping[str, Any]) -> bytes:
    """The frames of one publish on the connection's channel."""
    publish = commands.Basic.Publish(0, exchange, routing_key, False, False)
    content = header.ContentHeader(
        body_size=len(body), properties=commands.Basic.Properties(**properties)
    )
    return b"".join(
        (
            frame.marshal(publish, _CHANNEL),
            frame.marshal(content, _CHANNEL),
            _HEAD.pack(BODY, _CHANNEL, len(body)) + body + b"\xce",
        )
    )
