"""The wire between socket and aiormq, fed by hand: any chunking, two readers, one write a turn."""

import asyncio
import itertools
from collections.abc import AsyncIterator

import pamqp.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands as spec
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from ladle.broker.frames import HEARTBEAT
from ladle.broker.lane import Sink
from ladle.broker.wire import JoiningWriter, Tap, Wire
from ladle_contracts.link import Message


class Socket(asyncio.Transport):
    """What was written, one entry a write."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        return 10

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.written.append(b"closed")
        self.closing = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.written.append(b"eof")


class Reader(asyncio.StreamReader):
    """What aiormq would read."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self.fed: list[bytes] = []

    def feed_data(self, data: bytes) -> None:
        self.fed.append(bytes(data))


class Bench:
    """A wire with both of its ends in hand; closed at the end of the turn that uses it."""

    def __init__(self) -> None:
        self.changes: list[str] = []
        self.batches: list[list[Message]] = []
        loop = asyncio.get_running_loop()
        self.tap = Tap(self.changes.append)
        self.reader = Reader(loop)
        self.wire = Wire(self.tap, self.reader, loop)
        self.socket = Socket()
        self.wire.connection_made(self.socket)
        self.writer = JoiningWriter(self.socket, self.wire, self.reader, loop)

    def receive(self, channel: int, *parts: Frame) -> None:
        self.wire.data_received(marshal(channel, *parts))

    def open(self, queue: str = "tapped") -> None:
        self.receive(0, spec.Connection.OpenOk())
        self.receive(1, spec.Channel.OpenOk())
        self.tap.sinks[queue] = Sink(queue, self.batches.append)
        self.writer.write(marshal(1, spec.Basic.Consume(queue=queue, consumer_tag="mine")))
        self.writer.write(marshal(1, spec.Basic.Consume(queue="other", consumer_tag="theirs")))
        self.reader.fed.clear()

    @property
    def messages(self) -> list[Message]:
        return [message for batch in self.batches for message in batch]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    made.socket.closing = True


def marshal(channel: int, *parts: Frame) -> bytes:
    return b"".join(pamqp.frame.marshal(part, channel) for part in parts)


def delivery(tag: int, body: bytes, consumer: str = "mine", cut: int = 7) -> list[Frame]:
    bodies = [ContentBody(body[at : at + cut]) for at in range(0, len(body), cut)]
    return [
        spec.Basic.Deliver(consumer, tag, False, "events", f"key.{tag}"),
        ContentHeader(0, len(body), spec.Basic.Properties(message_id=f"m-{tag}")),
        *bodies,
    ]


@given(data=st.data())
def test_any_chunking_gives_the_same(data: st.DataObject) -> None:
    """Two channels interleaved anyhow, cut anywhere: each reader gets its own, in order."""
    bodies = data.draw(st.lists(st.binary(max_size=30), min_size=1, max_size=8))
    mine = [marshal(1, part) for n, body in enumerate(bodies, 1) for part in delivery(n, body)]
    others = [
        marshal(2, part)
        for n, body in enumerate(bodies, 1)
        for part in [*delivery(n, body, "theirs"), spec.Basic.QosOk()]
    ] + [marshal(0, Heartbeat())]
    # Frame by frame, or one channel's after the other's, so that messages stand whole in a read.
    straight = [1] * len(mine) + [2] * len(others)
    order = data.draw(st.permutations(straight) | st.just(straight))
    sources = {1: iter(mine), 2: iter(others)}
    stream = b"".join(next(sources[which]) for which in order)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))

    async def run() -> tuple[list[Message], bytes]:
        bench = Bench()
        bench.open()
        bench.receive(2, spec.Channel.OpenOk())
        bench.reader.fed.clear()
        for begin, end in itertools.pairwise([0, *cuts, len(stream)]):
            bench.wire.data_received(stream[begin:end])
        bench.socket.closing = True
        return bench.messages, b"".join(bench.reader.fed)

    got, passed_on = asyncio.run(run())
    tags = range(1, len(bodies) + 1)
    assert [message.body for message in got] == bodies
    assert [message.tag for message in got] == list(tags)
    assert [message.routing_key for message in got] == [f"key.{tag}" for tag in tags]
    # Heartbeats may be made up in between; all else is as it came.
    assert passed_on.replace(HEARTBEAT, b"") == b"".join(others).replace(HEARTBEAT, b"")


async def test_one_read_is_one_batch(bench: Bench) -> None:
    bench.open()
    stream = b"".join(marshal(1, *delivery(tag, b"body")) for tag in range(1, 101))
    bench.wire.data_received(stream)
    assert [len(batch) for batch in bench.batches] == [100]
    assert bench.reader.fed == []


