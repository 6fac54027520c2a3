"""What differs between two states of the view, row by row."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ladle.core.rows import COLUMNS, TABLES, values_of
from ladle.core.view import View

Row = dict[str, Any]
State = dict[str, dict[tuple[Any, ...], tuple[Any, ...]]]


@dataclass(frozen=True, slots=True)
class Change:
    """One row. before, after: the columns that differ; all of them for a new or deleted row."""

    table: str
    key: tuple[Any, ...]
    before: Row | None
    after: Row | None


def state_of(view: View) -> State:
    """A copy of all rows; the view may go on."""
    return {
        name: {key if type(key) is tuple else (key,): values_of(row) for key, row in rows.items()}
        for name, rows in view.tables.items()
    }


def changes(before: State, after: State) -> Iterator[Change]:
    """In the order of tables and keys."""
    for name in TABLES:
        old_rows, new_rows = before[name], after[name]
        for key in sorted(old_rows.keys() | new_rows.keys()):
            old, new = old_rows.get(key), new_rows.get(key)
            if old != new:
                yield _change(name, key, old, new)


def _change(
    name: str, key: tuple[Any, ...], old: tuple[Any, ...] | None, new: tuple[Any, ...] | None
) -> Change:
    columns = COLUMNS[name]
    if old is None or new is None:
        return Change(name, key, _row(columns, old), _row(columns, new))
    differing = [place for place in range(len(columns)) if old[place] != new[place]]
    return Change(
        name,
        key,
        {columns[place]: old[place] for place in differing},
        {columns[place]: new[place] for place in differing},
    )


def _row(columns: tuple[str, ...], values: tuple[Any, ...] | None) -> Row | None:
    return None if values is None else dict(zip(columns, values, strict=True))
