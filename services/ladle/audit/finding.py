"""What an audit finds: one place where two things differ that must be equal."""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Law(StrEnum):
    """What must hold of a journal. Values stand in reports."""

    READABLE = "readable"  # every line is a record
    ORDER = "order"  # offsets ascend, none comes twice
    CHAIN = "chain"  # prev_hash is the hash of the record before
    HASH = "hash"  # a record's hash is that of its seven fields
    DIGEST = "digest"  # body_digest is SHA-256(salt | body)
    TIME = "time"  # terms do not go back, nor does time within one
    COLUMNS = "columns"  # room_id and server_id are what the body says
    BODY = "body"  # the body is canonical JSON of an entry and its outcome
    OUTCOME = "outcome"  # the core comes to the recorded outcome
    ROWS = "rows"  # the view's tables are what folding the journal gives
    SNAPSHOT = "snapshot"  # a kept snapshot, and its anchor, are what folding gives there
    ERASED = "erased"  # where content is missing, a later record answers for it
    ARCHIVE = "archive"  # a segment of the archive is the one that the journal anchors
    STREAM = "stream"  # the broker's stream and the journal tell of the same events
    HEAD = "head"  # the log ends with the hash that was told beforehand


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference. offset: of the record; None where it is about no single one.

    where: what in it, for example `outcome.decision.winner.server_id` or `room standup, phase`.
    recorded, derived: both sides, where there are two.
    """

    law: Law
    offset: int | None
    said: str
    where: str | None = None
    recorded: Any = None
    derived: Any = None


@dataclass(slots=True)
class Findings:
    """The first difference in full, the others counted by law; so memory stays small."""

    first: Finding | None = None
    counts: Counter[Law] = field(default_factory=Counter)
    count: int = 0  # of all laws; asked for several times a record

    def add(self, finding: Finding) -> None:
        if self.first is None:
            self.first = finding
        self.counts[finding.law] += 1
        self.count += 1
