"""What Ladle says on `placement.events`: the data of each of its own event types."""

from ladle_contracts.fields import (
    AllocationId,
    Count,
    Generation,
    KnownIncarnation,
    PeersSeen,
    Region,
    RoomId,
    ServerId,
    Text,
    Wire,
    WorkerId,
)


class OwnEvent(Wire):
    """Base of Ladle's own events; `reason` is a code or a sentence."""

    reason: Text | None = None


class _OfRoom(OwnEvent):
    room_id: RoomId
    server_id: ServerId | None = None
    worker_id: WorkerId | None = None
    generation: Generation | None = None
    allocation_id: AllocationId | None = None


class _OfServer(OwnEvent):
    server_id: ServerId
    incarnation: KnownIncarnation | None = None


class RoomAllocated(_OfRoom):
    """A caller was told a new home; capacity is held there."""


class RoomActive(_OfRoom):
    """The home has created the room."""


class RoomEnded(_OfRoom):
    """The room has no home any more."""


class AllocationExpired(_OfRoom):
    """A hold ran out before the room was created."""


class RoomStranded(_OfRoom):
    """The room was active on a server that is lost or has restarted."""


class RoomMoved(_OfRoom):
    """`server_id` is the new home; `from_server_id` the one before."""

    from_server_id: ServerId | None = None


class RoomConflict(_OfRoom):
    """`server_id` has the room too; the home stays `home_server_id` and that copy is closed."""

    home_server_id: ServerId | None = None


class ServerUp(_OfServer):
    """A server registered, or is heard again."""


class ServerStale(_OfServer):
    """Three status intervals of silence: nothing new is placed there."""


class ServerLost(_OfServer):
    """Twelve status intervals of silence, or deregistered: its rooms are stranded."""


class ServerRejected(_OfServer):
    """An older life of a server spoke; it is told to register."""


class ServerDrained(_OfServer):
    """A draining server has no room left."""


class CapacityLow(OwnEvent):
    """A request found no room, or hardly any is left; `largest_room_peers` still fits."""

    region: Region | None = None
    room_id: RoomId | None = None
    headroom: Count | None = None
    largest_room_peers: PeersSeen | None = None


OWN_EVENTS: dict[str, type[OwnEvent]] = {
    "room-allocated": RoomAllocated,
    "room-active": RoomActive,
    "room-ended": RoomEnded,
    "allocation-expired": AllocationExpired,
    "room-stranded": RoomStranded,
    "room-moved": RoomMoved,
    "room-conflict": RoomConflict,
    "server-up": ServerUp,
    "server-stale": ServerStale,
    "server-lost": ServerLost,
    "server-rejected": ServerRejected,
    "server-drained": ServerDrained,
    "capacity-low": CapacityLow,
}
