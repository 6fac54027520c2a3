"""What Ladle answers: one model for each kind of success, one for every refusal."""

from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from ladle_contracts.fields import (
    AllocationId,
    Count,
    CpuPermille,
    DurationMs,
    Flag,
    Generation,
    Host,
    Int,
    KnownIncarnation,
    Offset,
    Permille,
    Port,
    Region,
    RequestId,
    Rfc3339,
    RoomId,
    ServerId,
    Text,
    UnixMs,
    Url,
    Wire,
    WorkerId,
)

RoomState = Literal["nowhere", "held", "held-again", "active", "active-held", "stranded"]
Liveness = Literal["up", "stale", "lost"]
Administration = Literal["open", "draining", "drained"]

JsonObject = dict[str, Any]


class ErrorCode(StrEnum):
    """Why a request was refused. Values stand on the wire."""

    INVALID_REQUEST = "invalid-request"
    UNKNOWN_OPERATION = "unknown-operation"
    NO_SERVERS = "no-servers"
    NO_CAPACITY = "no-capacity"
    ROOM_TOO_LARGE = "room-too-large"
    REGION_UNAVAILABLE = "region-unavailable"
    UNKNOWN_ROOM = "unknown-room"
    UNKNOWN_SERVER = "unknown-server"
    STALE_GENERATION = "stale-generation"
    CONFLICT = "conflict"
    FORBIDDEN = "forbidden"
    NOT_OWNER = "not-owner"
    RATE_LIMITED = "rate-limited"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


class Reply(Wire):
    """Base of every success: which writer answered, and at which journal offset.

    A write's offset is its record's; a read's is the view's. The offset orders answers.
    """

    status: Literal["ok"] = "ok"
    term: Count = Field(description="the writer's term; grows with each take-over")
    journal_offset: Offset


class HomeServer(Wire):
    """Where to connect: the server of the room's first router."""

    server_id: ServerId
    worker_id: WorkerId | None = Field(None, description="None where the server chooses")
    host: Host
    port: Port
    region: Region | None = None
    liveness: Liveness
    ws_url: Url | None = Field(None, description="the signalling URL for this room")


class HomeRouter(Wire):
    """One router of the room's home; 0 is the first."""

    router: Count
    server_id: ServerId
    worker_id: WorkerId | None = None


class Pipe(Wire):
    """Two routers of a home that are joined."""

    from_router: Count
    to_router: Count


class IceServer(Wire):
    """As in WebRTC's RTCIceServer. Made when the reply is sent; never journaled."""

    urls: list[Url]
    username: Text | None = None
    credential: Text | None = None


class _Home(Reply):
    room_id: RoomId
    allocation_id: AllocationId
    generation: Generation
    held_until: Rfc3339 | None = Field(None, description="None: no hold runs on it")
    reserved_peers: Count
    reserved_consumers: Count
    room_state: RoomState
    server: HomeServer
    routers: list[HomeRouter]
    pipes: list[Pipe] = Field(default_factory=list)


class PlacedReply(_Home):
    """Answer of allocate, extend and move: the room's home."""

    outcome: Literal["placed", "existing", "moved"]
    fits: Flag = Field(True, description="false: more peers were asked for than its worker carries")
    region_fallback: Flag = Field(
        False, description="true: regions were listed, and the home is in none of them"
    )
    ice_servers: list[IceServer] = Field(default_factory=list)


class LookupReply(_Home):
    """Answer of lookup: home and state. A room without a home is `unknown-room`."""


class ReleaseReply(Reply):
    """Answer of release: `room_state` afterwards; an active room is being closed."""

    room_id: RoomId
    allocation_id: AllocationId
    room_state: RoomState


class DrainReply(Reply):
    """Answer of drain and undrain: `rooms` are still there."""

    server_id: ServerId
    administration: Administration
    rooms: Count


class WorkerView(Wire):
    """A worker in the view; consumers throughout."""

    worker_id: WorkerId
    state: Literal["running", "died"]
    capacity: Count
    observed: Count
    used: Count
    headroom: Int = Field(description="capacity - used; below zero where rooms outgrew it")
    cpu_permille: CpuPermille
    rooms: Count


