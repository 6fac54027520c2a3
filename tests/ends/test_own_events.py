"""Ladle's own events, read through a subscription of one's own."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from ladle_contracts.client import PlacementClient
from ladle_contracts.own_events import RoomMoved, ServerUp
from ladle_contracts.own_messages import encode_own_event
from ladle_contracts.topology import Topology
from tests.fixtures.manual_clock import ManualClock, settle
from tests.fixtures.memory_link import MemoryBroker, MemoryLink


@pytest.fixture
async def client(link: MemoryLink, clock: ManualClock) -> AsyncIterator[PlacementClient]:
    async with PlacementClient(link, clock=clock, user_id="auditor") as client:
        yield client


@pytest.fixture
async def ladle(broker: MemoryBroker) -> MemoryLink:
    link = MemoryLink(broker)
    await link.open()
    return link


async def say(ladle: MemoryLink, offset: int, *, moved: bool = False) -> None:
    if moved:
        data = RoomMoved(room_id="a", server_id="sfu-2", from_server_id="sfu-1")
        message = encode_own_event("room-moved", data, offset=offset, index=0, time_ms=1)
    else:
        up = ServerUp(server_id="sfu-1")
        message = encode_own_event("server-up", up, offset=offset, index=0, time_ms=1)
    await ladle.publish(message)


async def test_all_events_in_order(client: PlacementClient, ladle: MemoryLink) -> None:
    async with client.events() as events:
        for offset in range(1, 6):
            await say(ladle, offset, moved=offset % 2 == 0)
        got = [await anext(events) for _ in range(5)]
    assert [event.offset for event in got] == [1, 2, 3, 4, 5]
    assert got[1].data == RoomMoved(room_id="a", server_id="sfu-2", from_server_id="sfu-1")


async def test_only_the_types_that_were_asked_for(
    client: PlacementClient, ladle: MemoryLink
) -> None:
    async with client.events("room-moved") as events:
        await say(ladle, 1)
        await say(ladle, 2, moved=True)
        assert (await anext(events)).offset == 2


async def test_a_named_subscription_gathers_and_repeats_what_was_in_hand(
    client: PlacementClient, ladle: MemoryLink, broker: MemoryBroker
) -> None:
    async with client.events(name="billing"):
        pass
    assert "sub.auditor.billing" in broker.queues
    for offset in (1, 2, 3):
        await say(ladle, offset)
    async with client.events(name="billing") as events:
        assert [(await anext(events)).offset, (await anext(events)).offset] == [1, 2]
    async with client.events(name="billing") as events:
        assert [(await anext(events)).offset, (await anext(events)).offset] == [2, 3]


async def test_a_named_subscription_goes_by_the_types_named_last(
    client: PlacementClient, ladle: MemoryLink, broker: MemoryBroker
) -> None:
    """What it wanted before came for ever."""
    async with client.events(name="billing"):
        await say(ladle, 1)
    async with client.events("room-moved", name="billing") as events:
        await say(ladle, 2)
        await say(ladle, 3, moved=True)
        assert (await anext(events)).offset == 3
    assert [key for _, queue, key in broker.bindings if queue == "sub.auditor.billing"] == [
        "room-moved.*"
    ]
    async with client.events(name="billing") as events:
        await say(ladle, 4)
        assert [(await anext(events)).offset, (await anext(events)).offset] == [3, 4]


async def test_one_name_in_two_cells_is_two_queues(
    link: MemoryLink, clock: ManualClock, ladle: MemoryLink, broker: MemoryBroker
) -> None:
    """Who reads one cell must not take what a reader of the other is waiting for."""
    broker.declare(Topology("eu").declarations())
    clients = {cell: PlacementClient(link, clock=clock, cell=cell) for cell in ("eu", "default")}
    up = ServerUp(server_id="sfu-1")
    for client in clients.values():
        await client.open()
        async with client.events(name="billing"):
            pass
    for offset, cell in enumerate(clients, start=1):
        await ladle.publish(
            encode_own_event("server-up", up, offset=offset, index=0, time_ms=1, cell=cell)
        )
    for offset, client in enumerate(clients.values(), start=1):
        async with client.events(name="billing") as events, asyncio.timeout(5):
            assert (await anext(events)).offset == offset
            assert events.skipped == 0


async def test_what_a_newer_ladle_says_is_left_out(
    client: PlacementClient, ladle: MemoryLink
) -> None:
    async with client.events() as events:
        message = encode_own_event(
            "server-up", ServerUp(server_id="sfu-1"), offset=1, index=0, time_ms=1
        )
        newer = message.body.replace(b'"server-up"', b'"server-sings"')
        await ladle.publish(replace(message, body=newer))
        await say(ladle, 2)
        assert (await anext(events)).offset == 2
        assert events.skipped == 1


async def test_closing_the_client_ends_the_iteration(
    link: MemoryLink, clock: ManualClock, ladle: MemoryLink
) -> None:
    client = PlacementClient(link, clock=clock)
    await client.open()

    async def read() -> list[int]:
        return [event.offset async for event in client.events()]

    reading = asyncio.create_task(read())
    await settle()
    await say(ladle, 1)
    await settle()
    await client.close()
    assert await reading == [1]
