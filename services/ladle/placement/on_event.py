"""A message from a media server: refused, recognised, left waiting for company, or recorded."""

from functools import partial
from typing import Any

from ladle.core import compact_status
from ladle.core.received import highest_received, is_duplicate_event
from ladle.core.record import Kind
from ladle.placement.batch import Arrival
from ladle.placement.identity import Identities, WrongIdentity
from ladle.placement.plain import plain
from ladle.placement.refusals import WRONG_IDENTITY, refuse_event
from ladle.placement.text import printable
from ladle.placement.waiting import StatusKey
from ladle.placement.writer import Writer
from ladle_contracts.envelope import ContractViolation, Event, decode_event
from ladle_contracts.events import WorkerStatus
from ladle_contracts.link import Message

MARKER_HEADER = "ladle-marker"
"""On a message of the writer to its own inbox: when it is back, all before it was read."""

MARKER_BODY = b"{}"

INCARNATION_AHEAD_MS_MAX = 86_400_000
"""An incarnation is a start, and no server starts tomorrow; a wrong time zone makes some hours.
Were more taken, one event would shut out all later lives of its server."""

SEQUENCE_AHEAD_MAX = 1_000_000_000
"""No server says so much between two events that are heard: at a hundred a second, in 115 days.
Were any jump taken, one event would turn all that its life says after it into copies."""


class OnEvent:
    """The handler of the inbox."""

    def __init__(self, identities: Identities) -> None:
        self._identities = identities
        self.marker: str | None = None

    def __call__(self, arrival: Arrival, writer: Writer) -> None:
        message = arrival.message
        if MARKER_HEADER in message.headers and _is_marker(message):
            self._on_marker(message, writer)
            return
        try:
            event = decode_event(message)
            self._identities.check_server(event.user, event.on_behalf_of, event.server_id)
        except ContractViolation as violation:
            refuse_event(message, writer, violation.reason, violation.detail, violation.server_id)
            return
        except WrongIdentity as error:
            refuse_event(message, writer, WRONG_IDENTITY, str(error), None)
            return
        ahead = _why_ahead(event, writer)
        if ahead is not None:
            refuse_event(message, writer, *ahead, None)
            return
        payload: dict[str, Any] = {
            "type": event.type,
            "id": event.id,
            "source_server_id": event.server_id,
            "incarnation": event.incarnation,
            "sequence": event.sequence,
            "time_ms": event.time_ms,
            "data": plain(event.data),
        }
        key = _key_of_plain_status(event)
        if key is not None and key in writer.waiting:
            # The copy that waits for company is not known to the view yet, nor durable.
            writer.waiting.add_copy(arrival)
            writer.metrics.events.inc(event.type, "duplicate")
            return
        if is_duplicate_event(writer.view, payload, writer.scribe.next_offset):
            # Acked with the batch: the first copy may not be durable yet.
            writer.batch.acks.append(message)
            writer.metrics.events.inc(event.type, "duplicate")
            return
        if event.time_ms is not None:
            lag_ms = writer.clock.unix_ms() - event.time_ms
            writer.metrics.event_lag.observe(max(0, lag_ms) / 1000)
        if key is not None:
            writer.wait_for_company(arrival, key, compact_status.pack(payload))
            return
        if _begins_a_life(event, writer):
            # What the former life said and still waits would be refused as too old behind it.
            writer.flush_statuses()
        self._record(message, event, payload, writer)

    def _record(
        self, message: Message, event: Event, payload: dict[str, Any], writer: Writer
    ) -> None:
        _, outcome = writer.record(
            Kind.EVENT,
            origin={
                "user": self._identities.speaker(event.user, event.on_behalf_of),
                "message_id": printable(message.message_id or ""),
            },
            inputs={},
            payload=payload,
        )
        writer.batch.acks.append(message)
        if event.type == "server-registered":
            writer.batch.after.append(partial(writer.aftermath.welcome, event.server_id))
        writer.metrics.events.inc(event.type, outcome["status"])

    def _on_marker(self, message: Message, writer: Writer) -> None:
        """Our own marker is back: everything published before it has been folded."""
        if self.marker is not None and message.headers[MARKER_HEADER] == self.marker:
            writer.flush_statuses()
            writer.record(Kind.CAUGHT_UP, origin={}, inputs={}, payload={})
            writer.batch.after.append(partial(self._is_back, self.marker))
        writer.batch.acks.append(message)

    def _is_back(self, marker: str) -> None:
        # Another one may be out by now: the connection was lost meanwhile.
        if self.marker == marker:
            self.marker = None

    def refuse(self, arrival: Arrival, writer: Writer, reason: str, detail: str) -> None:
        """A message that cannot be recorded as it is."""
        refuse_event(arrival.message, writer, reason, detail, None)


def _is_marker(message: Message) -> bool:
    """Put straight into the inbox, where only the placement role may write, and with nothing in it.

    The header alone proves nothing: a server's event that carries it is an event.
    """
    return not message.exchange and message.body == MARKER_BODY


def _why_ahead(event: Event, writer: Writer) -> tuple[str, str] | None:
    """Reason and detail of a life or a sequence that cannot be; taken, it would shut others out."""
    if _is_from_the_future(event, writer):
        return (
            "incarnation-ahead",
            f"incarnation: {event.incarnation} is more than a day ahead of Ladle's clock; it "
            "is the server's start in Unix ms: set the clocks right and start the server again",
        )
    if _is_beyond_reach(event, writer):
        return (
            "sequence-ahead",
            f"sequence: {event.sequence} is more than {SEQUENCE_AHEAD_MAX} above all that was "
            "heard of this life; it counts the events of an incarnation, 1, 2, 3, ...: start the "
            "server again",
        )
    return None


def _is_beyond_reach(event: Event, writer: Writer) -> bool:
    """A sequence that no server can have reached since it was last heard."""
    if event.sequence is None or event.sequence <= SEQUENCE_AHEAD_MAX:
        return False
    server = writer.view.servers.get(event.server_id)
    if server is None or event.incarnation != server.incarnation:
        return True
    return event.sequence > highest_received(server) + SEQUENCE_AHEAD_MAX


def _is_from_the_future(event: Event, writer: Writer) -> bool:
    """A life that is not known yet and starts long after now. One that is known goes on, whatever
    becomes of Ladle's clock."""
    if event.incarnation is None:
        return False
    if event.incarnation <= writer.clock.unix_ms() + INCARNATION_AHEAD_MS_MAX:
        return False
    server = writer.view.servers.get(event.server_id)
    return server is None or event.incarnation > server.incarnation


def _begins_a_life(event: Event, writer: Writer) -> bool:
    server = writer.view.servers.get(event.server_id)
    if server is None or event.incarnation is None:
        return False
    return event.incarnation > server.incarnation


def _key_of_plain_status(event: Event) -> StatusKey | None:
    """Plain statuses with a sequence may share a record; None: the event has its own place.

    A worker that died is no plain news: rooms are lost with it, now and for who asks why later.
    """
    plain = (
        isinstance(event.data, WorkerStatus)
        and not event.data.complete
        and event.data.rooms is None
        and all(worker.state == "running" for worker in event.data.workers)
    )
    if not plain or event.incarnation is None or event.sequence is None:
        return None
    return event.server_id, event.incarnation, event.sequence
