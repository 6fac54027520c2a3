"""Our frames against pamqp's, which stands for the rest of the world."""

import math
import time
from dataclasses import replace

import pamqp.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands as spec
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from ladle.broker import frames
from ladle_contracts.link import Outgoing

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
maybe = st.none() | texts
values = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | texts | st.binary(max_size=60)
)
tables = st.dictionaries(st.text("abcdefg_-:.", min_size=1, max_size=20), values, max_size=6)
outgoings = st.builds(
    Outgoing,
    exchange=texts,
    routing_key=texts,
    body=st.binary(max_size=300),
    headers=tables,
    content_type=texts,
    type=maybe,
    message_id=maybe,
    correlation_id=maybe,
    reply_to=maybe,
    expiration_ms=st.none() | st.integers(0, 2**40),
    user_id=maybe,
    persistent=st.booleans(),
    mandatory=st.booleans(),
)


def unmarshal_all(data: bytes) -> list[tuple[int, object]]:
    found = []
    while data:
        used, channel, frame = pamqp.frame.unmarshal(data)
        found.append((channel, frame))
        data = data[used:]
    return found


@given(
    message=outgoings,
    length=st.integers(0, 12_000),
    channel=st.integers(1, 65535),
    frame_max=st.integers(4_096, 4_200),
)
def test_pamqp_reads_what_we_publish(
    message: Outgoing, length: int, channel: int, frame_max: int
) -> None:
    message = replace(message, body=((message.body or b"-") * length)[:length])
    parts = unmarshal_all(frames.publish(channel, message, frame_max))
    assert {number for number, _ in parts} == {channel}
    method, header, *bodies = [frame for _, frame in parts]
    assert isinstance(method, spec.Basic.Publish)
    assert isinstance(header, ContentHeader)
    assert (method.exchange, method.routing_key) == (message.exchange, message.routing_key)
    assert method.mandatory is message.mandatory
    assert header.body_size == len(message.body)
    assert all(isinstance(body, ContentBody) for body in bodies)
    assert b"".join(body.value for body in bodies) == message.body  # type: ignore[attr-defined]
    assert len(bodies) == math.ceil(len(message.body) / (frame_max - 8))
    found = header.properties
    assert dict(found.headers or {}) == dict(message.headers)
    assert (found.content_type, found.message_type) == (message.content_type, message.type)
    assert (found.message_id, found.user_id) == (message.message_id, message.user_id)
    assert (found.correlation_id, found.reply_to) == (message.correlation_id, message.reply_to)
    assert found.delivery_mode == (2 if message.persistent else 1)
    expiration = None if message.expiration_ms is None else str(message.expiration_ms)
    assert found.expiration == expiration


def as_array(value: object) -> object:
    return bytearray(value) if isinstance(value, bytes) else value


@given(
    headers=tables,
    content_type=maybe,
    priority=st.none() | st.integers(0, 9),
    reply_to=maybe,
    app_id=maybe,
    message_id=maybe,
)
def test_we_read_what_pamqp_writes(
    headers: dict[str, object],
    content_type: str | None,
    priority: int | None,
    reply_to: str | None,
    app_id: str | None,
    message_id: str | None,
) -> None:
    properties = spec.Basic.Properties(
        headers={name: as_array(value) for name, value in headers.items()},  # type: ignore
        content_type=content_type,
        priority=priority,
        reply_to=reply_to,
        app_id=app_id,
        message_id=message_id,
    )
    raw = pamqp.frame.marshal(ContentHeader(0, 77, properties), 1)
    _, _, theirs = pamqp.frame.unmarshal(raw)
    assert isinstance(theirs, ContentHeader)
    assert frames.body_size(raw, 7) == 77
    ours = frames.read_properties(raw, 7)
    assert ours.get("headers", {}) == (theirs.properties.headers or {})
    for name in ("content_type", "reply_to", "app_id", "message_id"):
        assert ours.get(name) == getattr(theirs.properties, name)


@given(channel=st.integers(1, 65535), tag=st.integers(1, 2**63 - 1), multiple=st.booleans())
def test_acks_and_nacks(channel: int, tag: int, multiple: bool) -> None:
    raw = frames.ack(channel, tag, multiple=multiple)
    used, number, ack = pamqp.frame.unmarshal(raw)
    assert (used, number) == (len(raw), channel)
    assert isinstance(ack, spec.Basic.Ack)
    assert (ack.delivery_tag, ack.multiple) == (tag, multiple)
    for requeue in (True, False):
        _, _, nack = pamqp.frame.unmarshal(
            frames.nack(channel, tag, multiple=multiple, requeue=requeue)
        )
        assert isinstance(nack, spec.Basic.Nack)
        assert (nack.delivery_tag, nack.multiple, nack.requeue) == (tag, multiple, requeue)


