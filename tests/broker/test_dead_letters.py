"""Dead letters on a real broker: looked at, they stay; requeued, they go where they came from."""

import pytest
from aiormq import spec
from aiormq.abc import AbstractChannel

from ladle.broker.dead_letters import dead_letter, letter, letters, requeue
from ladle.broker.declare import declare
from ladle_contracts.amqp import AioPikaLink
from ladle_contracts.link import Message, Refused
from ladle_contracts.topology import DELIVERY_LIMIT, Topology

from .conftest import Inbox, MakeLink, left_in

pytestmark = pytest.mark.broker

EVENT = Message(
    b'{"specversion": "1.0"}',
    exchange="media.events",
    routing_key="room-created.sfu-a",
    headers={"cloudEvents_type": "room-created", "x-death": [{"count": 1}], "nested": {"a": 1}},
    content_type="application/cloudevents+json",
    type="room-created",
    message_id="m-1",
    user_id="sfu-a",
)


async def bury(url: str, topology: Topology, *reasons: str) -> None:
    link = AioPikaLink(url)
    await link.open()
    for number, reason in enumerate(reasons):
        message = Message(
            EVENT.body + b"%d" % number,
            exchange=topology.media_events,
            routing_key=EVENT.routing_key,
            headers=EVENT.headers,
            content_type=EVENT.content_type,
            type=EVENT.type,
            message_id=f"m-{number}",
        )
        await link.publish(dead_letter(message, topology, reason, f"because of {number}"))
    await link.close()


def test_a_copy_says_why_and_keeps_what_it_can() -> None:
    topology = Topology("eu")
    copy = dead_letter(EVENT, topology, "bad-data", "x" * 5_000)
    assert copy.exchange == "eu.placement.dead"
    assert copy.headers == {
        "cloudEvents_type": "room-created",
        "ladle-reason": "bad-data",
        "ladle-detail": "x" * 1_000,
        "ladle-exchange": "media.events",
    }
    assert (copy.body, copy.routing_key, copy.type) == (EVENT.body, EVENT.routing_key, EVENT.type)
    assert copy.persistent
    assert copy.mandatory
    assert copy.user_id is None


async def test_what_amqp_cannot_carry_again_is_cut(
    broker_url: str, cell: str, make_link: MakeLink
) -> None:
    """Bytes that are no text grow when they are read as text; refused for ever, they never end."""
    topology = Topology(cell)
    await declare(broker_url, topology)
    grown = (b"\xff" * 255).decode("utf-8", "replace")
    message = Message(
        b"{}",
        exchange=topology.media_events,
        routing_key=grown,
        headers={"cloudEvents_id": "1", grown: grown, "long": "x" * 130_000, "bytes": b"\xff" * 9},
        content_type=grown,
        type=grown,
        message_id=grown,
        correlation_id=grown,
    )
    link = await make_link()
    await link.publish(dead_letter(message, topology, "source-mismatch", "because"))
    (found,) = await letters(broker_url, topology)
    assert found.reason == "source-mismatch"
    assert found.routing_key == found.type == found.message_id == "\ufffd" * 85
    assert found.headers["cloudEvents_id"] == "1"
    assert "long" not in found.headers


async def test_looking_changes_nothing(broker_url: str, cell: str) -> None:
    topology = Topology(cell)
    await declare(broker_url, topology)
    await bury(broker_url, topology, "bad-data", "wrong-identity", "bad-data")
    for _ in range(3):
        found = await letters(broker_url, topology)
        assert [one.reason for one in found] == ["bad-data", "wrong-identity", "bad-data"]
        assert [one.detail for one in found] == [f"because of {number}" for number in range(3)]
    assert len(await letters(broker_url, topology, limit=2)) == 2
    assert len(await letters(broker_url, topology, reason="wrong-identity")) == 1
    shown = await letter(broker_url, topology, found[1].id)
    assert shown == found[1]
    assert shown.headers == {"cloudEvents_type": "room-created"}
    assert shown.exchange == topology.media_events
    assert await letter(broker_url, topology, "nothing") is None


