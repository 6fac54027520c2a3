"""Bad values, locks, a full disk, a killed writer: what each is called and what it leaves."""

import asyncio
import contextlib
import resource
import signal
import sqlite3
import sys
import time
from dataclasses import replace

import asyncpg
import pytest

from ladle.core.record import FIRST_PREV_HASH
from ladle.journal.engine import IDLE_IN_TRANSACTION_MS
from ladle.journal.open import open_store
from ladle.journal.schema import upgrade
from ladle.journal.sqlite_errors import translate
from ladle.journal.store import (
    BadData,
    Batch,
    Changes,
    CommitUnknown,
    Head,
    LeaseLost,
    StoreBroken,
    StoreBusy,
    StoreError,
)
from tests.journal.making import batch_after, fresh_store, record_after, writer_of

EMPTY = Head(0, FIRST_PREV_HASH, 0)


def timer(kind="k", key="key", due_ms=1, tries=0):
    return Changes({"timer": {(kind, key): (kind, key, due_ms, tries)}})


GOOD = record_after(EMPTY)
BAD = {
    "NUL in a view row": (GOOD, timer(key="a\0b")),
    "NUL in a record": (replace(GOOD, room_id="a\0b"), Changes()),
    "NUL and lone surrogate": (replace(GOOD, room_id="a\0b"), timer(key="\ud800")),
    "lone surrogate": (GOOD, timer(key="\ud800")),
    "integer over 64 bits": (GOOD, timer(due_ms=2**63)),
    "text for an integer": (GOOD, timer(due_ms="soon")),
    "nothing where something must be": (GOOD, timer(due_ms=None)),
    "a NULL key": (GOOD, Changes({"setting": {(None,): (None, "1")}})),
    "text for bytes": (replace(GOOD, body="{}"), Changes()),
}


@pytest.mark.parametrize("what", BAD)
async def test_a_value_that_no_database_takes(store, what):
    """BadData, nothing of the batch stored, and the store goes on."""
    mine = await writer_of(store)
    record, changes = BAD[what]
    changes.rows.setdefault("event_seen", {})[("good",)] = ("good", 1)
    with pytest.raises(BadData):
        await store.append(mine, Batch([record], changes))
    assert await store.head() == EMPTY
    assert not any((await store.load()).tables.values())
    await store.append(mine, batch_after(EMPTY, settings={"a": "1"}))
    assert (await store.head()).offset == 1


async def test_the_escape_of_a_nul_is_text_like_any_other(store):
    mine = await writer_of(store)
    changes = timer(key="a\\u0000b")
    await store.append(mine, Batch([replace(GOOD, room_id="\\u0000")], changes))
    assert (await store.load()).tables["timer"] == [("k", "a\\u0000b", 1, 0)]


async def test_a_nul_inside_a_body_is_bytes_like_any_other(store):
    mine = await writer_of(store)
    record = replace(GOOD, body=b"a\0b", salt=b"\0")
    await store.append(mine, Batch([record], Changes()))
    assert await store.record(1) == record


@contextlib.asynccontextmanager
async def locked(url):
    """Another process is in the middle of a transaction that this one has to wait for."""
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.close()
    else:
        postgres = await asyncpg.connect(url)
        try:
            await postgres.execute("BEGIN; SELECT 1 FROM lease FOR UPDATE")
            yield
        finally:
            await postgres.close()


async def test_a_lock_is_waited_for_and_then_busy(store, database_url):
    """Bounded: the store was given 400 ms, and tells the writer so that it may try again."""
    mine = await writer_of(store)
    batch = batch_after(EMPTY)
    async with locked(database_url):
        for blocked in (store.append(mine, batch), store.beat(mine)):
            began = time.monotonic()
            with pytest.raises(StoreBusy):
                await blocked
            assert 0.3 < time.monotonic() - began < 3
        assert await store.head() == EMPTY  # readers wait for nobody
    await store.append(mine, batch)


async def test_a_short_lock_is_not_noticed(store, database_url):
    mine = await writer_of(store)
    async with locked(database_url):
        append = asyncio.create_task(store.append(mine, batch_after(EMPTY)))
        await asyncio.sleep(0.1)
        assert not append.done()
    await append
    assert (await store.head()).offset == 1


async def test_a_closed_store_says_so(database_url):
    store = await fresh_store(database_url)
    mine = await writer_of(store)
    await store.close()
    with pytest.raises(StoreError, match="not open"):
        await store.append(mine, batch_after(EMPTY))


async def test_a_server_that_is_not_there_is_busy(tmp_path):
    store = open_store(f"postgresql://ladle@/ladle?host={tmp_path}", busy_ms=200)
    began = time.monotonic()
    with pytest.raises(StoreBusy, match="no connection"):
        await store.open()
    assert time.monotonic() - began < 3
    await store.close()


@pytest.mark.postgres
async def test_a_database_that_does_not_exist_is_an_error_at_once(postgres_url):
    store = open_store(f"{postgres_url.partition('?')[0]}_none?{postgres_url.partition('?')[2]}")
    with pytest.raises(StoreError, match="does not exist") as caught:
        await store.open()
    assert not isinstance(caught.value, StoreBusy)
    await store.close()


# SQLite's disk.


