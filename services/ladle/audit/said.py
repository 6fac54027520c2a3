"""One message of the broker's stream, read: who said what, or why the contract refuses it."""

from dataclasses import dataclass
from typing import Any

from ladle_contracts.envelope import Event, ReceivedOwnEvent, decode_event, decode_own_event
from ladle_contracts.events import WorkerStatus
from ladle_contracts.link import Message
from ladle_contracts.topology import Topology
from ladle_contracts.violation import ContractViolation

Place = tuple[int, int]
"""Record and index that an own event follows from."""


@dataclass(frozen=True, slots=True)
class Said:
    """position: the message's offset in the stream. event: what it says; else `refused` says why.

    is_own: it came through the exchange to which none but the placement service may publish.
    """

    position: int
    message: Message
    is_own: bool
    event: Event | ReceivedOwnEvent | None
    refused: ContractViolation | None = None

    @property
    def by(self) -> str | None:
        """The server that said it; None for Ladle, and where nobody can tell."""
        if isinstance(self.event, Event):
            return self.event.server_id
        return self.refused.server_id if self.refused is not None else None

    @property
    def time_ms(self) -> int | None:
        """When it was said, as who said it tells."""
        return None if self.event is None else self.event.time_ms

    @property
    def place(self) -> Place | None:
        """Of an own event."""
        event = self.event
        return (event.offset, event.index) if isinstance(event, ReceivedOwnEvent) else None

    @property
    def identity(self) -> str | None:
        """The same for each copy, and for nothing else; None where it was refused."""
        event = self.event
        if isinstance(event, ReceivedOwnEvent):
            return event.id
        if event is None:
            return None
        if event.sequence is None:
            return f"event {event.id} of {event.server_id}"
        return f"event {event.sequence} of {event.server_id}, incarnation {event.incarnation}"

    @property
    def data(self) -> dict[str, Any]:
        """What it says, without what it leaves out."""
        return {} if self.event is None else self.event.data.model_dump(exclude_none=True)

    def is_about(self, room: str | None, server: str | None) -> bool:
        """Of this room and this server; None asks for none. A status is about its server alone."""
        data = {} if isinstance(self.event, Event) and _is_status(self.event) else self.data
        if room is not None and data.get("room_id") != room:
            return False
        servers = (self.by, data.get("server_id"), data.get("from_server_id"))
        return server is None or server in (*servers, data.get("home_server_id"))


def said_of(position: int, message: Message, topology: Topology) -> Said | None:
    """None for what is no saying: a reader's mark, a message that was put into the queue."""
    is_own = message.exchange == topology.placement_events
    if not is_own and message.exchange != topology.media_events:
        return None
    try:
        event = decode_own_event(message, cell=topology.cell) if is_own else decode_event(message)
    except ContractViolation as violation:
        return Said(position, message, is_own, None, violation)
    return Said(position, message, is_own, event)


def _is_status(event: Event) -> bool:
    return isinstance(event.data, WorkerStatus)
