"""The journal folded: the view at any offset, and whether the tables say the same."""

import asyncio
from dataclasses import dataclass

from ladle.core.apply import apply
from ladle.core.view import View
from ladle.journal.chain import open_record
from ladle.journal.snapshots import nearest
from ladle.journal.store import Key, Snapshot, Store

PAGE = 500
"""Records read at once."""

TURN = 50
"""Records folded before other tasks have their turn: a few milliseconds."""


async def view_at(store: Store, offset: int, *, start: View | None = None) -> View:
    """The view after record `offset`, folded from the records with their recorded outcomes.

    start: a view to go on from, which is changed; the nearest snapshot below without it, so that
        the cost does not grow with the length of the log.
    Raises JournalGap where a record is missing (also past the end), ValueError for a record
    whose body was erased.
    """
    view = start or await nearest(store, offset) or View()
    while view.offset < offset:
        records = await store.records(view.offset, min(PAGE, offset - view.offset))
        if not records:
            raise LookupError(f"the journal ends before offset {offset}")
        for count, record in enumerate(records, 1):
            opened = open_record(record)
            apply(view, opened.entry, opened.outcome)
            if count % TURN == 0:
                await asyncio.sleep(0)
    view.take_changes()
    return view


def loaded(snapshot: Snapshot) -> View:
    """The view that the tables hold."""
    head = snapshot.head
    return View.load(snapshot.tables, offset=head.offset, recorded_at_ms=head.recorded_at_ms)


@dataclass(frozen=True, slots=True)
class Consistency:
    """Do the tables say what the journal says? `differing`: per table the keys that do not."""

    offset: int
    tables_digest: str
    journal_digest: str
    differing: dict[str, list[Key]]

    @property
    def holds(self) -> bool:
        return self.tables_digest == self.journal_digest and not self.differing


async def check(store: Store) -> Consistency:
    """Hold `load(tables) == fold(journal)` at the head as it is now; reads the whole journal.

    May run beside a writer: the tables are one consistent read, records never change.
    """
    tables = loaded(await store.load())
    folded = await view_at(store, tables.offset, start=View())
    return Consistency(
        tables.offset, tables.digest(), folded.digest(), _differences(tables, folded)
    )


def _differences(one: View, other: View) -> dict[str, list[Key]]:
    found = {}
    for name, rows in one.tables.items():
        others = other.tables[name]
        keys = [key for key in {**rows, **others} if rows.get(key) != others.get(key)]
        if keys:
            found[name] = sorted(key if isinstance(key, tuple) else (key,) for key in keys)
    return found
