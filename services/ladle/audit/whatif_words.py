"""What came in, in the words of the alternative world.

What a server says of a room counts where the room would be. Said by its home in what was, it is
left out here, and the room's life is followed instead (whatif_world.py); where the room has the
same home in both worlds, it passes as it came. What a server says of itself always passes, but
its consumers are those of the rooms that it would have.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ladle.audit.whatif_load import Shares
from ladle.core import stamps
from ladle.core.record import Entry, Kind
from ladle.core.rows import Router
from ladle.core.view import View

NOTHING: Mapping[str, Any] = {"workers": [], "rooms": None, "complete": False}
"""The data of a status that is a mere sign of life."""

Data = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Known:
    """What was known of a room when a server spoke of it, or a caller.

    home: None for a room that was nowhere. history: it had said something later of the room.
    remembered: the ids that had run out there, or were given back.
    """

    home: Router | None
    allocation_id: str | None
    generation: int | None
    history: bool
    remembered: tuple[str | None, str | None]


def home_of(view: View, room_id: str) -> Router | None:
    """The room's first router."""
    numbers = view.home_of.get(room_id)
    return None if numbers is None else view.routers[room_id, numbers[0]]


def remembered(view: View, room_id: str, server_id: str) -> tuple[str | None, str | None]:
    """Allocation ids of the room that ended on the server."""
    stamp = stamps.stamp_of(view, room_id, server_id)
    return stamp.expired_allocation_id, stamp.released_allocation_id


