"""The broker's stream as a second witness: did it hear what the journal says was said?

Both are taken as sets of identities. An event of a server is who said it, in which life, as which
word; one that was refused is the digest of its body; an own event is the record that it follows
from. The stream keeps some days, and the two do not move in step: what one of them cannot know of
is counted as not checked, and no difference.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ladle.audit.finding import Finding, Law
from ladle.audit.source import Claim
from ladle.audit.walk import is_erased
from ladle.core import compact_status
from ladle.core.record import Kind, Record
from ladle.journal.chain import content_of
from ladle.journal.store import Head, OutboxCursor
from ladle_contracts.envelope import decode_event
from ladle_contracts.link import Message
from ladle_contracts.topology import Topology
from ladle_contracts.violation import ContractViolation, Reason

SLACK_MS = 5_000
"""Plain statuses wait a second for company, and a stream is cut where a segment ends: so near to
such an edge nobody can tell whether something is missing."""

EVENT, OWN, OPEN = 0, 1, 2
"""What is on the stream: a server's, Ladle's own, one of an unknown type (which may be ignored)."""


@dataclass(slots=True)
class _Heard:
    """One thing that was said, at its first place on the stream."""

    identity: str
    position: int
    kind: int
    time_ms: int | None
    recorded: bool = False


class Witness:
    """`hear` the stream's messages in order, then `record` the journal's, then `end`.

    Memory grows with what the stream holds, a few hundred bytes an event; not with the journal.
    """

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._heard: list[_Heard] = []
        self._by_key: dict[str | bytes, _Heard] = {}
        self._first_position: int | None = None
        self._covers_from: int | None = None
        self._covers_from_ms: int | None = None
        self._last_matched = -1
        self._unsent: list[tuple[int, int]] = []
        self._accepted = (0, -1)
        self._unknown_records = 0
        self._older = 0
        self.compared = 0

    def hear(self, position: int, message: Message) -> None:
        """A message of the stream; what is neither a server's event nor an own one is passed by."""
        topology = self._topology
        if self._first_position is None:
            self._first_position = position
        if message.exchange == topology.placement_events:
            identity, kind, time_ms, body = message.message_id or "", OWN, None, None
        elif message.exchange == topology.media_events:
            body = hashlib.sha256(message.body).digest()
            identity, kind, time_ms = _said(message, body)
        else:
            return
        heard = self._by_key.get(identity)
        if kind == OWN and self._covers_from is None and (place := _place(identity)):
            # Its record is the first that the stream surely goes back to.
            self._covers_from = place[0]
        if heard is None:
            heard = self._by_key[identity] = _Heard(identity, position, kind, time_ms)
            self._heard.append(heard)
        if body is not None:
            # A copy may have been refused, one in another's name for example.
            self._by_key.setdefault(body, heard)

    def record(self, record: Record) -> Iterator[Finding]:
        """The next record, and what it says was said of which the stream knows nothing."""
        try:
            content = {} if is_erased(record) else content_of(record)
            said = [*self._inputs(record, content)]
            told = [*_own_events(content)]
            if record.kind == Kind.LOSS_ACCEPTED:
                payload = content["payload"]
                self._accepted = (int(payload["head"]), int(payload["stream_position"]))
        except (ValueError, KeyError, TypeError, AttributeError):
            # Erased, or told as what it is by those who hold the body.
            self._unknown_records += 1
            return
        for where, key, identity in said:
            if not self._match(key, record):
                yield from self._unheard(record, where, identity)
        for index in told:
            if not self._match(f"{self._topology.cell}:{record.offset}:{index}", record):
                self._own_unheard(record, index)

    def end(self, claim: Claim, head: Head, outbox: OutboxCursor | None) -> Iterator[Finding]:
        """What was heard and is not in the journal; own events that were sent and not heard.

        outbox: how far the broker has confirmed; None where the source does not know.
        """
        sent = (outbox.offset, outbox.index) if outbox else self._last_own()
        for offset, index in self._unsent:
            if (offset, index) <= sent:
                where = f"outcome.outbound.{index}"
                said = "its own event was sent and is not on the stream"
                identity = f"{self._topology.cell}:{offset}:{index}"
                yield Finding(Law.STREAM, offset, said, where, identity, None)
        self._unsent = [place for place in self._unsent if place > sent]
        self._waiting = self._lost = self._ignored = self._unknown = 0
        for heard in self._heard:
            if not heard.recorded:
                yield from self._unrecorded(heard, claim, head)

    def unchecked(self) -> Iterator[str]:
        """Sentences on what could not be compared; after `end`."""
        counts = (
            (self._older, "events of the journal are older than what the stream still holds"),
            (len(self._unsent), "own events were not sent yet"),
            (self._waiting, "events on the stream were said later than the journal was read"),
            (self._ignored, "events on the stream are of a type that the contract does not know"),
            (self._lost, "events on the stream belong to a loss that was accepted"),
            (self._unknown, "events on the stream may be those of records that cannot be read"),
        )
        for count, said in counts:
            if count:
                yield f"against the stream: {count:,} {said}"

    @property
    def is_a_stranger(self) -> bool:
        """Both have something to say, and nothing in common: it is another cell's or broker's."""
        return bool(self._heard) and not self.compared and bool(self._older)

    # --- the journal's side ---

    def _inputs(
        self, record: Record, content: dict[str, Any]
    ) -> Iterator[tuple[str, str | bytes, str]]:
        """(where, key, identity) of what came in with the record through `media.events`."""
        payload = content["payload"]
        if record.kind == Kind.EVENT:
            identity = _identity(payload)
            yield "payload", identity, identity
        elif record.kind == Kind.STATUSES:
            for number, packed in enumerate(payload["statuses"]):
                identity = _identity(compact_status.unpack(packed))
                yield f"payload.statuses.{number}", identity, identity
        elif content["origin"].get("exchange") == self._topology.media_events:
            # Refused. Requests are refused as well, and are not on the stream.
            digest = str(payload["digest"])
            yield "payload.digest", bytes.fromhex(digest), f"sha256 {digest}"

    def _match(self, key: str | bytes, record: Record) -> bool:
        heard = self._by_key.get(key)
        if heard is None:
            return False
        heard.recorded = True
        self.compared += 1
        if self._covers_from_ms is None and record.offset >= (self._covers_from or 0):
            self._covers_from_ms = record.recorded_at_ms
        if heard.kind != OWN:
            self._last_matched = max(self._last_matched, heard.position)
        return True

    def _unheard(self, record: Record, where: str, identity: str) -> Iterator[Finding]:
        if self._is_before_the_stream(record):
            self._older += 1
            return
        said = "it says that something was said, and the stream does not have it"
        yield Finding(Law.STREAM, record.offset, said, where, identity, None)

    def _own_unheard(self, record: Record, index: int) -> None:
        if self._is_before_the_stream(record):
            self._older += 1
        else:
            self._unsent.append((record.offset, index))

    def _is_before_the_stream(self, record: Record) -> bool:
        """Is what the record says older than the oldest that the stream still has?"""
        if self._first_position == 0 and self.compared:
            return False  # Nothing was cut off.
        from_ms = self._covers_from_ms
        return from_ms is None or record.recorded_at_ms < from_ms + SLACK_MS

    # --- the stream's side ---

    def _last_own(self) -> tuple[int, int]:
        """The last own event that both have."""
        places = [_place(h.identity) for h in self._heard if h.kind == OWN and h.recorded]
        return max((place for place in places if place), default=(0, 0))

    def _unrecorded(self, heard: _Heard, claim: Claim, head: Head) -> Iterator[Finding]:
        where = f"position {heard.position} of {self._topology.log}"
        place = _place(heard.identity) if heard.kind == OWN else None
        lost_above, lost_until = self._accepted
        if heard.position <= lost_until and (place is None or place[0] > lost_above):
            self._lost += 1
        elif claim.selected is not None or claim.archived or self._unknown_records:
            self._unknown += 1
        elif heard.kind == OPEN:
            self._ignored += 1
        elif place is not None and place[0] > head.offset and not claim.settled:
            self._waiting += 1
        elif place is not None and place[0] > head.offset:
            said = f"the stream has an own event of record {place[0]}: the journal has lost records"
            yield Finding(Law.STREAM, None, said, where, None, heard.identity)
        elif heard.kind == EVENT and self._may_be_waiting(heard, claim, head):
            self._waiting += 1
        else:
            said = "the stream has what is not in the journal"
            yield Finding(Law.STREAM, None, said, where, None, heard.identity)

    def _may_be_waiting(self, heard: _Heard, claim: Claim, head: Head) -> bool:
        """Behind the last that was taken from the inbox; near to it, while somebody writes."""
        if heard.position > self._last_matched:
            return True
        late = heard.time_ms is None or heard.time_ms > head.recorded_at_ms - SLACK_MS
        return late and not claim.settled


