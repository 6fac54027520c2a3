"""What every Link keeps, on a working broker: order, acks, prefetch, confirms, replies."""

import asyncio
import secrets

import pytest
from aiormq.abc import AbstractChannel

from ladle.broker.node import free_ports
from ladle_contracts.link import (
    DIRECT_REPLY_TO,
    LinkDown,
    LinkState,
    Message,
    Outgoing,
    Refused,
    Unroutable,
)

from .conftest import Inbox, MakeLink, States, eventually, fill, left_in, published

pytestmark = pytest.mark.broker

FRAME_ROOM = 131_072 - 8


async def test_a_message_arrives_as_it_was_sent(make_link: MakeLink, queue: str) -> None:
    link = await make_link()
    inbox = Inbox()
    await link.consume(queue, inbox, prefetch=10)
    sent = Outgoing(
        "",
        queue,
        '{"name": "Zoë"}'.encode(),
        headers={"request_id": "r-1", "count": 7, "big": 2**40, "yes": True, "none": None},
        content_type="application/cloudevents+json",
        type="room-created",
        message_id="m-1",
        correlation_id="c-1",
        reply_to="reply.somebody",
        expiration_ms=60_000,
        user_id="guest",
        persistent=True,
        mandatory=True,
    )
    await link.publish(sent)
    (got,) = await inbox.until(1)
    assert got.body == sent.body
    assert dict(got.headers) == dict(sent.headers)
    assert (got.queue, got.exchange, got.routing_key) == (queue, "", queue)
    assert (got.content_type, got.type, got.user_id) == (sent.content_type, sent.type, "guest")
    assert (got.message_id, got.correlation_id) == ("m-1", "c-1")
    assert (got.reply_to, got.expiration_ms) == ("reply.somebody", 60_000)
    assert got.redelivered is False
    link.ack([got])


async def test_a_bare_message_has_nothing_more(make_link: MakeLink, queue: str) -> None:
    link = await make_link()
    inbox = Inbox()
    await link.consume(queue, inbox, prefetch=10)
    await link.publish(Outgoing("", queue, b""))
    (got,) = await inbox.until(1)
    assert got.body == b""
    assert dict(got.headers) == {}
    assert (got.type, got.message_id, got.reply_to) == (None, got.message_id, None)
    assert (got.expiration_ms, got.user_id, got.correlation_id) == (None, None, None)


async def test_persistence_is_as_asked(
    make_link: MakeLink, queue: str, channel: AbstractChannel
) -> None:
    link = await make_link()
    await link.publish(Outgoing("", queue, b"kept", persistent=True))
    await link.publish(Outgoing("", queue, b"not kept"))
    for mode in (2, 1):
        got = await channel.basic_get(queue, no_ack=True)
        assert got.header.properties.delivery_mode == mode


async def test_a_backlog_comes_in_order_and_in_batches(
    make_link: MakeLink, queue: str, channel: AbstractChannel
) -> None:
    bodies = [b"%d" % number for number in range(300)]
    await fill(channel, queue, bodies)
    link = await make_link()
    inbox = Inbox()
    await link.consume(queue, inbox, prefetch=500)
    messages = await inbox.until(300)
    assert inbox.bodies == bodies
    assert len(inbox.batches) < 300
    link.ack(messages)
    await link.close()
    assert await left_in(channel, queue) == []


async def test_prefetch_bounds_what_is_out(
    make_link: MakeLink, queue: str, channel: AbstractChannel
) -> None:
    await fill(channel, queue, [b"%d" % number for number in range(10)])
    link = await make_link()
    inbox = Inbox()
    await link.consume(queue, inbox, prefetch=3)
    first = list(await inbox.until(3))
    link.ack(first[:2])
    await inbox.until(5)
    link.ack(inbox.messages[2:5])
    await inbox.until(8)


async def test_what_was_not_acked_is_delivered_again(
    make_link: MakeLink, queue: str, channel: AbstractChannel
) -> None:
    await fill(channel, queue, [b"a", b"b", b"c", b"d", b"e"])
    link = await make_link()
    inbox = Inbox()
    await link.consume(queue, inbox, prefetch=10)
    messages = await inbox.until(5)
    link.ack([messages[0], messages[1], messages[3]])
    link.ack([messages[0]])  # twice: nothing happens
    await link.close()
    again = Inbox()
    other = await make_link()
    await other.consume(queue, again, prefetch=10)
    left = await again.until(2)
    assert [message.body for message in left] == [b"c", b"e"]
    assert all(message.redelivered for message in left)


