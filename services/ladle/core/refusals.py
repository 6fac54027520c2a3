"""Why no home was found, as callers get it: a code, a sentence, and what may be done about it."""

from collections.abc import Mapping
from typing import Any

from ladle.core.index import CONFLICTING, NO_WORKERS
from ladle.core.wish import Wish
from ladle.core.words import Administration, Code, Liveness

LABELS, REGIONS, AVOIDED, FULL = "labels", "regions", "avoided", "full"

NOT_SERVING = (
    Liveness.LOST,
    Liveness.STALE,
    Administration.DRAINING,
    Administration.DRAINED,
    CONFLICTING,
    NO_WORKERS,
)
"""Reasons before any wish is looked at."""

FULL_RETRY_MS = 2_000
"""Holds run out and rooms end all the time."""

AWAY_RETRY_MS = 5_000
"""A server says that it is there once in a status interval."""


def nothing_found(
    wish: Wish,
    servers: int,
    fell: Mapping[str, int],
    most_headroom: int | None,
    largest_capacity: int | None,
) -> dict[str, Any]:
    """The refusal where every server fell to some reason.

    servers: how many there were. fell: how many to each reason; together all of them.
    most_headroom: of a worker that only lacks capacity; None: there is none. largest_capacity: of
    any worker that passes labels and regions, whatever its state; None: there is none.
    """
    details = {"servers": servers} | {reason: fell[reason] for reason in sorted(fell)}
    details["largest_room_peers"] = 0 if most_headroom is None else wish.largest_room(most_headroom)
    serving = servers - sum(fell.get(reason, 0) for reason in NOT_SERVING)
    labelled = serving - fell.get(LABELS, 0)
    if largest_capacity is not None and wish.cost > largest_capacity:
        code, retry_ms, message = Code.ROOM_TOO_LARGE, None, _too_large(wish, largest_capacity)
    elif labelled == 0:
        code, retry_ms = Code.NO_SERVERS, AWAY_RETRY_MS
        message = f"{_no_server(wish)} up and open"
    elif labelled == fell.get(REGIONS, 0):
        code, retry_ms = Code.REGION_UNAVAILABLE, AWAY_RETRY_MS
        message = f"{_no_server(wish)} up, open and in {_listed(wish)}"
    else:
        code, retry_ms = Code.NO_CAPACITY, FULL_RETRY_MS
        message = f"no worker has {wish.cost} consumers of headroom{_where(wish)}"
    return _error(code, retry_ms, message, details)


def unknown_server(server_id: str) -> dict[str, Any]:
    """The refusal of a pin to a server that never registered, or was forgotten."""
    return _error(Code.UNKNOWN_SERVER, None, f"no server {server_id} has registered", {})


def beyond_its_router(wish: Wish, room_for: int, capacity: int) -> dict[str, Any]:
    """The refusal of more peers than the room's own worker has room for.

    room_for: consumers that this room may have there. What the whole worker could carry may fit
    later, once other rooms have ended.
    """
    retry_ms = FULL_RETRY_MS if wish.cost <= capacity else None
    message = (
        f"the room's worker has {max(0, room_for)} consumers for it, "
        f"{wish.peers} peers need {wish.cost}"
    )
    if wish.regions:
        message += f"; a room has one router, so nothing in {_listed(wish)} can add to it"
    details = {"servers": 1, FULL: 1, "largest_room_peers": wish.largest_room(room_for)}
    return _error(Code.ROOM_TOO_LARGE, retry_ms, message, details)


def _error(
    code: Code, retry_after_ms: int | None, message: str, details: dict[str, int]
) -> dict[str, Any]:
    return {
        "code": code.value,
        "retryable": retry_after_ms is not None,
        "retry_after_ms": retry_after_ms,
        "message": message,
        "details": details,
    }


def _too_large(wish: Wish, largest_capacity: int) -> str:
    return (
        f"a room of {wish.peers} peers needs {wish.cost} consumers, "
        f"the largest worker{_where(wish)} carries {largest_capacity}"
    )


def _no_server(wish: Wish) -> str:
    if wish.server_id is not None:
        return f"server {wish.server_id}{_labelled(wish)} is not"
    return f"no server{_labelled(wish)} is"


def _where(wish: Wish) -> str:
    """In which servers was looked, for the end of a clause; empty for all of them."""
    if wish.server_id is not None:
        return f" on {wish.server_id}"
    region = f" in {_listed(wish)}" if wish.regions and wish.require else ""
    return f"{region}{_labelled(wish)}"


def _listed(wish: Wish) -> str:
    return " or ".join(wish.regions)


def _labelled(wish: Wish) -> str:
    labels = ", ".join(f"{name}={value}" for name, value in sorted((wish.labels or {}).items()))
    return f" with {labels}" if labels else ""