def _said(message: Message, digest: bytes) -> tuple[str, int, int | None]:
    """(identity, kind, time) of a message from `media.events`."""
    try:
        event = decode_event(message)
    except ContractViolation as violation:
        kind = OPEN if violation.reason == Reason.UNKNOWN_TYPE else EVENT
        return f"sha256 {digest.hex()}", kind, None
    payload = {
        "source_server_id": event.server_id,
        "incarnation": event.incarnation,
        "sequence": event.sequence,
        "id": event.id,
    }
    return _identity(payload), EVENT, event.time_ms


def _own_events(content: dict[str, Any]) -> Iterator[int]:
    """Which of the messages that the record sends are own events."""
    for index, line in enumerate(content["outcome"].get("outbound", ())):
        if line["what"] == "event":
            yield index


def _identity(payload: dict[str, Any]) -> str:
    """Of an event: its server, life and sequence; without these its id."""
    server_id = payload["source_server_id"]
    if payload["sequence"] is None:
        return f"event {payload['id']} of {server_id}"
    return f"event {payload['sequence']} of {server_id}, incarnation {payload['incarnation']}"


def _place(identity: str) -> tuple[int, int] | None:
    """Record and index in an own event's id; None where it is none of Ladle's ids."""
    _, _, place = identity.partition(":")
    offset, _, index = place.partition(":")
    return (int(offset), int(index)) if offset.isdecimal() and index.isdecimal() else None
