"""Tables, columns, migrations, and the fence that keeps older programs out."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import fields
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from ladle.core import record as core_record
from ladle.core.rows import TABLES
from ladle.journal import schema
from ladle.journal.engine import connect_sqlite, engine_for
from ladle.journal.open import open_store
from ladle.journal.store import LeaseLost, SchemaTooNew, SchemaTooOld, StoreError
from ladle.journal.tables import JOURNAL, VIEW, metadata
from ladle.journal.url import SqliteUrl, parse
from tests.journal.making import batch_after, fresh_store, writer_of

LOG = {"journal", "lease", "outbox", "snapshot"}


@pytest.mark.parametrize("name", TABLES)
def test_a_view_table_has_the_columns_of_its_row(name):
    """Same names, same order, same types, same key; and the offset that it reflects."""
    table, row = VIEW[name], TABLES[name]
    columns = [column for column in table.columns if column.name != "reflects_offset"]
    assert [column.name for column in columns] == [field.name for field in fields(row)]
    kinds = {"int": int, "str": str}
    for column, field in zip(columns, fields(row), strict=True):
        hint = field.type.__name__ if isinstance(field.type, type) else str(field.type)
        kind, _, null = hint.partition(" | ")
        assert (column.type.python_type, column.nullable) == (kinds[kind], null == "None"), column
    assert tuple(column.name for column in table.primary_key) == row.KEY
    assert "reflects_offset" in table.columns


def test_the_journals_columns_are_a_records_fields():
    assert [column.name for column in JOURNAL.columns] == [
        field.name for field in fields(core_record.Record)
    ]


def test_there_are_no_other_tables():
    assert set(metadata.tables) == LOG | set(TABLES)


def test_the_version_is_that_of_the_newest_migration():
    folder = Path(schema.__file__).parent / "migrations"
    heads = ScriptDirectory(str(folder)).get_heads()
    assert [int(head) for head in heads] == [schema.VERSION]
    assert core_record.SCHEMA_VERSION <= schema.VERSION


async def on_database(url, function, *, writes=False):
    engine = engine_for(parse(url), 2_000, writes=writes)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(function)
    finally:
        await engine.dispose()


async def test_from_nothing_to_this_version(database_url):
    assert await schema.current(database_url) is None
    assert await schema.upgrade(database_url) == schema.VERSION
    assert await schema.current(database_url) == schema.VERSION
    names = await on_database(database_url, lambda c: set(inspect(c).get_table_names()))
    assert names == {"alembic_version"} | LOG | set(TABLES)


async def test_an_upgrade_of_what_is_current_changes_nothing(database_url):
    store = await fresh_store(database_url)
    mine = await writer_of(store)
    await store.append(mine, batch_after(await store.head(), settings={"a": "1"}))
    before = await store.load()
    await schema.upgrade(database_url)
    assert await store.load() == before
    await store.append(mine, batch_after(before.head))
    await store.close()


async def test_a_journal_of_the_first_version_is_kept_by_the_upgrade(database_url, monkeypatch):
    """Made by the first revision, with a record in it; then everything that came since."""
    newest = command.upgrade
    monkeypatch.setattr(command, "upgrade", lambda config, _: newest(config, "0001"))
    await schema.upgrade(database_url)
    assert await schema.current(database_url) == 1
    row = {column.name: "x" for column in JOURNAL.columns if column.type.python_type is str}
    row |= {"offset": 1, "recorded_at_ms": 2, "term": 1, "schema_version": 1}
    row |= {"body": b"{}", "salt": b"s", "kind": "tick", "room_id": None}
    await on_database(database_url, lambda c: c.execute(JOURNAL.insert().values(row)), writes=True)
    monkeypatch.setattr(command, "upgrade", newest)
    assert await schema.upgrade(database_url) == schema.VERSION
    store = open_store(database_url)
    await store.open()
    (kept,) = await store.records(0, 9)
    await store.close()
    assert (kept.body, kept.kind, kept.server_id) == (b"{}", "tick", "x")


async def test_two_upgrades_at_once_take_turns(database_url):
    versions = await asyncio.gather(*(schema.upgrade(database_url) for _ in range(3)))
    assert versions == [schema.VERSION] * 3


async def test_a_new_file_that_somebody_writes_is_waited_for(tmp_path):
    """SQLite does not wait there itself: it refuses a journal mode at once, whatever its limit."""
    url = SqliteUrl(tmp_path / "ladle.db")
    with closing(sqlite3.connect(url.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        opening = asyncio.create_task(connect_sqlite(url, 30_000))
        await asyncio.sleep(0.1)
        assert not opening.done()
        other.execute("ROLLBACK")
        await (await opening).close()
        other.execute("BEGIN IMMEDIATE")
        other.execute("PRAGMA user_version = 1")
        await (await connect_sqlite(url, 100)).close()


async def test_a_new_file_that_stays_locked_is_given_up(tmp_path):
    url = SqliteUrl(tmp_path / "ladle.db")
    with closing(sqlite3.connect(url.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            await connect_sqlite(url, 50)


async def test_the_migrations_make_what_the_models_say(database_url):
    await schema.upgrade(database_url)

    def drift(connection):
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return compare_metadata(context, metadata)

    assert await on_database(database_url, drift) == []


async def test_drift_would_be_seen(database_url):
    await schema.upgrade(database_url)

    def drift(connection):
        connection.execute(text("ALTER TABLE room ADD COLUMN forgotten TEXT"))
        return compare_metadata(MigrationContext.configure(connection), metadata)

    assert [change[0] for change in await on_database(database_url, drift, writes=True)] == [
        "remove_column"
    ]


@pytest.mark.postgres
async def test_text_is_in_byte_order_on_postgres(postgres_url):
    """Whatever the database's own order: ties break on bytes, as in the core."""
    await schema.upgrade(postgres_url)
    wrong = text(
        "SELECT table_name, column_name FROM information_schema.columns "
        "WHERE table_schema = 'public' AND data_type = 'text' "
        "AND collation_name IS DISTINCT FROM 'C'"
    )
    assert await on_database(postgres_url, lambda c: c.execute(wrong).all()) == []


