"""Erase a room from the journal: content and salt of its records, while the chain stays whole.

Source: docs/adr/0030-erase-under-a-term-of-its-own.md.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from ladle.audit.archive_lock import held
from ladle.audit.archivings import Archiving, anchored_files, last_archiving
from ladle.audit.erase_archive import ErasedArchive
from ladle.audit.erasures import spans_of
from ladle.audit.errors import BadSource
from ladle.core.record import Kind, Record
from ladle.core.rows import COLUMNS
from ladle.core.view import View
from ladle.journal.alone import batch_of, take_term
from ladle.journal.chain import content_of
from ladle.journal.fold import loaded
from ladle.journal.snapshots import BadSnapshot, unpacked
from ladle.journal.store import Head, Lease, LeaseLost, Store, StoreError
from ladle.journal.whose import cell_of
from ladle_contracts.clock import Clock

PAGE = 500
Progress = Callable[[int], None]
"""(records looked at)."""


class StillKnown(Exception):
    """The view still holds rows of the room: what it is would be nowhere in the journal."""

    def __init__(self, room_id: str, tables: Sequence[str]) -> None:
        super().__init__(f"the view still knows room {room_id!r}: {', '.join(tables)}")
        self.tables = tuple(tables)


class NotPublished(Exception):
    """A record says something to others that the broker has not confirmed yet."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"record {offset} sends messages that the broker has not confirmed yet")
        self.offset = offset


@dataclass(frozen=True, slots=True)
class Erased:
    """offset: of the record that says so; None where there was nothing to erase.

    records: whose content was taken away. mentions: records about something else (a server's
    status, a tick) that name the room; they were erased too, or left, as was asked.
    archived: of `records`, those in the archive. not_read: records up to this one are in an archive
    that was not given, and may name the room; 0: there is none.
    """

    offset: int | None
    records: int
    mentions: int
    archived: int = 0
    not_read: int = 0


@dataclass(slots=True)
class _Found:
    """The room's records, and the others that name it, by offset; read up to `upto`.

    In the archive and in the database: while records leave the latter, both have some.
    """

    own: set[int] = field(default_factory=set)
    mentions: set[int] = field(default_factory=set)
    last_sent: tuple[int, int] = (0, 0)  # as the outbox counts: record, message in it
    upto: int = 0


