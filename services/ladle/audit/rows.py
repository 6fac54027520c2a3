"""The view's tables against the fold: row by row, column by column."""

from collections.abc import Iterator
from typing import Any

from ladle.audit.finding import Finding, Law
from ladle.audit.source import Rows
from ladle.core.rows import COLUMNS, TABLES, values_of
from ladle.core.view import View


def differing_rows(view: View, rows: Rows) -> Iterator[Finding]:
    """Each row that the tables and the fold do not share; `view` is folded to the tables' head."""
    for name, table in TABLES.items():
        width = len(table.KEY)
        stored = {row[:width]: row for row in map(tuple, rows.snapshot.tables.get(name, ()))}
        folded = map(values_of, view.tables[name].values())
        derived = {row[:width]: row for row in folded}
        if stored == derived:
            continue
        for key in sorted(stored.keys() | derived.keys()):
            finding = _difference(name, key, stored.get(key), derived.get(key))
            if finding is not None:
                yield finding


def _difference(
    name: str, key: tuple[Any, ...], stored: tuple[Any, ...] | None, derived: tuple[Any, ...] | None
) -> Finding | None:
    where = f"{name} {' '.join(map(str, key))}"
    if stored is None:
        said = "the row is missing in the table"
        return Finding(Law.ROWS, None, said, where, None, list(derived or ()))
    if derived is None:
        return Finding(Law.ROWS, None, "the journal gives no such row", where, list(stored), None)
    for column, one, other in zip(COLUMNS[name], stored, derived, strict=True):
        if one != other:
            said = "the table's row is not what the journal gives"
            return Finding(Law.ROWS, None, said, f"{where}, {column}", one, other)
    return None
