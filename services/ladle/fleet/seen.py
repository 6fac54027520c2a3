"""What Ladle says of the fleet: its `view` and `rooms` replies, cut down to what is compared."""

from collections.abc import Mapping
from dataclasses import dataclass, field

ACTIVE_STATES = frozenset({"active", "active-held"})
"""The phases in which Ladle says that a room runs; held and stranded rooms need not."""


@dataclass(frozen=True, slots=True)
class WorkerSeen:
    """One worker in Ladle's view; `observed` in consumers."""

    worker_id: str
    running: bool
    capacity: int
    observed: int
    used: int


@dataclass(frozen=True, slots=True)
class ServerSeen:
    """One server in Ladle's view; `liveness` is up, stale or lost."""

    server_id: str
    liveness: str
    incarnation: int | None
    workers: Mapping[str, WorkerSeen] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RoomSeen:
    """One room in Ladle's view, at its first router."""

    room_id: str
    state: str
    server_id: str
    worker_id: str | None
    allocation_id: str | None
    consumers: int = 0

    @property
    def is_active(self) -> bool:
        return self.state in ACTIVE_STATES


@dataclass(frozen=True, slots=True)
class Seen:
    """Ladle's view at one time; the pages of rooms may be newer than `offset`."""

    offset: int
    servers: Mapping[str, ServerSeen]
    rooms: Mapping[str, RoomSeen]
