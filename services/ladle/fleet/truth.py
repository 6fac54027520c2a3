"""What really runs: the fleet's own account, which Ladle's view is held against."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ladle.fleet.server_model import ServerModel


@dataclass(frozen=True, slots=True)
class WorkerTruth:
    """One worker as it is now: `consumers` of all its rooms together."""

    worker_id: str
    running: bool
    consumers: int
    rooms: int


@dataclass(frozen=True, slots=True)
class ServerTruth:
    """One server as it is now; `running` is False after a crash and before the restart."""

    server_id: str
    incarnation: int
    running: bool
    workers: Mapping[str, WorkerTruth] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RoomTruth:
    """A room's life on one server. A room with two of them has a second physical copy."""

    room_id: str
    server_id: str
    worker_id: str
    allocation_id: str | None
    peers: int
    consumers: int


@dataclass(frozen=True, slots=True)
class Truth:
    """The whole fleet at one moment."""

    servers: Mapping[str, ServerTruth]
    rooms: Mapping[str, tuple[RoomTruth, ...]]

    @property
    def consumers(self) -> int:
        return sum(room.consumers for lives in self.rooms.values() for room in lives)


def server_truth(
    server_id: str, incarnation: int, model: ServerModel | None
) -> tuple[ServerTruth, list[RoomTruth]]:
    """One server's part; `model` is None while it does not run."""
    if model is None:
        return ServerTruth(server_id, incarnation, running=False), []
    workers = {
        load.worker_id: WorkerTruth(load.worker_id, load.running, load.consumers, load.rooms)
        for load in model.loads()
    }
    rooms = [
        RoomTruth(
            room_id=room.room_id,
            server_id=server_id,
            worker_id=room.worker_id,
            allocation_id=room.allocation_id,
            peers=room.peers,
            consumers=room.consumers,
        )
        for room in model.rooms.values()
    ]
    return ServerTruth(server_id, incarnation, running=True, workers=workers), rooms


def whole_truth(parts: Iterable[tuple[ServerTruth, list[RoomTruth]]]) -> Truth:
    """Join the servers' parts; rooms by id, lives of one room in order of server id."""
    servers: dict[str, ServerTruth] = {}
    rooms: dict[str, list[RoomTruth]] = {}
    for server, its_rooms in parts:
        servers[server.server_id] = server
        for room in its_rooms:
            rooms.setdefault(room.room_id, []).append(room)
    ordered = {
        room_id: tuple(sorted(lives, key=lambda life: life.server_id))
        for room_id, lives in sorted(rooms.items())
    }
    return Truth(servers, ordered)
