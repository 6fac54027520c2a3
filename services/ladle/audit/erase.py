"""Erase a room from the journal: content and salt of its records, while the chain stays whole.

Source: docs/adr/0030-erase-under-a-term-of-its-own.md.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import orjson

from ladle.audit.erasures import spans_of
from ladle.core.record import Kind, Record
from ladle.core.rows import COLUMNS
from ladle.core.view import View
from ladle.journal.alone import batch_of, take_term
from ladle.journal.chain import content_of
from ladle.journal.fold import loaded
from ladle.journal.snapshots import BadSnapshot, unpacked
from ladle.journal.store import Lease, LeaseLost, Store, StoreError
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
    """

    offset: int | None
    records: int
    mentions: int


@dataclass(slots=True)
class _Found:
    """The room's records, and the others that name it, by offset; read up to `upto`."""

    own: list[int] = field(default_factory=list)
    mentions: list[int] = field(default_factory=list)
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
        progress: Progress = lambda records: None,
    ) -> None:
        self._store = store
        self._room_id = room_id
        self._clock = clock
        self._holder = holder
        self._with_mentions = with_mentions
        self._reason = reason
        self._progress = progress
        self._found = _Found()

    async def run(self) -> Erased:
        """Find the records, take a term, erase them and say so in one transaction.

        A writer that is active loses its lease for that moment and takes it back by itself.
        Raises StillKnown, NotPublished, StoreError (LeaseLost: another process was faster; nothing
        was erased). Once more is always allowed.
        """
        await self._search()
        if not self._wanted():
            return self._nothing()
        # Asked before the lease is taken: who is refused has disturbed nobody.
        await self._check()
        await self._forget_snapshots()
        lease = await take_term(self._store, self._clock, self._holder)
        try:
            await self._search()
            return await self._erase(lease, await self._check())
        finally:
            with suppress(StoreError):
                await self._store.give_up(lease)

    async def _search(self) -> None:
        """Look at all records behind those that were looked at."""
        found = self._found
        while records := await self._store.records(found.upto, PAGE):
            for record in records:
                own = record.room_id == self._room_id
                if own:
                    found.own.append(record.offset)
                elif names_room(record, self._room_id):
                    found.mentions.append(record.offset)
                else:
                    continue
                if own or self._with_mentions:
                    self._note_what_it_sends(record)
            found.upto = records[-1].offset
            self._progress(found.upto)

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
        return sorted(found.own + found.mentions) if self._with_mentions else found.own

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

    async def _erase(self, lease: Lease, view: View) -> Erased:
        wanted = self._wanted()
        head = await self._store.head()
        if head.offset != self._found.upto:
            raise LeaseLost("another process wrote meanwhile")
        payload: dict[str, Any] = {"records": [list(span) for span in spans_of(wanted)]}
        if self._reason is not None:
            payload["reason"] = self._reason
        batch = batch_of(view, head, lease, self._clock, Kind.ERASED, payload)
        await self._store.erase(lease, batch, wanted)
        return Erased(batch.records[0].offset, len(wanted), len(self._found.mentions))

    def _nothing(self) -> Erased:
        return Erased(None, 0, len(self._found.mentions))


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
