"""AMQP 0-9-1 frames, bytes there and back: the few that the fast link makes and reads itself.

Pure functions. A frame is type (1 byte), channel (2), size (4), payload, 0xCE; a message travels as
a method frame, a header frame with its size and properties, and as many body frames as it needs.
Source: the AMQP 0-9-1 specification, sections 2.3 and 4.2, and RabbitMQ's errata for field tables.
"""

from collections.abc import Mapping
from functools import lru_cache
from struct import Struct
from struct import error as StructError
from typing import cast

from pamqp import encode
from pamqp.common import FieldTable
from pamqp.decode import embedded_value

from ladle_contracts.link import HeaderValue, Message, Outgoing

METHOD, HEADER, BODY = 1, 2, 3
FRAME_END = 0xCE
FRAME_EXTRA = 8
"""Bytes of a frame that are not its payload."""

FRAME_HEAD = Struct(">BHI")
U16 = Struct(">H")
U32 = Struct(">I")
U64 = Struct(">Q")

HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"

# Method ids: class in the upper half, method in the lower.
CONNECTION_TUNE_OK = 10 << 16 | 31
CONNECTION_OPEN_OK = 10 << 16 | 41
CONNECTION_CLOSE = 10 << 16 | 50
CONNECTION_BLOCKED = 10 << 16 | 60
CONNECTION_UNBLOCKED = 10 << 16 | 61
CHANNEL_OPEN_OK = 20 << 16 | 11
CHANNEL_CLOSE = 20 << 16 | 40
CHANNEL_CLOSE_OK = 20 << 16 | 41
BASIC_CONSUME = 60 << 16 | 20
BASIC_CANCEL = 60 << 16 | 30
BASIC_CANCEL_OK = 60 << 16 | 31
BASIC_PUBLISH = 60 << 16 | 40
BASIC_RETURN = 60 << 16 | 50
BASIC_DELIVER = 60 << 16 | 60
BASIC_ACK = 60 << 16 | 80
BASIC_NACK = 60 << 16 | 120
CONFIRM_SELECT = 85 << 16 | 10

_PUBLISH_HEAD = U32.pack(BASIC_PUBLISH) + b"\x00\x00"
_ACK = Struct(">BHIIQBB")
METHOD_HEAD = Struct(">BHII")  # a method frame up to the method's id
CONTENT_HEAD = Struct(">BHIHHQH")  # a header frame up to the properties
_CONTENT_BYTES = 14  # of them in the frame's payload
_BETWEEN = Struct(">BBHI")  # the end of a frame, the head of the next
_PERSISTENT, _TRANSIENT = b"\x02", b"\x01"
_BASIC = 60
_SHORT_MAX = 255
_BYTE = [bytes((value,)) for value in range(256)]
_SIZED = b"SFAx"
_LONG_STRING, _TABLE_KIND, _ARRAY_KIND, _ = _SIZED
_VALUE_BYTES_MAX = 9
"""Of a value that does not say its size: its kind and at most 64 bits."""

TABLE_DEPTH_MAX = 16
"""Tables and arrays in one another; RabbitMQ itself nests two."""


# Property flags, in the order in which the properties follow; the kind says how each is read.
_SHORT, _TABLE, _OCTET, _TIMESTAMP, _ID = range(5)
_PROPERTIES = (
    (0x8000, "content_type", _SHORT),
    (0x4000, "content_encoding", _SHORT),
    (0x2000, "headers", _TABLE),
    (0x1000, "delivery_mode", _OCTET),
    (0x0800, "priority", _OCTET),
    (0x0400, "correlation_id", _ID),
    (0x0200, "reply_to", _SHORT),
    (0x0100, "expiration", _SHORT),
    (0x0080, "message_id", _SHORT),
    (0x0040, "timestamp", _TIMESTAMP),
    (0x0020, "type", _SHORT),
    (0x0010, "user_id", _SHORT),
    (0x0008, "app_id", _SHORT),
    (0x0004, "cluster_id", _SHORT),
)
# An id is a short string that is given back as it came: what is no UTF-8 in it is kept as lone
# surrogates, byte by byte. Replaced, each would grow to three bytes, and the answer might not fit.
_AS_IT_CAME = "surrogateescape"
_Plan = tuple[tuple[str, int], ...]
_plans: dict[int, _Plan] = {}
_NO_HEADERS: Mapping[str, object] = {}


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    """One frame."""
    return FRAME_HEAD.pack(kind, channel, len(payload)) + payload + b"\xce"


