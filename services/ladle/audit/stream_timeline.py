"""What was said of one room or one server on the broker's stream, in the order of the stream."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ladle.audit.said import Said, said_of
from ladle_contracts.events import WorkerStatus
from ladle_contracts.link import Message
from ladle_contracts.topology import Topology

SAID = ("server_id", "from_server_id", "home_server_id", "worker_id", "generation", "allocation_id")
"""Fields of what was said that a timeline tells, beside the reason."""


@dataclass(frozen=True, slots=True)
class Word:
    """One saying. by: the server; None for Ladle itself. identity: of each copy of it the same.

    told: what it says of the room or server, field by field. is_copy: it was heard before.
    """

    position: int
    time_ms: int | None
    what: str
    by: str | None
    identity: str
    room_id: str | None
    reason: str | None
    is_copy: bool
    told: dict[str, Any] = field(default_factory=dict)


class StreamTimeline:
    """`hear` the stream's messages in order; each gives what a person wants to see of `name`.

    Memory grows with what is told, not with the stream.
    """

    def __init__(self, topology: Topology, name: str) -> None:
        self._topology = topology
        self._name = name
        self._heard: set[str] = set()
        self._status: dict[str, dict[str, Any]] = {}

    def hear(self, position: int, message: Message) -> Iterator[Word]:
        """Nothing where it is about something else; a status, only where it says what is new."""
        said = said_of(position, message, self._topology)
        if said is None or said.event is None or said.identity is None:
            return
        if isinstance(said.event.data, WorkerStatus):
            told = self._news(said, said.event.data)
            if told:
                yield self._word(said, told)
        elif said.is_about(self._name, None) or said.is_about(None, self._name):
            told = {name: said.data[name] for name in SAID if name in said.data}
            if said.event.type == "room-deleted":
                self._status.pop(said.by or "", None)  # That no status lists it is no news.
            yield self._word(said, told)

    def _word(self, said: Said, told: dict[str, Any]) -> Word:
        assert said.event is not None
        assert said.identity is not None
        is_copy = said.identity in self._heard
        self._heard.add(said.identity)
        data = said.data
        return Word(
            position=said.position,
            time_ms=said.time_ms,
            what=said.event.type,
            by=said.by,
            identity=said.identity,
            room_id=data.get("room_id"),
            reason=data.get("reason"),
            is_copy=is_copy,
            told=told,
        )

    def _news(self, said: Said, status: WorkerStatus) -> dict[str, Any]:
        """What the server's status says of the name otherwise than its last one."""
        server = said.by or ""
        before = self._status.get(server, {})
        now = self._of_status(server, status)
        if now is None:
            return {}
        if now:
            self._status[server] = now
        else:
            self._status.pop(server, None)
        names = {**now, **before}
        return {name: now.get(name) for name in names if now.get(name) != before.get(name)}

    def _of_status(self, server: str, status: WorkerStatus) -> dict[str, Any] | None:
        """None where it says nothing about the name; a part of the rooms leaves others open."""
        if server == self._name:
            return {f"worker {each.worker_id}": str(each.state) for each in status.workers}
        for room in status.rooms or ():
            if room.room_id == self._name:
                return {"worker": room.worker_id, "peers": room.peers, "consumers": room.consumers}
        return {} if status.complete else None