async def test_acks_out_of_order_settle_exactly_what_they_name(
    make_link: MakeLink, queue: str, channel: AbstractChannel
) -> None:
    await fill(channel, queue, [b"%d" % number for number in range(9)])
    link = await make_link()
    inbox = Inbox()
    await link.consume(queue, inbox, prefetch=20)
    messages = list(await inbox.until(9))
    link.ack([messages[5], messages[4]])
    link.ack([messages[0], messages[1]])
    link.ack([messages[2], messages[3], messages[6]])
    await link.close()
    assert await left_in(channel, queue) == [b"7", b"8"]


async def test_nack_gives_back_or_drops(
    make_link: MakeLink, queue: str, channel: AbstractChannel
) -> None:
    await fill(channel, queue, [b"back", b"gone"])
    link = await make_link()
    inbox = Inbox()
    await link.consume(queue, inbox, prefetch=10)
    back, gone = await inbox.until(2)
    link.nack([gone], requeue=False)
    link.nack([back], requeue=True)
    again = (await inbox.until(3))[2]
    assert (again.body, again.redelivered) == (b"back", True)
    link.ack([again])
    await link.close()
    assert await left_in(channel, queue) == []


async def test_no_ack_needs_none(make_link: MakeLink, queue: str, channel: AbstractChannel) -> None:
    link = await make_link()
    inbox = Inbox()
    await link.consume(queue, inbox, prefetch=2, no_ack=True)
    await fill(channel, queue, [b"%d" % number for number in range(20)])
    messages = await inbox.until(20)
    link.ack(messages)  # would cost the channel, if it were written
    await fill(channel, queue, [b"more"])
    await inbox.until(21)
    await link.close()
    assert await left_in(channel, queue) == []


@pytest.mark.parametrize("size", [1, FRAME_ROOM - 1, FRAME_ROOM, FRAME_ROOM + 1, 1_000_000])
async def test_bodies_of_any_number_of_frames(make_link: MakeLink, queue: str, size: int) -> None:
    link = await make_link()
    inbox = Inbox()
    await link.consume(queue, inbox, prefetch=10)
    body = secrets.token_bytes(size)
    await link.publish(Outgoing("", queue, body, mandatory=True))
    link.send([Outgoing("", queue, b"small"), Outgoing("", queue, body[::-1])])
    await inbox.until(3)
    assert sorted(inbox.bodies) == sorted([body, b"small", body[::-1]])
    link.ack(inbox.messages)


async def test_large_and_small_interleave_on_two_queues(
    make_link: MakeLink, queue: str, channel: AbstractChannel
) -> None:
    other = f"{queue}.other"
    await channel.queue_declare(other)
    try:
        link = await make_link()
        large, small = Inbox(), Inbox()
        await link.consume(queue, large, prefetch=10)
        await link.consume(other, small, prefetch=10)
        bodies = [secrets.token_bytes(400_000) for _ in range(5)]
        for body in bodies:
            link.send([Outgoing("", queue, body), Outgoing("", other, body[:20])])
        await large.until(5)
        await small.until(5)
        assert large.bodies == bodies
        assert small.bodies == [body[:20] for body in bodies]
    finally:
        await channel.queue_delete(other)


async def test_a_confirm_means_the_broker_has_it(
    make_link: MakeLink, queue: str, channel: AbstractChannel
) -> None:
    link = await make_link()
    await asyncio.gather(
        *(link.publish(Outgoing("", queue, b"%d" % number)) for number in range(200))
    )
    assert await left_in(channel, queue) == [b"%d" % number for number in range(200)]


