"""A record as text, for exports: its twelve columns by name, each in one way of writing only.

One way only, so that a changed byte of an export is a changed value or no record at all.
"""

import re
from collections.abc import Mapping
from typing import Any

from ladle.core.record import Record

COLUMNS = (
    *("offset", "recorded_at_ms", "term", "kind", "schema_version", "body", "salt"),
    *("body_digest", "prev_hash", "hash", "room_id", "server_id"),
)
"""As in the table `journal`, and in the order of an export's columns."""

INTEGERS = ("offset", "recorded_at_ms", "term", "schema_version")
_HASH = re.compile(r"[0-9a-f]{64}")
_HEX = re.compile(r"(?:[0-9a-f]{2})*")


def fields_of(record: Record) -> dict[str, Any]:
    """The columns of a record by name: body as the text that it is, salt as lower-case hex."""
    return {
        "offset": record.offset,
        "recorded_at_ms": record.recorded_at_ms,
        "term": record.term,
        "kind": record.kind,
        "schema_version": record.schema_version,
        "body": record.body.decode(),
        "salt": record.salt.hex(),
        "body_digest": record.body_digest,
        "prev_hash": record.prev_hash,
        "hash": record.hash,
        "room_id": record.room_id,
        "server_id": record.server_id,
    }


def record_of(fields: Mapping[str, Any]) -> Record:
    """The record that `fields_of` gave these columns; ValueError, naming the column, if none."""
    if tuple(fields) != COLUMNS:
        raise ValueError(f"the columns are {', '.join(map(str, fields))}")
    for name in INTEGERS:
        value = fields[name]
        if type(value) is not int or value < 0:
            raise ValueError(f"{name} is no whole number")
    for name in ("kind", "body", "salt", "body_digest", "prev_hash", "hash"):
        if type(fields[name]) is not str:
            raise ValueError(f"{name} is no text")
    for name in ("body_digest", "prev_hash", "hash"):
        if _HASH.fullmatch(fields[name]) is None:
            raise ValueError(f"{name} is no SHA-256 in lower-case hex")
    if _HEX.fullmatch(fields["salt"]) is None:
        raise ValueError("salt is no lower-case hex")
    for name in ("room_id", "server_id"):
        if fields[name] is not None and type(fields[name]) is not str:
            raise ValueError(f"{name} is neither a text nor null")
    values = dict(fields)
    values["body"], values["salt"] = fields["body"].encode(), bytes.fromhex(fields["salt"])
    return Record(**values)
