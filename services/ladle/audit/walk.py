"""The chain, record by record: what breaks it is found, counted, and walked past.

Each law is held against what stands there, not against what should: after a break the walk goes on
from the record as it is, so one change is not found in all that follow.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ladle.audit.finding import Finding, Law
from ladle.core.record import Record, digest_of
from ladle.journal.chain import rehash
from ladle.journal.store import Head

GAPS_TOLD = 20
"""Gaps that are remembered with their offsets; more are only counted."""


@dataclass(slots=True)
class Gaps:
    """Missing records: the first ranges, and how many records in all."""

    ranges: list[tuple[int, int]] = field(default_factory=list)
    records: int = 0

    def add(self, first: int, last: int) -> None:
        if len(self.ranges) < GAPS_TOLD:
            self.ranges.append((first, last))
        self.records += last - first + 1


def is_erased(record: Record) -> bool:
    """Content and salt were taken away; the digest keeps the record's place in the chain."""
    return not record.body and not record.salt


class Walk:
    """Holds the chain. `sparse`: the source left records out on purpose, so offsets may skip."""

    def __init__(self, after_offset: int, after_hash: str | None, *, sparse: bool = False) -> None:
        self.offset = after_offset
        self.hash = after_hash  # None: not known, the record there could not be read
        self.gaps = Gaps()
        self._sparse = sparse
        self._term = 0
        self._recorded_at_ms = 0

    @property
    def head(self) -> Head:
        return Head(self.offset, self.hash or "", self._recorded_at_ms)

    def skip_damaged(self) -> None:
        """Something stands where the next record should, and cannot be read."""
        self.offset, self.hash = self.offset + 1, None

    def step(self, record: Record) -> Iterable[Finding]:
        """What is wrong with the next record; afterwards it is the last one."""
        hash_ = rehash(record)
        if not self._holds(record, hash_):
            return self._wrong(record, hash_)
        self.offset, self.hash = record.offset, hash_
        self._term, self._recorded_at_ms = record.term, record.recorded_at_ms
        return ()

    def _holds(self, record: Record, hash_: str) -> bool:
        """Whether no law is broken, as with nearly all records: asked first, and at once."""
        return (
            hash_ == record.hash
            and record.prev_hash == self.hash
            and record.offset == self.offset + 1
            and (record.term, record.recorded_at_ms) >= (self._term, self._recorded_at_ms)
            and (is_erased(record) or digest_of(record.salt, record.body) == record.body_digest)
        )

    def _wrong(self, record: Record, hash_: str) -> Iterator[Finding]:
        """Law by law. It is the last record when all were told."""
        offset = record.offset
        is_itself = hash_ == record.hash
        follows = self.hash is not None and record.prev_hash == self.hash
        if not is_itself and follows:
            # Its place is certain, whatever its offset says: that may be the changed field.
            offset = self.offset + 1
        if not is_itself:
            said = "its hash is not that of its seven fields"
            yield Finding(Law.HASH, offset, said, "hash", record.hash, hash_)
        yield from self._place(record, offset, follows)
        if not is_erased(record):
            digest = digest_of(record.salt, record.body)
            if digest != record.body_digest:
                yield Finding(
                    Law.DIGEST, offset, "its content is not what was sealed", "body_digest",
                    record.body_digest, digest,
                )  # fmt: skip
        yield from self._time(record, offset)
        self.offset, self.hash = max(offset, self.offset), record.hash

    def _place(self, record: Record, offset: int, follows: bool) -> Iterator[Finding]:
        if offset <= self.offset:
            yield Finding(
                Law.ORDER, offset, f"it comes after record {self.offset}", "offset",
                offset, self.offset + 1,
            )  # fmt: skip
        elif offset > self.offset + 1:
            if not self._sparse:
                self.gaps.add(self.offset + 1, offset - 1)
        elif self.hash is not None and not follows:
            yield Finding(
                Law.CHAIN, offset, "it does not follow from the record before it", "prev_hash",
                record.prev_hash, self.hash,
            )  # fmt: skip

    def _time(self, record: Record, offset: int) -> Iterator[Finding]:
        if record.term < self._term:
            yield Finding(
                Law.TIME, offset, f"its term {record.term} is over since term {self._term}",
                "term", record.term, self._term,
            )  # fmt: skip
        elif record.term == self._term and record.recorded_at_ms < self._recorded_at_ms:
            yield Finding(
                Law.TIME, offset, "its time is before that of the record before it",
                "recorded_at_ms", record.recorded_at_ms, self._recorded_at_ms,
            )  # fmt: skip
        self._term, self._recorded_at_ms = record.term, record.recorded_at_ms