@contextlib.contextmanager
def no_file_grows_beyond(size):
    """Writes past `size` bytes of any file of this process fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


async def test_a_full_disk_stops_the_store_for_good(tmp_path):
    """Never retry as if durable: what the kernel has dropped, a second try seems to write."""
    url = f"sqlite:///{tmp_path}/ladle.db"
    store = await fresh_store(url)
    mine = await writer_of(store)
    await store.append(mine, batch_after(EMPTY))
    head = await store.head()
    written = (tmp_path / "ladle.db-wal").stat().st_size
    batch = batch_after(head, 50, settings={"big": "x" * 100_000})
    with no_file_grows_beyond(written + 4096), pytest.raises(StoreBroken):
        await store.append(mine, batch)
    # Room again, but this store has stopped.
    with pytest.raises(StoreBroken, match="stopped"):
        await store.append(mine, batch)
    with pytest.raises(StoreBroken, match="stopped"):
        await store.beat(mine)
    await store.close()
    # A new process finds the journal whole and writes on.
    again = await fresh_store(url)
    assert await again.head() == head
    mine = await writer_of(again, "writer-2")
    await again.append(mine, batch)
    await again.close()


def test_sqlites_own_full_is_broken(tmp_path):
    connection = sqlite3.connect(tmp_path / "small.db", isolation_level=None)
    connection.execute("PRAGMA max_page_count = 4")
    connection.execute("CREATE TABLE t (x BLOB)")
    with pytest.raises(sqlite3.OperationalError) as caught:
        connection.execute("INSERT INTO t VALUES (zeroblob(1000000))")
    connection.close()
    assert isinstance(translate(caught.value), StoreBroken)


def test_a_file_that_is_no_database_is_broken(tmp_path):
    (tmp_path / "no.db").write_bytes(b"this is a text file, and quite a long one at that" * 40)
    connection = sqlite3.connect(tmp_path / "no.db")
    with pytest.raises(sqlite3.DatabaseError) as caught:
        connection.execute("SELECT * FROM sqlite_master")
    connection.close()
    assert isinstance(translate(caught.value), StoreBroken)


KILLED_INSIDE = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_spill = 1")
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE lease SET beats = beats + 1000")
connection.execute("INSERT INTO setting VALUES (9, 'torn', 'half a transaction')")
os.kill(os.getpid(), signal.SIGKILL)
"""


async def test_a_writer_killed_inside_a_transaction_leaves_nothing_of_it(tmp_path):
    store = await fresh_store(f"sqlite:///{tmp_path}/ladle.db")
    mine = await writer_of(store)
    command = (sys.executable, "-c", KILLED_INSIDE, tmp_path / "ladle.db")
    killed = await asyncio.create_subprocess_exec(*command)
    assert await killed.wait() == -signal.SIGKILL
    await store.append(mine, batch_after(EMPTY))
    assert (await store.load()).tables["setting"] == []
    await store.close()


async def test_a_folder_that_may_not_be_written_is_an_error_that_names_it(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="file/ladle"):
        await fresh_store(f"sqlite:///{tmp_path}/file/ladle.db")


async def test_upgrading_what_cannot_be_reached_names_it_without_its_password(tmp_path):
    url = f"postgresql://ladle:secret@/ladle?host={tmp_path}"
    with pytest.raises(StoreError, match="LADLE_DATABASE_URL") as caught:
        await upgrade(url)
    assert "secret" not in str(caught.value)
    (tmp_path / "ladle.db").mkdir()
    with pytest.raises(StoreError, match=r"ladle\.db"):
        await upgrade(f"sqlite:///{tmp_path}/ladle.db")


def test_durability_is_what_was_asked_for(tmp_path):
    """WAL and synchronous FULL on the connection that writes, not only by default."""

    async def look():
        store = await fresh_store(f"sqlite:///{tmp_path}/ladle.db")
        pragmas = [
            await store._writer.run(lambda c, name=name: c.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("journal_mode", "synchronous", "fullfsync")
        ]
        await store.close()
        return pragmas

    assert asyncio.run(look()) == ["wal", 2, 1]


@pytest.mark.postgres
async def test_a_server_that_answers_before_the_disk_has_it_is_overruled(postgres_url):
    admin = await asyncpg.connect(postgres_url)
    name = await admin.fetchval("SELECT current_database()")
    await admin.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = off')
    await admin.close()
    store = await fresh_store(postgres_url)

    async def show(connection):
        return await connection.fetchval("SHOW synchronous_commit")

    assert await store._appends.run(show) == "on"
    await store.close()


@pytest.mark.postgres
async def test_a_writer_frozen_inside_a_transaction_holds_nobody_up_for_long(postgres_url):
    """It has locked the lease row and does nothing more: the server ends its session."""
    frozen = await fresh_store(postgres_url)
    standby = await fresh_store(postgres_url, busy_ms=200)
    mine = await writer_of(frozen)

    async def freeze(connection):
        await connection.execute("BEGIN; SELECT 1 FROM lease FOR UPDATE")

    await frozen._appends.run(freeze)
    with pytest.raises(StoreBusy):
        await standby.take_lease("standby", mine)
    await asyncio.sleep(IDLE_IN_TRANSACTION_MS / 1000)
    taken = await standby.take_lease("standby", mine)
    assert taken is not None
    # Its connection is gone: the frozen writer cannot know what became of this, and looks.
    with pytest.raises((CommitUnknown, LeaseLost)):
        await frozen.append(mine, batch_after(EMPTY))
    with pytest.raises(LeaseLost):
        await frozen.resolve(mine, batch_after(EMPTY), EMPTY)
    await standby.close()
    await frozen.close()
