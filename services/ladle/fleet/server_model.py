"""What one emulated media server holds: workers, rooms, peers, and the load that follows.

No I/O and no clock: `media_server.py` puts it on the wire. The numbers are mediasoup's: p of n
peers publish s streams each, everybody receives all but their own: p(n-1)s consumers, p*s
producers. A worker's CPU follows from its consumers. Source: docs/fleet.md.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class CannotJoin(Exception):
    """The server does not take this peer: the client has to ask again where its room is."""


class CloseReason(StrEnum):
    """Why a room ended, as its `room-deleted` says."""

    EMPTY = "empty"
    TOLD = "told"
    WORKER_DIED = "worker-died"
    SERVER_GONE = "server-gone"


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU of one core in percent; sources disagree by more than ten times, so sweep the first.

    0.05 to 0.3 % a consumer (mediasoup: about 500 consumers a worker = 0.2 %). An empty worker
    was never seen above 1 %. Memory is a guess that grows with load: nothing is placed by it.
    """

    cpu_percent_per_consumer: float = 0.2
    cpu_percent_idle: float = 0.5
    memory_bytes_idle: int = 40_000_000
    memory_bytes_per_consumer: int = 50_000

    def cpu_permille(self, consumers: int) -> int:
        percent = self.cpu_percent_idle + consumers * self.cpu_percent_per_consumer
        return min(1000, round(percent * 10))

    def memory_bytes(self, consumers: int) -> int:
        return self.memory_bytes_idle + consumers * self.memory_bytes_per_consumer


@dataclass(slots=True)
class Room:
    """A room that runs here."""

    room_id: str
    worker_id: str
    allocation_id: str | None
    streams_per_publisher: int = 2
    guests: dict[int, bool] = field(default_factory=dict)
    """Peer number -> does it publish?"""

    @property
    def peers(self) -> int:
        return len(self.guests)

    @property
    def producers(self) -> int:
        return sum(self.guests.values()) * self.streams_per_publisher

    @property
    def consumers(self) -> int:
        return self.producers * max(0, self.peers - 1)


@dataclass(frozen=True, slots=True)
class WorkerLoad:
    """What a worker's status says of it."""

    worker_id: str
    running: bool
    consumers: int
    producers: int
    rooms: int
    cpu_permille: int
    memory_bytes: int


class ServerModel:
    """Workers and rooms of one life of a server; a restart makes a new one."""

    def __init__(self, workers: Mapping[str, int], costs: Costs | None = None) -> None:
        """`workers`: worker id -> capacity in consumers."""
        self.capacities = dict(workers)
        self.costs = costs or Costs()
        self.rooms: dict[str, Room] = {}
        self.died: set[str] = set()

    def join(self, room: Room, peer: int, *, publishes: bool) -> Room | None:
        """Let a peer in. Returns the room where this join created it, else None.

        `room` is how the first peer would have it: the told worker and allocation. One that runs
        here already keeps its worker, and takes over the id of a newer allocation.
        Raises CannotJoin where the told worker does not run.
        """
        here = self.rooms.get(room.room_id)
        if here is not None:
            here.allocation_id = room.allocation_id or here.allocation_id
            here.guests[peer] = publishes
            return None
        if room.worker_id not in self.capacities or room.worker_id in self.died:
            raise CannotJoin(f"worker {room.worker_id} does not run")
        self.rooms[room.room_id] = room
        room.guests[peer] = publishes
        return room

    def leave(self, room_id: str, peer: int) -> Room | None:
        """Let a peer go, if it is here. Returns the room where this ended it: the last one left."""
        room = self.rooms.get(room_id)
        if room is None or room.guests.pop(peer, None) is None or room.guests:
            return None
        return self.rooms.pop(room_id)

    def close(self, room_id: str) -> Room | None:
        return self.rooms.pop(room_id, None)

    def kill_worker(self, worker_id: str) -> list[Room]:
        """The worker's process dies and takes its rooms with it; returns them."""
        gone = [room for room in self.rooms.values() if room.worker_id == worker_id]
        for room in gone:
            del self.rooms[room.room_id]
        self.died.add(worker_id)
        return gone

    def restart_worker(self, worker_id: str) -> None:
        """The server starts the worker again; it is empty."""
        self.died.discard(worker_id)

    def loads(self) -> Iterator[WorkerLoad]:
        """One line a worker, in the order of registration; a dead one reports zeros."""
        sums = {worker_id: [0, 0, 0] for worker_id in self.capacities}
        for room in self.rooms.values():
            total = sums[room.worker_id]
            total[0] += room.consumers
            total[1] += room.producers
            total[2] += 1
        for worker_id, (consumers, producers, rooms) in sums.items():
            running = worker_id not in self.died
            yield WorkerLoad(
                worker_id=worker_id,
                running=running,
                consumers=consumers,
                producers=producers,
                rooms=rooms,
                cpu_permille=self.costs.cpu_permille(consumers) if running else 0,
                memory_bytes=self.costs.memory_bytes(consumers) if running else 0,
            )