def short(text: str) -> bytes:
    """A short string. Raises ValueError above 255 bytes."""
    return _short(text.encode())


def _short(raw: bytes) -> bytes:
    if len(raw) > _SHORT_MAX:
        raise ValueError(f"AMQP carries at most 255 bytes there: {raw[:40]!r}...")
    return _BYTE[len(raw)] + raw


def read_short(buffer: bytes, position: int) -> tuple[str, int]:
    """A short string and where it ends; what is not UTF-8 in it is replaced, never raised."""
    start = position + 1
    end = start + buffer[position]
    return buffer[start:end].decode("utf-8", "replace"), end


def method_id(buffer: bytes, position: int) -> int:
    """The class and method of a method frame whose payload starts there."""
    return cast(int, U32.unpack_from(buffer, position)[0])


def ack(channel: int, tag: int, *, multiple: bool) -> bytes:
    """Basic.Ack; with `multiple`, of every delivery up to the tag."""
    return _ACK.pack(METHOD, channel, 13, BASIC_ACK, tag, multiple, FRAME_END)


def nack(channel: int, tag: int, *, multiple: bool, requeue: bool) -> bytes:
    """Basic.Nack: back into the queue, or to its dead-letter exchange."""
    return _ACK.pack(METHOD, channel, 13, BASIC_NACK, tag, multiple | requeue << 1, FRAME_END)


def publish(channel: int, message: Outgoing, frame_max: int) -> bytes:
    """All frames of one message. Raises ValueError for what AMQP cannot carry."""
    body, room = message.body, frame_max - FRAME_EXTRA
    size = len(body)
    flags, properties = _properties(message)
    head_size = _CONTENT_BYTES + len(properties)
    if head_size > room:
        # The broker would close the connection over it, and all that others publish there.
        raise ValueError("AMQP carries all properties of a message in one frame; these are longer")
    parts = [
        _publish_method(channel, message.exchange, message.routing_key, message.mandatory),
        CONTENT_HEAD.pack(HEADER, channel, head_size, _BASIC, 0, size, flags),
        properties,
    ]
    if 0 < size <= room:
        # Nearly all: the end of one frame and the head of the next are written at once.
        parts += (_BETWEEN.pack(FRAME_END, BODY, channel, size), body, b"\xce")
    else:
        parts.append(b"\xce")
        parts += [frame(BODY, channel, body[at : at + room]) for at in range(0, size, room)]
    return b"".join(parts)


@lru_cache(maxsize=4096)
def _publish_method(channel: int, exchange: str, routing_key: str, mandatory: bool) -> bytes:
    """The method frame: one a caller for replies, one a kind and server for own events."""
    flag = b"\x01" if mandatory else b"\x00"
    return frame(METHOD, channel, _PUBLISH_HEAD + short(exchange) + short(routing_key) + flag)


def _properties(message: Outgoing) -> tuple[int, bytes]:
    """The property flags, and the properties in the order of the flags."""
    flags = 0x9000
    found = short(message.content_type)
    if message.headers:
        flags |= 0x2000
        found += _table(message.headers)
    found += _PERSISTENT if message.persistent else _TRANSIENT
    # One after the other: a loop over pairs takes twice as long, for every reply and event.
    if message.correlation_id is not None:
        flags |= 0x0400
        found += _short(message.correlation_id.encode(errors=_AS_IT_CAME))
    if message.reply_to is not None:
        flags |= 0x0200
        found += short(message.reply_to)
    if message.expiration_ms is not None:
        flags |= 0x0100
        found += short(str(message.expiration_ms))
    if message.message_id is not None:
        flags |= 0x0080
        found += short(message.message_id)
    if message.type is not None:
        flags |= 0x0020
        found += short(message.type)
    if message.user_id is not None:
        flags |= 0x0010
        found += short(message.user_id)
    return flags, found


