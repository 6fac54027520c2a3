"""Records and their chain: seal an entry into a record, open a record, verify a run of records."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from ladle.core.record import Entry, Kind, Record, canonical, chain_hash, digest_of
from ladle.journal.upcasting import bring_up


def seal(
    entry: Entry,
    outcome: Mapping[str, Any],
    *,
    prev_hash: str,
    salt: bytes,
    room_id: str | None = None,
    server_id: str | None = None,
) -> Record:
    """The journal row of `entry` and what came of it.

    salt: 16 random bytes; without it the digest of an erased body could be guessed from a list.
    room_id, server_id: what the record is found by; checked copies of what the body says.
    Raises TypeError where a value is not JSON or an integer does not fit into 64 bits.
    """
    body = canonical(
        {
            "origin": entry.origin,
            "inputs": entry.inputs,
            "payload": entry.payload,
            "outcome": outcome,
        }
    )
    digest = digest_of(salt, body)
    kind = entry.kind.value
    chained = chain_hash(
        offset=entry.offset,
        recorded_at_ms=entry.recorded_at_ms,
        term=entry.term,
        kind=kind,
        schema_version=entry.schema_version,
        body_digest=digest,
        prev_hash=prev_hash,
    )
    # By position, as a record is made for each message: names take half as long again.
    return Record(
        entry.offset,
        entry.recorded_at_ms,
        entry.term,
        kind,
        entry.schema_version,
        body,
        salt,
        digest,
        prev_hash,
        chained,
        room_id,
        server_id,
    )


class Opened(NamedTuple):
    """A record read back: the entry that the core folds, and the outcome that it gave then."""

    entry: Entry
    outcome: dict[str, Any]


_KINDS = {kind.value: kind for kind in Kind}


def open_record(record: Record) -> Opened:
    """The entry and the outcome in a record's body, in the present format.

    Raises ValueError where the body was erased or is not JSON, its kind is unknown, or its version
    (UnknownVersion).
    """
    body = bring_up(record, orjson.loads(record.body))
    # By position, and the kind from a map: each is a microsecond, and a log has millions of them.
    entry = Entry(
        record.offset,
        record.recorded_at_ms,
        record.term,
        _KINDS.get(record.kind) or Kind(record.kind),
        body["origin"],
        body["inputs"],
        body["payload"],
    )
    return Opened(entry, body["outcome"])


def content_of(record: Record) -> dict[str, Any]:
    """`origin`, `inputs`, `payload`, `outcome` in the present format; empty where erased.

    Raises ValueError as `open_record`, but for the kind, which may be any.
    """
    return bring_up(record, orjson.loads(record.body)) if record.body else {}


@dataclass(frozen=True, slots=True)
class Break:
    """Where a chain does not hold, and which of its laws is broken there."""

    offset: int
    law: str


def verify(records: Iterable[Record], *, after_offset: int, after_hash: str) -> Break | None:
    """The first record that does not follow from the one before; None where all do.

    after_offset, after_hash: the record before the first (0 and 64 zeros at the beginning).
    """
    offset, head = after_offset, after_hash
    for record in records:
        if record.offset != offset + 1:
            return Break(record.offset, f"offset {offset + 1} is missing")
        if record.prev_hash != head:
            return Break(record.offset, "prev_hash is not the hash of the record before")
        if digest_of(record.salt, record.body) != record.body_digest:
            return Break(record.offset, "body_digest is not SHA-256(salt | body)")
        if rehash(record) != record.hash:
            return Break(record.offset, "hash is not that of the record's seven fields")
        offset, head = record.offset, record.hash
    return None


def rehash(record: Record) -> str:
    """The hash that the record's own fields give."""
    return chain_hash(
        offset=record.offset,
        recorded_at_ms=record.recorded_at_ms,
        term=record.term,
        kind=record.kind,
        schema_version=record.schema_version,
        body_digest=record.body_digest,
        prev_hash=record.prev_hash,
    )
