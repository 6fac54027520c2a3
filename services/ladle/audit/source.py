"""What every source of records looks like to an auditor, whatever it is made of.

Records come in pages, so that memory does not grow with the log. A line that cannot be read is an
item of its own: the walk goes on behind it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from ladle.audit.errors import Incomplete
from ladle.core.record import FIRST_PREV_HASH, Record
from ladle.core.view import View
from ladle.journal.snapshots import Anchor
from ladle.journal.store import Head, Snapshot

PAGE = 1_000
"""Records in a page: enough to make a round trip cheap, few enough to stay small."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A file of an archive, as its manifest lists it and as a record of the journal anchors it."""

    name: str
    first_offset: int
    last_offset: int
    bytes: int
    sha256: str


class Fault(StrEnum):
    """What may be wrong with a source beside the records in it."""

    DAMAGED = "damaged"  # in place of a record: what stands there is none
    CHANGED = "changed"  # a file is not the one that the manifest vouches for
    TORN = "torn"  # it ends in the middle of a record, as a copy or a crash leaves it
    MISSING = "missing"  # a file that the manifest names is not there


@dataclass(frozen=True, slots=True)
class Flaw:
    """Among the records, at its place. said: a sentence that names file and line."""

    fault: Fault
    said: str


Item = Record | Flaw


@dataclass(frozen=True, slots=True)
class Origin:
    """What the manifest of an export says of the journal that it is from.

    filters: what was left out, by the names of the manifest. redacted: content was left out.
    gaps: first and last offset of records that the journal did not have. head: its last record.
    """

    cell: str
    filters: Mapping[str, Any]
    redacted: bool
    gaps: tuple[tuple[int, int], ...]
    head: Head


@dataclass(frozen=True, slots=True)
class Claim:
    """What a source says of itself before it is read.

    after: the record before the first (offset 0 and 64 zeros for a whole journal).
    head: the last record; None: only reading it tells.
    selected: the filter that left records out, in words; None: all of the range are there.
    snapshots: records after which the view was kept. A later record anchors the digest of each, so
        who reads once must know beforehand where to take it.
    archived: the last record that was moved to an archive which is not given; 0: none is missing.
    segments: the files of the archive that is given; None without one.
    settled: nobody writes to it now: what was said before is in it, or never will be.
    begins: with an archive: the first record that the database beside it still has.
    goes_on: the journal does not end here, and what it says later is not at hand.
    lacks: what must be there and is not, so that it may have lost anything; None: nothing.
    untold: what nobody says of where it ends, a sentence; None: the source tells, or the walk does.
    origin: what an export was made of; None where no manifest tells.
    cell: whose journal it is, as the tables beside it say; None where there are none.
    """

    after_offset: int = 0
    after_hash: str = FIRST_PREV_HASH
    head: Head | None = None
    selected: str | None = None
    snapshots: tuple[int, ...] = ()
    archived: int = 0
    segments: tuple[Segment, ...] | None = None
    settled: bool = False
    begins: int = 1
    goes_on: bool = False
    lacks: Incomplete | None = None
    untold: str | None = None
    origin: Origin | None = None
    cell: str | None = None


@dataclass(frozen=True, slots=True)
class Rows:
    """The view's tables as one read shows them, with the newest offset that any row reflects."""

    snapshot: Snapshot
    newest_offset: int


class Source(Protocol):
    """A log to audit, read only; opened by `open_source`. All methods may raise SourceError."""

    name: str
    """For people; no password in it."""

    def claim(self) -> Claim: ...

    def rows(self) -> Rows | None:
        """The view's rows beside the log, in one consistent read; None where there are none."""
        ...

    def pages(self, after_offset: int = 0) -> Iterator[list[Item]]:
        """Everything behind `after_offset`, in the order in which it stands there."""
        ...

    def snapshots(self) -> list[Anchor]:
        """Snapshots that the log anchors and whose content is beside it, by offset."""
        ...

    def hold(self, anchor: Anchor) -> None:
        """Raises Altered where what is kept of a snapshot is not what was anchored."""
        ...

    def view_of(self, anchor: Anchor) -> View:
        """The view that a snapshot holds; raises Altered where it is not the anchored one."""
        ...

    def share_read(self, offset: int) -> float | None:
        """How much of it lies at or before `offset`, from 0 to 1; None where nobody knows."""
        ...

    def close(self) -> None: ...