async def test_unroutable_is_told_apart(make_link: MakeLink, queue: str) -> None:
    link = await make_link()
    nowhere = f"{queue}.nowhere"
    outcomes = await asyncio.gather(
        link.publish(Outgoing("", queue, b"1", message_id="a", mandatory=True)),
        link.publish(Outgoing("", nowhere, b"2", message_id="b", mandatory=True)),
        link.publish(Outgoing("", queue, b"3", message_id="c", mandatory=True)),
        link.publish(Outgoing("", nowhere, b"4", message_id="d")),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [
        type(None),
        Unroutable,
        type(None),
        type(None),
    ]


async def test_a_missing_exchange_is_refused_and_costs_nobody_else(
    make_link: MakeLink, queue: str
) -> None:
    link = await make_link()
    inbox = Inbox()
    await link.consume(queue, inbox, prefetch=10)
    with pytest.raises(Refused):
        await link.publish(Outgoing(f"{queue}.nothing", "key", b"lost"))
    await published(link, Outgoing("", queue, b"after", mandatory=True))
    (got,) = await inbox.until(1)
    link.ack([got])


async def test_mistakes_in_a_row_cost_nobody_else(make_link: MakeLink, queue: str) -> None:
    """Each closes the channel, also while it is being opened again after the one before."""
    link = await make_link()
    inbox = Inbox()
    await link.consume(queue, inbox, prefetch=10)
    wrong = Outgoing(f"{queue}.nothing", "key", b"lost")
    until = asyncio.get_running_loop().time() + 2
    while asyncio.get_running_loop().time() < until:
        link.send([wrong])
        await asyncio.gather(*(link.publish(wrong) for _ in range(3)), return_exceptions=True)
        await asyncio.sleep(0)
    await published(link, Outgoing("", queue, b"after", mandatory=True))
    await inbox.until(1)
    await asyncio.sleep(0.5)
    link.send([Outgoing("", queue, b"sent")])
    await inbox.until(2)


async def test_a_send_to_a_missing_exchange_costs_only_itself(
    make_link: MakeLink, queue: str
) -> None:
    link = await make_link()
    inbox = Inbox()
    await link.consume(queue, inbox, prefetch=10)
    link.send([Outgoing(f"{queue}.nothing", "key", b"lost")])
    await asyncio.sleep(0.5)
    link.send([Outgoing("", queue, b"after")])
    await inbox.until(1)


async def test_what_amqp_cannot_carry_is_refused(make_link: MakeLink, queue: str) -> None:
    link = await make_link()
    with pytest.raises((Refused, ValueError)):
        await link.publish(Outgoing("", "k" * 300, b"x"))
    await published(link, Outgoing("", queue, b"fine", mandatory=True))


async def test_another_user_cannot_be_claimed(make_link: MakeLink, queue: str) -> None:
    link = await make_link()
    with pytest.raises(Refused):
        await link.publish(Outgoing("", queue, b"x", user_id="somebody-else"))
    await published(link, Outgoing("", queue, b"fine", user_id="guest", mandatory=True))


async def test_direct_replies_find_their_caller(make_link: MakeLink, queue: str) -> None:
    server, caller = await make_link(), await make_link()

    def answer(messages: list[Message]) -> None:
        server.send(
            [
                Outgoing(
                    "",
                    message.reply_to or "",
                    message.body[::-1],
                    correlation_id=message.correlation_id,
                )
                for message in messages
            ]
        )
        server.ack(messages)

    await server.consume(queue, answer, prefetch=50)
    replies = Inbox()
    await caller.listen_for_replies(replies)
    for number in range(40):
        await caller.publish(
            Outgoing(
                "",
                queue,
                b"%04d" % number,
                reply_to=DIRECT_REPLY_TO,
                correlation_id=f"{number}",
                mandatory=True,
            )
        )
    await replies.until(40)
    assert {message.correlation_id: message.body for message in replies.messages} == {
        f"{number}": (b"%04d" % number)[::-1] for number in range(40)
    }


async def test_direct_replies_need_a_listener(make_link: MakeLink, queue: str) -> None:
    link = await make_link()
    with pytest.raises(Refused):
        await link.publish(Outgoing("", queue, b"x", reply_to=DIRECT_REPLY_TO))
    await link.listen_for_replies(Inbox())
    with pytest.raises(Refused):
        await link.listen_for_replies(Inbox())


async def test_a_missing_queue_is_refused(make_link: MakeLink, queue: str) -> None:
    link = await make_link()
    inbox = Inbox()
    with pytest.raises(Refused):
        await link.consume(f"{queue}.nothing", Inbox(), prefetch=1)
    await link.consume(queue, inbox, prefetch=1)
    await link.publish(Outgoing("", queue, b"fine"))
    await inbox.until(1)


async def test_a_cancelled_consumer_gets_nothing_and_may_still_ack(
    make_link: MakeLink, queue: str, channel: AbstractChannel
) -> None:
    await fill(channel, queue, [b"a", b"b"])
    link = await make_link()
    inbox = Inbox()
    consumer = await link.consume(queue, inbox, prefetch=2)
    messages = list(await inbox.until(2))
    await consumer.cancel()
    link.ack(messages[:1])
    await fill(channel, queue, [b"c"])
    await asyncio.sleep(0.3)
    assert len(inbox.messages) == 2
    await link.close()
    assert sorted(await left_in(channel, queue)) == [b"b", b"c"]


async def test_a_cancelled_queue_can_be_consumed_again(
    make_link: MakeLink, queue: str, channel: AbstractChannel
) -> None:
    link = await make_link()
    first, second = Inbox(), Inbox()
    consumer = await link.consume(queue, first, prefetch=5)
    await fill(channel, queue, [b"a"])
    link.ack(await first.until(1))
    await consumer.cancel()
    await link.consume(queue, second, prefetch=5)
    await fill(channel, queue, [b"b", b"c"])
    link.ack(await second.until(2))
    await link.close()
    assert len(first.messages) == 1
    assert await left_in(channel, queue) == []


async def test_a_handler_that_fails_costs_nobody_else(
    make_link: MakeLink, queue: str, channel: AbstractChannel, caplog: pytest.LogCaptureFixture
) -> None:
    link = await make_link()
    seen = Inbox()

    def fail_on_odd(messages: list[Message]) -> None:
        seen(messages)
        if messages[0].body == b"bad":
            raise ValueError("a bug")

    await link.consume(queue, fail_on_odd, prefetch=10)
    await fill(channel, queue, [b"bad"])
    await seen.until(1)
    await fill(channel, queue, [b"good"])
    await seen.until(2)
    assert "a bug" in caplog.text


async def test_a_stop_in_mid_batch_loses_nothing(
    make_link: MakeLink, queue: str, channel: AbstractChannel
) -> None:
    """Acked and answered before the stop is acked and answered; the rest is delivered again."""
    answers = f"reply.{queue}"
    await channel.queue_declare(answers)
    try:
        await fill(channel, queue, [b"%03d" % number for number in range(100)])
        link = await make_link()
        inbox = Inbox()
        await link.consume(queue, inbox, prefetch=60)
        messages = list(await inbox.until(60))
        link.send([Outgoing("", answers, message.body) for message in messages[:25]])
        link.ack(messages[:25])
        publishing = asyncio.create_task(link.publish(Outgoing("", answers, b"last")))
        await asyncio.sleep(0)
        await link.close()
        await asyncio.gather(publishing, return_exceptions=True)
        done = [b"%03d" % number for number in range(25)]
        rest = [b"%03d" % number for number in range(25, 100)]
        answered = await left_in(channel, answers)
        assert [body for body in answered if body != b"last"] == done
        assert (b"last" in answered) or publishing.exception() is not None
        assert sorted(await left_in(channel, queue)) == rest
    finally:
        await channel.queue_delete(answers)


async def test_closed_means_down(make_link: MakeLink, queue: str) -> None:
    states = States()
    link = await make_link(states=states)
    assert link.is_up
    assert states.seen == [LinkState.UP]
    await link.close()
    await link.close()
    assert not link.is_up
    assert states.seen == [LinkState.UP, LinkState.DOWN]
    with pytest.raises(LinkDown):
        await link.publish(Outgoing("", queue, b"x"))
    with pytest.raises(LinkDown):
        await link.consume(queue, Inbox(), prefetch=1)
    link.send([Outgoing("", queue, b"x")])


async def test_an_absent_broker_is_link_down(make_link: MakeLink) -> None:
    (port,) = free_ports(1)
    with pytest.raises(LinkDown):
        await make_link(f"amqp://guest:guest@127.0.0.1:{port}/")


async def test_a_wrong_password_is_link_down(make_link: MakeLink, broker_url: str) -> None:
    with pytest.raises(LinkDown):
        await make_link(broker_url.replace("guest:guest", "guest:wrong"))


async def test_a_deleted_queue_is_consumed_again_once_it_is_back(
    make_link: MakeLink, queue: str, channel: AbstractChannel
) -> None:
    link = await make_link()
    inbox = Inbox()
    await link.consume(queue, inbox, prefetch=10)
    await fill(channel, queue, [b"before"])
    link.ack(await inbox.until(1))
    await channel.queue_delete(queue)
    await asyncio.sleep(0.3)
    await channel.queue_declare(queue, durable=True)
    await fill(channel, queue, [b"after"])
    messages = await inbox.until(2)
    assert messages[1].body == b"after"
    link.ack(messages[1:])
    await eventually(lambda: link.is_up)
    await link.close()
    assert await left_in(channel, queue) == []
