"""The broker's stream as a second witness: what one has and the other has not is told."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from ladle.audit.errors import INCOMPLETE, VERIFIED, VIOLATION
from ladle.audit.finding import Law
from ladle.audit.source import Claim
from ladle.audit.verify import Report, verify
from ladle.audit.witness import Witness
from ladle.core.record import Kind, Record
from ladle.core.view import View
from ladle.journal.chain import open_record
from ladle_contracts.envelope import encode_event
from ladle_contracts.events import EVENTS
from ladle_contracts.link import Message
from ladle_contracts.topology import Topology
from tests.audit.recorded import Held, head_of, rows_of

TOPOLOGY = Topology()


def stream_of(records: Sequence[Record]) -> list[Message]:
    """What the broker kept of these records: each server's event, then Ladle's own."""
    said: list[Message] = []
    for record in records:
        opened = open_record(record)
        payload = opened.entry.payload
        if opened.entry.kind is Kind.EVENT:
            out = encode_event(
                EVENTS[payload["type"]].model_validate(payload["data"]),
                server_id=payload["source_server_id"],
                event_id=payload["id"],
                time_ms=payload["time_ms"] or 0,
                incarnation=payload["incarnation"],
                sequence=payload["sequence"],
            )
            said.append(
                Message(
                    out.body,
                    exchange=out.exchange,
                    routing_key=out.routing_key,
                    content_type=out.content_type,
                )
            )
        for index, line in enumerate(opened.outcome.get("outbound", ())):
            if line["what"] == "event":
                said.append(own(f"default:{record.offset}:{index}"))
    return said


def own(message_id: str) -> Message:
    return Message(b"{}", exchange=TOPOLOGY.placement_events, message_id=message_id)


def held(records: list[Record], stream: list[Message], *, first: int = 0, **claim: bool) -> Report:
    """The journal against the stream, whose first position is `first`."""

    def hear() -> Witness:
        witness = Witness(TOPOLOGY)
        for position, message in enumerate(stream, first):
            witness.hear(position, message)
        return witness

    source = Held([*records], claim=replace(Claim(settled=True), **claim))
    return verify(source, hear=hear)


def test_both_tell_the_same(records: list[Record], view: View) -> None:
    stream = stream_of(records)
    report = held(records, stream)
    assert (report.exit_code, report.unchecked) == (VERIFIED, [])
    assert report.heard is not None
    assert report.heard >= len(stream)
    # A mark, somebody's message to the queue, and copies change nothing.
    others = [Message(b"{}", message_id="mark"), *stream[5:30]]
    assert held(records, stream + others).exit_code == VERIFIED
    source = Held([*records], rows=rows_of(view, records))
    assert verify(source).heard is None


def middle(stream: list[Message], exchange: str) -> int:
    half = len(stream) // 2
    return next(n for n in range(half, len(stream)) if stream[n].exchange == exchange)


@pytest.mark.parametrize("exchange", [TOPOLOGY.media_events, TOPOLOGY.placement_events])
def test_what_the_stream_has_not(records: list[Record], exchange: str) -> None:
    """The journal says that a server said so, or that Ladle told others; nobody heard it."""
    stream = stream_of(records)
    gone = stream[middle(stream, exchange)]
    kept = [each for each in stream if each.body != gone.body or each.message_id != gone.message_id]
    report = held(records, kept)
    first = report.findings.first
    assert report.exit_code == VIOLATION
    assert set(report.findings.counts) == {Law.STREAM}
    assert first is not None
    assert (first.derived, "stream" in first.said) == (None, True)
    assert first.recorded == gone.message_id or "event" in first.recorded
    assert first.offset is not None


@pytest.mark.parametrize(
    ("extra", "identity"),
    [
        (Message(b"{torn", exchange="media.events", routing_key="room-created.eu-1"), "sha256 "),
        (own("default:7:99"), "default:7:99"),
        (own("somebody"), "somebody"),
    ],
)
def test_what_the_journal_has_not(records: list[Record], extra: Message, identity: str) -> None:
    stream = stream_of(records)
    at = middle(stream, TOPOLOGY.media_events)
    report = held(records, [*stream[:at], extra, *stream[at:]])
    first = report.findings.first
    assert (report.exit_code, report.findings.counts) == (VIOLATION, {Law.STREAM: 1})
    assert first is not None
    assert first.recorded is None
    assert first.derived.startswith(identity)
    assert first.where == f"position {at} of placement.log"


def test_an_event_that_was_left_out_is_found(records: list[Record]) -> None:
    """Somebody took a whole record out and chained the rest anew: only the broker knows."""
    stream = stream_of(records)
    lost = stream[middle(stream, TOPOLOGY.media_events)]
    once = [n for n, each in enumerate(stream) if each.body == lost.body]
    other = Message(
        lost.body.replace(b'"sequence":', b'"sequence":9'),
        exchange=lost.exchange,
        routing_key=lost.routing_key,
        content_type=lost.content_type,
    )
    report = held(records, [*stream[: once[0]], other, *stream[once[0] :]])
    assert report.findings.counts == {Law.STREAM: 1}
    assert report.findings.first is not None
    assert report.findings.first.derived.startswith("event 9")


def test_a_stream_that_was_cut_knows_nothing_older(records: list[Record]) -> None:
    stream = stream_of(records)
    report = held(records, stream[300:], first=300)
    assert (report.exit_code, report.findings.first) == (VERIFIED, None)
    assert "are older than what the stream still holds" in report.unchecked[0]


def test_a_journal_that_lost_its_tail(records: list[Record]) -> None:
    stream = stream_of(records)
    report = held(records[:-200], stream)
    assert report.exit_code == VIOLATION
    assert report.findings.first is not None
    assert "the journal has lost records" in report.findings.first.said
    # While somebody writes, they were said since.
    report = held(records[:-200], stream, settled=False)
    assert (report.exit_code, report.findings.first) == (VERIFIED, None)
    assert any("later than the journal was read" in said for said in report.unchecked)


def test_an_accepted_loss_is_no_difference(records: list[Record]) -> None:
    head = head_of(records[:-200])
    witness = Witness(TOPOLOGY)
    for position, message in enumerate(stream_of(records)):
        witness.hear(position, message)
    for record in records[:-200]:
        assert list(witness.record(record)) == []
    witness._accepted = (head.offset, 10_000)
    assert list(witness.end(Claim(settled=True), head, None)) == []
    assert any("a loss that was accepted" in said for said in witness.unchecked())


def test_own_events_that_are_not_sent_yet(records: list[Record]) -> None:
    """The outbox has not come so far; an export does not say how far it is."""
    stream = stream_of(records)
    last = max(n for n, each in enumerate(stream) if each.message_id)
    report = held(records, stream[:last] + stream[last + 1 :])
    assert report.exit_code == VERIFIED
    assert any("1 own events were not sent yet" in said for said in report.unchecked)


def test_an_unknown_type_may_have_been_ignored(records: list[Record]) -> None:
    stream = stream_of(records)
    at = middle(stream, TOPOLOGY.media_events)
    given = stream[at]
    kind = given.routing_key.partition(".")[0]
    new = Message(
        given.body.replace(kind.encode(), b"prophecy"),
        exchange=given.exchange,
        routing_key=given.routing_key.replace(kind, "prophecy"),
        content_type=given.content_type,
    )
    report = held(records, [*stream[:at], new, *stream[at:]])
    assert report.exit_code == VERIFIED
    assert any("of a type that the contract does not know" in said for said in report.unchecked)


def test_another_cells_stream_is_no_witness(records: list[Record]) -> None:
    stream = [Message(each.body, exchange="media.events") for each in stream_of(records)[:5]]
    report = held(records, stream)
    assert report.exit_code == INCOMPLETE
    assert "no event in common" in report.missing[0]


@pytest.mark.parametrize("body", [b"", b"[]", b'{"payload":7}', b"torn"])
def test_records_that_cannot_be_read_leave_it_open(records: list[Record], body: bytes) -> None:
    """Whatever stands there is told by other laws; what the stream says of it nobody can judge."""
    spoilt = [
        replace(r, body=body, salt=r.salt if body else b"") if r.offset == 300 else r
        for r in records
    ]
    stream = stream_of(records)
    at = middle(stream, TOPOLOGY.media_events)
    report = held(spoilt, [*stream[:at], own("default:300:99"), *stream[at:]])
    assert Law.STREAM not in report.findings.counts
    assert any("may be those of records that cannot be read" in each for each in report.unchecked)
