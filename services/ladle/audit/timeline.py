"""What became of one room or one server: the records that changed it or speak of it, in order."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from ladle.audit.replay import Replay
from ladle.core.record import Entry, Kind, Record
from ladle.core.view import View
from ladle.journal.chain import Opened

ROUTINE = frozenset({"worker-status"})
"""Events that come every few seconds: told only where they changed something."""

Watched = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Happening:
    """One record. by: who asked, or which server said it. room_id, server_id: what it is found by.

    changed: field -> [before, after], of the room or server that the timeline is of.
    said: types of Ladle's own events and commands in it that are about the room or server.
    """

    offset: int
    recorded_at_ms: int
    what: str
    by: str | None
    room_id: str | None
    server_id: str | None
    status: str
    reason: str | None
    changed: dict[str, list[Any]]
    said: list[str]


def timeline(replay: Replay, name: str) -> Iterator[Happening]:
    """Of the room or server `name`, or of both where both are called so."""
    needle = orjson.dumps(name)
    before: Watched = {}
    for record, opened in replay.steps():
        after = watched(replay.view, name)
        if after != before:
            changed = {
                field: [before.get(field), after.get(field)]
                for field in {**after, **before}
                if before.get(field) != after.get(field)
            }
            yield _happening(record, opened, name, changed)
            before = after
        elif needle in record.body and not _is_routine(opened.entry):
            happening = _happening(record, opened, name, {})
            if happening.said or _is_about(record, opened.entry, name):
                yield happening


def watched(view: View, name: str) -> Watched:
    """What a person wants to see change, of the room and of the server called so."""
    found: Watched = {}
    room = view.rooms.get(name)
    if room is not None:
        numbers = view.home_of.get(name, ())
        routers = [view.routers[name, number] for number in numbers]
        found |= {
            "room": str(room.phase),
            "generation": room.generation,
            "allocation": room.allocation_id,
            "home": ", ".join(f"{each.server_id}/{each.worker_id or '-'}" for each in routers),
            "peers": room.peers,
        }
    server = view.servers.get(name)
    if server is not None:
        found |= {
            "liveness": str(server.liveness),
            "administration": str(server.administration),
            "incarnation": server.incarnation,
            "conflicting_with": server.conflicting_with,
        }
        for worker_id in view.workers_of.get(name, ()):
            found[f"worker {worker_id}"] = str(view.workers[name, worker_id].state)
    return found


def _is_routine(entry: Entry) -> bool:
    return entry.kind is Kind.STATUSES or entry.payload.get("type") in ROUTINE


def _is_about(record: Record, entry: Entry, name: str) -> bool:
    """The record is found by this name, or its payload names it as its subject."""
    return name in (record.room_id, record.server_id, entry.payload.get("source_server_id"))


def _happening(
    record: Record, opened: Opened, name: str, changed: dict[str, list[Any]]
) -> Happening:
    entry, outcome = opened.entry, opened.outcome
    payload, origin = entry.payload, entry.origin
    what = payload.get("type") or payload.get("operation") or record.kind
    asked_by = origin.get("on_behalf_of") or origin.get("user")
    return Happening(
        offset=record.offset,
        recorded_at_ms=record.recorded_at_ms,
        what=str(what),
        by=payload.get("source_server_id") or asked_by,
        room_id=record.room_id,
        server_id=record.server_id,
        status=_status(outcome),
        reason=outcome.get("reason"),
        changed=changed,
        said=[
            str(line["type"])
            for line in outcome.get("outbound", ())
            if name in (line["data"].get("room_id"), line.get("server_id"))
        ],
    )


def _status(outcome: dict[str, Any]) -> str:
    """What a caller was answered, where one was; else what became of the record."""
    reply = outcome.get("reply") or {}
    return str(reply.get("outcome") or outcome["status"])
