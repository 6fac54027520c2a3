"""What of a server's events has arrived: all up to the watermark, and ranges above it.

Only a member of that set is a duplicate: a late event fills its hole and still counts. A request
is a repetition of another with the same key, while that is remembered.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from ladle.core.record import canonical
from ladle.core.rows import Request, Server, changed
from ladle.core.view import View

RANGES_MAX = 256
"""More holes than this, and the oldest is taken as filled: the row stays small whatever comes."""

Ranges = list[list[int]]


def is_duplicate_event(view: View, payload: Mapping[str, Any], offset_now: int) -> bool:
    """Has this event been recorded? Asked before it gets the offset `offset_now`; O(holes)."""
    server = view.servers.get(payload["source_server_id"])
    incarnation, sequence = payload["incarnation"], payload["sequence"]
    if incarnation is None or sequence is None:
        return event_key(payload) in view.events_seen
    if server is None or incarnation != server.incarnation or not server.sequenced:
        return False
    return is_received(server, sequence) and not _is_late(server, payload["type"], sequence)


def recorded_request(view: View, user: str, operation: str, request_id: str) -> Request | None:
    """The request with this key, while it is remembered; its digest says whether it is the same."""
    return view.requests.get((user, operation, request_id))


def event_key(payload: Mapping[str, Any]) -> str:
    """The key under which an event without a sequence is remembered."""
    return f"{payload['source_server_id']} {payload['id']}"


def is_received(server: Server, sequence: int) -> bool:
    """Is it in the set of this incarnation?"""
    if sequence <= server.watermark:
        return True
    if server.received_above == "[]":
        return False
    return any(first <= sequence <= last for first, last in orjson.loads(server.received_above))


def highest_received(server: Server) -> int:
    """The largest sequence of this incarnation that was heard; 0 where none was."""
    if server.received_above == "[]":
        return server.watermark
    return int(orjson.loads(server.received_above)[-1][1])


def _is_late(server: Server, kind: str, sequence: int) -> bool:
    """A complete status closes holes for rooms and load; what else fell into one still counts."""
    if kind in ("server-draining", "server-deregistered"):
        return sequence > server.admin_sequence
    return kind == "server-registered" and sequence > server.registered_sequence


def receive(server: Server, sequence: int, now_ms: int, hole_ms: int) -> Server:
    """The server with this event received; a first hole starts the clock for a report."""
    if sequence == server.watermark + 1 and server.received_above == "[]":
        return changed(server, watermark=sequence)
    if is_received(server, sequence):
        return server
    ranges: Ranges = orjson.loads(server.received_above)
    ranges = _joined(sorted([*ranges, [sequence, sequence]]))
    watermark = server.watermark
    if len(ranges) > RANGES_MAX:
        watermark = ranges[0][0] - 1
    return _with_ranges(server, watermark, ranges, now_ms, hole_ms)


def close_holes(server: Server, sequence: int, now_ms: int, hole_ms: int) -> Server:
    """A complete status said all that the events below it could say."""
    if sequence <= server.watermark:
        return server
    ranges: Ranges = orjson.loads(server.received_above)
    return _with_ranges(server, sequence, ranges, now_ms, hole_ms)


def _with_ranges(
    server: Server, watermark: int, ranges: Ranges, now_ms: int, hole_ms: int
) -> Server:
    """What touches the watermark joins it; what is left above it shows a hole."""
    while ranges and ranges[0][0] <= watermark + 1:
        watermark = max(watermark, ranges.pop(0)[1])
    if not ranges:
        return changed(
            server,
            watermark=watermark,
            received_above="[]",
            hole_since_ms=None,
            report_due_ms=None,
            report_tries=0,
        )
    is_new = server.hole_since_ms is None
    return changed(
        server,
        watermark=watermark,
        received_above=canonical(ranges).decode(),
        hole_since_ms=now_ms if is_new else server.hole_since_ms,
        report_due_ms=now_ms + hole_ms if is_new else server.report_due_ms,
    )


def _joined(ranges: Ranges) -> Ranges:
    """Ascending ranges, adjacent ones made one."""
    joined: Ranges = []
    for first, last in ranges:
        if joined and first <= joined[-1][1] + 1:
            joined[-1][1] = max(joined[-1][1], last)
        else:
            joined.append([first, last])
    return joined