class Eraser:
    """Erases one room. `holder` names this process in the lease, and no other one."""

    def __init__(
        self,
        store: Store,
        room_id: str,
        *,
        clock: Clock,
        holder: str,
        with_mentions: bool = False,
        reason: str | None = None,
        archive: Path | None = None,
        progress: Progress = lambda records: None,
    ) -> None:
        """archive: the folder with the journal's beginning, from which the room goes as well."""
        self._store = store
        self._room_id = room_id
        self._clock = clock
        self._holder = holder
        self._with_mentions = with_mentions
        self._reason = reason
        self._progress = progress
        self._found = _Found()
        self._folder = archive
        self._archive: ErasedArchive | None = None
        self._in_archive: set[int] = set()
        self._not_read = 0
        self._told: Archiving | None = None

    async def run(self) -> Erased:
        """Find the records, take a term, erase them and say so in one transaction.

        A writer that is active loses its lease for that moment and takes it back by itself.
        Raises StillKnown, NotPublished, SourceError (the archive cannot be read, or another process
        writes to it), OSError, StoreError (LeaseLost: another process was faster; nothing was
        erased). Once more is always allowed.
        """
        with held(self._folder) if self._folder is not None else nullcontext():
            return await self._run()

    async def _run(self) -> Erased:
        await self._search_archive()
        await self._search()
        if not self._wanted():
            await self._still_the_last()
            return self._nothing()
        # Asked before the lease is taken: who is refused has disturbed nobody.
        await self._check()
        await self._forget_snapshots()
        if self._archive is not None:
            self._archive.rewrite(self._wanted())
        lease = await take_term(self._store, self._clock, self._holder)
        try:
            await self._search()
            erased = await self._erase(lease, await self._check())
        finally:
            with suppress(StoreError):
                await self._store.give_up(lease)
        if self._archive is not None:
            self._archive.let_go()
        return erased

    async def _search_archive(self) -> None:
        """Look at all records of the archive, or note that nobody did."""
        self._told = told = await last_archiving(self._store)
        anchor = await self._store.record(told.said_by) if told else None
        if self._folder is None:
            self._not_read = told.last_offset if told else 0
            return
        if anchor is None:
            raise BadSource(
                "no record says that records were archived", "leave out --archive, or name the "
                "database whose beginning is in it",
            )  # fmt: skip
        anchored = await anchored_files(self._store)
        cell = await cell_of(self._store)
        self._archive = ErasedArchive(self._folder, anchor, anchored, cell)

        def take(record: Record) -> None:
            if self._take(record):
                self._in_archive.add(record.offset)
            if record.offset % PAGE == 0:
                self._progress(record.offset)

        self._archive.search(take)

    async def _search(self) -> None:
        """Look at all records behind those that were looked at."""
        found = self._found
        while records := await self._store.records(found.upto, PAGE):
            for record in records:
                if self._take(record):
                    self._note_what_it_sends(record)
            found.upto = records[-1].offset
            self._progress(found.upto)

    def _take(self, record: Record) -> bool:
        """Note it if it names the room; will it be erased?"""
        if record.room_id == self._room_id:
            self._found.own.add(record.offset)
            return True
        if names_room(record, self._room_id):
            self._found.mentions.add(record.offset)
            return self._with_mentions
        return False

    async def _forget_snapshots(self) -> None:
        """Drop the snapshots in which the room still is; going back then folds from an older one.

        Before the records, whose erasing ends the work: who is killed in between begins anew.
        """
        needle = orjson.dumps(self._room_id)
        for offset in await self._store.snapshots():
            try:
                knows = needle in unpacked(await self._store.snapshot(offset))
            except BadSnapshot:
                knows = True  # Nobody can tell, and nobody can use it.
            if knows:
                await self._store.drop_snapshot(offset)

    def _note_what_it_sends(self, record: Record) -> None:
        count = len(content_of(record).get("outcome", {}).get("outbound", ()))
        if count:
            self._found.last_sent = (record.offset, count - 1)

    def _wanted(self) -> list[int]:
        found = self._found
        return sorted(found.own | found.mentions if self._with_mentions else found.own)

    async def _check(self) -> View:
        """The view as the tables hold it, which must not know the room; raises."""
        snapshot = await self._store.load()
        last, confirmed = self._found.last_sent, snapshot.outbox
        if last > (confirmed.offset, confirmed.index):
            raise NotPublished(last[0])
        known = [
            name
            for name, rows in snapshot.tables.items()
            if "room_id" in COLUMNS[name]
            and any(row[COLUMNS[name].index("room_id")] == self._room_id for row in rows)
        ]
        if known:
            raise StillKnown(self._room_id, known)
        return loaded(snapshot)

    async def _still_the_last(self) -> None:
        """Records that were archived since the search are in files that nobody looked at."""
        if await last_archiving(self._store) != self._told:
            raise LeaseLost("records were archived meanwhile: nothing was erased")

    async def _erase(self, lease: Lease, view: View) -> Erased:
        await self._still_the_last()
        wanted = self._wanted()
        head = await self._store.head()
        if head.offset != self._found.upto:
            raise LeaseLost("another process wrote meanwhile")
        payload: dict[str, Any] = {"records": [list(span) for span in spans_of(wanted)]}
        if self._reason is not None:
            payload["reason"] = self._reason
        batch = batch_of(view, head, lease, self._clock, Kind.ERASED, payload)
        said_by = batch.records[0]
        if self._archive is not None:
            head = Head(said_by.offset, said_by.hash, said_by.recorded_at_ms)
            payload = self._archive.payload()
            anchor = batch_of(view, head, lease, self._clock, Kind.ARCHIVED, payload)
            batch = replace(batch, records=[said_by, *anchor.records])
        await self._store.erase(lease, batch, wanted)
        archived = len(self._in_archive)
        return Erased(
            said_by.offset, len(wanted), len(self._found.mentions), archived, self._not_read
        )

    def _nothing(self) -> Erased:
        return Erased(None, 0, len(self._found.mentions), not_read=self._not_read)


def names_room(record: Record, room_id: str) -> bool:
    """Does the content name the room, anywhere? Most records are told by their bytes alone."""
    if orjson.dumps(room_id) not in record.body:
        return False
    return any(found == room_id for found in _rooms_in(orjson.loads(record.body)))


def _rooms_in(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "room_id":
                yield inner
            else:
                yield from _rooms_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _rooms_in(inner)
