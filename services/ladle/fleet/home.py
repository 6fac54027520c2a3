"""Where an answer sends people."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Home:
    """A room's place as one answer named it; `worker_id` None: the server chooses."""

    room_id: str
    allocation_id: str
    generation: int
    server_id: str
    worker_id: str | None
    streams_per_publisher: int = 2