class Translator:
    """`note` before what was takes an entry, `translated` after. other: limits that differ."""

    def __init__(self, was: View, would: View, other: Collection[str]) -> None:
        self._was, self._would = was, would
        self._other = frozenset(other)
        self._shares = Shares(was, would)
        self._known: dict[str, Known] = {}
        self._life = (0, 0)
        self._at_home: frozenset[str] = frozenset()

    def note(self, entry: Entry) -> None:
        """What is known now of the rooms that the entry names."""
        self._known.clear()
        payload = entry.payload
        if entry.kind is Kind.REQUEST:
            room_id = payload["body"].get("room_id")
            if room_id is not None:
                self._known[room_id] = self._knowledge(room_id, "")
        elif entry.kind is Kind.EVENT:
            server_id = payload["source_server_id"]
            server = self._was.servers.get(server_id)
            life = 0 if server is None else server.incarnation
            self._life = (payload["incarnation"] or life, payload["sequence"] or entry.offset)
            for room_id in _rooms_of(payload):
                self._known[room_id] = self._knowledge(room_id, server_id)
            if payload["type"] == "worker-status" and payload["data"]["rooms"] is not None:
                there = self._was.routers_on.get(server_id, ())
                self._at_home = frozenset(room_id for room_id, _ in there)

    def _knowledge(self, room_id: str, server_id: str) -> Known:
        view = self._was
        row = view.rooms.get(room_id)
        return Known(
            home_of(view, room_id),
            None if row is None else row.allocation_id,
            None if row is None else row.generation,
            stamps.is_history(view, room_id, server_id, self._life),
            remembered(view, room_id, server_id),
        )

    def translated(self, entry: Entry) -> Entry:
        """The entry as the alternative world would have got it."""
        payload = entry.payload
        if entry.kind is Kind.EVENT:
            return entry._replace(payload=self._event(payload))
        if entry.kind is Kind.STATUSES:
            self._shares.begin()
            statuses = [self._shares.packed(packed) for packed in payload["statuses"]]
            return entry._replace(payload={**payload, "statuses": statuses})
        if entry.kind is Kind.REQUEST:
            return entry._replace(payload=self._request(payload))
        if entry.kind is Kind.SETTINGS:
            kept = {name: value for name, value in payload.items() if name not in self._other}
            return entry._replace(payload=kept)
        return entry

    # --- requests --------------------------------------------------------------------------------

    def _request(self, payload: Data) -> Data:
        """Who named the home that the room had then means the one that it would have."""
        body = payload["body"]
        known = self._known.get(body.get("room_id"))
        mine = self._would.rooms.get(body.get("room_id"))
        if known is None or mine is None:
            return payload
        if payload["operation"] == "move" and body["if_generation"] == known.generation:
            return {**payload, "body": {**body, "if_generation": mine.generation}}
        if payload["operation"] == "release" and body["allocation_id"] == known.allocation_id:
            return {**payload, "body": {**body, "allocation_id": mine.allocation_id}}
        return payload

    # --- what servers say ------------------------------------------------------------------------

    def _event(self, payload: Data) -> Data:
        server_id, data = payload["source_server_id"], payload["data"]
        if payload["type"] == "room-created":
            passes = self._lives_here(data["room_id"], server_id)
            told = self._told(data, server_id) if passes else None
        elif payload["type"] == "room-deleted":
            passes = self._ends_here(data["room_id"], server_id)
            told = self._told(data, server_id) if passes else None
        elif payload["type"] == "worker-status":
            self._shares.begin()
            told = self._status(data, server_id)
        else:
            return payload
        if told is None:
            return {**payload, "type": "worker-status", "data": NOTHING}
        return {**payload, "data": told}

    def _lives_here(self, room_id: str, server_id: str) -> bool:
        """Does it mean the same in both worlds that this server has the room?"""
        known, mine = self._known[room_id], _server_of(home_of(self._would, room_id))
        theirs = _server_of(known.home)
        if known.history and stamps.is_history(self._would, room_id, server_id, self._life):
            return True
        if theirs == server_id:
            return mine == server_id
        if known.history or mine != theirs:
            return False
        return known.remembered == remembered(self._would, room_id, server_id)

    def _ends_here(self, room_id: str, server_id: str) -> bool:
        """Is it not the room's home of this world whose former copy has ended?"""
        known = self._known[room_id]
        if known.history:
            return stamps.is_history(self._would, room_id, server_id, self._life)
        mine = _server_of(home_of(self._would, room_id))
        return mine != server_id or _server_of(known.home) == server_id

    def _told(self, data: Data, server_id: str) -> Data:
        """With the worker and the allocation that the room has in this world."""
        known, mine = self._known[data["room_id"]], home_of(self._would, data["room_id"])
        if known.home is None or mine is None or known.home.server_id != mine.server_id:
            return data
        told = dict(data)
        named = told.get("allocation_id")
        if named is not None and named == known.allocation_id:
            told["allocation_id"] = self._would.rooms[data["room_id"]].allocation_id
        elif named is not None and named == known.home.named_allocation_id:
            told["allocation_id"] = mine.named_allocation_id
        at_home = mine.server_id == server_id
        if at_home and "worker_id" in told and told["worker_id"] == known.home.worker_id:
            told["worker_id"] = mine.worker_id or ""
        return told

    def _status(self, data: Data, server_id: str) -> Data:
        """Its workers with the load of the rooms that they would have, and these rooms."""
        workers = self._shares.workers(server_id, data["workers"])
        if data["rooms"] is None:
            return {**data, "workers": workers}
        listed = [
            self._told(said, server_id)
            for said in data["rooms"]
            if self._lives_here(said["room_id"], server_id)
        ]
        # One that was at home here and is not listed has ended, and does so in this world.
        named = {said["room_id"] for said in listed}
        listed += self._shares.guests(server_id, self._at_home | named)
        return {**data, "workers": workers, "rooms": listed}


def _rooms_of(payload: Data) -> list[str]:
    data = payload["data"]
    if payload["type"] in ("room-created", "room-deleted"):
        return [data["room_id"]]
    if payload["type"] == "worker-status":
        return [said["room_id"] for said in data["rooms"] or ()]
    return []


def _server_of(router: Router | None) -> str | None:
    return None if router is None else router.server_id
