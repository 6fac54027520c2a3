"""The plain link against a real RabbitMQ, with a proxy between them that breaks things."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import aio_pika
import pytest

from ladle_contracts.amqp import AioPikaLink
from ladle_contracts.link import (
    DIRECT_REPLY_TO,
    LinkDown,
    LinkState,
    Message,
    OutcomeUnknown,
    Outgoing,
    Refused,
    Unroutable,
)
from tests.ends.cutting_proxy import TcpProxy

pytestmark = pytest.mark.broker


@asynccontextmanager
async def linked(url: str, confirm_timeout_ms: int = 30_000) -> AsyncIterator[AioPikaLink]:
    link = AioPikaLink(url, confirm_timeout_ms=confirm_timeout_ms)
    await link.open()
    try:
        yield link
    finally:
        await link.close()


@pytest.fixture
async def queue(broker_url: str) -> AsyncIterator[str]:
    name = f"test-link-{secrets.token_hex(4)}"
    async with await aio_pika.connect(broker_url) as connection:
        channel = await connection.channel()
        await channel.declare_queue(name, durable=True)
        yield name
        await channel.queue_delete(name)


async def eventually(condition: Callable[[], object], timeout_s: float = 10) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)


def to(queue: str, body: bytes = b"x", **fields: object) -> Outgoing:
    return Outgoing("", queue, body, mandatory=True, **fields)  # type: ignore[arg-type]


async def test_every_property_crosses_the_broker(broker_url: str, queue: str) -> None:
    got: list[Message] = []
    async with linked(broker_url) as link:
        await link.consume(queue, got.extend, prefetch=10)
        await link.publish(
            to(
                queue,
                b"\x00body",
                headers={"request_id": "r1", "n": 7, "flag": True},
                content_type="application/cloudevents+json",
                type="room-created",
                message_id="m1",
                correlation_id="c1",
                reply_to="reply.me",
                expiration_ms=60_000,
                user_id=link.user,
                persistent=True,
            )
        )
        await eventually(lambda: got)
        link.ack(got)
    (message,) = got
    assert message.body == b"\x00body"
    assert message.headers == {"request_id": "r1", "n": 7, "flag": True}
    assert message.queue == message.routing_key == queue
    assert message.exchange == ""
    assert message.content_type == "application/cloudevents+json"
    assert (message.type, message.message_id, message.correlation_id) == (
        "room-created",
        "m1",
        "c1",
    )
    assert (message.reply_to, message.expiration_ms) == ("reply.me", 60_000)
    assert message.user_id == link.user
    assert not message.redelivered


async def test_a_body_of_several_frames_arrives_whole(broker_url: str, queue: str) -> None:
    body = secrets.token_bytes(400_000)
    got: list[Message] = []
    async with linked(broker_url) as link:
        await link.consume(queue, got.extend, prefetch=10)
        await link.publish(to(queue, body))
        await eventually(lambda: got)
        assert got[0].body == body


async def test_messages_keep_their_order_and_come_in_batches(broker_url: str, queue: str) -> None:
    batches: list[list[Message]] = []
    async with linked(broker_url) as link:
        await asyncio.gather(*(link.publish(to(queue, b"%d" % n)) for n in range(200)))
        await link.consume(queue, batches.append, prefetch=200)
        await eventually(lambda: sum(map(len, batches)) == 200)
    bodies = [int(message.body) for batch in batches for message in batch]
    assert bodies == list(range(200))
    assert len(batches) < 200, "what arrives together is handed over together"


async def test_acks_settle_exactly_what_was_named(broker_url: str, queue: str) -> None:
    """An ack with `multiple` must not take along what was not committed."""
    got: list[Message] = []
    async with linked(broker_url) as link:
        for n in range(10):
            await link.publish(to(queue, b"%d" % n))
        await link.consume(queue, got.extend, prefetch=100)
        await eventually(lambda: len(got) == 10)
        link.ack([got[1], got[0], got[2], got[5]])
        link.ack([got[4], got[3]])
        link.nack([got[7]], requeue=False)
        link.ack([got[0]])
    again: list[Message] = []
    async with linked(broker_url) as link:
        await link.consume(queue, again.extend, prefetch=100)
        await eventually(lambda: len(again) >= 3)
        await asyncio.sleep(0.2)
        link.ack(again)
    assert sorted(message.body for message in again) == [b"6", b"8", b"9"]
    assert all(message.redelivered for message in again)


async def test_nacked_messages_come_again(broker_url: str, queue: str) -> None:
    got: list[Message] = []
    async with linked(broker_url) as link:
        await link.publish(to(queue))
        await link.consume(queue, got.extend, prefetch=1)
        await eventually(lambda: len(got) == 1)
        link.nack(got, requeue=True)
        await eventually(lambda: len(got) == 2)
        link.ack(got[1:])
    assert got[1].redelivered


async def test_a_mandatory_message_without_a_queue_is_unroutable(broker_url: str) -> None:
    async with linked(broker_url) as link:
        with pytest.raises(Unroutable, match="no-such-queue"):
            await link.publish(to("no-such-queue"))


async def test_a_missing_exchange_refuses_and_the_next_publish_works(
    broker_url: str, queue: str
) -> None:
    """RabbitMQ closes the channel; the link opens another one."""
    got: list[Message] = []
    async with linked(broker_url) as link:
        with pytest.raises(Refused, match="no exchange"):
            await link.publish(Outgoing("no-such-exchange", "k", b"x"))
        await link.publish(to(queue))
        await link.consume(queue, got.extend, prefetch=1)
        await eventually(lambda: got)
        link.ack(got)


async def test_a_wrong_user_id_is_refused_when_it_is_alone(broker_url: str, queue: str) -> None:
    async with linked(broker_url) as link:
        with pytest.raises(Refused, match="user_id"):
            await link.publish(to(queue, user_id="somebody-else"))


async def test_who_shares_a_channel_with_a_refused_message_does_not_know(
    broker_url: str, queue: str
) -> None:
    async with linked(broker_url) as link:
        outcomes = await asyncio.gather(
            link.publish(to(queue)),
            link.publish(Outgoing("no-such-exchange", "k", b"x")),
            link.publish(to(queue)),
            return_exceptions=True,
        )
    assert isinstance(outcomes[1], Refused)
    assert isinstance(outcomes[2], OutcomeUnknown)
    assert outcomes[0] is None or isinstance(outcomes[0], OutcomeUnknown)


async def test_consuming_a_missing_queue_is_refused(broker_url: str) -> None:
    async with linked(broker_url) as link:
        with pytest.raises(Refused, match="no-such-queue"):
            await link.consume("no-such-queue", lambda _: None, prefetch=1)


async def test_no_broker_is_link_down() -> None:
    link = AioPikaLink("amqp://guest:guest@127.0.0.1:1/", connect_timeout_ms=500)
    with pytest.raises(LinkDown):
        await link.open()
    with pytest.raises(LinkDown):
        await link.publish(to("q"))
    with pytest.raises(LinkDown):
        await link.consume("q", lambda _: None, prefetch=1)
    link.send([to("q")])
    await link.close()


async def test_direct_replies_come_back_on_the_channel_of_the_request(
    broker_url: str, queue: str
) -> None:
    replies: list[Message] = []

    async with linked(broker_url) as caller, linked(broker_url) as service:

        def answer(requests: list[Message]) -> None:
            service.send(
                [
                    Outgoing("", str(r.reply_to), r.body, correlation_id=r.correlation_id)
                    for r in requests
                ]
            )
            service.ack(requests)

        await service.consume(queue, answer, prefetch=50)
        with pytest.raises(Refused, match="listen_for_replies"):
            await caller.publish(to(queue, reply_to=DIRECT_REPLY_TO))
        await caller.listen_for_replies(replies.extend)
        with pytest.raises(Refused, match="already"):
            await caller.listen_for_replies(replies.extend)
        await asyncio.gather(
            *(
                caller.publish(
                    to(queue, b"%d" % n, reply_to=DIRECT_REPLY_TO, correlation_id=str(n))
                )
                for n in range(50)
            )
        )
        await eventually(lambda: len(replies) == 50)
    assert {(r.body, r.correlation_id) for r in replies} == {(b"%d" % n, str(n)) for n in range(50)}


async def test_a_lost_reply_channel_is_a_lost_link_for_a_moment(broker_url: str) -> None:
    """Its replies will not come: callers must hear of it, though the connection stays."""
    states: list[LinkState] = []
    async with linked(broker_url) as link:
        await link.listen_for_replies(lambda _: None)
        link.watch(lambda state, _: states.append(state))
        with pytest.raises(Refused):
            await link.publish(Outgoing("no-such-exchange", "k", b"x", reply_to=DIRECT_REPLY_TO))
        await eventually(lambda: states == [LinkState.DOWN, LinkState.UP])
        assert link.is_up
        with pytest.raises(Unroutable):
            await link.publish(to("no-such-queue", reply_to=DIRECT_REPLY_TO))


async def test_everything_returns_after_the_connection_was_cut(broker_url: str, queue: str) -> None:
    """Consumers resume with a new epoch; an ack of the old one is skipped; confirms in flight
    are unknown."""
    got: list[Message] = []
    states: list[LinkState] = []
    async with TcpProxy(broker_url) as proxy, linked(proxy.url) as link:
        link.watch(lambda state, _: states.append(state))
        await link.listen_for_replies(lambda _: None)
        await link.consume(queue, got.extend, prefetch=10)
        await link.publish(to(queue, b"before"))
        await eventually(lambda: len(got) == 1)
        proxy.hold_answers()
        in_flight = asyncio.create_task(link.publish(to(queue, b"in flight")))
        await asyncio.sleep(0.2)
        proxy.cut()
        with pytest.raises(OutcomeUnknown):
            await in_flight
        proxy.release_answers()
        await eventually(lambda: states[-1:] == [LinkState.UP])
        await eventually(lambda: {m.body for m in got[1:]} == {b"before", b"in flight"})
        link.ack(got[:1])
        link.ack(got[1:])
        assert got[1].epoch != got[0].epoch
        await link.publish(to(queue, b"after"))
        await eventually(lambda: got[-1].body == b"after")
        link.ack(got[-1:])
    assert states[:2] == [LinkState.DOWN, LinkState.UP]
    assert states.count(LinkState.UP) <= 2, "two connections are one link"


async def test_while_the_broker_is_away_nothing_is_sent(broker_url: str, queue: str) -> None:
    async with TcpProxy(broker_url) as proxy, linked(proxy.url) as link:
        proxy.refuses = True
        proxy.cut()
        await eventually(lambda: not link.is_up)
        with pytest.raises(LinkDown):
            await link.publish(to(queue))
        link.send([to(queue)])
        proxy.refuses = False
        await eventually(lambda: link.is_up)
        await link.publish(to(queue))


async def test_a_confirm_that_does_not_come_in_time_is_unknown(broker_url: str, queue: str) -> None:
    async with TcpProxy(broker_url) as proxy, linked(proxy.url, confirm_timeout_ms=300) as link:
        await link.publish(to(queue))
        proxy.hold_answers()
        with pytest.raises(OutcomeUnknown):
            await link.publish(to(queue))
        proxy.release_answers()


async def test_a_burst_larger_than_its_confirm_time_is_sent_all_the_same(
    broker_url: str, queue: str
) -> None:
    """What waits for its turn was not sent, and its time for the confirm has not begun."""
    async with (
        TcpProxy(broker_url) as proxy,
        linked(proxy.url, confirm_timeout_ms=3_000) as link,
    ):
        await link.publish(to(queue))
        proxy.hold_answers()
        burst = asyncio.create_task(link.publish_all([to(queue, b"%d" % n) for n in range(500)]))
        with pytest.raises(OutcomeUnknown):
            await link.publish(to(queue))
        proxy.release_answers()
        outcomes = await burst
    unknown = [outcome for outcome in outcomes if outcome is not None]
    assert len(unknown) < 200, "only those that were sent into the silence"
    assert all(isinstance(outcome, OutcomeUnknown) for outcome in unknown)


async def test_a_cut_leaves_few_of_a_burst_in_doubt(broker_url: str, queue: str) -> None:
    """The rest was never sent, and says so: who asked may ask again without a second thought."""
    async with TcpProxy(broker_url) as proxy, linked(proxy.url) as link:
        await link.publish(to(queue))
        proxy.hold_answers()
        burst = asyncio.create_task(link.publish_all([to(queue, b"%d" % n) for n in range(500)]))
        await asyncio.sleep(0.2)
        proxy.refuses = True
        proxy.cut()
        outcomes = await burst
    kinds = [type(outcome) for outcome in outcomes]
    assert set(kinds) == {OutcomeUnknown, LinkDown}
    assert kinds.count(OutcomeUnknown) < 200


async def test_many_publishes_into_a_dead_connection_all_end(broker_url: str, queue: str) -> None:
    """aiormq's write queue holds ten frames; the eleventh must not wait for ever."""
    async with TcpProxy(broker_url) as proxy, linked(proxy.url) as link:
        await link.publish(to(queue))
        proxy.hold_answers()
        tasks = [asyncio.create_task(link.publish(to(queue))) for _ in range(100)]
        await asyncio.sleep(0.01)
        proxy.cut()
        async with asyncio.timeout(10):
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        proxy.release_answers()
    assert all(isinstance(outcome, OutcomeUnknown | LinkDown) for outcome in outcomes), outcomes


