"""The batch's SQL, made from the tables: one statement a table for SQLite, one for PostgreSQL."""

from collections.abc import Iterable, Sequence
from functools import cache

from sqlalchemy import LargeBinary, Table, Text

from ladle.core.record import FIRST_PREV_HASH
from ladle.journal.tables import JOURNAL, VIEW

HEAD = 'SELECT "offset", "hash", "recorded_at_ms" FROM "journal" ORDER BY "offset" DESC LIMIT 1'

# The fence, and a beat by the way. `schema_version` is what this program wrote when it took the
# lease; a newer program's upgrade raises it, and this one's appends end.
_MINE = '"id" = 1 AND "term" = {0} AND "holder" = {1} AND "schema_version" = {2}'


def _mine(marks: Sequence[str]) -> str:
    return _MINE.format(*marks)


def fence(marks: Sequence[str]) -> str:
    """UPDATE of the lease row that finds it only while it is mine: term, holder, version."""
    return f'UPDATE "lease" SET "beats" = "beats" + 1 WHERE {_mine(marks)}'


def give_up(marks: Sequence[str]) -> str:
    """The same for the holder who leaves: the term stays, its holder is nobody."""
    return f'UPDATE "lease" SET "holder" = \'\', "beats" = "beats" + 1 WHERE {_mine(marks)}'


def first_lease(marks: Sequence[str]) -> str:
    """INSERT of term 1 unless there is a row: holder, version."""
    return (
        'INSERT INTO "lease" ("id", "term", "holder", "beats", "schema_version") '
        f"VALUES (1, 1, {marks[0]}, 0, {marks[1]}) ON CONFLICT DO NOTHING"
    )


def next_lease(marks: Sequence[str]) -> str:
    """UPDATE to the next term if the row is as seen: holder, version; term, holder, beats; version.

    The version comes twice: it is written, and no newer one may be there.
    """
    holder, version, seen_term, seen_holder, seen_beats, newest = marks
    return (
        f'UPDATE "lease" SET "term" = "term" + 1, "holder" = {holder}, "beats" = 0, '
        f'"schema_version" = {version} WHERE "id" = 1 AND "term" = {seen_term} '
        f'AND "holder" = {seen_holder} AND "beats" = {seen_beats} AND "schema_version" <= {newest}'
    )


def outbox(marks: Sequence[str], source: str = "") -> str:
    """Put the cursor (offset, index), never backwards."""
    values = f"SELECT 1, {marks[0]}, {marks[1]}{source} WHERE TRUE"
    return (
        f'INSERT INTO "outbox" ("id", "offset", "index") {values} '
        'ON CONFLICT ("id") DO UPDATE SET "offset" = excluded."offset", "index" = excluded."index" '
        'WHERE ("outbox"."offset", "outbox"."index") < (excluded."offset", excluded."index")'
    )


def erase(empty: str, where: str) -> str:
    """Take the content of records away: body, salt, and the copies of what the body says."""
    return (
        f'UPDATE "journal" SET "body" = {empty}, "salt" = {empty}, '
        f'"room_id" = NULL, "server_id" = NULL WHERE {where}'
    )


def keep_part(marks: Sequence[str]) -> str:
    """INSERT of a part of a snapshot (offset, part, content), unless it is there."""
    return (
        'INSERT INTO "snapshot" ("offset", "part", "content") '
        f"VALUES ({', '.join(marks)}) ON CONFLICT DO NOTHING"
    )


def drop_parts(mark: str) -> str:
    """DELETE of all parts of a snapshot: offset."""
    return f'DELETE FROM "snapshot" WHERE "offset" = {mark}'


def drop_records(mark: str) -> str:
    """DELETE of all records up to an offset: offset."""
    return f'DELETE FROM "journal" WHERE "offset" <= {mark}'


def columns(table: Table) -> list[str]:
    """Column names in the order of the values, `reflects_offset` last."""
    names = [column.name for column in table.columns if column.name != "reflects_offset"]
    return names if table is JOURNAL else [*names, "reflects_offset"]


def _keys(table: Table) -> list[str]:
    return [column.name for column in table.primary_key]


