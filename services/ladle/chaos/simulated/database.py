"""The database of the simulation: what is durable, with the store's contract and no more.

Each method is one transaction, done in one step. It is what stands on the disk: processes come and
go, it stays.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ladle.core.record import FIRST_PREV_HASH, Kind, Record
from ladle.core.rows import TABLES
from ladle.journal.batch import happened, refuse_ahead, rows_of
from ladle.journal.store import (
    Batch,
    Head,
    Key,
    Lease,
    LeaseLost,
    OutboxCursor,
    Snapshot,
    Values,
)


@dataclass(frozen=True, slots=True)
class Backup:
    """All that stood there at one moment."""

    records: list[Record]
    tables: dict[str, dict[Key, Values]]
    row: Lease | None
    outbox: OutboxCursor
    kept: dict[int, dict[int, bytes]]


class Database:
    """Journal, view tables, lease and outbox cursor of one cell.

    edition: of the newest program that brought its schema up; older ones write nothing.
    lost: records that an older backup does not have, by offset; each may stand there once more.
    full_until_us: until then its disk takes nothing.
    newest: the state after each of the last commits, where somebody wants to go back to one.
    """

    def __init__(self) -> None:
        self.edition = 0
        self.full_until_us = 0
        self.lost: dict[int, list[Record]] = {}
        self.newest: deque[Backup] = deque(maxlen=0)
        self.on_restore: list[Callable[[], None]] = []
        self.records: list[Record] = []
        self.tables: dict[str, dict[Key, Values]] = {name: {} for name in TABLES}
        self.row: Lease | None = None
        self.outbox = OutboxCursor(0, 0)
        self.kept: dict[int, dict[int, bytes]] = {}
        self.before_append: list[Callable[[Lease, Batch], None]] = []
        self.on_append: list[Callable[[Lease, Batch], None]] = []
        self.on_take: list[Callable[[Lease], None]] = []
        self.on_cursor: list[Callable[[OutboxCursor], None]] = []

    @property
    def head(self) -> Head:
        if not self.records:
            return Head(0, FIRST_PREV_HASH, 0)
        last = self.records[-1]
        return Head(last.offset, last.hash, last.recorded_at_ms)

    # The lease

    def take_lease(self, holder: str, seen: Lease | None) -> Lease | None:
        if self.row != seen:
            return None
        self.row = Lease(seen.term + 1 if seen else 1, holder, 0)
        for watcher in self.on_take:
            watcher(self.row)
        return self.row

    def beat(self, mine: Lease) -> Lease:
        self._fence(mine)
        assert self.row is not None
        return self.row

    def give_up(self, mine: Lease) -> None:
        if self._is_mine(mine):
            assert self.row is not None
            self.row = replace(self.row, holder="", beats=self.row.beats + 1)

    def _is_mine(self, mine: Lease) -> bool:
        row = self.row
        return row is not None and (row.term, row.holder) == (mine.term, mine.holder)

    def _fence(self, mine: Lease) -> None:
        if not self._is_mine(mine):
            raise LeaseLost(f"term {mine.term} of {mine.holder} is over")
        assert self.row is not None
        self.row = replace(self.row, beats=self.row.beats + 1)

    # Writing

    def append(self, mine: Lease, batch: Batch) -> None:
        rows_of(batch)  # Raises BadData for what no database takes.
        first, head, before = batch.records[0], self.head, self.row
        self._fence(mine)
        if (head.offset + 1, head.hash) != (first.offset, first.prev_hash):
            self.row = before  # Rolled back.
            raise LeaseLost(
                f"the journal ends at {head.offset}, the batch begins at {first.offset}"
            )
        for watcher in self.before_append:
            watcher(mine, batch)
        self.records.extend(batch.records)
        for name, changed in batch.changes.rows.items():
            table = self.tables[name]
            for key, values in changed.items():
                if values is None:
                    table.pop(key, None)
                else:
                    table[key] = values
        if batch.outbox is not None:
            self._put_cursor(batch.outbox)
        for watcher in self.on_append:
            watcher(mine, batch)
        if self.newest.maxlen:
            self.newest.append(self.backup())

    def erase(self, mine: Lease, batch: Batch, offsets: Sequence[int]) -> None:
        self.append(mine, batch)
        for offset in offsets:
            self.records[offset - 1] = replace(
                self.records[offset - 1], body=b"", salt=b"", room_id=None, server_id=None
            )

    def resolve(self, mine: Lease, batch: Batch, before: Head) -> bool:
        self._fence(mine)
        return happened(self.head, batch, before)

    def move_outbox(self, mine: Lease, cursor: OutboxCursor) -> None:
        self._fence(mine)
        refuse_ahead(cursor, self.head)
        self._put_cursor(cursor)

    def _put_cursor(self, cursor: OutboxCursor) -> None:
        if (cursor.offset, cursor.index) > (self.outbox.offset, self.outbox.index):
            self.outbox = cursor
            for watcher in self.on_cursor:
                watcher(cursor)

    # Reading

    def load(self) -> Snapshot:
        tables = {name: [rows[key] for key in sorted(rows)] for name, rows in self.tables.items()}
        return Snapshot(self.head, tables, self.outbox)

    def history(
        self,
        after_offset: int,
        limit: int,
        room_id: str | None,
        server_id: str | None,
        kinds: Sequence[str],
    ) -> list[Record]:
        found: list[Record] = []
        for record in self.records[max(0, after_offset) :]:
            if len(found) >= limit:
                break
            named = room_id in (None, record.room_id) and server_id in (None, record.server_id)
            if named and (not kinds or record.kind in kinds):
                found.append(record)
        return found

    def anchors(self, kind: Kind) -> list[Record]:
        return [record for record in self.records if record.kind == kind]

    # Backups

    def ever_at(self, offset: int) -> list[Record]:
        """What stands there, and what stood there before an older backup was restored."""
        return [*self.records[offset - 1 : offset], *self.lost.get(offset, ())]

    def backup(self) -> Backup:
        """A copy of the present state; records and rows never change, so that they are shared."""
        return Backup(
            list(self.records),
            {name: dict(rows) for name, rows in self.tables.items()},
            self.row,
            self.outbox,
            {offset: dict(parts) for offset, parts in self.kept.items()},
        )

    def restore(self, backup: Backup) -> None:
        """That state again, as if nothing had been written since."""
        for record in self.records[len(backup.records) :]:
            self.lost.setdefault(record.offset, []).append(record)
        self.records = list(backup.records)
        self.tables = {name: dict(rows) for name, rows in backup.tables.items()}
        self.row, self.outbox = backup.row, backup.outbox
        self.kept = {offset: dict(parts) for offset, parts in backup.kept.items()}
        self.newest.clear()
        for watcher in self.on_restore:
            watcher()

    # Snapshots of the view

    def keep_snapshot(self, offset: int, part: int, content: bytes) -> None:
        self.kept.setdefault(offset, {})[part] = content

    def drop_snapshot(self, offset: int) -> None:
        self.kept.pop(offset, None)

    def snapshot(self, offset: int) -> list[bytes]:
        parts = self.kept.get(offset, {})
        return [parts[part] for part in sorted(parts)]
