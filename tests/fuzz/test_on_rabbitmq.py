"""The same messages on a real broker, with what only AMQP carries: properties out of range, tables
in tables. What the broker itself refuses has ended too: its publisher is told so."""

import asyncio
from pathlib import Path
from typing import Any

import pika
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from pika.exceptions import ChannelClosedByBroker, NackError

from ladle.broker.dead_letters import letters
from ladle.broker.node import PrivateNode
from ladle_contracts.errors import PlacementError
from ladle_contracts.topology import Topology
from tests.fixtures.broker import forget_cell
from tests.fixtures.service import Running, running_service
from tests.fuzz.ends import Ends, check_dead_letter, check_reply
from tests.fuzz.inputs import Sent, as_json, good_event, messages

pytestmark = pytest.mark.broker

CELL = "fuzz"
REPLIES = "reply.fuzz"
MESSAGES = 250


def generated(count: int) -> list[Sent]:
    """Always the same ones: one service takes them all, and a failure is that of the whole run."""
    made: list[Sent] = []

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(messages(REPLIES))
    def collect(message: Sent) -> None:
        made.append(message)

    collect()
    return made


def as_pika(value: Any) -> Any:
    """pika writes no floats; a decimal ends its publisher's connection on RabbitMQ 3.10, whose
    stream cannot keep one."""
    if isinstance(value, dict):
        return {name: as_pika(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [as_pika(inner) for inner in value]
    return str(value) if isinstance(value, float) else value


def publish(url: str, sent: list[Sent]) -> int:
    """How many of them the broker took; it closes a channel over what it cannot read."""
    topology = Topology(CELL)
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = None
    taken = 0
    for message in sent:
        if channel is None or channel.is_closed:
            channel = connection.channel()
            channel.confirm_delivery()
        exchange = topology.placement_requests if message.is_request else topology.media_events
        properties = pika.BasicProperties(
            content_type=message.content_type,
            headers=as_pika(message.headers),
            **message.properties,
        )
        try:
            channel.basic_publish(exchange, message.routing_key, message.body, properties)
        except (ChannelClosedByBroker, NackError):
            continue
        taken += 1
    connection.close()
    return taken


def replies(url: str) -> list[bytes]:
    """What came back so far."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    found: list[bytes] = []
    while (body := channel.basic_get(REPLIES, auto_ack=True)[2]) is not None:
        found.append(body)
    connection.close()
    return found


async def all_ended(running: Running, total: int) -> None:
    """Each message that the broker took has one end, which is seen outside too."""
    metrics = running.service.metrics
    await running.until(lambda: Ends.of(metrics).total >= total, f"{total} ends", within_s=60)
    ends = Ends.of(metrics)
    assert ends.total == total
    found = []
    async with asyncio.timeout(30):
        while len(found) < ends.dead_letters:
            found = await letters(running.settings.url, Topology(CELL), limit=MESSAGES)
            await asyncio.sleep(0.1)
    assert len(found) == ends.dead_letters
    for letter in found:
        check_dead_letter({"ladle-reason": letter.reason, "ladle-detail": letter.detail})
    answers = await asyncio.to_thread(replies, running.settings.url)
    # The others went to addresses that nobody reads.
    assert 0 < len(answers) <= ends.answered
    for answer in answers:
        check_reply(answer)


async def good_ones_work(running: Running) -> None:
    """A server that is new, and a caller."""
    good = good_event("server-registered", "sfu-good", 1)
    event = Sent(False, "server-registered.sfu-good", as_json(good), {}, "application/json")
    event.content_type = "application/cloudevents+json"
    assert await asyncio.to_thread(publish, running.settings.url, [event]) == 1
    async with running.client() as client, asyncio.timeout(20):
        while True:
            try:
                placed = await client.allocate("good", server_id="sfu-good")
            except PlacementError:
                await asyncio.sleep(0.1)
            else:
                break
    assert placed.outcome == "placed"


@pytest.mark.parametrize("link", ["fast", "plain"])
async def test_any_messages(private_broker: PrivateNode, tmp_path: Path, link: str) -> None:
    """Over the broker's own parser, the link's, and the journal on disk."""
    url = private_broker.url
    try:
        async with running_service(
            url, CELL, f"sqlite:///{tmp_path}/ladle.db", link=link
        ) as running:
            connection = pika.BlockingConnection(pika.URLParameters(url))
            connection.channel().queue_declare(REPLIES)
            connection.close()
            taken = await asyncio.to_thread(publish, url, generated(MESSAGES))
            assert taken > MESSAGES // 2, "the broker refused most: nothing was tried"
            await all_ended(running, taken)
            await good_ones_work(running)
    finally:
        forget_cell(url, CELL)
        connection = pika.BlockingConnection(pika.URLParameters(url))
        connection.channel().queue_delete(REPLIES)
        connection.close()
