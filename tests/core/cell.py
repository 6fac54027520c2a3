"""A cell for tests: entries as the writer would make them, folded into a view.

Data goes through the contract's models, so that what reaches the core is what decoding gives.
Every entry is folded twice: `Cell.replay` folds them again into a fresh view.
"""

from collections.abc import Mapping
from typing import Any

from ladle.core.apply import apply
from ladle.core.record import Entry, Kind
from ladle.core.view import View
from ladle_contracts.events import EVENTS
from ladle_contracts.requests import OPERATIONS, digest_of_body

START_MS = 1_763_802_000_000
LIFE = START_MS - 60_000
"""The incarnation of servers in tests, unless they say otherwise."""

SERVER = {"host": "media.example.org", "region": "eu"}

Outcome = dict[str, Any]


class Cell:
    """One view, its clock and its journal. Time passes only by `wait`."""

    def __init__(self, *, caught_up: bool = True, **limits: Any) -> None:
        self.view = View()
        self.now_ms = START_MS
        self.journal: list[tuple[Entry, Outcome]] = []
        self.sequences: dict[tuple[str, int], int] = {}
        self.asked = 0
        if limits:
            self.fold(Kind.SETTINGS, limits)
        if caught_up:
            self.fold(Kind.CAUGHT_UP, {})

    def fold(
        self,
        kind: Kind,
        payload: Mapping[str, Any],
        *,
        origin: Mapping[str, Any] | None = None,
        inputs: Mapping[str, Any] | None = None,
    ) -> Outcome:
        """One record more."""
        offset = self.view.offset + 1
        entry = Entry(offset, self.now_ms, 1, kind, origin or {}, inputs or {}, payload)
        outcome = apply(self.view, entry)
        self.journal.append((entry, outcome))
        return outcome

    def replay(self) -> View:
        """The journal folded again, decisions taken from its outcomes; they must come out equal."""
        view = View()
        for entry, outcome in self.journal:
            assert apply(view, entry, outcome) == outcome
        return view

    def wait(self, duration_ms: int) -> Outcome:
        """Time passes; what is due by then happens in one tick."""
        self.now_ms += duration_ms
        return self.fold(Kind.TICK, {})

    # --- what servers say ------------------------------------------------------------------------

    def payload(
        self,
        kind: str,
        server_id: str,
        data: Mapping[str, Any],
        *,
        life: int | None = LIFE,
        sequence: int | None = 0,
        event_id: str | None = None,
    ) -> dict[str, Any]:
        """An event's payload. sequence: 0 = the next one in its life."""
        if sequence == 0 and life is not None:
            sequence = self.sequences.get((server_id, life), 0) + 1
        if sequence is not None and life is not None:
            before = self.sequences.get((server_id, life), 0)
            self.sequences[server_id, life] = max(before, sequence)
        model = EVENTS[kind].model_validate(data)
        return {
            "type": kind,
            "id": event_id or f"{server_id}-{life}-{sequence}-{self.view.offset}",
            "source_server_id": server_id,
            "incarnation": life,
            "sequence": sequence or None,
            "time_ms": None,
            "data": model.model_dump(mode="json"),
        }

    def event(self, kind: str, server_id: str, data: Mapping[str, Any], **more: Any) -> Outcome:
        return self.fold(Kind.EVENT, self.payload(kind, server_id, data, **more))

    def register(
        self,
        server_id: str,
        *,
        workers: Mapping[str, int] | int = 1,
        restarted: bool = False,
        life: int | None = LIFE,
        sequence: int | None = 0,
        **server: Any,
    ) -> Outcome:
        """workers: how many, or their capacities by id."""
        if isinstance(workers, int):
            workers = {str(number): 500 for number in range(workers)}
        data = {
            "server": {**SERVER, **server},
            "workers": [
                {"worker_id": name, "capacity_consumers": size} for name, size in workers.items()
            ],
            "restarted": restarted,
        }
        return self.event("server-registered", server_id, data, life=life, sequence=sequence)

    def created(
        self,
        room_id: str,
        server_id: str,
        *,
        worker_id: str | None = "0",
        allocation_id: str | None = None,
        expected_peers: int | None = None,
        **more: Any,
    ) -> Outcome:
        data = {
            "room_id": room_id,
            "worker_id": worker_id,
            "allocation_id": allocation_id,
            "expected_peers": expected_peers,
        }
        return self.event("room-created", server_id, data, **more)

    def deleted(
        self, room_id: str, server_id: str, *, allocation_id: str | None = None, **more: Any
    ) -> Outcome:
        data = {"room_id": room_id, "allocation_id": allocation_id}
        return self.event("room-deleted", server_id, data, **more)

    def status(
        self,
        server_id: str,
        *,
        workers: Mapping[str, Any] | None = None,
        rooms: Mapping[str, Any] | None = None,
        complete: bool = False,
        **more: Any,
    ) -> Outcome:
        """workers: {id: consumers, or fields of its state}; rooms: {id: consumers, or fields}."""
        return self.event(
            "worker-status", server_id, status_data(workers, rooms, complete=complete), **more
        )

    # --- what callers ask ------------------------------------------------------------------------

    def ask(self, operation: str, *, user: str = "app", **body: Any) -> Outcome:
        """request_id in `body` names the request; else it is new."""
        self.asked += 1
        request_id = body.pop("request_id", f"request-{self.asked}")
        model = OPERATIONS[operation].model_validate(body)
        payload = {
            "operation": operation,
            "request_id": request_id,
            "digest": digest_of_body(model),
            "body": model.model_dump(mode="json"),
        }
        inputs = {"room_id": f"made-{self.asked}"} if body.get("room_id") is None else {}
        return self.fold(Kind.REQUEST, payload, origin={"user": user}, inputs=inputs)

    def allocate(self, room_id: str | None = "room", **body: Any) -> dict[str, Any]:
        """The reply."""
        return self.ask("allocate", room_id=room_id, **body)["reply"]  # type: ignore[no-any-return]

    # --- what came of it -------------------------------------------------------------------------

    def phase(self, room_id: str = "room") -> str:
        row = self.view.rooms.get(room_id)
        return "nowhere" if row is None else str(row.phase)

    def home(self, room_id: str = "room") -> str | None:
        """The server of its first router."""
        row = self.view.routers.get((room_id, 0))
        return None if row is None else row.server_id

    def used(self, server_id: str, worker_id: str | None = "0") -> int:
        return self.view.loads.used(server_id, worker_id)


