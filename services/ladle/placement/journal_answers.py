"""Reads that take the journal: decisions, history, explain, the view as it was."""

from collections.abc import Mapping
from typing import Any

from ladle.core import compact_status, queries
from ladle.core.apply import JournalGap
from ladle.core.record import Kind, Record
from ladle.journal.chain import content_of
from ladle.journal.explain import explanation
from ladle.journal.fold import view_at
from ladle.journal.store import Store
from ladle.placement.replies import error_answer
from ladle_contracts.times import to_rfc3339

Answer = dict[str, Any]
Body = Mapping[str, Any]

PAGE_BYTES_MAX = 1_000_000
"""Of bodies in a page of records; a page ends with the record that reaches it. A complete status
has up to 4 MB, and a thousand of them would be more than any caller takes, or this process has."""

AT_ONCE_MAX = 16
"""Records read in one go for a page that is bounded in bytes."""

SCAN_MAX = 20_000
"""Records looked at for one page of decisions: a page may be short, a read is never long."""


async def history(store: Store, body: Body) -> Answer:
    """A page of records, as people read them."""
    page: list[Record] = []
    after, size, more = body["after_offset"], 0, True
    while more and len(page) < body["limit"] and size < PAGE_BYTES_MAX:
        # One more than is wanted: is there anything behind the page?
        wanted = min(AT_ONCE_MAX, body["limit"] - len(page))
        records = await store.history(
            after_offset=after,
            limit=wanted + 1,
            room_id=body["room_id"],
            server_id=body["server_id"],
        )
        more = len(records) > wanted
        for number, record in enumerate(records[:wanted]):
            page.append(record)
            after, size = record.offset, size + len(record.body)
            if size >= PAGE_BYTES_MAX:
                more = len(records) > number + 1
                break
    return {
        "status": "ok",
        "records": [history_line(record) for record in page],
        "next_offset": after,
        "more": more,
    }


def history_line(record: Record) -> dict[str, Any]:
    """One record: what it is, what came of it, and its payload."""
    body = content_of(record)
    payload, outcome = body.get("payload", {}), body.get("outcome", {})
    line: dict[str, Any] = {
        "offset": record.offset,
        "recorded_at": to_rfc3339(record.recorded_at_ms),
        "term": record.term,
        "kind": record.kind,
        "what": payload.get("type") or payload.get("operation"),
        "status": outcome.get("status"),
        "reason": outcome.get("reason") or payload.get("reason") or _said_reason(payload),
        "room_id": record.room_id,
        "server_id": record.server_id,
        "hash": record.hash,
        "payload": _readable(record, payload),
    }
    return {name: value for name, value in line.items() if value is not None}


def _said_reason(payload: dict[str, Any]) -> str | None:
    """What the sender of a request or an event gave as its reason."""
    said = payload.get("body", payload.get("data"))
    return said.get("reason") if isinstance(said, dict) else None


def _readable(record: Record, payload: dict[str, Any]) -> dict[str, Any]:
    """The payload with names where the journal has positions."""
    if record.kind != Kind.STATUSES or not payload:
        return payload
    return {"statuses": [compact_status.unpack(packed) for packed in payload["statuses"]]}


async def decisions(store: Store, body: Body) -> Answer:
    """A page of placement decisions, refusals included."""
    found: list[dict[str, Any]] = []
    after, scanned, more = body["after_offset"], 0, False
    while len(found) < body["limit"] and scanned < SCAN_MAX:
        records = await store.history(
            after_offset=after,
            limit=min(500, SCAN_MAX),
            room_id=body["room_id"],
            server_id=body["server_id"],
            kinds=(Kind.REQUEST.value,),
        )
        if not records:
            break
        for record in records:
            after = record.offset
            line = decision_line(record)
            if line is not None:
                found.append(line)
            if len(found) == body["limit"]:
                break
        scanned += len(records)
        more = len(records) == 500 or after < records[-1].offset
    return {"status": "ok", "decisions": found, "next_offset": after, "more": more}


def decision_line(record: Record) -> dict[str, Any] | None:
    """One decision; None where the request needed none (a room that has a home, a release)."""
    body = content_of(record)
    decision = body.get("outcome", {}).get("decision")
    if decision is None:
        return None
    payload, reply = body["payload"], body["outcome"].get("reply", {})
    server = reply.get("server") or {}
    line = {
        "offset": record.offset,
        "recorded_at": to_rfc3339(record.recorded_at_ms),
        "operation": payload["operation"],
        "request_id": payload["request_id"],
        "room_id": record.room_id,
        "outcome": reply.get("outcome") or reply.get("error", {}).get("code"),
        "server_id": server.get("server_id"),
        "worker_id": server.get("worker_id"),
        "decision": decision,
    }
    return {name: value for name, value in line.items() if value is not None}


async def explain(store: Store, body: Body) -> Answer:
    """Why a room is where it is, in sentences, with the decision behind them."""
    found = await explanation(store, body["room_id"], generation=body["generation"])
    if found is None:
        archived = await _archived(store)
        return error_answer(
            "unknown-room",
            f"the journal holds no decision for room {body['room_id']!r}"
            + (f" of generation {body['generation']}" if body["generation"] else "")
            + (f"; records up to {archived} are in an archive" if archived else ""),
        )
    return {
        "status": "ok",
        "room_id": body["room_id"],
        "generation": found.generation,
        "lines": list(found.lines),
        "decided": decision_line(found.record),
    }


async def fleet_view_at(store: Store, body: Body) -> Answer:
    """The load view as it was at an offset; folds the journal up to there."""
    head = await store.head()
    if body["at_offset"] > head.offset:
        return error_answer(
            "unavailable",
            f"the journal ends at offset {head.offset}, before {body['at_offset']}",
            retryable=True,
            details={"offset": head.offset},
        )
    try:
        view = await view_at(store, body["at_offset"])
    except JournalGap:
        archived = await _archived(store)
        return error_answer(
            "unavailable",
            f"records up to {archived} are in an archive, and no snapshot is kept between them "
            f"and {body['at_offset']}: `ladle audit at` with --archive reads both",
            details={"archived": archived},
        )
    return queries.fleet_view(view, region=body["region"], server_id=body["server_id"])


async def _archived(store: Store) -> int:
    """The last record that is no longer in the database; 0 where all are."""
    first = await store.records(0, 1)
    return first[0].offset - 1 if first else 0
