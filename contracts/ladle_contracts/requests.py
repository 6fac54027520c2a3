"""What backends ask: the body of each operation, and all that stands in answers.

The operation is the routing key on the exchange `placement.requests`; the header `request_id` makes
a retry safe. Replies stand in replies.py and are named here too.
"""

import hashlib
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo
from pydantic_core import to_json

from ladle_contracts.fields import (
    AllocationId,
    Generation,
    Labels,
    Metadata,
    Offset,
    PageLimit,
    Peers,
    Publishers,
    Region,
    RoomId,
    ServerId,
    Streams,
    Text,
    TtlMs,
    UnixMs,
    Wire,
)
from ladle_contracts.replies import (
    AnyReply,
    DecisionRecord,
    DecisionsReply,
    DrainReply,
    ErrorCode,
    ErrorReply,
    ExplainReply,
    HistoryRecord,
    HistoryReply,
    LookupReply,
    PlacedReply,
    ReleaseReply,
    Reply,
    RoomsReply,
    RoomState,
    ViewReply,
)

Avoid = Annotated[
    list[ServerId], Field(max_length=16, description="servers not to place on, e.g. just tried")
]
Regions = Annotated[
    list[Region], Field(max_length=16, description="in order of preference; empty: any")
]


def _are_peers(publishers: int | None, info: ValidationInfo) -> int | None:
    # `peers` is missing here where it was refused itself.
    if publishers is not None and publishers > info.data.get("peers", publishers):
        raise ValueError(f"must be <= peers, which is {info.data['peers']}")
    return publishers


SomePeers = Annotated[
    Publishers | None,
    AfterValidator(_are_peers),
    Field(description="how many of the peers send; all unless said"),
]


class Allocate(Wire):
    """The room's home: the one it has, or a new one. Without `room_id` Ladle makes one."""

    room_id: RoomId | None = None
    peers: Peers = 2
    publishers: SomePeers = None
    streams_per_publisher: Streams = 2
    regions: Regions = Field(default_factory=list)
    region_mode: Literal["prefer", "require"] = Field(
        "prefer", description="prefer tries the other regions last; require never"
    )
    labels: Labels = Field(default_factory=dict)
    server_id: ServerId | None = Field(None, description="only this server will do")
    avoid: Avoid = Field(default_factory=list)
    ttl_ms: TtlMs | None = Field(None, description="how long the home is held, ms; 30 s unless set")
    metadata: Metadata = Field(default_factory=dict)


class Extend(Wire):
    """Room for more peers; `peers` is absolute, and the largest ever asked for wins."""

    room_id: RoomId
    peers: Peers
    publishers: SomePeers = None
    regions: Regions = Field(
        default_factory=list,
        description="where routers may be added; a room has one, which stays where it is",
    )


class Move(Wire):
    """Another home for the room, if it still is at `if_generation`."""

    room_id: RoomId
    if_generation: Generation
    reason: Text
    avoid: Avoid = Field(default_factory=list)


class Release(Wire):
    """End an unconfirmed hold; tell an active room's server to close it."""

    room_id: RoomId
    allocation_id: AllocationId


class Drain(Wire):
    """Nothing new on this server; outlives its restarts until `undrain`."""

    server_id: ServerId
    reason: Text | None = Field(None, description="told to the server; stands in view and history")
    drain_by_ms: UnixMs | None = Field(
        None, description="when it should be empty, Unix ms; told to the server, enforced by nobody"
    )


class Undrain(Wire):
    """New rooms on this server again."""

    server_id: ServerId
    reason: Text | None = Field(None, description="why; stands in the history")


class Read(Wire):
    """Base of reading operations: answered at a committed offset, by any placement process."""

    min_offset: Offset = Field(
        0, description="answer from a view at least this new, e.g. of an answer's journal_offset"
    )


class Lookup(Read):
    """A room's home and state."""

    room_id: RoomId