async def test_requeued_they_are_in_the_inbox_again(
    broker_url: str, cell: str, channel: AbstractChannel
) -> None:
    topology = Topology(cell)
    await declare(broker_url, topology)
    await bury(broker_url, topology, "bad-data", "wrong-identity", "bad-data")
    first = (await letters(broker_url, topology))[0]
    assert (await requeue(broker_url, topology, {first.id})).done == 1
    got = await channel.basic_get(topology.inbox, no_ack=True)
    assert (got.body, got.routing_key) == (first.body, "room-created.sfu-a")
    properties = got.header.properties
    headers = properties.headers or {}
    assert headers["cloudEvents_type"] == "room-created"
    assert not [name for name in headers if name.startswith("ladle-")]
    assert (properties.message_id, properties.message_type) == ("m-0", "room-created")
    assert (await requeue(broker_url, topology, reason="bad-data")).done == 1
    assert (await requeue(broker_url, topology)).done == 1
    assert await letters(broker_url, topology) == []
    assert len(await left_in(channel, topology.inbox)) == 2


async def test_what_cannot_be_routed_stays(
    broker_url: str, cell: str, channel: AbstractChannel
) -> None:
    topology = Topology(cell)
    await declare(broker_url, topology)
    await bury(broker_url, topology, "bad-data", "bad-data")
    await channel.exchange_delete(topology.media_events)
    outcome = await requeue(broker_url, topology)
    assert outcome.done == 0
    assert len(outcome.refused) == 2
    assert len(await letters(broker_url, topology)) == 2
    await channel.exchange_declare(topology.media_events, exchange_type="topic", durable=True)
    outcome = await requeue(broker_url, topology)  # there, but nothing is bound to it
    assert outcome.done == 0
    assert len(await letters(broker_url, topology)) == 2


@pytest.mark.slow
async def test_the_broker_gives_up_at_the_delivery_limit(
    broker_url: str, cell: str, channel: AbstractChannel
) -> None:
    topology = Topology(cell)
    await declare(broker_url, topology)
    await channel.basic_publish(
        b"poison",
        exchange=topology.media_events,
        routing_key="room-deleted.sfu-a",
        properties=spec.Basic.Properties(delivery_mode=2, message_id="p"),
        mandatory=True,
    )
    link = AioPikaLink(broker_url)
    await link.open()
    inbox = Inbox()

    def crash(messages: list[Message]) -> None:
        inbox(messages)
        link.nack(messages, requeue=True)

    await link.consume(topology.inbox, crash, prefetch=10)
    await inbox.until(DELIVERY_LIMIT + 1, 30)
    await link.close()
    (found,) = await letters(broker_url, topology)
    assert (found.reason, found.body) == ("delivery-limit", b"poison")
    assert found.exchange == topology.media_events
    assert (await requeue(broker_url, topology)).done == 1
    assert await left_in(channel, topology.inbox) == [b"poison"]


async def test_an_undeclared_cell_is_refused(broker_url: str) -> None:
    with pytest.raises(Refused, match="declare it first"):
        await letters(broker_url, Topology("nowhere"))


async def test_a_letter_that_is_refused_again_at_once_is_given_back_once(
    broker_url: str, cell: str
) -> None:
    """It was met again behind the others, given back again, and so on."""
    topology = Topology(cell)
    await declare(broker_url, topology)
    link = AioPikaLink(broker_url)
    await link.open()
    # Its origin is the dead letters' own exchange: whoever gives it back finds it here at once.
    message = Message(b"{}", exchange=topology.placement_dead, routing_key="room-created.sfu-a")
    await link.publish(dead_letter(message, topology, "bad-data", "as it was"))
    await link.close()
    assert (await requeue(broker_url, topology)).done == 1
    assert len(await letters(broker_url, topology)) == 1
