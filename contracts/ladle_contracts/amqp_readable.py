"""What a stranger wrote must not cost the connection on which it is delivered.

aiormq reads frames with pamqp, which raises over properties that RabbitMQ passes on: header tables
nested a thousand deep, names and routing keys that are no UTF-8, times after the year 9999. The
connection ends, the broker delivers the same message on the next one, and what waits behind it is
never read. So each frame is tried before aiormq gets it. One that it could not read is written
anew: a question mark for each byte that is no text, without a table that cannot be read, and
without the properties that are numbers.
"""

import asyncio
from struct import Struct
from struct import error as StructError
from typing import Any

from aiormq.connection import SSLContextProvider, TransportFactory
from aiormq.exceptions import AMQPConnectionError
from pamqp.commands import Basic
from pamqp.decode import field_table
from pamqp.exceptions import PAMQPException
from pamqp.frame import unmarshal
from pamqp.header import ContentHeader
from yarl import URL

TABLE_DEPTH_MAX = 16
"""Tables and arrays in one another; RabbitMQ itself nests two."""

_ODD = (PAMQPException, ValueError, LookupError, OverflowError, OSError, StructError)
"""What comes of reading bytes that are not what they should be."""

_HEAD, _U16, _U32 = Struct(">BHI"), Struct(">H"), Struct(">I")
_METHOD, _HEADER, _KINDS = 1, 2, (1, 2, 3, 8)
_END = b"\xce"
_FRAME_EXTRA = _HEAD.size + len(_END)

_TEXT, _TABLE = -1, -2
"""What a field is; a number above zero is that of its bytes."""

_METHODS = {
    Basic.Deliver.index: (_TEXT, 9, _TEXT, _TEXT),
    Basic.GetOk.index: (9, _TEXT, _TEXT),
    Basic.Return.index: (2, _TEXT, _TEXT, _TEXT),
}
"""The fields of the methods that repeat what a stranger wrote."""

_PROPERTIES = (
    *((0x8000, _TEXT), (0x4000, _TEXT), (0x2000, _TABLE), (0x1000, 1), (0x0800, 1)),
    *((0x0400, _TEXT), (0x0200, _TEXT), (0x0100, _TEXT), (0x0080, _TEXT), (0x0040, 8)),
    *((0x0020, _TEXT), (0x0010, _TEXT), (0x0008, _TEXT), (0x0004, _TEXT)),
)
"""Flag and kind of each property of a message, in the order in which they follow."""

_FLAGS_AT = _HEAD.size + 12
_DELIVERY_MODES = (None, 1, 2)
"""aio-pika raises over others, and keeps the message unacked for ever."""

_BYTES = {b"S"[0]: _TEXT, b"x"[0]: _TEXT, b"F"[0]: _TABLE, b"A"[0]: _TABLE} | dict(
    zip(b"tbBsuIifDlLdTV\0", (1, 1, 1, 2, 2, 4, 4, 4, 5, 8, 8, 8, 8, 0, 0), strict=True)
)
"""Of a value in a table, by its kind; the first four say their size themselves."""


