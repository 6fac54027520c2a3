"""What media servers say: the data of each event type; docs/contract.md has the rules.

The server itself is not in the data: the envelope's `source` names it (`/servers/<server_id>`), as
does the routing key.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from ladle_contracts.fields import (
    AllocationId,
    Bytes,
    Capacity,
    Consumers,
    Count,
    CpuPermille,
    Flag,
    Host,
    IpAddress,
    Labels,
    Peers,
    PeersSeen,
    Port,
    Region,
    RoomId,
    StatusIntervalMs,
    Text,
    UnixMs,
    Url,
    Wire,
    WorkerId,
)

WORKERS_MAX = 1024
ROOMS_MAX = 50_000


def _ordered(ports: list[int]) -> list[int]:
    if ports[0] > ports[1]:
        raise ValueError("the first port must be <= the second")
    return ports


UdpPorts = Annotated[
    list[Port],
    Field(min_length=2, max_length=2, description="[first, last] UDP port of the media, inclusive"),
    AfterValidator(_ordered),
]


class Turn(Wire):
    """The server's TURN service. The key itself never crosses the bus: `key_id` names it."""

    urls: list[Url] = Field(min_length=1, max_length=16, description="turn: and turns: URLs")
    realm: Text = Field(description="the TURN realm")
    key_id: Text = Field(description="which shared secret the server verifies with")


class ServerDescription(Wire):
    """Where a media server is, what it carries, and how it shows that it lives."""

    host: Host
    port: Port = Field(443, description="TCP port of its signalling")
    ws_url_template: Url | None = Field(
        None, description="with {host}, {port}, {room_id}; wss://{host}:{port}/?roomId={room_id}"
    )
    service_url: Url | None = Field(None, description="its HTTP API, for proxies that probe it")
    region: Region | None = None
    zone: Region | None = None
    labels: Labels = Field(default_factory=dict)
    protocol: Text = Field("mediasoup", description="what its signalling speaks")
    media_ip: IpAddress | None = Field(None, description="announced address of its media")
    udp_ports: UdpPorts | None = None
    turn: Turn | None = None
    places_workers: Flag = Field(
        True, description="Ladle chooses the worker; false: the server does, by itself"
    )
    status_interval_ms: StatusIntervalMs = 5000
    liveness: Literal["heartbeat", "probe"] = Field(
        "heartbeat", description="it speaks by itself, or somebody probes it and reports"
    )
    contract_version: int = Field(1, strict=True, ge=1, le=1000)
    external_id: Text | None = Field(None, description="its name in another system, e.g. a pod")


class WorkerDescription(Wire):
    """One mediasoup-worker of a server."""

    worker_id: WorkerId
    capacity_consumers: Capacity = 500


def _workers_differ(workers: list[WorkerDescription]) -> list[WorkerDescription]:
    if len({worker.worker_id for worker in workers}) != len(workers):
        raise ValueError("a worker_id stands there twice")
    return workers


class ServerRegistered(Wire):
    """A server began or came back; the worker set is replaced by this one."""

    server: ServerDescription
    workers: Annotated[
        list[WorkerDescription], Field(max_length=WORKERS_MAX), AfterValidator(_workers_differ)
    ]
    restarted: Flag = Field(
        False,
        description="for publishers without incarnations: this is a new life, old rooms ended",
    )


class ServerDraining(Wire):
    """The server wants no new rooms; ends with its incarnation."""

    reason: Text | None = None
    drain_by_ms: UnixMs | None = Field(None, description="when it means to be empty, Unix ms")


class ServerDeregistered(Wire):
    """The server goes; its rooms are stranded at once."""

    reason: Text | None = None
    drain_by_ms: UnixMs | None = Field(None, description="when it means to be gone, Unix ms")


class RoomCreated(Wire):
    """A room has a router on this server."""

    room_id: RoomId
    worker_id: WorkerId | None = None
    allocation_id: AllocationId | None = None
    expected_peers: Peers | None = None


class RoomDeleted(Wire):
    """A room's router on this server is closed."""

    room_id: RoomId
    allocation_id: AllocationId | None = None
    reason: Text | None = None


class WorkerState(Wire):
    """What one worker carries now."""

    worker_id: WorkerId
    state: Literal["running", "died"]
    consumers: Consumers
    producers: Consumers
    rooms: Count
    cpu_permille: CpuPermille
    memory_bytes: Bytes


class RoomLoad(Wire):
    """What one room costs on one worker now."""

    room_id: RoomId
    worker_id: WorkerId
    peers: PeersSeen
    consumers: Consumers
    allocation_id: AllocationId | None = None


def _states_differ(workers: list[WorkerState]) -> list[WorkerState]:
    if len({worker.worker_id for worker in workers}) != len(workers):
        raise ValueError("a worker_id stands there twice")
    return workers


def _loads_differ(rooms: list[RoomLoad]) -> list[RoomLoad]:
    if len({(room.room_id, room.worker_id) for room in rooms}) != len(rooms):
        raise ValueError("a room stands there twice for one worker")
    return rooms


class WorkerStatus(Wire):
    """The load of a server; `workers: []` says only that it lives (a successful probe)."""

    workers: Annotated[
        list[WorkerState], Field(max_length=WORKERS_MAX), AfterValidator(_states_differ)
    ]
    rooms: (
        Annotated[list[RoomLoad], Field(max_length=ROOMS_MAX), AfterValidator(_loads_differ)] | None
    ) = None
    complete: Flag = Field(
        False, description="true: `rooms` is all it has, taken atomically with the sequence"
    )

    @field_validator("complete")
    @classmethod
    def _complete_lists_rooms(cls, complete: bool, info: ValidationInfo) -> bool:
        # Read as "it has none", a forgotten list would end every room of the server.
        if complete and info.data.get("rooms", ()) is None:
            raise ValueError("a complete status must list its rooms, [] where it has none")
        return complete


EventData = (
    ServerRegistered
    | ServerDraining
    | ServerDeregistered
    | RoomCreated
    | RoomDeleted
    | WorkerStatus
)

EVENTS: dict[str, type[EventData]] = {
    "server-registered": ServerRegistered,
    "server-draining": ServerDraining,
    "server-deregistered": ServerDeregistered,
    "room-created": RoomCreated,
    "room-deleted": RoomDeleted,
    "worker-status": WorkerStatus,
}
EVENT_TYPES: dict[type[EventData], str] = {model: name for name, model in EVENTS.items()}
