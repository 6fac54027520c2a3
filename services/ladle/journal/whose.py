"""Whose journal is it? Its first writer said, and the tables beside it still do."""

from typing import Protocol

import orjson

from ladle.core.limits import Limits
from ladle.journal.store import Key, Values


class HasRows(Protocol):
    async def row(self, table: str, key: Key) -> Values | None: ...


async def cell_of(reads: HasRows) -> str:
    """The cell of a journal that was begun; what is at its default is not in the table."""
    row = await reads.row("setting", ("cell",))
    return Limits().cell if row is None else str(orjson.loads(row[1]))