async def test_a_deleted_queue_is_consumed_again_when_it_is_back(broker_url: str) -> None:
    name = f"test-link-{secrets.token_hex(4)}"
    got: list[Message] = []
    async with await aio_pika.connect(broker_url) as connection, linked(broker_url) as link:
        channel = await connection.channel()
        await channel.declare_queue(name)
        await link.consume(name, got.extend, prefetch=1)
        await channel.queue_delete(name)
        await asyncio.sleep(0.8)
        await channel.declare_queue(name)
        await link.publish(to(name))
        await eventually(lambda: got)
        link.ack(got)
        await channel.queue_delete(name)


async def test_a_cancelled_consumer_gets_nothing_more(broker_url: str, queue: str) -> None:
    got: list[Message] = []
    async with linked(broker_url) as link:
        consumer = await link.consume(queue, got.extend, prefetch=10)
        await link.publish(to(queue, b"one"))
        await eventually(lambda: got)
        await consumer.cancel()
        link.ack(got)
        await link.publish(to(queue, b"two"))
        await asyncio.sleep(0.2)
    assert [message.body for message in got] == [b"one"]


async def test_a_handler_that_fails_leaves_its_batch_unacked(
    broker_url: str, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: list[Message]) -> None:
        raise ValueError("broken handler")

    got: list[Message] = []
    async with linked(broker_url) as link:
        await link.publish(to(queue))
        await link.consume(queue, fail, prefetch=1)
        await eventually(lambda: "broken handler" in caplog.text)
    async with linked(broker_url) as link:
        await link.consume(queue, got.extend, prefetch=1)
        await eventually(lambda: got)
        link.ack(got)


