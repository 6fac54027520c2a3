"""Whose journal is it? A database holds one cell, and its first writer says which."""

import orjson

from ladle.core.limits import overridden
from ladle.journal.store import Snapshot


class OtherCell(Exception):
    """The database is another cell's: its servers and rooms would be mixed with ours."""

    code = "other-cell"

    def __init__(self, theirs: str, ours: str) -> None:
        super().__init__(
            f"LADLE_DATABASE_URL holds the journal of cell {theirs}, and LADLE_CELL says {ours}"
        )


def refuse_other_cell(snapshot: Snapshot, cell: str) -> None:
    """Raise OtherCell where the journal was begun under another name; an empty one is anybody's."""
    if not snapshot.head.offset:
        return
    settings = snapshot.tables.get("setting", ())
    theirs = overridden({name: orjson.loads(value) for name, value in settings}).cell
    if theirs != cell:
        raise OtherCell(theirs, cell)