class ServerView(Wire):
    """A server in the view."""

    server_id: ServerId
    liveness: Liveness
    liveness_mode: Literal["heartbeat", "probe"] = Field(
        "heartbeat", description="it speaks by itself, or somebody probes it and reports"
    )
    administration: Administration
    drain_reason: Text | None = Field(None, description="why it takes nothing new, as it was said")
    drain_by_ms: UnixMs | None = Field(None, description="when it should be empty, Unix ms")
    region: Region | None = None
    incarnation: KnownIncarnation | None = None
    conflicting_with: ServerId | None = Field(
        None, description="the server that had its media or TURN ports first: nothing new here"
    )
    share_permille: Permille | None = Field(
        None, description="in slow start: the part of a whole share of the load that it gets"
    )
    flaps: Count = Field(0, description="returns from lost and restarts, not forgiven yet")
    damped_until_ms: UnixMs | None = Field(
        None, description="it flapped too often: until then others get new rooms first, Unix ms"
    )
    silent_ms: DurationMs
    rooms: Count
    workers: list[WorkerView]


class ViewTotals(Wire):
    """Sums over the servers of the answer."""

    servers: Count
    workers: Count
    rooms: Count
    capacity: Count
    observed: Count
    used: Count


class ViewReply(Reply):
    """Answer of view; `largest_room_peers` fits on one of these servers now, 0: nothing does."""

    offset: Offset
    servers: list[ServerView]
    totals: ViewTotals
    largest_room_peers: Count


class RoomEntry(Wire):
    """A room in a page of rooms."""

    room_id: RoomId
    room_state: RoomState
    server_id: ServerId
    worker_id: WorkerId | None = None
    allocation_id: AllocationId
    generation: Generation
    peers: Count = Field(0, description="as last reported")
    consumers: Count = Field(0, description="as last reported")
    reserved_consumers: Count = 0
    held_until: Rfc3339 | None = None


class RoomsReply(Reply):
    """Answer of rooms; ask again with `after` = the last room_id while `more`."""

    rooms: list[RoomEntry]
    more: Flag = False


class DecisionRecord(Wire):
    """A placement decision; `decision` holds policy, scores and the counts of reasons."""

    offset: Offset
    recorded_at: Rfc3339
    operation: Text
    request_id: RequestId | None = None
    room_id: RoomId | None = None
    outcome: Text | None = Field(None, description="placed, existing, moved, or an error code")
    server_id: ServerId | None = None
    worker_id: WorkerId | None = None
    decision: JsonObject | None = None


class DecisionsReply(Reply):
    """Answer of decisions; ask again with `after_offset` = `next_offset` while `more`."""

    decisions: list[DecisionRecord]
    next_offset: Offset = 0
    more: Flag = False


class HistoryRecord(Wire):
    """A journal record as people read it; the exact bytes are the audit's."""

    offset: Offset
    recorded_at: Rfc3339
    term: Count
    kind: Text
    what: Text | None = Field(None, description="the event's type or the request's operation")
    status: Text | None = Field(None, description="applied, ignored or refused")
    reason: Text | None = Field(
        None, description="why it was ignored or refused; else the reason that its sender gave"
    )
    room_id: RoomId | None = None
    server_id: ServerId | None = None
    hash: Text | None = None
    payload: JsonObject | None = None


class HistoryReply(Reply):
    """Answer of history; ask again with `after_offset` = `next_offset` while `more`."""

    records: list[HistoryRecord]
    next_offset: Offset = 0
    more: Flag = False


class ExplainReply(Reply):
    """Answer of explain: sentences for people, and the decision that they come from."""

    room_id: RoomId
    generation: Generation | None = None
    lines: list[str]
    decided: DecisionRecord | None = None


class ErrorBody(Wire):
    """A refusal: a code for programs, a sentence for people."""

    code: ErrorCode
    retryable: Flag = Field(description="the same request may succeed later")
    retry_after_ms: DurationMs | None = None
    message: str = Field(strict=True, max_length=2048)
    details: JsonObject = Field(default_factory=dict)


class ErrorReply(Wire):
    """Every answer that is not a success; journaled refusals carry term and offset."""

    status: Literal["error"] = "error"
    error: ErrorBody
    term: Count | None = None
    journal_offset: Offset | None = None


AnyReply = Reply | ErrorReply
