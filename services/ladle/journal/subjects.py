"""Which room and server a record is found by: copies of what its body says, not under the hash."""

from collections.abc import Mapping
from typing import Any

from ladle.core.record import Entry


def subjects(entry: Entry, outcome: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The room and the server that a record is about, for the journal's look-up columns."""
    payload = entry.payload
    data = payload.get("data") or payload.get("body") or {}
    room_id = data.get("room_id") or entry.inputs.get("room_id")
    server_id = payload.get("source_server_id") or data.get("server_id")
    reply = outcome.get("reply")
    if reply:
        room_id = reply.get("room_id") or room_id
        server = reply.get("server")
        if server:
            server_id = server.get("server_id") or server_id
    return room_id, server_id
