"""Both ends against a real RabbitMQ: the declared topology, real faults."""

import asyncio
import secrets
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import aio_pika
import pytest

from ladle.broker.declare import declare, declare_all
from ladle_contracts.amqp import AioPikaLink
from ladle_contracts.blocking import BlockingPlacementClient
from ladle_contracts.client import PlacementClient
from ladle_contracts.commands import CloseRoom, DrainCommand
from ladle_contracts.envelope import Event, decode_event
from ladle_contracts.errors import NoCapacity, ServiceAbsent, Unreachable
from ladle_contracts.events import ServerDescription, WorkerDescription
from ladle_contracts.link import LinkDown, Message
from ladle_contracts.own_events import RoomMoved, ServerUp
from ladle_contracts.own_messages import ReceivedCommand, encode_command, encode_own_event
from ladle_contracts.publisher import Fate, MediaServerPublisher
from ladle_contracts.replies import ErrorCode
from ladle_contracts.topology import Topology, subscriber_queue
from tests.ends.cutting_proxy import TcpProxy
from tests.ends.responder import Responder, refusal
from tests.ends.server_kit import App
from tests.ends.test_amqp_link import eventually, linked

pytestmark = pytest.mark.broker

FAR = "2999-01-01T00:00:00Z"


@pytest.fixture
async def declared(broker_url: str, cell: str) -> str:
    await declare(broker_url, Topology(cell))
    return cell


@asynccontextmanager
async def responding(url: str, cell: str) -> AsyncIterator[Responder]:
    async with linked(url) as link:
        responder = Responder(link, cell)
        await responder.start()
        yield responder


@asynccontextmanager
async def reading_inbox(url: str, cell: str) -> AsyncIterator[list[Event]]:
    events: list[Event] = []
    async with linked(url) as link:

        def take(messages: list[Message]) -> None:
            events.extend(decode_event(message) for message in messages)
            link.ack(messages)

        await link.consume(Topology(cell).inbox, take, prefetch=1_000)
        yield events


def server_id() -> str:
    return f"sfu-{secrets.token_hex(4)}"


def publisher_at(url: str, cell: str, app: App, **options: Any) -> MediaServerPublisher:
    return MediaServerPublisher.connect(
        url,
        server_id(),
        ServerDescription(host="h", status_interval_ms=200),
        [WorkerDescription(worker_id="0")],
        cell=cell,
        snapshot=app.snapshot,
        **options,
    )


# The client


@pytest.mark.parametrize("replies", ["direct", "queue"])
async def test_many_concurrent_calls_on_one_channel(
    broker_url: str, declared: str, replies: str
) -> None:
    async with (
        responding(broker_url, declared) as responder,
        PlacementClient.connect(broker_url, cell=declared, replies=replies) as client,
    ):
        answers = await asyncio.gather(
            *(client.allocate(f"r{n}") for n in range(200)),
            *(client.lookup(f"r{n}") for n in range(50)),
        )
    assert [answer.room_id for answer in answers] == [f"r{n}" for n in (*range(200), *range(50))]
    assert {request.user for request in responder.requests} == {"guest"}


async def test_nobody_there_shows_at_once(broker_url: str, cell: str) -> None:
    async with PlacementClient.connect(broker_url, cell=cell) as client:
        async with asyncio.timeout(5):
            for _ in range(3):
                with pytest.raises(ServiceAbsent):
                    await client.allocate("r")


async def test_connection_loss_in_flight_places_one_room(broker_url: str, declared: str) -> None:
    async with (
        responding(broker_url, declared) as responder,
        TcpProxy(broker_url) as proxy,
        PlacementClient.connect(proxy.url, cell=declared) as client,
    ):
        responder.held = []
        calls = [asyncio.create_task(client.allocate(f"r{n}")) for n in range(20)]
        await eventually(lambda: len(responder.held or []) == 20)
        proxy.cut()
        responder.release()
        answers = await asyncio.gather(*calls)
    assert [answer.room_id for answer in answers] == [f"r{n}" for n in range(20)]
    assert len(responder.ids) == 40
    assert len(set(responder.ids)) == 20


async def test_the_confirm_is_lost_but_the_answer_comes(broker_url: str, declared: str) -> None:
    """Cut between the broker's taking the request and its confirm."""
    async with (
        responding(broker_url, declared) as responder,
        TcpProxy(broker_url) as proxy,
        PlacementClient.connect(proxy.url, cell=declared) as client,
    ):
        proxy.hold_answers()
        call = asyncio.create_task(client.allocate("r"))
        await eventually(lambda: responder.requests)
        proxy.cut()
        proxy.release_answers()
        assert (await call).room_id == "r"
    assert len(set(responder.ids)) == 1


