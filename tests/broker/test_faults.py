"""What every Link keeps when the network or the broker fails."""

import asyncio
import secrets
import ssl
import time

import aiormq
import pytest
import trustme
from aiormq.abc import AbstractChannel

from ladle.broker.fast import FastLink
from ladle.broker.frames import ack
from ladle.broker.node import PrivateNode
from ladle_contracts.link import (
    DIRECT_REPLY_TO,
    Link,
    LinkDown,
    LinkState,
    Message,
    OnMessages,
    OutcomeUnknown,
    Outgoing,
)
from tests.fixtures.proxy import proxied

from .conftest import Inbox, MakeLink, States, eventually, fill, left_in, published

pytestmark = pytest.mark.broker


async def spoil_consuming_channel(link: Link, epoch: int) -> None:
    """Ack what was never delivered: the broker closes that channel, and only it."""
    if isinstance(link, FastLink):
        lane = link._in.lanes[epoch]
        assert link._in.wire is not None
        link._in.wire.write(ack(lane.number, 4711, multiple=False))
    else:
        await link._lives[epoch].channel.basic_ack(4711, wait=False)  # type: ignore[attr-defined]


async def test_a_reset_starts_a_new_epoch(
    make_link: MakeLink, broker_url: str, queue: str, channel: AbstractChannel
) -> None:
    """What came before a reset cannot be acked after it, and comes again."""
    await fill(channel, queue, [b"a", b"b"])
    states, inbox = States(), Inbox()
    async with proxied(broker_url) as (proxy, url):
        link = await make_link(url, states=states)
        await link.consume(queue, inbox, prefetch=10)
        before = list(await inbox.until(2))
        proxy.reset()
        after = list((await inbox.until(4))[2:])
        await eventually(lambda: link.is_up)
        assert states.seen == [LinkState.UP, LinkState.DOWN, LinkState.UP]
        assert [message.body for message in after] == [b"a", b"b"]
        assert all(message.redelivered for message in after)
        assert {message.epoch for message in before}.isdisjoint({m.epoch for m in after})
        link.ack(before)
        link.ack(after[:1])
        await published(link, Outgoing("", queue, b"c"))
        assert (await inbox.until(5))[4].body == b"c"
        await link.close()
    assert sorted(await left_in(channel, queue)) == [b"b", b"c"]


async def test_many_resets_under_load_lose_nothing(
    make_link: MakeLink, broker_url: str, queue: str, channel: AbstractChannel
) -> None:
    """Acked means done, not acked means again; whatever the moment of the cut."""
    count = 400
    seen: set[bytes] = set()
    async with proxied(broker_url) as (proxy, url):
        link = await make_link(url)

        def take(messages: list) -> None:  # type: ignore[type-arg]
            seen.update(message.body for message in messages)
            link.ack(messages)

        await link.consume(queue, take, prefetch=20)

        async def publish_all() -> None:
            for number in range(count):
                while True:
                    try:
                        await published(link, Outgoing("", queue, b"%d" % number))
                        break
                    except OutcomeUnknown:
                        continue  # once more: a copy does no harm here

        publishing = asyncio.create_task(publish_all())
        for _ in range(4):
            await asyncio.sleep(0.3)
            proxy.reset()
        async with asyncio.timeout(40):
            await publishing
        await eventually(lambda: len(seen) == count, 20)
        await eventually(lambda: link.is_up)
        await link.close()
    assert await left_in(channel, queue) == []