async def test_a_reply_queue_returns_with_its_connection(broker_url: str) -> None:
    name = f"reply.{secrets.token_hex(4)}"
    got: list[Message] = []
    async with TcpProxy(broker_url) as proxy, linked(proxy.url) as link:
        await link.declare_reply_queue(name)
        await link.consume(name, got.extend, prefetch=10, no_ack=True)
        await link.publish(to(name, b"1"))
        await eventually(lambda: len(got) == 1)
        proxy.cut()
        await eventually(lambda: not link.is_up)
        await eventually(lambda: link.is_up)
        await link.publish(to(name, b"2"))
        await eventually(lambda: len(got) == 2)


async def test_a_kept_subscription_gathers_while_its_reader_is_away(broker_url: str) -> None:
    name, exchange = f"sub.guest.{secrets.token_hex(4)}", f"test-{secrets.token_hex(4)}"
    got: list[Message] = []
    async with await aio_pika.connect(broker_url) as connection:
        channel = await connection.channel()
        await channel.declare_exchange(exchange, "topic")
        async with linked(broker_url) as link:
            await link.declare_subscription(name, exchange, ["room.*"], keep=True)
        async with linked(broker_url) as link:
            await link.publish(Outgoing(exchange, "room.a", b"yes", mandatory=True))
            with pytest.raises(Unroutable):
                await link.publish(Outgoing(exchange, "server.a", b"no", mandatory=True))
            await link.consume(name, got.extend, prefetch=10)
            await eventually(lambda: got)
            link.ack(got)
            with pytest.raises(Refused, match="cannot declare"):
                await link.declare_subscription(name, exchange, ["room.*"], keep=False)
        await channel.queue_delete(name)
        await channel.exchange_delete(exchange)
    assert [message.body for message in got] == [b"yes"]