def _table(headers: Mapping[str, HeaderValue]) -> bytes:
    """A field table; bytes travel as a byte array, text as a long string."""
    values = {
        name: bytearray(value) if isinstance(value, bytes) else value
        for name, value in headers.items()
    }
    return encode.field_table(cast(FieldTable, values))


def body_size(buffer: bytes, position: int) -> int:
    """How many bytes of body follow the header frame whose payload starts there."""
    return cast(int, U64.unpack_from(buffer, position + 4)[0])


def read_properties(buffer: bytes, position: int) -> dict[str, object]:
    """The properties in the header frame whose payload starts there, those present only.

    A table that cannot be read is left out: one odd message must not cost the connection.
    """
    (flags,) = U16.unpack_from(buffer, position + 12)
    plan = _plans.get(flags) or _plan(flags)
    at = position + 14
    found: dict[str, object] = {}
    for name, kind in plan:
        if kind == _SHORT:
            # As read_short does: calling it for each costs half as much again.
            start = at + 1
            at = start + buffer[at]
            found[name] = buffer[start:at].decode("utf-8", "replace")
        elif kind == _ID:
            start = at + 1
            at = start + buffer[at]
            found[name] = buffer[start:at].decode("utf-8", _AS_IT_CAME)
        elif kind == _TABLE:
            (size,) = U32.unpack_from(buffer, at)
            found[name] = read_table(buffer, at + 4, at + 4 + size)
            at += 4 + size
        else:
            at += 1 if kind == _OCTET else 8
    return found


def _plan(flags: int) -> _Plan:
    plan = tuple((name, kind) for flag, name, kind in _PROPERTIES if flags & flag)
    return _plans.setdefault(flags, plan)


def read_table(buffer: bytes, position: int, end: int) -> Mapping[str, object]:
    """A field table between two positions; empty where it is malformed, or nested too deep."""
    try:
        return _table_in(buffer, position, end, 1)
    except (StructError, ValueError, IndexError, OverflowError, OSError):
        return _NO_HEADERS


# Not pamqp's own way into tables and arrays: it copies what is left with each value, and ends in a
# RecursionError where a stranger nests a thousand of them.


def _table_in(buffer: bytes, position: int, end: int, depth: int) -> dict[str, object]:
    table: dict[str, object] = {}
    while position < end:
        name, position = read_short(buffer, position)
        table[name], position = _value_in(buffer, position, end, depth)
    return table


def _array_in(buffer: bytes, position: int, end: int, depth: int) -> list[object]:
    array: list[object] = []
    while position < end:
        value, position = _value_in(buffer, position, end, depth)
        array.append(value)
    return array


def _value_in(buffer: bytes, position: int, end: int, depth: int) -> tuple[object, int]:
    """The value that begins there with its kind, and where it ends."""
    kind = buffer[position]
    if kind not in _SIZED:
        used, value = embedded_value(buffer[position : position + _VALUE_BYTES_MAX])
        return value, position + used
    start = position + 5
    stop = start + int(U32.unpack_from(buffer, position + 1)[0])
    if stop > end or depth >= TABLE_DEPTH_MAX:
        raise ValueError("longer than what it stands in, or nested too deep")
    if kind == _TABLE_KIND:
        return _table_in(buffer, start, stop, depth + 1), stop
    if kind == _ARRAY_KIND:
        return _array_in(buffer, start, stop, depth + 1), stop
    raw = buffer[start:stop]
    return (_text(raw) if kind == _LONG_STRING else raw), stop


def _text(raw: bytes) -> str | bytes:
    """A long string is text where it can be, as in pamqp."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def message_of(
    properties: Mapping[str, object],
    body: bytes,
    queue: str,
    exchange: str,
    routing_key: str,
    redelivered: bool,
    epoch: int,
    tag: int,
) -> Message:
    """A delivery as the users of a Link see it."""
    find = cast(Mapping[str, str], properties).get
    expiration = find("expiration")
    return Message(
        body,
        queue,
        exchange,
        routing_key,
        cast(Mapping[str, object], properties.get("headers", _NO_HEADERS)),
        find("content_type"),
        find("type"),
        find("message_id"),
        find("correlation_id"),
        find("reply_to"),
        int(expiration) if expiration and expiration.isascii() and expiration.isdigit() else None,
        find("user_id"),
        redelivered,
        epoch,
        tag,
    )
