"""Frames that pamqp cannot read are written anew; all others are handed on untouched."""

import sys
from struct import pack

import pytest
from pamqp.commands import Basic, Connection
from pamqp.frame import FrameTypes, marshal, unmarshal
from pamqp.header import ContentHeader

from ladle_contracts.amqp_readable import TABLE_DEPTH_MAX, readable, readable_frames
from tests.fixtures.odd_messages import PROPERTIES, named, nested, table, text


def framed(kind: int, payload: bytes) -> bytes:
    return pack(">BHI", kind, 1, len(payload)) + payload + b"\xce"


def header(flags: int, value: bytes) -> bytes:
    return framed(2, pack(">HHQH", 60, 0, 7, flags) + value)


def method(index: int, fields: bytes) -> bytes:
    return framed(1, pack(">I", index) + fields)


def read(frame: bytes) -> FrameTypes:
    return unmarshal(readable(frame))[2]


GOOD = {
    "a header": marshal(
        ContentHeader(
            body_size=7,
            properties=Basic.Properties(
                content_type="application/json",
                headers={"a": {"b": [1, "two", True]}},
                delivery_mode=2,
                message_type="room-créée",
            ),
        ),
        1,
    ),
    "a header without properties": header(0, b""),
    "a delivery": marshal(Basic.Deliver("tag", 2**40, False, "exchange", "clé.a"), 1),
    "a got message": marshal(Basic.GetOk(255, False, "exchange", "clé.a", 3), 1),
    "a returned message": marshal(Basic.Return(312, "NO_ROUTE", "exchange", "clé.a"), 1),
    "another method": marshal(Connection.Blocked("mémoire"), 0),
    "a body": framed(3, b"\xff\x00\xce"),
    "a heartbeat": framed(8, b""),
}


@pytest.mark.parametrize("frame", GOOD.values(), ids=GOOD)
def test_what_can_be_read_is_handed_on_as_it_is(frame: bytes) -> None:
    assert readable(frame) == frame


@pytest.mark.parametrize(("flags", "value"), PROPERTIES.values(), ids=PROPERTIES)
def test_odd_properties_can_be_read(flags: int, value: bytes) -> None:
    header_frame = read(header(flags, value))
    assert isinstance(header_frame, ContentHeader)
    assert header_frame.body_size == 7


def test_the_rest_of_a_message_stays() -> None:
    """Of an odd one too: what it says by text, and the headers that can be read."""
    flags = 0x8000 | 0x2000 | 0x1000 | 0x0400 | 0x0040 | 0x0020
    entries = named(b"id\xff", b"S" + pack(">I", 2) + b"42") + named(b"n", b"I" + pack(">i", 7))
    value = text(b"text/plain") + table(entries) + b"\x07" + text(b"c-\xff-1") + b"\xff" * 8
    header_frame = read(header(flags, value + text(b"room-created")))
    assert isinstance(header_frame, ContentHeader)
    properties = header_frame.properties
    assert properties.content_type == "text/plain"
    assert properties.headers == {"id?": "42", "n": 7}
    assert properties.correlation_id == "c-?-1"
    assert properties.message_type == "room-created"
    assert properties.timestamp is None
    assert properties.delivery_mode is None


@pytest.mark.parametrize("inner", [b"F", b"A"])
def test_tables_are_read_up_to_a_depth(inner: bytes) -> None:
    """Whatever else is on the stack: pamqp would tell only for the depth of this one."""

    def depth_read(depth: int) -> int:
        value = b"t\x01"
        for _ in range(depth - 1):
            within = named(b"a", value) if inner == b"F" else value
            value = inner + table(within)
        header_frame = read(header(0x2000, table(named(b"a", value))))
        assert isinstance(header_frame, ContentHeader)
        return len(header_frame.properties.headers or {})

    assert depth_read(TABLE_DEPTH_MAX) == 1
    assert depth_read(TABLE_DEPTH_MAX + 1) == 0
    assert depth_read(sys.getrecursionlimit()) == 0


def test_many_headers_that_only_look_nested_are_kept() -> None:
    entries = b"".join(
        named(b"F%d" % n, b"S" + table(b"AFAF")) + named(b"A%d" % n, b"x" + table(b"FF"))
        for n in range(30)
    )
    frame = header(0x2000, table(entries))
    assert unmarshal(readable(frame))[2].properties.headers == (
        unmarshal(frame)[2].properties.headers
    )


@pytest.mark.parametrize(
    "entries",
    [
        named(b"a", b"?\x01"),
        named(b"a", b"?\x01" + b"S" + pack(">I", 99) + b"short"),
        named(b"\xff", b"S" + pack(">I", 99) + b"short"),
        b"\x09a",
        named(b"a", b""),
    ],
)
def test_a_malformed_table_is_left_out(entries: bytes) -> None:
    header_frame = read(header(0x2020, table(entries) + text(b"room-created")))
    assert isinstance(header_frame, ContentHeader)
    assert header_frame.properties.headers is None
    assert header_frame.properties.message_type == "room-created"


DELIVERED = pack(">Q", 2**63) + b"\x01"


@pytest.mark.parametrize(
    ("frame", "key"),
    [
        (method(0x3C003C, text(b"t") + DELIVERED + text(b"e") + text(b"room.\xff")), "room.?"),
        (method(0x3C0047, DELIVERED + text(b"e") + text(b"\xe9t\xc3\xa9") + b"\0" * 4), "?té"),
        (method(0x3C0032, b"\x01\x38" + text(b"why") + text(b"e") + text(b"\xed\xa0\x80")), "???"),
    ],
)
def test_a_routing_key_keeps_its_length(frame: bytes, key: str) -> None:
    said = readable(frame)
    assert len(said) == len(frame)
    assert unmarshal(said)[2].routing_key == key


@pytest.mark.parametrize(
    "frame",
    [
        framed(1, b""),
        framed(2, b"\x00\x3c"),
        header(0x0020, b"\x09short"),
        method(0x3C003C, text(b"t") + DELIVERED + b"\xff"),
    ],
)
def test_a_frame_that_the_broker_broke_is_aiormqs_to_refuse(frame: bytes) -> None:
    assert readable(frame) == frame


def test_frames_arrive_in_pieces() -> None:
    stream = b"".join(GOOD.values()) + header(0x0020, text(b"\xff"))
    wanted = b"".join(GOOD.values()) + header(0x0020, text(b"?"))
    for size in (1, 7, 8, 50, len(stream)):
        rest, got = b"", b""
        for at in range(0, len(stream), size):
            frames, rest = readable_frames(rest + stream[at : at + size])
            got += frames
        assert (got, rest) == (wanted, b""), size


@pytest.mark.parametrize(
    "nonsense", [b"AMQP\x00\x00\x09\x01", b"HTTP/1.1 400 Bad", framed(1, b"1234")[:-1] + b"!" * 9]
)
def test_what_is_no_frame_is_passed_on(nonsense: bytes) -> None:
    front = framed(8, b"")
    assert readable_frames(front + nonsense) == (front + nonsense, b"")


def test_two_thousand_tables_are_what_pamqp_falls_over() -> None:
    """Should it learn to read them, this file is needed less."""
    with pytest.raises(RecursionError):
        unmarshal(header(0x2000, table(nested(2_000))))