async def test_a_cancel_whose_answer_is_not_waited_for(
    make_link: MakeLink, broker_url: str, queue: str, channel: AbstractChannel
) -> None:
    """The network holds it up: nothing stays on the old channel, and the queue is read again."""
    async with proxied(broker_url) as (proxy, url):
        link = await make_link(url)
        consumer = await link.consume(
            queue, lambda messages: link.nack(messages, requeue=True), prefetch=10
        )
        proxy.blackhole()
        await fill(channel, queue, [b"a", b"b"])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await consumer.cancel()
        proxy.heal()
        inbox = Inbox()
        await link.consume(queue, inbox, prefetch=10)
        got = await inbox.until(2)
        assert sorted(message.body for message in got[:2]) == [b"a", b"b"]
        link.ack(got)
        await published(link, Outgoing("", queue, b"c"))
        assert (await inbox.until(3))[-1].body == b"c"
        link.ack(inbox.messages[2:])
        await link.close()
    assert await left_in(channel, queue) == []


async def test_a_cancel_amid_a_flood_leaves_nothing_behind(
    make_link: MakeLink, broker_url: str, queue: str, channel: AbstractChannel
) -> None:
    """Each message came before the cancel, or comes to who consumes next; none is stuck."""
    count = 600
    await fill(channel, queue, [b"%d" % number for number in range(count)])
    link = await make_link(broker_url)
    first, second = Inbox(), Inbox()

    def acked(inbox: Inbox) -> OnMessages:
        def take(messages: list[Message]) -> None:
            inbox(messages)
            link.ack(messages)

        return take

    consumer = await link.consume(queue, acked(first), prefetch=5)
    await eventually(lambda: len(first.messages) > 20)
    await consumer.cancel()
    before = len(first.messages)
    await link.consume(queue, acked(second), prefetch=5)
    await eventually(lambda: len(first.messages) + len(second.messages) >= count)
    assert len(first.messages) == before < count
    assert {*first.bodies, *second.bodies} == {b"%d" % number for number in range(count)}
    await link.close()
    assert await left_in(channel, queue) == []


async def test_a_confirm_that_a_reset_took_is_unknown(
    make_link: MakeLink, broker_url: str, queue: str
) -> None:
    async with proxied(broker_url) as (proxy, url):
        link = await make_link(url)
        await link.publish(Outgoing("", queue, b"before"))
        proxy.blackhole()
        publishing = asyncio.create_task(link.publish(Outgoing("", queue, b"lost")))
        await asyncio.sleep(0.2)
        proxy.reset()
        with pytest.raises(OutcomeUnknown):
            await publishing
        proxy.heal()
        await published(link, Outgoing("", queue, b"after"))
        await link.close()


async def test_a_confirm_that_does_not_come_is_unknown(
    make_link: MakeLink, broker_url: str, queue: str
) -> None:
    async with proxied(broker_url) as (proxy, url):
        link = await make_link(url, confirm_timeout_ms=400)
        await link.publish(Outgoing("", queue, b"before"))
        proxy.blackhole()
        with pytest.raises(OutcomeUnknown):
            await link.publish(Outgoing("", queue, b"late"))
        proxy.heal()
        await published(link, Outgoing("", queue, b"after"))
        await link.close()


async def test_while_down_nothing_is_sent(
    make_link: MakeLink, broker_url: str, queue: str, channel: AbstractChannel
) -> None:
    states = States()
    async with proxied(broker_url) as (proxy, url):
        link = await make_link(url, states=states)
        await proxy.refuse()
        proxy.reset()
        await eventually(lambda: not link.is_up)
        with pytest.raises(LinkDown):
            await link.publish(Outgoing("", queue, b"lost"))
        link.send([Outgoing("", queue, b"lost")])
        await proxy.accept()
        await eventually(lambda: link.is_up)
        await published(link, Outgoing("", queue, b"found"))
        await link.close()
    assert await left_in(channel, queue) == [b"found"]


async def test_a_slow_network_changes_nothing(
    make_link: MakeLink, broker_url: str, queue: str
) -> None:
    async with proxied(broker_url) as (proxy, url):
        link = await make_link(url)
        inbox = Inbox()
        await link.consume(queue, inbox, prefetch=100)
        proxy.delay_s = 0.05
        bodies = [secrets.token_bytes(30_000) for _ in range(20)]
        await asyncio.gather(*(link.publish(Outgoing("", queue, body)) for body in bodies))
        await inbox.until(20)
        assert inbox.bodies == bodies
        link.ack(inbox.messages)
        proxy.heal()
        await link.close()