async def test_a_failing_watcher_does_not_harm_the_link(
    broker_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_state: LinkState, _reason: str) -> None:
        raise ValueError("broken watcher")

    link = AioPikaLink(broker_url)
    link.watch(fail)
    link.unwatch(print)
    await link.open()
    await link.open()
    assert "broken watcher" in caplog.text
    link.unwatch(fail)
    await link.close()
    await link.close()
    assert not link.is_up


async def test_a_cancel_is_never_lost(broker_url: str) -> None:
    """aiormq answers a cancel with the channel's error when both come at once, and whoever tries
    again after errors would never end; half a call makes the broker close the connection."""

    states: list[LinkState] = []

    async def insist(link: AioPikaLink) -> None:
        while True:
            with suppress(Refused):
                await link.consume("no-such-queue", lambda _: None, prefetch=1)

    async with linked(broker_url) as link:
        link.watch(lambda state, _: states.append(state))
        for number in range(60):
            task = asyncio.create_task(insist(link))
            await asyncio.sleep(number % 20 * 0.0004)
            task.cancel()
            done, _ = await asyncio.wait({task}, timeout=5)
            assert done, "it goes on for ever"
            assert task.cancelled()
    assert states == [LinkState.DOWN], "closed at the end; no cancel has cost the connection"