def test_method_numbers_are_pamqps() -> None:
    for ours, theirs in (
        (frames.CONNECTION_TUNE_OK, spec.Connection.TuneOk),
        (frames.CONNECTION_OPEN_OK, spec.Connection.OpenOk),
        (frames.CONNECTION_CLOSE, spec.Connection.Close),
        (frames.CONNECTION_BLOCKED, spec.Connection.Blocked),
        (frames.CONNECTION_UNBLOCKED, spec.Connection.Unblocked),
        (frames.CHANNEL_OPEN_OK, spec.Channel.OpenOk),
        (frames.CHANNEL_CLOSE, spec.Channel.Close),
        (frames.CHANNEL_CLOSE_OK, spec.Channel.CloseOk),
        (frames.BASIC_CONSUME, spec.Basic.Consume),
        (frames.BASIC_CANCEL, spec.Basic.Cancel),
        (frames.BASIC_CANCEL_OK, spec.Basic.CancelOk),
        (frames.BASIC_PUBLISH, spec.Basic.Publish),
        (frames.BASIC_RETURN, spec.Basic.Return),
        (frames.BASIC_DELIVER, spec.Basic.Deliver),
        (frames.BASIC_ACK, spec.Basic.Ack),
        (frames.BASIC_NACK, spec.Basic.Nack),
        (frames.CONFIRM_SELECT, spec.Confirm.Select),
    ):
        assert ours == theirs.index


def test_properties_longer_than_a_frame_are_refused() -> None:
    """Sent, they would cost the connection, and everything that others publish there."""
    message = Outgoing("", "q", b"", headers={"long": "x" * 4_096})
    with pytest.raises(ValueError, match="one frame"):
        frames.publish(1, message, 4_096)
    assert frames.publish(1, message, 8_192)


def test_long_strings_are_refused() -> None:
    with pytest.raises(ValueError, match="255"):
        frames.short("ä" * 128)
    assert frames.short("ä" * 127)[0] == 254


def test_odd_strings_are_read_all_the_same() -> None:
    assert frames.read_short(b"\x03a\xffb", 0) == ("a\ufffdb", 4)


@given(raw=st.binary(max_size=255))
def test_a_correlation_id_goes_back_as_it_came(raw: bytes) -> None:
    """It is the caller's, whatever it is; replaced bytes would grow, and their answer not fit."""
    header = b"\x00" * 12 + b"\x04\x00" + bytes((len(raw),)) + raw
    read = frames.read_properties(header, 0)["correlation_id"]
    assert isinstance(read, str)
    written = frames.publish(1, Outgoing("", "q", b"", correlation_id=read), 131_072)
    assert bytes((len(raw),)) + raw in written


@pytest.mark.parametrize(
    "table",
    [b"\x05ab", b"\x01a", b"\x01aS\x00", b"\x01a\x07", b"\x01aT\xff\xff\xff\xff\xff\xff\xff\xff"],
)
def test_a_broken_table_is_an_empty_one(table: bytes) -> None:
    assert frames.read_table(table, 0, len(table)) == {}


@given(noise=st.binary(max_size=200))
def test_no_table_can_raise(noise: bytes) -> None:
    assert isinstance(frames.read_table(noise, 0, len(noise)), dict)


def a_value(kind: bytes, content: bytes) -> bytes:
    """A value of a kind that says its size."""
    return kind + len(content).to_bytes(4, "big") + content


def test_tables_in_one_another_are_read_to_a_depth() -> None:
    inner = b"\x01b" + a_value(b"A", b"t\x01" + a_value(b"x", b"\xff") + b"V")
    table = b"\x01a" + a_value(b"F", inner)
    assert frames.read_table(table, 0, len(table)) == {"a": {"b": [True, b"\xff", None]}}
    deep = b""
    for _ in range(frames.TABLE_DEPTH_MAX - 1):
        deep = b"\x01a" + a_value(b"F", deep)
    assert frames.read_table(deep, 0, len(deep)) != {}


def test_no_depth_ends_the_connection() -> None:
    """Read by recursion, one such message ends each connection that it is redelivered to."""
    deep = b""
    for _ in range(15_000):
        deep = b"\x01a" + a_value(b"F", deep)
    assert frames.read_table(deep, 0, len(deep)) == {}


def test_many_small_values_take_no_time() -> None:
    """Where the rest is copied for each, this takes ten seconds, and ten such messages a minute."""
    table = b"\x01a" + a_value(b"A", b"V" * 120_000)
    started = time.process_time()
    assert frames.read_table(table, 0, len(table)) == {"a": [None] * 120_000}
    assert time.process_time() - started < 1


def test_a_value_longer_than_its_table_breaks_it() -> None:
    table = b"\x01a" + b"S\x00\x00\x00\x09short"
    assert frames.read_table(table + b"more of the frame", 0, len(table)) == {}