async def test_replies_come_again_after_a_reset(
    make_link: MakeLink, broker_url: str, queue: str
) -> None:
    server = await make_link()
    requests, replies, states = Inbox(), Inbox(), States()
    await server.consume(queue, requests, prefetch=10)
    async with proxied(broker_url) as (proxy, url):
        caller = await make_link(url, states=states)
        await caller.listen_for_replies(replies)
        for number in range(2):
            await published(caller, Outgoing("", queue, b"?", reply_to=DIRECT_REPLY_TO))
            asked = (await requests.until(number + 1))[number]
            server.send([Outgoing("", asked.reply_to or "", b"%d" % number)])
            await replies.until(number + 1)
            proxy.reset()
            await eventually(lambda: states.seen.count(LinkState.DOWN) > number)  # noqa: B023
            await eventually(lambda: caller.is_up)
        assert replies.bodies == [b"0", b"1"]
        await caller.close()


async def test_a_lone_channel_close_is_a_new_epoch_and_no_more(
    make_link: MakeLink, queue: str, channel: AbstractChannel
) -> None:
    """The broker closes one channel; the others, and the connection, go on."""
    other = f"{queue}.other"
    await channel.queue_declare(other)
    try:
        link = await make_link()
        spoiled, untouched = Inbox(), Inbox()
        await link.consume(queue, spoiled, prefetch=10)
        await link.consume(other, untouched, prefetch=10)
        await fill(channel, queue, [b"a", b"b"])
        await fill(channel, other, [b"1"])
        before = list(await spoiled.until(2))
        (kept,) = await untouched.until(1)
        link.ack(before[:1])
        await asyncio.sleep(0.2)  # the plain links write acks in a task of their own
        await spoil_consuming_channel(link, before[0].epoch)
        again = list((await spoiled.until(3))[2:])
        assert [(message.body, message.redelivered) for message in again] == [(b"b", True)]
        assert again[0].epoch != before[0].epoch
        link.ack(before)  # of the former life: skipped
        link.ack(again)
        link.ack([kept])
        await link.publish(Outgoing("", other, b"2"))
        link.ack((await untouched.until(2))[1:])
        await link.close()
        assert await left_in(channel, queue) == []
        assert await left_in(channel, other) == []
    finally:
        await channel.queue_delete(other)


@pytest.mark.slow
async def test_a_channel_closed_again_and_again_comes_back(
    broker_url: str, queue: str, channel: AbstractChannel
) -> None:
    """Also one that the broker closes while aio-pika restores it, which aio-pika gives up."""
    link, inbox = FastLink(broker_url, reconnect_interval_ms=200), Inbox()
    await link.open()
    try:
        await link.consume(queue, inbox, prefetch=10)
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            for lane in list(link._in.lanes.values()):
                if lane.number > 1:
                    lane._write(ack(lane.number, 4711, multiple=False))
            await asyncio.sleep(0)
        await fill(channel, queue, [b"after"])
        link.ack(await inbox.until(1, 30))
    finally:
        await link.close()
    assert await left_in(channel, queue) == []


@pytest.mark.slow
async def test_steady_traffic_is_a_heartbeat(make_link: MakeLink, queue: str) -> None:
    """Deliveries that a link reads itself count as life of the peer."""
    states, inbox = States(), Inbox()
    link = await make_link(heartbeat_s=2, states=states)

    def take(messages: list) -> None:  # type: ignore[type-arg]
        inbox(messages)
        link.ack(messages)

    await link.consume(queue, take, prefetch=50)
    start = time.monotonic()
    sent = 0
    while time.monotonic() - start < 11:
        link.send([Outgoing("", queue, b"x")])
        sent += 1
        await asyncio.sleep(0.02)
    await inbox.until(sent)
    assert states.seen == [LinkState.UP]
    assert len({message.epoch for message in inbox.messages}) == 1


