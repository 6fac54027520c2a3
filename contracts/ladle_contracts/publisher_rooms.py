"""What a publisher has said of its rooms, so that a command can name one life of a room."""

from collections.abc import Mapping
from dataclasses import dataclass

from .events import RoomCreated, RoomLoad, WorkerStatus


@dataclass(slots=True)
class RoomLife:
    """A room as it was said; `sequence` is that of the saying, None where it was not said yet."""

    created: RoomCreated
    sequence: int | None


def listed_in(
    status: WorkerStatus, sequence: int, before: Mapping[str, RoomLife]
) -> dict[str, RoomLife]:
    """The rooms after a complete status: it is the saying of those that were not said before."""
    rooms: dict[str, RoomLife] = {}
    for room in status.rooms or []:
        life = before.get(room.room_id) or RoomLife(_as_created(room), None)
        life.sequence = life.sequence or sequence
        rooms[room.room_id] = life
    return rooms


def _as_created(room: RoomLoad) -> RoomCreated:
    return RoomCreated(
        room_id=room.room_id, worker_id=room.worker_id, allocation_id=room.allocation_id
    )
