"""A batch as rows: what the SQL of either database is given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

import orjson
from sqlalchemy import Text

from ladle.journal.store import BadData, Batch, Head, Key, LeaseLost, OutboxCursor, Values
from ladle.journal.tables import JOURNAL, VIEW

record_values = attrgetter(*JOURNAL.columns.keys())
"""A record's columns in the order of the journal's."""

_record_texts = attrgetter(
    *(column.name for column in JOURNAL.columns if isinstance(column.type, Text))
)
_NUL_ESCAPED = b"\\u0000"
_ORDER: Mapping[str, int] = {name: place for place, name in enumerate(VIEW)}


@dataclass(frozen=True, slots=True)
class TableRows:
    """What a batch does to one view table. `puts` end in `reflects_offset`."""

    table: str
    puts: Sequence[Values]
    drops: Sequence[Key]


@dataclass(frozen=True, slots=True)
class BatchRows:
    """`journal`: the records' columns; `view`: the tables that change, in their fixed order."""

    journal: Sequence[Values]
    view: Sequence[TableRows]


def rows_of(batch: Batch) -> BatchRows:
    """The rows that a batch puts and the keys that it drops.

    Raises BadData where a string has a NUL: PostgreSQL has no such text, and a journal that only
    SQLite can hold could not be moved. KeyError for a table that there is not.
    """
    journal = [record_values(record) for record in batch.records]
    offset = batch.records[-1].offset
    view = []
    # In a fixed order, whatever the view's was.
    for name in sorted(batch.changes.rows, key=_ORDER.__getitem__):
        changed = batch.changes.rows[name]
        puts = [(*values, offset) for values in changed.values() if values is not None]
        drops = [key for key, values in changed.items() if values is None]
        if puts or drops:
            _refuse_nul(puts)
            view.append(TableRows(name, puts, drops))
    _refuse_nul([_record_texts(record) for record in batch.records])
    return BatchRows(journal, view)


def _refuse_nul(rows: Sequence[Values]) -> None:
    # orjson looks through all of them in the time in which Python looks at one value of each. It
    # writes a NUL as an escape; text may hold that escape itself, so the values have the last word.
    try:
        if _NUL_ESCAPED not in orjson.dumps(rows):
            return
    except TypeError:  # Half a character, say, which the database refuses by itself.
        pass
    for row in rows:
        for value in row:
            if type(value) is str and "\0" in value:
                raise BadData(f"a NUL in the text {value[:80]!r}")


def refuse_ahead(cursor: OutboxCursor, head: Head) -> None:
    """Raise LeaseLost where the cursor stands at a record that the journal does not have.

    An older backup was restored under the writer. Kept, that cursor would pass by what the next
    writer says under these offsets.
    """
    if cursor.offset > head.offset:
        raise LeaseLost(
            f"the journal ends at {head.offset}, what record {cursor.offset} says was published: "
            "it has lost records"
        )


def happened(head: Head, batch: Batch, before: Head) -> bool:
    """Was the batch committed, as the journal's head shows? Raises LeaseLost for any other head."""
    last = batch.records[-1]
    if (head.offset, head.hash) == (last.offset, last.hash):
        return True
    if (head.offset, head.hash) == (before.offset, before.hash):
        return False
    raise LeaseLost(f"the journal ends at {head.offset}, in nothing that this writer wrote")