@pytest.mark.slow
async def test_silence_is_not(make_link: MakeLink, broker_url: str, queue: str) -> None:
    """A peer that is gone without a word is noticed by its missing heartbeats."""
    states = States()
    async with proxied(broker_url) as (proxy, url):
        link = await make_link(url, heartbeat_s=1, states=states)
        await link.consume(queue, Inbox(), prefetch=1)
        proxy.blackhole()
        await eventually(lambda: states.seen[-1] == LinkState.DOWN, 15)
        proxy.reset()
        proxy.heal()
        await eventually(lambda: link.is_up, 15)
        await published(link, Outgoing("", queue, b"after"))
        await link.close()


async def tls_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_tls(
    make_link: MakeLink, private_broker: PrivateNode, authority: trustme.CA, kind: str
) -> None:
    """All of it over TLS: many frames in, many out, a clean end."""
    raw = await aiormq.connect(private_broker.url)
    channel = await raw.channel()
    queue = f"test.tls.{kind}"
    await channel.queue_declare(queue)
    try:
        link = await make_link(private_broker.tls_url, ssl_context=await tls_context(authority))
        inbox = Inbox()
        await link.consume(queue, inbox, prefetch=200)
        bodies = [secrets.token_bytes(1_000 + 20_000 * (number % 12)) for number in range(100)]
        await asyncio.gather(*(link.publish(Outgoing("", queue, body)) for body in bodies))
        await inbox.until(100)
        assert inbox.bodies == bodies
        link.ack(inbox.messages[:90])
        await link.close()
        assert await left_in(channel, queue) == bodies[90:]
    finally:
        await channel.queue_delete(queue)
        await raw.close()


async def test_tls_to_a_stranger_is_link_down(
    make_link: MakeLink, private_broker: PrivateNode
) -> None:
    with pytest.raises(LinkDown):
        await make_link(private_broker.tls_url, ssl_context=ssl.create_default_context())


@pytest.mark.slow
async def test_an_alarm_blocks_publishing_and_nothing_else(
    make_link: MakeLink, private_broker: PrivateNode, kind: str
) -> None:
    """Short of memory, the broker reads no publisher; what is consumed is still acked."""
    raw = await aiormq.connect(private_broker.url)
    channel = await raw.channel()
    queue = f"test.alarm.{kind}"
    await channel.queue_declare(queue)
    await fill(channel, queue, [b"a", b"b", b"c"])
    states, inbox = States(), Inbox()
    link = await make_link(private_broker.url, states=states, confirm_timeout_ms=700)
    await link.consume(queue, inbox, prefetch=2)
    first = list(await inbox.until(2))
    await link.publish(Outgoing("", queue, b"d"))
    await alarm(private_broker, True)
    try:
        with pytest.raises(OutcomeUnknown):
            await link.publish(Outgoing("", queue, b"e"))
        await eventually(lambda: LinkState.BLOCKED in states.seen)
        with pytest.raises((OutcomeUnknown, LinkDown)):
            await link.publish(Outgoing("", queue, b"f"))
        link.ack(first)
        assert [message.body for message in (await inbox.until(4))[2:]] == [b"c", b"d"]
    finally:
        await alarm(private_broker, False)
    await eventually(lambda: states.seen[-1] == LinkState.UNBLOCKED)
    link.ack(inbox.messages[2:4])
    await published(link, Outgoing("", queue, b"g"))
    await eventually(lambda: len(inbox.messages) >= 6)
    assert LinkState.DOWN not in states.seen
    assert inbox.bodies[4] == b"e"
    await link.close()
    await channel.queue_delete(queue)
    await raw.close()


async def alarm(node: PrivateNode, on: bool) -> None:
    level = "0.0000001" if on else "0.4"
    await asyncio.to_thread(node.ctl, "set_vm_memory_high_watermark", level)