async def test_a_refusal_crosses_the_broker_whole(broker_url: str, declared: str) -> None:
    async with (
        responding(broker_url, declared) as responder,
        PlacementClient.connect(broker_url, cell=declared) as client,
    ):
        responder.script.append(refusal(ErrorCode.NO_CAPACITY, after_ms=2_000, offset=9))
        with pytest.raises(NoCapacity) as caught:
            await client.allocate("r")
    assert caught.value.details == {"full": 9}


async def test_no_broker_is_unreachable() -> None:
    with pytest.raises(Unreachable):
        await PlacementClient.connect("amqp://guest:guest@127.0.0.1:1/").open()


async def test_own_events_through_a_subscription(broker_url: str, declared: str) -> None:
    async with (
        linked(broker_url) as ladle,
        TcpProxy(broker_url) as proxy,
        PlacementClient.connect(proxy.url, cell=declared) as client,
        client.events("server-up") as events,
    ):
        link = client._link
        for offset in (1, 2):
            await ladle.publish(
                encode_own_event(
                    "server-up",
                    ServerUp(server_id="sfu-1"),
                    offset=offset,
                    index=0,
                    time_ms=1,
                    cell=declared,
                )
            )
            async with asyncio.timeout(10):
                event = await anext(events)
                assert event.offset == offset
            proxy.cut()
            await eventually(lambda: not link.is_up)
            await eventually(lambda: link.is_up)


async def test_a_named_subscription_goes_by_the_types_named_last(
    broker_url: str, declared: str
) -> None:
    """The broker keeps a queue's bindings until somebody takes them away."""

    async def say(offset: int, data: ServerUp | RoomMoved) -> None:
        type_ = "server-up" if isinstance(data, ServerUp) else "room-moved"
        await ladle.publish(
            encode_own_event(type_, data, offset=offset, index=0, time_ms=1, cell=declared)
        )

    up, moved = ServerUp(server_id="s-1"), RoomMoved(room_id="a", server_id="s-1")
    async with (
        linked(broker_url) as ladle,
        await aio_pika.connect(broker_url) as connection,
        PlacementClient.connect(broker_url, cell=declared, user_id="guest") as client,
        asyncio.timeout(20),
    ):
        async with client.events("room-moved", "server-up", name="billing"):
            await say(1, up)
        async with client.events("room-moved", name="billing") as events:
            await say(2, moved)
            assert (await anext(events)).offset == 2
        await say(3, up)
        await say(4, moved)
        channel = await connection.channel()
        queue = await channel.get_queue(subscriber_queue("guest", "billing", declared))
        waiting: set[str | None] = set()
        while f"{declared}:4:0" not in waiting:
            if (message := await queue.get(no_ack=True, fail=False)) is not None:
                waiting.add(message.message_id)
        assert f"{declared}:3:0" not in waiting
        async with client.events(name="billing") as events:
            await say(5, up)
            while (await anext(events)).offset != 5:
                pass
        await queue.delete(if_unused=False, if_empty=False)


# The blocking twin


