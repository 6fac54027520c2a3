"""Answers of the reading operations, at the view's offset. They change nothing."""

from heapq import nsmallest
from typing import Any

from ladle.core import answer, damping
from ladle.core.administration import why_drained
from ladle.core.answer import Reply
from ladle.core.load import largest_room
from ladle.core.rows import Server
from ladle.core.view import View
from ladle.core.words import Code


def lookup(view: View, room_id: str) -> Reply:
    """A room's home and state; `unknown-room` where it has none."""
    if room_id not in view.rooms:
        return answer.refused(Code.UNKNOWN_ROOM, f"room {room_id} has no home")
    return answer.home(view, room_id)


def fleet_view(view: View, *, region: str | None = None, server_id: str | None = None) -> Reply:
    """Servers and their workers as the view has them, with sums over those that are answered.

    largest_room_peers is what fits on one of those; 0 where none takes anything. silent_ms is as of
    the view's last record. O(servers + workers).
    """
    if server_id is not None and server_id not in view.servers:
        return answer.refused(Code.UNKNOWN_SERVER, f"no server {server_id} has registered")
    servers = [
        _server(view, view.servers[name])
        for name in ([server_id] if server_id is not None else sorted(view.servers))
        if region is None or view.servers[name].region == region
    ]
    workers = [worker for server in servers for worker in server["workers"]]
    unassigned = sum(view.loads.used(server["server_id"], None) for server in servers)
    totals = {
        "servers": len(servers),
        "workers": len(workers),
        "rooms": sum(server["rooms"] for server in servers),
        "capacity": sum(worker["capacity"] for worker in workers),
        "observed": sum(worker["observed"] for worker in workers),
        # Rooms on servers that choose the worker themselves may be on none yet.
        "used": sum(worker["used"] for worker in workers) + unassigned,
    }
    return {
        "status": "ok",
        "offset": view.offset,
        "servers": servers,
        "totals": totals,
        "largest_room_peers": _largest_room(view, [server["server_id"] for server in servers]),
    }


def rooms(
    view: View,
    *,
    server_id: str | None = None,
    state: str | None = None,
    after: str | None = None,
    limit: int = 100,
) -> Reply:
    """A page of rooms in the order of their ids; `more` where another follows. O(rooms)."""
    if server_id is None:
        names = set(view.rooms)
    else:
        names = {key[0] for key in view.routers_on.get(server_id, ())}
    matching = (
        name
        for name in names
        if (after is None or name > after) and (state is None or view.rooms[name].phase == state)
    )
    page = nsmallest(limit + 1, matching)
    return {
        "status": "ok",
        "rooms": [_room(view, name) for name in page[:limit]],
        "more": len(page) > limit,
    }


def _largest_room(view: View, server_ids: list[str]) -> int:
    """The most peers for whom one of these servers has room now; 0 where none takes anything.

    Damped servers count: they can be had where no other one can.
    """
    standings = [
        index.standings[server_id]
        for index in (view.index, view.last_resort)
        for server_id in server_ids
        if server_id in index.standings
    ]
    headrooms = [standing.roomiest for standing in standings if standing.out is None]
    return largest_room(max(headrooms)) if headrooms else 0


def _server(view: View, server: Server) -> dict[str, Any]:
    server_id = server.server_id
    reason, by_ms = why_drained(server)
    return {
        "server_id": server_id,
        "liveness": str(server.liveness),
        "liveness_mode": server.liveness_mode,
        "administration": str(server.administration),
        "drain_reason": reason,
        "drain_by_ms": by_ms,
        "region": server.region,
        "incarnation": server.incarnation,
        "conflicting_with": server.conflicting_with,
        "share_permille": view.index.share_permille(server_id),
        **damping.told(view, server_id),
        "silent_ms": max(0, view.recorded_at_ms - server.heard_at_ms),
        "rooms": len({key[0] for key in view.routers_on.get(server_id, ())}),
        "workers": [
            _worker(view, server_id, worker_id) for worker_id in view.workers_of.get(server_id, ())
        ],
    }


def _worker(view: View, server_id: str, worker_id: str) -> dict[str, Any]:
    worker = view.workers[server_id, worker_id]
    used = view.loads.used(server_id, worker_id)
    return {
        "worker_id": worker_id,
        "state": worker.state,
        "capacity": worker.capacity,
        "observed": worker.observed,
        "used": used,
        "headroom": worker.capacity - used,
        "cpu_permille": worker.cpu_permille,
        "rooms": worker.rooms,
    }


def _room(view: View, room_id: str) -> dict[str, Any]:
    room = view.rooms[room_id]
    routers = [view.routers[room_id, number] for number in view.home_of[room_id]]
    return {
        "room_id": room_id,
        "room_state": str(room.phase),
        "server_id": routers[0].server_id,
        "worker_id": routers[0].worker_id,
        "allocation_id": room.allocation_id,
        "generation": room.generation,
        "peers": sum(router.peers_seen for router in routers),
        "consumers": sum(router.seen for router in routers),
        "reserved_consumers": sum(router.reserved for router in routers),
        "held_until_ms": room.held_until_ms,
    }
