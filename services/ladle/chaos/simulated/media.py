"""A media server of the simulation: rooms that people come to, and the real publisher."""

from __future__ import annotations

from contextvars import Context
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ladle.chaos.simulated.cable import Cable
from ladle.chaos.simulated.clock import SimulatedClock
from ladle.chaos.simulated.laws import Violation
from ladle.chaos.simulated.link import SimulatedLink
from ladle.chaos.simulated.loop import Host
from ladle.core.load import cost
from ladle_contracts.commands import CloseRoom
from ladle_contracts.events import RoomLoad, ServerDescription, WorkerDescription, WorkerState
from ladle_contracts.own_messages import ReceivedCommand
from ladle_contracts.publisher import MediaServerPublisher, Snapshot
from ladle_contracts.publisher_errors import PublisherClosed, Superseded
from ladle_contracts.publisher_pipeline import Fate

if TYPE_CHECKING:
    from ladle.chaos.simulated.world import World
    from ladle_contracts.publisher import Settled

COMPLETE_EVERY = 12


@dataclass(slots=True)
class LiveRoom:
    """A room with people in it."""

    room_id: str
    worker_id: str
    allocation_id: str | None
    peers: int


class MediaServer:
    """One server through all its lives."""

    def __init__(self, world: World, name: str, region: str, workers: dict[str, int]) -> None:
        self.name = name
        self.region = region
        self.capacities = workers
        self.clock = SimulatedClock(world.loop)
        self.cable = Cable(world.loop)
        self.rooms: dict[str, LiveRoom] = {}
        self.died: set[str] = set()
        self.is_running = False
        self.publisher: MediaServerPublisher
        self.link: SimulatedLink
        self.host: Host
        self._world = world
        self._random = world.chance.stream(f"server {name}")
        self._lives = 0
        self._ids = 0

    # Lives

    def start(self) -> None:
        """A new life, empty."""
        if self.is_running:
            return
        self._lives += 1
        self.is_running = True
        self.rooms, self.died = {}, set()
        self.host = Host(f"{self.name}.{self._lives}")
        self.link = SimulatedLink(
            self._world.broker, self.host, self.host.name, self._random, self.name, self.cable
        )
        self._world.loop.spawn(self.host, self._run())

    async def _run(self) -> None:
        self.publisher = MediaServerPublisher(
            self.link,
            self.name,
            ServerDescription(host=f"{self.name}.example.org", region=self.region),
            [
                WorkerDescription(worker_id=worker_id, capacity_consumers=capacity)
                for worker_id, capacity in self.capacities.items()
            ],
            clock=self.clock,
            snapshot=self._snapshot,
            on_command=self._on_command,
            user_id=self.name,
            complete_every=COMPLETE_EVERY,
            new_id=self._new_id,
        )
        await self.publisher.start()

    def _new_id(self) -> str:
        self._ids += 1
        return f"{self.name}-{self._ids}"

    def kill(self) -> None:
        """The process is gone with its rooms; nothing is said."""
        if self.is_running:
            self.link.end("killed")
            self._end()

    def lose_power(self) -> None:
        """The machine is gone; not even its connection's end is said."""
        if self.is_running:
            self.link.vanish()
            self._end()

    def _end(self) -> None:
        self.is_running = False
        self.rooms = {}
        self._world.loop.kill(self.host)

    def begin_again(self) -> None:
        """As its supervisor does: where it has ended, or another life of it was heard later."""
        if self.is_superseded:
            self.kill()
        self.start()

    def leave(self) -> None:
        """It says that it goes, and goes."""
        if self.is_running:
            self._in_process(self._leave)

    def _leave(self) -> None:
        if self.is_running and self.speaks:
            self.publisher.deregister("shutdown")
            self.rooms = {}
            self._world.later(500, self.kill)

    @property
    def speaks(self) -> bool:
        """Has this life a publisher that goes on?"""
        return hasattr(self, "publisher") and not self.publisher.superseded.is_set()

    @property
    def is_superseded(self) -> bool:
        return self.is_running and not self.speaks

    @property
    def links(self) -> list[SimulatedLink]:
        """Its connection to the broker, where it runs."""
        return [self.link] if self.is_running else []

    # People

    def join(self, room_id: str, worker_id: str | None, allocation_id: str, peers: int) -> None:
        """Somebody with an answer comes to the server's door."""
        if self.is_running and not self.host.is_frozen:
            self._in_process(self._join, room_id, worker_id, allocation_id, peers)

    def _join(self, room_id: str, worker_id: str | None, allocation_id: str, peers: int) -> None:
        if not (self.is_running and self.speaks):
            return
        known = self.rooms.get(room_id)
        if known is not None:
            known.peers = max(known.peers, peers)
            return
        worker_id = worker_id or min(self.capacities)
        if worker_id in self.died:
            return
        self.rooms[room_id] = LiveRoom(room_id, worker_id, allocation_id, peers)
        settled = self.publisher.room_created(
            room_id, worker_id=worker_id, allocation_id=allocation_id
        )
        self._must_be_true(settled)

    def end_room(self, room_id: str) -> None:
        """The last one leaves."""
        if self.is_running:
            self._in_process(self._end_room, room_id, "empty")

    def _end_room(self, room_id: str, reason: str) -> None:
        if self.speaks and self.rooms.pop(room_id, None) is not None:
            self._must_be_true(self.publisher.room_deleted(room_id, reason=reason))

    def lose_worker(self) -> None:
        """A worker's process dies with its rooms, and begins anew later."""
        if self.is_running:
            self._in_process(self._lose_worker)

    def _lose_worker(self) -> None:
        if not (self.is_running and self.speaks):
            return
        worker_id = sorted(self.capacities)[int(self._random.random() * len(self.capacities))]
        self.died.add(worker_id)
        self.rooms = {
            name: room for name, room in self.rooms.items() if room.worker_id != worker_id
        }
        self._say_state()
        self._world.later(3_000, self._in_process, self._worker_is_back, worker_id)

    def _worker_is_back(self, worker_id: str) -> None:
        if self.is_running and self.speaks and worker_id in self.died:
            self.died.discard(worker_id)
            self._say_state()

    def _say_state(self) -> None:
        now = self._snapshot()
        self.publisher.worker_status(now.workers, now.rooms)

    def _in_process(self, work: object, *args: object) -> None:
        """Let it happen in the server's process: later, where that is frozen."""
        self._world.loop.call_soon(
            self._guarded, self.host, work, args, context=self.host.context.copy()
        )

    def _guarded(self, host: Host, work: object, args: tuple[object, ...]) -> None:
        if host is not self.host or not self.is_running:
            return
        assert callable(work)
        try:
            work(*args)
        except (Superseded, PublisherClosed):
            return

    def _must_be_true(self, settled: Settled) -> None:
        """What the publisher calls confirmed, the broker has."""
        life = (self.name, self.publisher.incarnation, self.publisher.sequence)

        def look(done: Settled) -> None:
            if done.cancelled() or done.exception() is not None:
                return
            if done.result() is Fate.CONFIRMED and life not in self._world.wire.taken:
                self._world.loop.fail(
                    Violation("what is confirmed is at the broker", f"{life} is not")
                )

        if not settled.done():
            settled.add_done_callback(look, context=Context())

    # What the publisher asks for and brings

    def _snapshot(self) -> Snapshot:
        carried = dict.fromkeys(self.capacities, 0)
        count = dict(carried)
        for room in self.rooms.values():
            carried[room.worker_id] += cost(room.peers)
            count[room.worker_id] += 1
        workers = [
            WorkerState(
                worker_id=worker_id,
                state="died" if worker_id in self.died else "running",
                consumers=consumers,
                producers=0,
                rooms=count[worker_id],
                cpu_permille=100,
                memory_bytes=1_000_000,
            )
            for worker_id, consumers in carried.items()
        ]
        rooms = [
            RoomLoad(
                room_id=room.room_id,
                worker_id=room.worker_id,
                peers=room.peers,
                consumers=cost(room.peers),
                allocation_id=room.allocation_id,
            )
            for room in self.rooms.values()
        ]
        return Snapshot(workers, rooms)

    def _on_command(self, command: ReceivedCommand) -> None:
        if isinstance(command.data, CloseRoom):
            self._end_room(command.data.room_id, "told")