async def test_answers_wait_while_only_the_publishing_connection_is_down(
    broker_url: str, queue: str
) -> None:
    """After a broker's restart questions may come in first; acked and unanswered, they are lost."""
    got: list[Message] = []
    states: list[LinkState] = []
    async with linked(broker_url) as link:
        await link.consume(queue, got.extend, prefetch=10)
        link.watch(lambda state, _: states.append(state))
        await link._out.raw.close()
        await eventually(lambda: states == [LinkState.DOWN])
        assert link._in.is_up
        link.send([to(queue, b"1"), to(queue, b"2")])
        await eventually(lambda: len(got) == 2)
        link.ack(got)
    assert [message.body for message in got] == [b"1", b"2"]
    assert states[:2] == [LinkState.DOWN, LinkState.UP]


async def test_answers_are_lost_where_the_questions_come_again(broker_url: str, queue: str) -> None:
    got: list[Message] = []
    async with TcpProxy(broker_url) as proxy, linked(proxy.url) as link:
        await link.consume(queue, got.extend, prefetch=10)
        proxy.refuses = True
        proxy.cut()
        await eventually(lambda: not link._in.is_up and not link._out.is_up)
        link.send([to(queue, b"lost")])
        proxy.refuses = False
        await eventually(lambda: link.is_up)
        link.send([to(queue, b"sent")])
        await eventually(lambda: got)
        await asyncio.sleep(0.2)
        link.ack(got)
    assert [message.body for message in got] == [b"sent"]
