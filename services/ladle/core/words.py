"""The words of the view: lives, phases, reasons. Values stand in tables and on the wire."""

from enum import StrEnum


class Liveness(StrEnum):
    """Is the server heard of? `stale`: nothing new there; `lost`: its active rooms are stranded."""

    UP = "up"
    STALE = "stale"
    LOST = "lost"


class Administration(StrEnum):
    """Does the server take new rooms? `drained`: it drains and has none left."""

    OPEN = "open"
    DRAINING = "draining"
    DRAINED = "drained"


class Phase(StrEnum):
    """Where a room is in its life; `nowhere` is a room without a row."""

    # That of its name, which an enumeration has, is slower, and finds no string that equals it.
    __hash__ = str.__hash__

    NOWHERE = "nowhere"
    HELD = "held"
    HELD_AGAIN = "held-again"
    ACTIVE = "active"
    ACTIVE_HELD = "active-held"
    STRANDED = "stranded"


class Code(StrEnum):
    """Why a request was refused; the wire's error codes."""

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