class ViewQuery(Read):
    """The load view, or a part of it."""

    region: Region | None = None
    server_id: ServerId | None = None
    at_offset: Offset | None = Field(None, description="the view as it was; the latest unless set")


class RoomsQuery(Read):
    """A page of rooms in the order of their ids."""

    server_id: ServerId | None = None
    state: RoomState | None = None
    after: RoomId | None = Field(None, description="the last room_id of the page before")
    limit: PageLimit = 100


class _Records(Read):
    after_offset: Offset = 0
    limit: PageLimit = 100
    room_id: RoomId | None = None
    server_id: ServerId | None = None


class DecisionsQuery(_Records):
    """A page of placement decisions in journal order."""


class HistoryQuery(_Records):
    """A page of journal records in order."""


class Explain(Read):
    """Why a room is where it is; the present generation unless one is named."""

    room_id: RoomId
    generation: Generation | None = None


Body = (
    Allocate
    | Extend
    | Move
    | Release
    | Drain
    | Undrain
    | Lookup
    | ViewQuery
    | RoomsQuery
    | DecisionsQuery
    | HistoryQuery
    | Explain
)

WRITES: dict[str, type[Body]] = {
    "allocate": Allocate,
    "extend": Extend,
    "move": Move,
    "release": Release,
    "drain": Drain,
    "undrain": Undrain,
}
READS: dict[str, type[Body]] = {
    "lookup": Lookup,
    "view": ViewQuery,
    "rooms": RoomsQuery,
    "decisions": DecisionsQuery,
    "history": HistoryQuery,
    "explain": Explain,
}
OPERATIONS: dict[str, type[Body]] = WRITES | READS
OPERATION_NAMES: dict[type[Body], str] = {model: name for name, model in OPERATIONS.items()}

REPLIES: dict[str, type[Reply]] = {
    "allocate": PlacedReply,
    "extend": PlacedReply,
    "move": PlacedReply,
    "release": ReleaseReply,
    "drain": DrainReply,
    "undrain": DrainReply,
    "lookup": LookupReply,
    "view": ViewReply,
    "rooms": RoomsReply,
    "decisions": DecisionsReply,
    "history": HistoryReply,
    "explain": ExplainReply,
}
"""What an operation answers when it succeeds; ErrorReply otherwise."""


def digest_of_body(body: Body) -> str:
    """SHA-256 of the canonical JSON of what the caller set to other than the default, hex.

    Two bodies that mean the same have the same digest, whatever the order of their fields; and a
    field that a newer version adds does not change the digest of a request that is being retried.
    """
    said = body.model_dump(mode="json", exclude_defaults=True)
    # Sorted by hand, for pydantic's encoder does not sort and is four times as fast as json's.
    text = to_json({name: _sorted(said[name]) for name in sorted(said)})
    return hashlib.sha256(text).hexdigest()


def _sorted(value: Any) -> Any:
    """Labels and metadata are the only maps in a body; what they hold is flat."""
    return dict(sorted(value.items())) if type(value) is dict else value


__all__ = [
    "OPERATIONS",
    "OPERATION_NAMES",
    "READS",
    "REPLIES",
    "WRITES",
    "Allocate",
    "AnyReply",
    "Avoid",
    "Body",
    "DecisionRecord",
    "DecisionsQuery",
    "DecisionsReply",
    "Drain",
    "DrainReply",
    "ErrorCode",
    "ErrorReply",
    "Explain",
    "ExplainReply",
    "Extend",
    "HistoryQuery",
    "HistoryRecord",
    "HistoryReply",
    "Lookup",
    "LookupReply",
    "Move",
    "PlacedReply",
    "Read",
    "Regions",
    "Release",
    "ReleaseReply",
    "Reply",
    "RoomState",
    "RoomsQuery",
    "RoomsReply",
    "Undrain",
    "ViewQuery",
    "ViewReply",
    "digest_of_body",
]