async def test_the_blocking_twin_serves_several_threads(broker_url: str, declared: str) -> None:
    rooms: list[str] = []

    def script() -> None:
        with BlockingPlacementClient(broker_url, cell=declared) as ladle:

            def ask(number: int) -> None:
                rooms.append(ladle.allocate(f"r{number}", peers=4).room_id)

            threads = [threading.Thread(target=ask, args=(n,)) for n in range(10)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert ladle.lookup("r3").room_id == "r3"
        ladle.close()
        with pytest.raises(RuntimeError, match="not open"):
            ladle.lookup("r3")

    async with responding(broker_url, declared):
        await asyncio.to_thread(script)
    assert sorted(rooms) == sorted(f"r{n}" for n in range(10))
    assert BlockingPlacementClient.allocate.__doc__ == PlacementClient.allocate.__doc__


async def test_the_blocking_twin_reads_events(broker_url: str, declared: str) -> None:
    subscribed = threading.Event()
    offsets: list[int] = []

    def script() -> None:
        with BlockingPlacementClient(broker_url, cell=declared) as ladle, ladle.events() as events:
            subscribed.set()
            for event in events:
                offsets.append(event.offset)
                if len(offsets) == 2:
                    break

    async with linked(broker_url) as ladle:
        running = asyncio.create_task(asyncio.to_thread(script))
        await asyncio.to_thread(subscribed.wait, 10)
        for offset in (1, 2):
            up = ServerUp(server_id="sfu-1")
            await ladle.publish(
                encode_own_event("server-up", up, offset=offset, index=0, time_ms=1, cell=declared)
            )
        await running
    assert offsets == [1, 2]


def test_the_blocking_twin_without_a_broker() -> None:
    with pytest.raises(Unreachable):
        BlockingPlacementClient("amqp://guest:guest@127.0.0.1:1/").open()


# The publisher


async def test_a_server_s_life_on_the_wire(broker_url: str, declared: str) -> None:
    app = App()
    async with reading_inbox(broker_url, declared) as events:
        async with publisher_at(broker_url, declared, app) as publisher:
            app.rooms["a"] = None
            assert await publisher.room_created("a") is Fate.CONFIRMED
            await asyncio.sleep(0.5)
            await publisher.room_deleted("a")
        await eventually(lambda: events and events[-1].type == "server-deregistered")
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert [event.type for event in events[:3]] == [
        "server-registered",
        "worker-status",
        "room-created",
    ]
    assert {event.user for event in events} == {"guest"}
    assert len([event for event in events if event.type == "worker-status"]) >= 3


async def test_before_ladle_has_declared_anything_events_wait(broker_url: str, cell: str) -> None:
    publisher = publisher_at(broker_url, cell, App())
    await publisher.start()
    await asyncio.sleep(0.5)
    assert publisher.confirmed == 0
    await declare(broker_url, Topology(cell))
    async with reading_inbox(broker_url, cell) as events:
        async with asyncio.timeout(20):
            await publisher.wait_registered()
        await eventually(lambda: events)
        assert events[0].sequence == 1
    await publisher.close()


async def test_the_connection_is_cut_again_and_again_and_nothing_is_lost(
    broker_url: str, declared: str
) -> None:
    app = App()
    async with (
        reading_inbox(broker_url, declared) as events,
        TcpProxy(broker_url) as proxy,
        publisher_at(proxy.url, declared, app) as publisher,
    ):
        waiting = []
        for number in range(60):
            waiting.append(publisher.room_created(f"r{number}"))
            app.rooms[f"r{number}"] = None
            if number % 20 == 10:
                proxy.cut()
            await asyncio.sleep(0.02)
        async with asyncio.timeout(30):
            fates = await asyncio.gather(*waiting)
        assert set(fates) == {Fate.CONFIRMED}
        created = {e.data.room_id for e in events if e.type == "room-created"}  # type: ignore[union-attr]
        await eventually(lambda: len(created) == 60)
        seen = {event.sequence for event in events}
        assert seen >= set(range(1, max(s or 0 for s in seen) + 1)), "no holes"


async def test_commands_reach_the_application(broker_url: str, declared: str) -> None:
    told: list[ReceivedCommand] = []
    topology = Topology(declared)
    publisher = publisher_at(broker_url, declared, App(), on_command=told.append)
    await publisher.start()
    await publisher.room_created("a")
    await declare_all(broker_url, topology.command_declarations(publisher.server_id))
    async with linked(broker_url) as ladle:
        for number, command in enumerate(
            [
                CloseRoom(room_id="a", reason="moved", expires_at=FAR),
                DrainCommand(reason="upgrade", expires_at=FAR),
            ]
        ):
            await ladle.publish(
                encode_command(
                    command,
                    server_id=publisher.server_id,
                    command_id=f"c{number}",
                    time_ms=1,
                    cell=declared,
                )
            )
        await eventually(lambda: len(told) == 2)
    assert [command.type for command in told] == ["close-room", "drain"]
    await publisher.close()


async def test_a_publisher_starts_before_its_broker(broker_url: str, declared: str) -> None:
    async with TcpProxy(broker_url) as proxy:
        proxy.refuses = True
        publisher = publisher_at(proxy.url, declared, App())
        await publisher.start()
        await asyncio.sleep(0.3)
        proxy.refuses = False
        async with asyncio.timeout(20):
            await publisher.wait_registered()
        await publisher.close()


async def test_one_link_may_serve_both_ends(broker_url: str, declared: str) -> None:
    async with responding(broker_url, declared), linked(broker_url) as link:
        publisher = MediaServerPublisher(
            link,
            server_id(),
            ServerDescription(host="h"),
            [WorkerDescription(worker_id="0")],
            cell=declared,
        )
        async with publisher, PlacementClient(link, cell=declared) as client:
            assert (await client.allocate("r")).room_id == "r"
            await publisher.wait_registered()
        assert link.is_up, "the link is its owner's to close"


async def test_events_close_with_aclosing(broker_url: str, declared: str) -> None:
    async with (
        PlacementClient.connect(broker_url, cell=declared) as client,
        aclosing(client.events()) as events,
    ):
        await events.start()
    with pytest.raises(LinkDown):
        await AioPikaLink(broker_url).consume("q", lambda _: None, prefetch=1)
