"""The load generator's own AMQP: what it writes a broker takes, what it reads it reads whole."""

import secrets
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pika
import pytest
from pamqp import commands, frame, header
from pamqp.base import Frame
from pamqp.heartbeat import Heartbeat

from ladle.lab.raw_amqp import RawAmqpError, RawConnection, _one, encoded


def delivery(body: bytes, *, chunk: int = 1000, **properties: object) -> bytearray:
    """The frames of one delivered message, its body in pieces of `chunk` bytes."""
    made = frame.marshal(commands.Basic.Deliver("tag", 1, False, "", "key"), 1)
    content = header.ContentHeader(
        body_size=len(body), properties=commands.Basic.Properties(**properties)
    )
    made += frame.marshal(content, 1)
    for begin in range(0, len(body), chunk):
        piece = body[begin : begin + chunk]
        made += b"\x03\x00\x01" + len(piece).to_bytes(4, "big") + piece + b"\xce"
    return bytearray(made)


@pytest.mark.parametrize(
    "properties",
    [
        {"correlation_id": "c-7"},
        {
            "content_type": "application/json",
            "content_encoding": "utf-8",
            "headers": {"request_id": "r", "n": 3},
            "delivery_mode": 2,
            "priority": 4,
            "correlation_id": "c-7",
            "message_id": "m",
        },
    ],
)
def test_a_message_is_read_whole_or_not_yet(properties: dict[str, object]) -> None:
    body = b"x" * 2500
    whole = delivery(body, **properties)
    for length in range(len(whole)):
        assert _one(whole[:length], 0) is None, f"{length} of {len(whole)} bytes are no message"
    assert _one(whole, 0) == (len(whole), "c-7", body)


def test_what_is_no_message_is_told_apart() -> None:
    assert _one(delivery(b"", content_type="text/plain"), 0) is not None
    nameless = _one(delivery(b"b", content_type="text/plain"), 0)
    assert nameless is not None
    assert nameless[1:] == ("", b"b")
    heartbeat = bytearray(b"\x08\x00\x00\x00\x00\x00\x00\xce")
    assert _one(heartbeat, 0) == (8, None, b"")
    ack = bytearray(frame.marshal(commands.Basic.Ack(1, False), 1))
    assert _one(ack, 0) == (len(ack), "", b"")
    returned = bytearray(frame.marshal(commands.Basic.Return(312, "NO_ROUTE", "x", "y"), 1))
    with pytest.raises(RawAmqpError, match="reached no queue"):
        _one(returned, 0)
    closed = bytearray(frame.marshal(commands.Channel.Close(404, "NOT_FOUND", 0, 0), 1))
    with pytest.raises(RawAmqpError, match="unexpected"):
        _one(closed, 0)


@pytest.fixture
def queue(broker_url: str) -> Iterator[str]:
    name = f"raw-{secrets.token_hex(5)}"
    connection = pika.BlockingConnection(pika.URLParameters(broker_url))
    with closing(connection):
        channel = connection.channel()
        channel.queue_declare(name, auto_delete=False)
        yield name
        channel.queue_delete(name)


def test_it_publishes_and_consumes_on_a_real_broker(broker_url: str, queue: str) -> None:
    body = b"y" * 100_000
    connection = RawConnection(broker_url, timeout_s=10)
    with closing(connection):
        connection.consume(queue, no_ack=True, prefetch=10)
        for number in range(3):
            connection.write(encoded("", queue, body, {"correlation_id": f"c-{number}"}))
        heard: list[tuple[str, bytes]] = []
        while len(heard) < 3:
            heard.extend(connection.replies())
    assert [name for name, _ in heard] == ["c-0", "c-1", "c-2"]
    assert all(part == body for _, part in heard)


def test_a_quorum_queue_has_all_that_was_confirmed_before_the_publisher_goes(
    broker_url: str,
) -> None:
    """Unconfirmed, the last of them are lost with the connection, and who counts waits for ever."""
    name, count = f"raw-{secrets.token_hex(5)}", 500
    checking = pika.BlockingConnection(pika.URLParameters(broker_url))
    with closing(checking):
        channel = checking.channel()
        channel.queue_declare(name, durable=True, arguments={"x-queue-type": "quorum"})
        try:
            connection = RawConnection(broker_url, timeout_s=30)
            with closing(connection):
                connection.confirm()
                connection.write(encoded("", name, b"{}", {"delivery_mode": 2}) * count)
                connection.await_confirms(count)
            assert channel.queue_purge(name).method.message_count == count
        finally:
            channel.queue_delete(name)


@contextmanager
def a_broker_that_says(*methods: Frame) -> Iterator[RawConnection]:
    """A confirming connection that reads these next, whatever it wrote."""
    ours, theirs = socket.socketpair()
    connection = RawConnection.__new__(RawConnection)
    connection._socket, connection._buffer = ours, bytearray()
    ours.settimeout(0.2)
    with closing(ours), closing(theirs):
        theirs.sendall(b"".join(frame.marshal(method, 1) for method in methods))
        yield connection


def test_confirms_come_in_any_order_one_or_many_at_once() -> None:
    ack = commands.Basic.Ack
    settled = (ack(2, False), Heartbeat(), ack(1, False), ack(5, True), ack(6, False))
    with a_broker_that_says(*settled) as connection:
        connection.await_confirms(6)
        with pytest.raises(TimeoutError):
            connection.await_confirms(7)


def test_what_is_not_confirmed_is_an_error() -> None:
    with (
        a_broker_that_says(commands.Basic.Ack(1, False), commands.Basic.Nack(2)) as connection,
        pytest.raises(RawAmqpError, match="refused a message"),
    ):
        connection.await_confirms(2)
    with (
        a_broker_that_says(commands.Channel.Close(404, "NOT_FOUND", 0, 0)) as connection,
        pytest.raises(RawAmqpError, match="unexpected"),
    ):
        connection.await_confirms(1)


def test_what_a_broker_refuses_is_an_error(broker_url: str) -> None:
    connection = RawConnection(broker_url, timeout_s=10)
    with closing(connection), pytest.raises(RawAmqpError, match="404"):
        connection.consume("no-such-queue", no_ack=True)
    with pytest.raises(RawAmqpError, match="amqp://"):
        RawConnection("amqps://localhost/")
