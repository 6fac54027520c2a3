"""The emulated server on the wire: what it says, in which order, and what it does when told."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from ladle.fleet.home import Home
from ladle.fleet.media_server import EmulatedServer
from ladle.fleet.server_model import CannotJoin, Costs
from ladle_contracts.clock import SystemClock
from ladle_contracts.envelope import Event
from ladle_contracts.events import (
    RoomCreated,
    RoomDeleted,
    ServerDeregistered,
    ServerDescription,
    ServerRegistered,
    WorkerDescription,
    WorkerStatus,
)
from ladle_contracts.topology import Topology
from tests.fixtures.memory_link import MemoryBroker, MemoryLink
from tests.fleet.paper_ladle import PaperLadle, until

CELL = "t"


@pytest.fixture
async def ladle() -> PaperLadle:
    broker = MemoryBroker(Topology(CELL).declarations())
    for number in (1, 2):
        broker.declare(Topology(CELL).command_declarations(f"sfu-{number}"))
    link = MemoryLink(broker)
    await link.open()
    paper = PaperLadle(link, CELL)
    await paper.start()
    return paper


@pytest.fixture
async def link(ladle: PaperLadle) -> MemoryLink:
    made = MemoryLink(ladle.broker)
    await made.open()
    return made


def make(link: MemoryLink, number: int = 1, interval_ms: int = 60_000) -> EmulatedServer:
    return EmulatedServer(
        f"sfu-{number}",
        ServerDescription(host="sfu.example.org", status_interval_ms=interval_ms),
        [WorkerDescription(worker_id=str(worker), capacity_consumers=500) for worker in range(2)],
        link,
        cell=CELL,
        clock=SystemClock(),
        costs=Costs(),
        complete_every=3,
    )


@pytest.fixture
async def server(link: MemoryLink) -> AsyncIterator[EmulatedServer]:
    made = make(link)
    await made.start()
    yield made
    await made.vanish()


def home(room_id: str = "r", worker_id: str | None = "1", allocation_id: str = "a1") -> Home:
    return Home(room_id, allocation_id, 1, "sfu-1", worker_id)


class Door:
    """Who was thrown out, of which server."""

    def __init__(self) -> None:
        self.gone: list[str] = []

    def __call__(self, server_id: str) -> None:
        self.gone.append(server_id)


async def said(ladle: PaperLadle, server: EmulatedServer) -> list[Event]:
    """All events that the server has said so far."""
    await until(lambda: server.backlog == 0)
    await asyncio.sleep(0.01)
    return ladle.events


async def test_it_registers_and_says_that_it_is_empty(
    ladle: PaperLadle, server: EmulatedServer
) -> None:
    registered, status = await said(ladle, server)
    assert isinstance(registered.data, ServerRegistered)
    assert [worker.worker_id for worker in registered.data.workers] == ["0", "1"]
    assert registered.data.server.status_interval_ms == 60_000
    assert isinstance(status.data, WorkerStatus)
    assert status.data.complete
    assert status.data.rooms == []
    assert (registered.sequence, status.sequence) == (1, 2)
    assert registered.incarnation == server.incarnation


async def test_a_room_is_created_as_told_and_ends_with_its_last_peer(
    ladle: PaperLadle, server: EmulatedServer
) -> None:
    door = Door()
    server.join(home(), 1, publishes=True, on_gone=door)
    server.join(home(), 2, publishes=True, on_gone=door)
    server.leave_room("r", 1)
    server.leave_room("r", 2)
    server.leave_room("r", 2)
    created, deleted = (await said(ladle, server))[2:]
    assert created.data == RoomCreated(room_id="r", worker_id="1", allocation_id="a1")
    assert deleted.data == RoomDeleted(room_id="r", allocation_id="a1", reason="empty")
    # Nobody was thrown out: they left.
    assert door.gone == []


async def test_a_delete_names_the_newest_allocation(
    ladle: PaperLadle, server: EmulatedServer
) -> None:
    server.join(home(), 1, publishes=True, on_gone=Door())
    server.join(home(allocation_id="a2"), 2, publishes=True, on_gone=Door())
    server.leave_room("r", 1)
    server.leave_room("r", 2)
    deleted = (await said(ladle, server))[-1].data
    assert deleted == RoomDeleted(room_id="r", allocation_id="a2", reason="empty")


async def test_without_a_told_worker_it_takes_its_emptiest(
    ladle: PaperLadle, server: EmulatedServer
) -> None:
    for peer in (1, 2):
        server.join(home("r", worker_id=None), peer, publishes=True, on_gone=Door())
    server.join(home("q", worker_id=None), 1, publishes=True, on_gone=Door())
    workers = [
        e.data.worker_id for e in await said(ladle, server) if isinstance(e.data, RoomCreated)
    ]
    assert workers == ["0", "1"]


async def test_statuses_come_at_the_interval_and_each_third_is_complete(
    ladle: PaperLadle, link: MemoryLink
) -> None:
    server = make(link, interval_ms=250)
    await server.start()
    for peer in range(4):
        server.join(home(), peer, publishes=True, on_gone=Door())
    await ladle.until("worker-status", 4)
    await server.vanish()
    statuses = [event.data for event in ladle.events if isinstance(event.data, WorkerStatus)]
    assert [status.complete for status in statuses[:4]] == [True, False, False, True]
    for status in statuses[1:]:
        (load,) = status.rooms or []
        assert (load.room_id, load.worker_id, load.peers, load.consumers) == ("r", "1", 4, 24)
        idle, busy = status.workers
        assert (idle.consumers, idle.cpu_permille, idle.rooms) == (0, 5, 0)
        # 24 consumers of 0.2 % on top of 0.5 %.
        assert (busy.consumers, busy.producers, busy.cpu_permille, busy.rooms) == (24, 8, 53, 1)


async def test_a_crash_says_nothing_and_the_restart_is_a_new_life(
    ladle: PaperLadle, server: EmulatedServer
) -> None:
    door = Door()
    server.join(home(), 1, publishes=True, on_gone=door)
    before = list(await said(ladle, server))
    life = server.incarnation
    await server.vanish()
    assert door.gone == ["sfu-1"]
    assert not server.running
    assert server.rooms_lost == 1
    with pytest.raises(CannotJoin):
        server.join(home(), 1, publishes=True, on_gone=door)
    server.leave_room("r", 1)
    await asyncio.sleep(0.02)
    assert ladle.events == before
    assert server.truth()[0].running is False
    await server.start()
    registered = (await said(ladle, server))[len(before)]
    assert registered.type == "server-registered"
    assert registered.incarnation == server.incarnation > life
    assert registered.sequence == 1
    assert server.truth()[1] == []


async def test_a_dead_worker_takes_its_rooms_and_only_a_status_says_so(
    ladle: PaperLadle, server: EmulatedServer
) -> None:
    here, other = Door(), Door()
    server.join(home("r", "1"), 1, publishes=True, on_gone=here)
    server.join(home("q", "0"), 1, publishes=True, on_gone=other)
    await server.kill_worker("1")
    await server.kill_worker("1")
    assert (here.gone, other.gone) == (["sfu-1"], [])
    assert server.dead_workers == {"1"}
    with pytest.raises(CannotJoin):
        server.join(home("r", "1"), 1, publishes=True, on_gone=here)
    await server.restart_worker("1")
    assert server.dead_workers == frozenset()
    died, runs = (await said(ladle, server))[-2:]
    assert isinstance(died.data, WorkerStatus)
    assert isinstance(runs.data, WorkerStatus)
    assert [worker.state for worker in died.data.workers] == ["running", "died"]
    assert [worker.state for worker in runs.data.workers] == ["running", "running"]
    assert "room-deleted" not in {event.type for event in ladle.events}


async def test_no_worker_at_all_takes_nobody(server: EmulatedServer) -> None:
    await server.kill_worker("0")
    await server.kill_worker("1")
    with pytest.raises(CannotJoin, match="no worker"):
        server.join(home("r", None), 1, publishes=True, on_gone=Door())


async def test_a_leaving_server_says_so_last(ladle: PaperLadle, server: EmulatedServer) -> None:
    server.join(home(), 1, publishes=True, on_gone=Door())
    server.close_all_rooms()
    await server.leave("done")
    await server.leave("done")
    await asyncio.sleep(0.01)
    deleted, gone = (event.data for event in ladle.events[-2:])
    assert deleted == RoomDeleted(room_id="r", allocation_id="a1", reason="server-gone")
    assert gone == ServerDeregistered(reason="done")
    assert server.published == len(ladle.events)


async def test_close_room_closes_the_life_that_it_means(
    ladle: PaperLadle, server: EmulatedServer
) -> None:
    door = Door()
    server.join(home(), 1, publishes=True, on_gone=door)
    created = (await said(ladle, server))[-1]
    assert created.sequence is not None
    await ladle.close_room("sfu-1", "r", created_sequence=created.sequence - 1)
    await asyncio.sleep(0.05)
    assert door.gone == []
    await ladle.close_room("sfu-1", "r", created_sequence=created.sequence)
    await ladle.until("room-deleted")
    assert door.gone == ["sfu-1"]
    assert server.rooms_closed_as_told == 1
    assert ladle.events[-1].data == RoomDeleted(room_id="r", allocation_id="a1", reason="told")


async def test_report_rooms_brings_a_complete_status(
    ladle: PaperLadle, server: EmulatedServer
) -> None:
    server.join(home(), 1, publishes=True, on_gone=Door())
    await said(ladle, server)
    await ladle.report_rooms("sfu-1")
    await ladle.until("worker-status", 2)
    status = ladle.events[-1].data
    assert isinstance(status, WorkerStatus)
    assert status.complete
    assert [room.room_id for room in status.rooms or []] == ["r"]


async def test_an_operators_drain_is_noted_and_not_repeated(
    ladle: PaperLadle, server: EmulatedServer
) -> None:
    await ladle.drain("sfu-1")
    await until(lambda: server.told_to_drain)
    assert "server-draining" not in {event.type for event in ladle.events}
    await server.drain("own wish")
    assert (await said(ladle, server))[-1].type == "server-draining"


async def test_many_servers_share_one_link(ladle: PaperLadle, link: MemoryLink) -> None:
    servers = [make(link, number) for number in (1, 2)]
    await asyncio.gather(*(server.start() for server in servers))
    for server in servers:
        server.join(home(f"of-{server.server_id}"), 1, publishes=True, on_gone=Door())
    # Ending one leaves the other its commands and its voice.
    await servers[0].vanish()
    await said(ladle, servers[1])
    await ladle.report_rooms("sfu-2")
    await ladle.until("worker-status", 3)
    assert [room.room_id for room in servers[1].truth()[1]] == ["of-sfu-2"]
    await servers[1].vanish()


async def test_behind_a_partition_it_lives_on_and_tells_all_afterwards(
    ladle: PaperLadle, server: EmulatedServer
) -> None:
    door = Door()
    server.join(home("before"), 1, publishes=True, on_gone=door)
    before = len(await said(ladle, server))
    await server.cut_off()
    assert server.is_cut_off
    assert server.running
    server.join(home("meanwhile"), 1, publishes=True, on_gone=door)
    server.leave_room("before", 1)
    await ladle.report_rooms("sfu-1")
    await asyncio.sleep(0.05)
    assert len(ladle.events) == before
    assert {room.room_id for room in server.truth()[1]} == {"meanwhile"}
    await server.reconnect()
    await until(lambda: server.backlog == 0)
    # The command that waited is heard too: it asked for a complete status.
    await ladle.until("worker-status", 3)
    said_later = [event.type for event in ladle.events[before:]]
    assert said_later[:2] == ["room-created", "room-deleted"]
    assert door.gone == []
    assert not server.is_cut_off


async def test_a_cut_off_server_that_starts_again_is_heard(
    ladle: PaperLadle, server: EmulatedServer
) -> None:
    await said(ladle, server)
    await server.cut_off()
    await server.vanish()
    # There is nothing to cut any more.
    await server.cut_off()
    await server.start()
    assert (await said(ladle, server))[-2].type == "server-registered"
    await ladle.report_rooms("sfu-1")
    await ladle.until("worker-status", 3)


async def test_the_link_below_may_fail_by_itself(
    ladle: PaperLadle, link: MemoryLink, server: EmulatedServer
) -> None:
    await said(ladle, server)
    link.disconnect()
    server.join(home("r"), 1, publishes=True, on_gone=Door())
    await asyncio.sleep(0.02)
    assert "room-created" not in {event.type for event in ladle.events}
    link.reconnect()
    await ladle.until("room-created")