async def test_rows_come_in_byte_order(store):
    mine = await writer_of(store)
    names = ["b", "B", "a", "Z", "_", "é", "~"]
    await store.append(mine, batch_after(await store.head(), settings=dict.fromkeys(names, "1")))
    read = [row[0] for row in (await store.load()).tables["setting"]]
    assert read == sorted(names, key=str.encode)


async def test_no_tables_is_too_old(database_url):
    store = open_store(database_url)
    with pytest.raises(SchemaTooOld, match="ladle db upgrade"):
        await store.open()
    await store.close()


async def set_to(url, statement):
    await on_database(url, lambda connection: connection.execute(text(statement)), writes=True)


async def test_newer_tables_are_not_opened(database_url):
    await schema.upgrade(database_url)
    await set_to(database_url, "UPDATE alembic_version SET version_num = '9001'")
    store = open_store(database_url)
    with pytest.raises(SchemaTooNew, match="9001"):
        await store.open()
    await store.close()
    with pytest.raises(SchemaTooNew):
        await schema.upgrade(database_url)


async def test_newer_records_are_not_opened(database_url):
    """No new table, but a program wrote here whose records this one would fold wrongly."""
    store = await fresh_store(database_url)
    await writer_of(store)
    await store.close()
    await set_to(database_url, "UPDATE lease SET schema_version = 9001")
    with pytest.raises(SchemaTooNew):
        await store.open()
    await store.close()


async def test_an_older_program_loses_the_lease_to_an_upgrade_and_cannot_take_it(
    store, database_url
):
    """It holds the lease, or waits for it, while a newer one upgrades under it."""
    mine = await writer_of(store)
    seen = await store.lease()
    await set_to(database_url, "UPDATE lease SET schema_version = 9001")
    with pytest.raises(LeaseLost):
        await store.append(mine, batch_after(await store.head()))
    with pytest.raises(LeaseLost):
        await store.beat(mine)
    with pytest.raises(SchemaTooNew, match="9001"):
        await store.lease()  # At each look, also where there is nothing to take.
    with pytest.raises(SchemaTooNew):
        await store.take_lease("older", seen)


async def test_an_upgrade_raises_the_version_of_the_lease(store, database_url):
    await writer_of(store)
    await set_to(database_url, "UPDATE lease SET schema_version = 0")
    await schema.upgrade(database_url)
    found = text("SELECT schema_version FROM lease")
    version = await on_database(database_url, lambda connection: connection.scalar(found))
    assert version == schema.VERSION


async def test_a_missing_folder_is_made(tmp_path):
    url = f"sqlite+aiosqlite:///{tmp_path}/a/b/ladle.db"
    await schema.upgrade(url)
    assert await schema.current(url) == schema.VERSION


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "mysql://h/db", "sqlite://", "sqlite:///:memory:", "sqlite:///x?mode=ro"],
)
def test_a_url_that_is_none_names_the_setting(url):
    with pytest.raises(StoreError, match="LADLE_DATABASE_URL"):
        open_store(url)


def test_a_password_is_not_shown():
    with pytest.raises(StoreError) as caught:
        parse("mysql://user:secret@host/db")
    assert "secret" not in str(caught.value)
    target = parse("postgresql+asyncpg://user:secret@host/db")
    assert (target.dsn, "secret" in target.shown) == ("postgresql://user:secret@host/db", False)
