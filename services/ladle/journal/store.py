"""The interface of the journal's storage: one log, the view's rows, one lease.

Two databases stand behind it, SQLite and PostgreSQL, and a simulation. `append` is one
transaction: fence, records, changed rows. Nothing is replied or acked before it returns.
Every method may raise StoreBusy and StoreBroken; the others say what else.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from ladle.core.record import Kind, Record

Key = tuple[Any, ...]
Values = tuple[Any, ...]


class StoreError(Exception):
    """The store could not do as asked."""


class LeaseLost(StoreError):
    """Another writer holds the lease: this one must append nothing more."""


class CommitUnknown(StoreError):
    """The connection broke inside COMMIT; `resolve` finds out what happened."""


class StoreBusy(StoreError):
    """Locked, serialisation failure or no connection, past the time allowed; may be retried."""


class Untrusted(StoreBusy):
    """No TLS with the database: one side refuses the other's certificate. Who asks gets to know it
    at once; it may be renewed some time."""


class NotLetIn(StoreError):
    """The database refuses this program: user, password, certificate or place."""


class StoreBroken(StoreError):
    """An I/O error (disk full, fsync failed): stop, never retry as if the data were durable."""


class BadData(StoreError):
    """The database refuses a value of this batch; the writer bisects to find the record."""


class SchemaTooNew(StoreError):
    """The database was written by a newer program; this one may not write to it."""


class ForeignDatabase(StoreBroken):
    """Its tables are another program's, though some are called as Ladle's are."""


class SchemaTooOld(StoreError):
    """The tables are missing or older than this program: `ladle db upgrade` brings them up."""


@dataclass(frozen=True, slots=True)
class Head:
    """The journal's last record; offset 0 and 64 zeros before the first."""

    offset: int
    hash: str
    recorded_at_ms: int


@dataclass(frozen=True, slots=True)
class Lease:
    """Who may append. `beats` grows with each heartbeat of the holder."""

    term: int
    holder: str
    beats: int


@dataclass(slots=True)
class Changes:
    """View rows that a batch changed: per table the last values by key, or None for a deletion.

    Values are the row's columns in the order of its dataclass, without the `offset` column.
    """

    rows: dict[str, dict[Key, Values | None]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OutboxCursor:
    """The last outbound message that was confirmed: record offset and index in that record."""

    offset: int
    index: int


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction appends.

    records: at least one, chained to the journal's head and to each other; exact bytes.
    changes: what they did to the view's rows; each row is stored with the last record's offset,
        for that is the state that it reflects.
    outbox: the cursor may ride along, which saves a transaction of its own; it never goes back.
    A batch belongs to the store until `append` returns: do not change it meanwhile.
    """

    records: Sequence[Record]
    changes: Changes
    outbox: OutboxCursor | None = None

    def __post_init__(self) -> None:
        if not self.records:
            raise ValueError("a batch without records would change the view behind the journal")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The view's rows as one consistent read: `tables[name]` is a list of dataclass-order rows."""

    head: Head
    tables: Mapping[str, Sequence[Values]]
    outbox: OutboxCursor


class Steady(Protocol):
    """One state of the view's tables, read in slices while others write."""

    @property
    def head(self) -> Head: ...

    def slices(self, table: str) -> AsyncIterator[Sequence[Values]]:
        """All rows of a table in the order of their keys, some hundred at a time."""
        ...


class Store(Protocol):
    """Journal and view of one cell in one database."""

    async def open(self) -> None:
        """Connect and check the schema's version; raises SchemaTooNew, SchemaTooOld."""
        ...

    async def close(self) -> None: ...

    async def lease(self) -> Lease | None:
        """The lease row now; None before the first writer.

        Raises SchemaTooNew where a newer program has written: who stands by would fold its records
        by older rules.
        """
        ...

    async def take_lease(self, holder: str, seen: Lease | None) -> Lease | None:
        """Take the next term if the row still is as `seen`; committed before this returns.

        None where somebody else was faster. Raises SchemaTooNew.
        """
        ...

    async def beat(self, mine: Lease) -> Lease:
        """Grow the counter; raises LeaseLost."""
        ...

    async def give_up(self, mine: Lease) -> None:
        """Give the lease up at once (holder becomes empty); no error where it is lost already."""
        ...

    async def append(self, mine: Lease, batch: Batch) -> None:
        """One transaction: fence, records, rows; counts as a beat of the lease.

        Raises LeaseLost (also where the head is not what the batch follows), CommitUnknown,
        BadData; nothing is stored then, except after CommitUnknown, where `resolve` finds out.
        Do not cancel it: a cancelled append may have happened.
        """
        ...

    async def erase(self, mine: Lease, batch: Batch, offsets: Sequence[int]) -> None:
        """`append`, and in the same transaction take content, salt and ids of these records away.

        What the chain needs stays: body_digest, prev_hash and hash. Erasing twice changes nothing.
        Raises what `append` raises; after CommitUnknown, `resolve` tells, or erase again.
        """
        ...

    async def resolve(self, mine: Lease, batch: Batch, before: Head) -> bool:
        """After CommitUnknown, under the lease lock: True it happened, False it did not.

        Raises LeaseLost where the head is neither the batch's last nor `before`.
        """
        ...

    async def head(self) -> Head: ...

    async def load(self) -> Snapshot:
        """All view rows, the head and the outbox cursor in one consistent read."""
        ...

    def steady(self) -> AbstractAsyncContextManager[Steady]:
        """The same state, for who has time: rows come in slices, and nobody waits for them."""
        ...

    async def row(self, table: str, key: Key) -> Values | None:
        """One view row as of the last commit, columns in the order of its dataclass."""
        ...

    async def records(self, after_offset: int, limit: int) -> list[Record]:
        """Records with offset > `after_offset`, in order, at most `limit`."""
        ...

    async def record(self, offset: int) -> Record | None: ...

    async def history(
        self,
        *,
        after_offset: int,
        limit: int,
        room_id: str | None = None,
        server_id: str | None = None,
        kinds: Sequence[str] = (),
    ) -> list[Record]:
        """Records that name the room or server, in order; for `decisions`, `history`, `explain`."""
        ...

    async def anchors(self, kind: Kind) -> list[Record]:
        """All records of one of the kinds about how the journal is kept, in order; there are few.

        For `snapshot`, `archived` and `loss-accepted`; of other kinds there are none here.
        """
        ...

    async def snapshots(self) -> list[int]:
        """Offsets of which parts of a snapshot are kept, whole or not, ascending."""
        ...

    async def snapshot(self, offset: int) -> list[bytes]:
        """The parts of a snapshot in order; none where it is not kept."""
        ...

    async def keep_snapshot(self, offset: int, part: int, content: bytes) -> None:
        """Keep one part, in a transaction of its own; writing it again changes nothing.

        Not fenced: the bytes follow from the journal, and nobody reads them before a record that
        the fence let through anchors them.
        """
        ...

    async def drop_snapshot(self, offset: int) -> None:
        """Forget all parts of a snapshot; no error where there are none."""
        ...

    async def drop_records(self, through: int) -> None:
        """Forget all records at or below `through`; no error where there are none.

        Only for records that a record of kind `archived` names. Not fenced: what the journal says
        is elsewhere, no writer needs here.
        """
        ...

    async def move_outbox(self, mine: Lease, cursor: OutboxCursor) -> None:
        """Fenced: remember what was confirmed. Raises LeaseLost."""
        ...
