"""The topology on a real broker: declared twice without harm, a difference explained."""

from collections.abc import AsyncIterator

import aiormq
import pytest
from aiormq.abc import AbstractChannel

from ladle.broker.declare import Mismatch, declare, declare_command_queues, missing
from ladle.broker.node import free_ports
from ladle_contracts.link import LinkDown
from ladle_contracts.topology import Topology

pytestmark = pytest.mark.broker


@pytest.fixture
async def channel(broker_url: str) -> AsyncIterator[AbstractChannel]:
    connection = await aiormq.connect(broker_url)
    yield await connection.channel()
    await connection.close()


async def test_declaring_twice_changes_nothing(broker_url: str, cell: str) -> None:
    topology = Topology(cell)
    names = await missing(broker_url, topology)
    assert f"queue {topology.inbox}" in names
    assert f"exchange {topology.media_events}" in names
    await declare(broker_url, topology)
    await declare(broker_url, topology)
    assert await missing(broker_url, topology) == []


async def test_an_event_reaches_the_inbox_and_the_log(
    broker_url: str, cell: str, channel: AbstractChannel
) -> None:
    topology = Topology(cell)
    await declare(broker_url, topology)
    await channel.basic_publish(
        b"hello", exchange=topology.media_events, routing_key="room-created.a", mandatory=True
    )
    found = await channel.basic_get(topology.inbox, no_ack=True)
    assert found.body == b"hello"


async def test_a_mismatch_is_explained_and_the_rest_declared(
    broker_url: str, cell: str, channel: AbstractChannel
) -> None:
    topology = Topology(cell)
    await channel.queue_declare(topology.inbox, durable=True, arguments={"x-max-length": 3})
    with pytest.raises(Mismatch) as refused:
        await declare(broker_url, topology)
    told = str(refused.value)
    assert f"queue {topology.inbox}" in told
    assert "inequivalent arg" in told
    assert "delete" in told
    assert await missing(broker_url, topology) == []


async def test_what_is_missing_is_named(
    broker_url: str, cell: str, channel: AbstractChannel
) -> None:
    topology = Topology(cell)
    await declare(broker_url, topology)
    await channel.queue_delete(topology.answers)
    await channel.exchange_delete(topology.media_answers)
    assert await missing(broker_url, topology) == [
        f"exchange {topology.media_answers}",
        f"queue {topology.answers}",
    ]


async def test_command_queues_take_only_their_own_commands(
    broker_url: str, cell: str, channel: AbstractChannel
) -> None:
    topology = Topology(cell)
    await declare(broker_url, topology)
    await declare_command_queues(broker_url, topology, ["sfu-a", "sfu-b"])
    try:
        await channel.basic_publish(
            b"close it",
            exchange=topology.media_commands,
            routing_key=Topology.event_key("close-room", "sfu-a"),
            mandatory=True,
        )
        mine = await channel.basic_get(topology.command_queue("sfu-a"), no_ack=True)
        theirs = await channel.basic_get(topology.command_queue("sfu-b"), no_ack=True)
        assert mine.body == b"close it"
        assert isinstance(theirs.delivery, aiormq.spec.Basic.GetEmpty)
    finally:
        await channel.queue_delete(topology.command_queue("sfu-a"))
        await channel.queue_delete(topology.command_queue("sfu-b"))


async def test_an_absent_broker_is_a_link_that_is_down() -> None:
    (port,) = free_ports(1)
    with pytest.raises(LinkDown):
        await declare(f"amqp://guest:guest@127.0.0.1:{port}/", Topology("nowhere"))


async def test_a_silent_broker_is_given_up() -> None:
    import asyncio

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        with pytest.raises(LinkDown, match="did not answer"):
            await missing(f"amqp://127.0.0.1:{port}/", Topology("nowhere"), timeout_s=0.3)
    finally:
        server.close()
        await server.wait_closed()
