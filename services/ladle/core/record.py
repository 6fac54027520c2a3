"""One line of the journal: what came in, what it was given, what came of it; and the chain.

An `Entry` is an input of the core. Its `body` in the journal is the canonical JSON (RFC 8785,
integers only, ASCII keys) of `{"origin", "inputs", "payload", "outcome"}`. The hash of a record
covers a salted digest of that body and not the body, so that content can be erased later and the
chain still verifies.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import orjson

SCHEMA_VERSION = 1
FIRST_PREV_HASH = "0" * 64


class Kind(StrEnum):
    """What a record is. Values stand in the journal."""

    EVENT = "event"
    STATUSES = "statuses"
    REQUEST = "request"
    TICK = "tick"
    REJECTED = "rejected"
    SETTINGS = "settings"
    WRITER_ACTIVE = "writer-active"
    BUS_UP = "bus-up"
    CAUGHT_UP = "caught-up"
    CLOCK_STEP = "clock-step"
    ERASED = "erased"
    SNAPSHOT = "snapshot"
    ARCHIVED = "archived"
    LOSS_ACCEPTED = "loss-accepted"


class Entry(NamedTuple):
    """An input with all that time and chance gave it. Times are Unix ms, UTC.

    origin: who sent it (`user`, `exchange`, `routing_key`, `message_id`; request: `request_id`).
    inputs: what the writer added (`room_id` where the caller named none, ...).
    payload: the event's attributes and data, or the request's operation and body, validated.
    """

    offset: int
    recorded_at_ms: int
    term: int
    kind: Kind
    origin: Mapping[str, Any]
    inputs: Mapping[str, Any]
    payload: Mapping[str, Any]
    schema_version: int = SCHEMA_VERSION


# Not frozen, though nobody changes one: a frozen dataclass takes three times as long to make.
@dataclass(slots=True)
class Record:
    """A journal row. `body` is exact bytes; `hash` chains it to the record before."""

    offset: int
    recorded_at_ms: int
    term: int
    kind: str
    schema_version: int
    body: bytes
    salt: bytes
    body_digest: str
    prev_hash: str
    hash: str
    room_id: str | None = None
    server_id: str | None = None


def canonical(value: object) -> bytes:
    """RFC 8785 bytes of a JSON value of strings, integers, booleans, null, lists and maps.

    Keys must be ASCII, where orjson's order by bytes and RFC 8785's by UTF-16 agree. Raises
    TypeError where a value is not JSON or an integer does not fit into 64 bits.
    """
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def digest_of(salt: bytes, body: bytes) -> str:
    """SHA-256(salt | body), lower-case hex."""
    return hashlib.sha256(salt + body).hexdigest()


def chain_hash(
    *,
    offset: int,
    recorded_at_ms: int,
    term: int,
    kind: str,
    schema_version: int,
    body_digest: str,
    prev_hash: str,
) -> str:
    """SHA-256 over the canonical JSON of exactly these seven, lower-case hex."""
    seven = {
        "offset": offset,
        "recorded_at_ms": recorded_at_ms,
        "term": term,
        "kind": kind,
        "schema_version": schema_version,
        "body_digest": body_digest,
        "prev_hash": prev_hash,
    }
    return hashlib.sha256(canonical(seven)).hexdigest()