def _quoted(names: Iterable[str]) -> str:
    # Always in quotes: `offset`, `index` and `user` are words of SQL.
    return ", ".join(f'"{name}"' for name in names)


def _on_conflict(table: Table) -> str:
    keys = _keys(table)
    updates = (f'"{name}" = excluded."{name}"' for name in columns(table) if name not in keys)
    return f"ON CONFLICT ({_quoted(keys)}) DO UPDATE SET {', '.join(updates)}"


@cache
def sqlite_insert_records() -> str:
    marks = ", ".join("?" for _ in columns(JOURNAL))
    return f'INSERT INTO "journal" ({_quoted(columns(JOURNAL))}) VALUES ({marks})'


@cache
def sqlite_put(name: str) -> str:
    """INSERT or UPDATE of a view row, its columns as parameters."""
    table = VIEW[name]
    marks = ", ".join("?" for _ in columns(table))
    return (
        f'INSERT INTO "{name}" ({_quoted(columns(table))}) VALUES ({marks}) {_on_conflict(table)}'
    )


@cache
def sqlite_drop(name: str) -> str:
    """DELETE of a view row, its key as parameters."""
    where = " AND ".join(f'"{key}" = ?' for key in _keys(VIEW[name]))
    return f'DELETE FROM "{name}" WHERE {where}'


class _Parameters:
    """Numbers the parameters of a statement in the order in which they are given."""

    def __init__(self) -> None:
        self.count = 0

    def one(self, kind: str) -> str:
        self.count += 1
        return f"${self.count}::{kind}"

    def unnest(self, table: Table, names: Sequence[str]) -> str:
        """A table of rows from one array a column."""
        arrays = ", ".join(self.one(f"{_kind(table, name)}[]") for name in names)
        return f"unnest({arrays}) AS given({_quoted(names)})"


def _kind(table: Table, name: str) -> str:
    kind = table.columns[name].type
    if isinstance(kind, LargeBinary):
        return "bytea"
    return "text" if isinstance(kind, Text) else "bigint"


@cache
def postgres_append(tables: tuple[tuple[str, bool, bool], ...], with_outbox: bool) -> str:
    """The whole batch as one statement, so as one transaction in one round trip.

    tables: (name, rows to put?, keys to drop?) in order. Parameters: term, holder, schema
    version, the first record's offset and prev_hash; one array a column of the journal; per
    table one array a column, then one array a key column; offset and index of the outbox.
    Gives 1 where the fence held and everything was done, 0 where nothing was.
    """
    given = _Parameters()
    mine = fence([given.one("bigint"), given.one("text"), given.one("bigint")])
    first, before = given.one("bigint"), given.one("text")
    follows = (
        f'coalesce((SELECT "offset" + 1 = {first} AND "hash" = {before} '
        f'FROM "journal" ORDER BY "offset" DESC LIMIT 1), '
        f"{first} = 1 AND {before} = '{FIRST_PREV_HASH}')"
    )
    # Every part reads `fence`, so none runs before the lease row is updated and thereby locked.
    parts = [f"fence AS ({mine} AND {follows} RETURNING 1)"]
    names = columns(JOURNAL)
    rows = given.unnest(JOURNAL, names)
    insert = f'INSERT INTO "journal" ({_quoted(names)}) SELECT given.* FROM fence, {rows}'
    parts.append(f"journal_in AS ({insert})")
    for name, puts, drops in tables:
        table = VIEW[name]
        if puts:
            names = columns(table)
            rows = given.unnest(table, names)
            insert = f'INSERT INTO "{name}" ({_quoted(names)}) SELECT given.* FROM fence, {rows}'
            parts.append(f'"{name}_in" AS ({insert} {_on_conflict(table)})')
        if drops:
            keys = _keys(table)
            rows = given.unnest(table, keys)
            same = " AND ".join(f'"{name}"."{key}" = given."{key}"' for key in keys)
            parts.append(f'"{name}_out" AS (DELETE FROM "{name}" USING fence, {rows} WHERE {same})')
    if with_outbox:
        cursor = outbox([given.one("bigint"), given.one("bigint")], " FROM fence")
        parts.append(f"outbox_in AS ({cursor})")
    return f"WITH {', '.join(parts)} SELECT count(*) FROM fence"
