"""Replies as the journal keeps them: integers for times, no term, no secret.

The writer makes the wire's reply of them: it adds term and journal_offset, renders times.
"""

from typing import Any

from ladle.core.rows import Router, Server
from ladle.core.view import View
from ladle.core.words import Code

Reply = dict[str, Any]


def home(view: View, room_id: str) -> Reply:
    """Where the room is and what is reserved for it; the room must be somewhere."""
    room = view.rooms[room_id]
    routers = [view.routers[room_id, number] for number in view.home_of[room_id]]
    return {
        "status": "ok",
        "room_id": room_id,
        "allocation_id": room.allocation_id,
        "generation": room.generation,
        "held_until_ms": room.held_until_ms,
        "reserved_peers": room.peers,
        "reserved_consumers": room.reserved,
        "room_state": str(room.phase),
        "server": _server(view.servers[routers[0].server_id], routers[0]),
        "routers": [
            {"router": row.router, "server_id": row.server_id, "worker_id": row.worker_id}
            for row in routers
        ],
        "pipes": [],
    }


def placed(
    view: View, room_id: str, outcome: str, *, fits: bool = True, region_fallback: bool = False
) -> Reply:
    """Answer of allocate, extend and move: `placed`, `existing` or `moved`."""
    reply = home(view, room_id)
    reply["outcome"] = outcome
    reply["fits"] = fits
    reply["region_fallback"] = region_fallback
    return reply


def refused(
    code: Code,
    message: str,
    *,
    retry_after_ms: int | None = None,
    details: dict[str, Any] | None = None,
) -> Reply:
    """An error; one that says when to retry is retryable."""
    return {
        "status": "error",
        "error": {
            "code": str(code),
            "retryable": retry_after_ms is not None,
            "retry_after_ms": retry_after_ms,
            "message": message,
            "details": details or {},
        },
    }


def _server(server: Server, router: Router) -> Reply:
    """Where to connect, with the signalling URL of the room."""
    url = server.ws_url_template
    if not url:
        url = f"wss://{server.host}:{server.port}/?roomId={router.room_id}"
    else:
        values = {"host": server.host, "port": str(server.port), "room_id": router.room_id}
        for name, value in values.items():
            url = url.replace(f"{{{name}}}", value)
    return {
        "server_id": server.server_id,
        "worker_id": router.worker_id,
        "host": server.host,
        "port": server.port,
        "region": server.region,
        "liveness": str(server.liveness),
        "ws_url": url,
    }