class ReadableFactory(TransportFactory):
    """Connects aiormq so that it gets only frames that it can read; TLS where the url says so."""

    async def create(
        self, url: URL, **kwargs: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        provider: SSLContextProvider = kwargs.pop("ssl_context_provider")
        context = await provider.get_context() if url.scheme == "amqps" else None
        reader = asyncio.StreamReader(loop=loop)
        protocol = _ReadableFrames(reader, loop)
        try:
            transport, _ = await loop.create_connection(
                lambda: protocol, url.host or "localhost", url.port or 5672, ssl=context, **kwargs
            )
        except OSError as error:
            raise AMQPConnectionError(*error.args) from error
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


class _ReadableFrames(asyncio.StreamReaderProtocol):
    """From the socket to aiormq's reader, one whole frame after the other."""

    def __init__(self, reader: asyncio.StreamReader, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(reader, loop=loop)
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        frames, self._rest = readable_frames(self._rest + data)
        super().data_received(frames)

    def eof_received(self) -> bool | None:
        super().data_received(self._rest)
        self._rest = b""
        return super().eof_received()


def readable_frames(data: bytes) -> tuple[bytes, bytes]:
    """The whole frames in front, each readable, and what follows them.

    What is no frame is passed on as it is: aiormq finds out and says so.
    """
    frames: list[bytes] = []
    at, end = 0, len(data)
    while end - at >= _FRAME_EXTRA:
        kind, _, size = _HEAD.unpack_from(data, at)
        stop = at + size + _FRAME_EXTRA
        if kind not in _KINDS or (stop <= end and data[stop - 1 : stop] != _END):
            return b"".join((*frames, data[at:])), b""
        if stop > end:
            break
        frames.append(readable(data[at:stop]))
        at = stop
    return b"".join(frames), data[at:]


def readable(frame: bytes) -> bytes:
    """The frame itself where pamqp can read it, else one that says as much of it as it can."""
    kind = frame[0]
    try:
        if kind == _HEADER and not _is_readable(frame):
            return _header(bytearray(frame))
        if kind == _METHOD:
            return _method(bytearray(frame))
    except _ODD:
        pass  # The broker's own mistake; aiormq says what is wrong.
    return frame


def _is_readable(frame: bytes) -> bool:
    # Each level of a table has a byte for its kind. Fewer of them cannot be nested too deep;
    # asking pamqp would tell only for the depth of the stack at this place.
    if frame.count(b"F") + frame.count(b"A") >= TABLE_DEPTH_MAX:
        return False
    try:
        header = unmarshal(frame)[2]
    except _ODD:
        return False
    return isinstance(header, ContentHeader) and header.properties.delivery_mode in _DELIVERY_MODES


def _method(frame: bytearray) -> bytes:
    (index,) = _U32.unpack_from(frame, _HEAD.size)
    at = _HEAD.size + _U32.size
    for kind in _METHODS.get(index, ()):
        at = _past_text(frame, at) if kind == _TEXT else at + kind
    return bytes(frame)


def _header(frame: bytearray) -> bytes:
    (flags,) = _U16.unpack_from(frame, _FLAGS_AT)
    at, kept = _FLAGS_AT + _U16.size, 0
    said: list[bytes] = []
    for flag, kind in _PROPERTIES:
        if not flags & flag:
            continue
        start, at = at, _past_property(frame, at, kind)
        if kind == _TEXT or (kind == _TABLE and _is_table(frame, start, at)):
            kept |= flag
            said.append(bytes(frame[start:at]))
    payload = b"".join((frame[_HEAD.size : _FLAGS_AT], _U16.pack(kept), *said))
    _, channel, _ = _HEAD.unpack_from(frame)
    return _HEAD.pack(_HEADER, channel, len(payload)) + payload + _END


def _past_property(frame: bytearray, at: int, kind: int) -> int:
    if kind == _TEXT:
        return _past_text(frame, at)
    if kind == _TABLE:
        return at + _U32.size + int(_U32.unpack_from(frame, at)[0])
    return at + kind


def _past_text(frame: bytearray, at: int) -> int:
    """Where the short text ends that begins there; a bad byte in it becomes a question mark."""
    start = at + 1
    stop = start + frame[at]
    escaped = bytes(frame[start:stop]).decode("utf-8", "surrogateescape")
    frame[start:stop] = escaped.encode("utf-8", "replace")
    return stop


def _is_table(frame: bytearray, start: int, stop: int) -> bool:
    """Can pamqp read the table that stands there, once its names are text?"""
    try:
        _mend_names(frame, start + _U32.size, stop, depth=1, named=True)
        field_table(bytes(frame[start:stop]))
    except _ODD:
        return False
    return True


def _mend_names(frame: bytearray, at: int, stop: int, *, depth: int, named: bool) -> None:
    """Walk through a table, or an array, whose values have no names.

    Raises ValueError and others where it is malformed or nested too deep.
    """
    if depth > TABLE_DEPTH_MAX:
        raise ValueError("nested too deep")
    while at < stop:
        if named:
            at = _past_text(frame, at)
        kind, at = frame[at], at + 1
        size = _BYTES[kind]
        if size < 0:
            start = at + _U32.size
            at = start + int(_U32.unpack_from(frame, at)[0])
            if at > stop:
                raise ValueError("longer than what it stands in")
            if size == _TABLE:
                _mend_names(frame, start, at, depth=depth + 1, named=kind == b"F"[0])
        else:
            at += size
