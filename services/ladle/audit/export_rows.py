"""A record as a row of an export, and which records an export takes.

All formats have the same columns. Body and salt stand in a row as they stand in the journal, so
that `body_digest` and `hash` can be computed from the row alone, in any language.
"""

from dataclasses import dataclass
from typing import Any

from ladle.audit.form import fields_of
from ladle.core.record import Record
from ladle_contracts.times import to_ms, to_rfc3339

ERASED: dict[str, Any] = {"body": "", "salt": "", "room_id": None, "server_id": None}
"""What a redacted export has in place of content. The two ids are copies of what the body says."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Moment:
    """An offset or a time (Unix ms), never both; how `--from` and `--until` say where."""

    offset: int | None = None
    unix_ms: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Moment":
        """`1234` or `2026-11-22T09:00:00Z`; raises ValueError."""
        if text.isascii() and text.isdecimal():
            return cls(offset=int(text))
        try:
            return cls(unix_ms=to_ms(text))
        except ValueError as error:
            raise ValueError(f"{text!r} is neither an offset nor a time: {error}") from None

    def __str__(self) -> str:
        return str(self.offset) if self.unix_ms is None else to_rfc3339(self.unix_ms)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records an export takes; everything unless it says otherwise. Bounds are inclusive."""

    room_id: str | None = None
    server_id: str | None = None
    kinds: tuple[str, ...] = ()
    begin: Moment | None = None
    end: Moment | None = None

    @property
    def is_everything(self) -> bool:
        return self == Wanted()

    def takes(self, record: Record) -> bool:
        """Is this record one of them?"""
        if self.room_id is not None and record.room_id != self.room_id:
            return False
        if self.server_id is not None and record.server_id != self.server_id:
            return False
        if self.kinds and record.kind not in self.kinds:
            return False
        return self._begun(record) and not self._ended(record)

    def first_offset(self) -> int:
        """No record below this one is wanted; 1 where a time, and no offset, bounds them."""
        return (self.begin.offset or 1) if self.begin else 1

    def last_offset(self) -> int | None:
        """No record above this one is wanted; None where no offset bounds them."""
        return self.end.offset if self.end else None

    def is_past(self, record: Record) -> bool:
        """True where neither this record nor any later one is wanted: reading may end."""
        offset = self.last_offset()
        # A time ends nothing: the clock of a later term may be behind that of an earlier one.
        return offset is not None and record.offset > offset

    def as_dict(self) -> dict[str, Any]:
        """For the manifest; only what was asked for."""
        said = {
            "room_id": self.room_id,
            "server_id": self.server_id,
            "kinds": list(self.kinds) or None,
            "from": None if self.begin is None else str(self.begin),
            "until": None if self.end is None else str(self.end),
        }
        return {name: value for name, value in said.items() if value is not None}

    def _begun(self, record: Record) -> bool:
        begin = self.begin
        if begin is None:
            return True
        if begin.offset is not None:
            return record.offset >= begin.offset
        return begin.unix_ms is None or record.recorded_at_ms >= begin.unix_ms

    def _ended(self, record: Record) -> bool:
        end = self.end
        if end is None:
            return False
        if end.offset is not None:
            return record.offset > end.offset
        return end.unix_ms is not None and record.recorded_at_ms > end.unix_ms


def row_of(record: Record, *, redact: bool = False) -> Row:
    """The record's columns, in order; with `redact` without content, as if it had been erased."""
    row = fields_of(record)
    return {**row, **ERASED} if redact else row
