"""Faults of what is stored: an old backup in place of the database, a bit that is another."""

from collections.abc import Sequence
from dataclasses import fields, replace
from random import Random
from typing import Any

from ladle.chaos.simulated.database import Backup
from ladle.chaos.simulated.laws import Violation
from ladle.chaos.simulated.world import World
from ladle.core.record import Record
from ladle.journal.store import Snapshot, Values

BACKUPS_KEPT = 5
COLUMNS = tuple(field.name for field in fields(Record))


def old_backup(world: World, draw: Random) -> None:
    """Restored as it should be, with nobody at the database; or under everybody's hands."""
    backup = draw.choice(world.backups)
    if draw.random() < 0.5:
        for process in world.processes:
            process.kill()
    for_ms = draw.choice((2_000, 10_000))
    world.cut_from_database(for_ms)
    world.later(for_ms // 2, _restore, world, backup)


def _restore(world: World, backup: Backup) -> None:
    """Those of what is lost now are put away: what they hold was published once, and is not."""
    world.backups = [each for each in world.backups if len(each.records) <= len(backup.records)]
    world.database.restore(backup)


def keep_backup(world: World, draw: Random) -> None:
    """Now and then somebody makes one."""
    if draw.random() < 0.15:
        world.backups = [*world.backups[1 - BACKUPS_KEPT :], world.database.backup()]


def disk_full(world: World, draw: Random) -> None:
    """The database's; it is read as before."""
    world.database.full_until_us = world.loop.now_us + draw.choice((1_000, 5_000, 20_000)) * 1_000


def bit_flip(world: World, draw: Random) -> None:
    """In what an auditor reads: of a record, or of a row. They must be told, and where."""
    records, state = list(world.database.records), world.database.load()
    if draw.random() < 0.7:
        index = draw.randrange(len(records))
        column = draw.choice([name for name in COLUMNS if getattr(records[index], name)])
        records[index] = _flipped_record(records[index], column, draw)
        audited = world.programs.audit(records, state)
        # Who changes an offset puts the record elsewhere: then nothing is where it was.
        is_found = audited.offset == index + 1 or column == "offset"
        where = f"{column} of record {index + 1}"
    else:
        table = draw.choice([name for name, rows in state.tables.items() if rows])
        tables = {**state.tables, table: _with_flipped_row(state.tables[table], draw)}
        audited = world.programs.audit(records, Snapshot(state.head, tables, state.outbox))
        is_found, where = True, f"a row of {table}"
    if audited.exit_code == 0 or not is_found:
        raise Violation("a flipped bit is found where it is", f"{where}: {audited}")


def _flipped_record(record: Record, column: str, draw: Random) -> Record:
    changed: dict[str, Any] = {column: _flipped(getattr(record, column), draw)}
    return replace(record, **changed)


def _with_flipped_row(rows: Sequence[Values], draw: Random) -> list[Values]:
    index = draw.randrange(len(rows))
    row = list(rows[index])
    column = draw.choice([n for n, value in enumerate(row) if value is not None and value != ""])
    row[column] = _flipped(row[column], draw)
    return [*rows[:index], tuple(row), *rows[index + 1 :]]


def _flipped(value: Any, draw: Random) -> Any:
    """The same type with one bit of it changed."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value ^ (1 << draw.randrange(16))
    index, bit = draw.randrange(len(value)), 1 << draw.randrange(7)
    if isinstance(value, bytes):
        return value[:index] + bytes([value[index] ^ bit]) + value[index + 1 :]
    return value[:index] + chr(ord(value[index]) ^ bit) + value[index + 1 :]