def status_data(
    workers: Mapping[str, Any] | None, rooms: Mapping[str, Any] | None, *, complete: bool = False
) -> dict[str, Any]:
    """The data of a worker-status, from what matters in a test."""
    idle = {"state": "running", "producers": 0, "rooms": 0, "cpu_permille": 0, "memory_bytes": 0}
    states = []
    for name, said in (workers or {}).items():
        fields = said if isinstance(said, dict) else {"consumers": said}
        states.append({"consumers": 0, **idle, **fields, "worker_id": name})
    data: dict[str, Any] = {"workers": states, "complete": complete}
    if rooms is not None:
        data["rooms"] = []
        for name, said in rooms.items():
            fields = said if isinstance(said, dict) else {"consumers": said}
            data["rooms"].append({"worker_id": "0", "peers": 2, **fields, "room_id": name})
    return data


def said(outcome: Outcome, what: str = "event") -> list[str]:
    """The types of own events (or commands) in the order in which they were said."""
    return [line["type"] for line in outcome["outbound"] if line["what"] == what]


def data_of(outcome: Outcome, kind: str) -> dict[str, Any]:
    """The data of the one outbound message of this type."""
    (line,) = [line for line in outcome["outbound"] if line["type"] == kind]
    return line["data"]  # type: ignore[no-any-return]
