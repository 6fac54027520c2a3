"""A message that is hard to read is delivered as any other, and the connection stays."""

import pytest
from aiormq.abc import AbstractChannel

from ladle_contracts.link import LinkState, Message
from tests.fixtures.odd_messages import PROPERTIES, odd_publisher

from .conftest import Inbox, MakeLink, States, left_in

pytestmark = pytest.mark.broker


async def all_taken(
    make_link: MakeLink, queue: str, channel: AbstractChannel, count: int
) -> list[Message]:
    """What waits in the queue, taken over one connection without a loss."""
    states, inbox = States(), Inbox()
    link = await make_link(states=states)
    await link.consume(queue, inbox, prefetch=100)
    messages = await inbox.until(count)
    assert states.seen == [LinkState.UP]
    link.ack(messages)
    await link.close()
    assert await left_in(channel, queue) == []
    return messages


async def test_odd_properties_end_no_connection(
    make_link: MakeLink, broker_url: str, queue: str, channel: AbstractChannel
) -> None:
    """It ended, the same message came again on the next one, and so on for ever."""
    with odd_publisher(broker_url, queue) as publisher:
        odd = [
            name.encode()
            for name, (flags, value) in PROPERTIES.items()
            if publisher.publish(name.encode(), flags=flags, value=value)
        ]
        publisher.publish(b"good", flags=0x0020, value=b"\x04room")
    assert len(odd) >= len(PROPERTIES) - 1
    messages = await all_taken(make_link, queue, channel, len(odd) + 1)
    assert [message.body for message in messages] == [*odd, b"good"]
    assert messages[-1].type == "room"
    assert [message.body for message in messages if message.headers] == [
        b"a header whose name is no text"
    ]


async def test_a_routing_key_that_is_no_text_ends_no_connection(
    make_link: MakeLink, broker_url: str, queue: str, channel: AbstractChannel
) -> None:
    with odd_publisher(broker_url, queue) as publisher:
        publisher.publish(b"odd", routing_key=b"room-created.\xff")
        publisher.publish(b"good", routing_key="room-créée".encode())
    odd, good = await all_taken(make_link, queue, channel, 2)
    assert (odd.body, good.body) == (b"odd", b"good")
    assert odd.routing_key[:-1] == "room-created."
    assert good.routing_key == "room-créée"
