"""What a `worker-status` does: load, rooms that are listed, and those that a complete one omits."""

from collections.abc import Mapping
from typing import Any

from ladle.core import received, registration, room
from ladle.core.case import Told
from ladle.core.rows import Worker, changed
from ladle.core.stamps import Life
from ladle.core.step import Step

Data = Mapping[str, Any]


def status(step: Step, server_id: str, life: Life, data: Data) -> str | None:
    """The load of a server's workers, and its rooms. Returns why it was ignored, or None.

    O(workers and rooms in it), and a complete one also O(rooms that its server has).
    """
    server = step.view.servers[server_id]
    if data["complete"] and life[1] <= server.complete_sequence:
        return "older-than-complete"
    lists = data["rooms"] is not None
    for worker in sorted(data["workers"], key=lambda worker: str(worker["worker_id"])):
        known = step.view.workers.get((server_id, worker["worker_id"]))
        if known is None:
            registration.ask(step, server_id, incarnation=life[0])
        elif life[1] > known.status_sequence:
            _load(step, known, life, worker, lists)
    rooms = _by_room(server_id, life, data["rooms"] or ())
    for room_id in sorted(rooms):
        room.listed(step, rooms[room_id], room_id)
    if data["complete"]:
        room.unlisted(step, server_id, life, set(rooms))
        _complete(step, server_id, life)
    return None


def _load(step: Step, known: Worker, life: Life, said: Data, lists: bool) -> None:
    """One worker's numbers; one that died has none, and one that runs again begins empty."""
    if said["state"] == "died":
        if known.state != "died":
            registration.kill(step, known, life[1])
        return
    # A status says nearly all columns: `changed` would copy first what is then replaced.
    step.view.put(
        Worker(
            known.server_id,
            known.worker_id,
            state="running",
            capacity=known.capacity,
            observed=said["consumers"],
            producers=said["producers"],
            rooms=said["rooms"],
            cpu_permille=said["cpu_permille"],
            memory_bytes=said["memory_bytes"],
            incarnation=known.incarnation,
            status_sequence=life[1],
            status_offset=step.offset,
            lists_rooms=int(lists),
        )
    )


def _by_room(server_id: str, life: Life, rooms: Any) -> dict[str, Told]:
    """What is said of each room; a room on two workers of one server is one room."""
    told: dict[str, Told] = {}
    for said in sorted(rooms, key=lambda said: (said["room_id"], said["worker_id"])):
        room_id = said["room_id"]
        before = told.get(room_id)
        told[room_id] = Told(
            server_id,
            life,
            before.worker_id if before else said["worker_id"],
            before.allocation_id if before else said["allocation_id"],
            peers=said["peers"] + (before.peers or 0 if before else 0),
            seen=said["consumers"] + (before.seen or 0 if before else 0),
        )
    return told


def _complete(step: Step, server_id: str, life: Life) -> None:
    """Nothing below it is missing any more."""
    view = step.view
    server = view.servers[server_id]
    if server.sequenced:
        server = received.close_holes(server, life[1], step.now_ms, view.limits.hole_ms)
    view.put(changed(server, complete_sequence=life[1], lists_rooms=1))