async def test_one_turn_is_one_write(bench: Bench) -> None:
    bench.open()
    await asyncio.sleep(0)
    bench.socket.written.clear()
    bench.wire.write(b"ours 1 ")
    bench.writer.write(b"theirs ")
    bench.wire.write(b"ours 2")
    assert bench.wire.waiting_bytes == 10 + 20
    assert bench.socket.written == []
    await asyncio.sleep(0)
    assert bench.socket.written == [b"ours 1 theirs ours 2"]
    assert bench.wire.waiting_bytes == 10


@pytest.mark.parametrize(("end", "mark"), [("close", b"closed"), ("write_eof", b"eof")])
async def test_what_was_written_leaves_before_the_end(bench: Bench, end: str, mark: bytes) -> None:
    bench.wire.write(b"last words")
    getattr(bench.writer, end)()
    await asyncio.sleep(0)
    assert bench.socket.written == [b"last words", mark]
    bench.socket.closing = True
    bench.wire.write(b"too late")
    await asyncio.sleep(0)
    assert bench.socket.written == [b"last words", mark]


async def test_drain_writes_at_once(bench: Bench) -> None:
    bench.writer.write(b"now")
    await bench.writer.drain()
    assert bench.socket.written == [b"now"]


async def test_traffic_counts_as_a_heartbeat_once_a_second(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000.0
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
    bench.open()
    for tag in range(1, 41):
        now += 0.125  # a binary fraction: sums of 0.1 fall on either side of a whole second
        bench.receive(1, *delivery(tag, b"x"))
    assert len(bench.messages) == 40
    assert bench.reader.fed == [HEARTBEAT] * 5


async def test_before_the_connection_is_open_nothing_is_made_up(bench: Bench) -> None:
    bench.wire.data_received(marshal(0, spec.Connection.Tune())[:5])
    assert bench.reader.fed == []


async def test_a_closed_channel_ends_its_life_at_once(bench: Bench) -> None:
    bench.open()
    lane = bench.tap.lane(1)
    assert lane is not None
    bench.receive(1, *delivery(1, b"x"))
    bench.receive(1, spec.Channel.Close(404, "gone", 0, 0))
    assert not lane.is_open
    assert bench.tap.lane(1) is None
    assert lane.epoch not in bench.tap.lanes
    bench.receive(1, spec.Channel.OpenOk())
    again = bench.tap.lane(1)
    assert again is not None
    assert again.epoch > lane.epoch
    assert "404 gone" in bench.changes


async def test_half_a_message_dies_with_its_channel(bench: Bench) -> None:
    bench.open()
    bench.receive(1, *delivery(1, b"0123456789")[:3])
    bench.receive(1, spec.Channel.Close(541, "internal", 0, 0))
    bench.receive(1, spec.Channel.OpenOk())
    bench.writer.write(marshal(1, spec.Basic.Consume(queue="tapped", consumer_tag="mine")))
    bench.receive(1, *delivery(1, b"whole"))
    assert [message.body for message in bench.messages] == [b"whole"]


async def test_a_cancelled_consumer_is_aiormqs_again(bench: Bench) -> None:
    bench.open()
    assert bench.tap.is_consuming("tapped")
    bench.receive(1, spec.Basic.Cancel("mine"))
    assert not bench.tap.is_consuming("tapped")
    bench.reader.fed.clear()
    bench.receive(1, *delivery(1, b"x"))
    assert bench.messages == []
    assert b"".join(bench.reader.fed) == marshal(1, *delivery(1, b"x"))


async def test_a_new_connection_begins_empty(bench: Bench) -> None:
    bench.open()
    bench.wire.data_received(marshal(1, *delivery(1, b"x"))[:30])
    bench.wire.write(b"never sent")
    bench.wire.connection_lost(ConnectionResetError("cut"))
    await asyncio.sleep(0)
    assert bench.tap.wire is None
    assert bench.tap.lanes == {}
    assert any("cut" in change for change in bench.changes)
    assert b"never sent" not in bench.socket.written


async def test_nonsense_is_for_aiormq_to_find(bench: Bench) -> None:
    bench.open()
    broken = marshal(1, *delivery(1, b"x"))[:-1] + b"\x00" + b"more"
    bench.wire.data_received(broken)
    assert bench.messages == []
    assert b"".join(bench.reader.fed).endswith(b"\x00more")


async def test_the_brokers_frame_size_is_kept(bench: Bench) -> None:
    bench.writer.write(marshal(0, spec.Connection.TuneOk(2047, 4096, 10)))
    assert bench.wire.frame_max == 4096
    bench.writer.write(marshal(0, spec.Connection.TuneOk(2047, 0, 10)))
    assert bench.wire.frame_max == 131_072
