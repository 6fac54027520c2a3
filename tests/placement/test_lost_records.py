"""A journal that has lost records of which the broker knows is not written on."""

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from ladle.audit.open import open_source
from ladle.audit.verify import verify
from ladle.broker.connecting import connected
from ladle.broker.declare import declare
from ladle.broker.stream import StreamReader, is_mark
from ladle.commands.app import app
from ladle.core.record import Kind, Record
from ladle.journal.open import open_store
from ladle.journal.store import Head, LeaseLost, Store
from ladle.placement.loss import JournalBehind, LossCheck, log_over_amqp
from ladle_contracts.amqp import AioPikaLink
from ladle_contracts.link import Outgoing
from ladle_contracts.topology import Topology
from tests.fixtures.service import Running, running_service
from tests.journal.making import AT_MS, batch_after, fresh_store, writer_of
from tests.placement.test_standby import a_server

pytestmark = pytest.mark.broker

NOTHING = Head(0, "0" * 64, 0)


def checking(url: str, topology: Topology, *, accept: bool = False) -> LossCheck:
    return LossCheck(log_over_amqp(url, topology), topology, accept=accept)


async def place(running: Running, *rooms: str) -> None:
    """Each is an own event on the stream; waits until the broker has them."""
    async with a_server(running), running.client() as client:
        for room_id in rooms:
            await client.allocate(room_id)
    term = running.service.term
    assert term is not None
    await term._outbox.idle.wait()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/ladle.db"


@pytest.fixture
async def restored(broker_url: str, cell: str, tmp_path: Path, url: str) -> int:
    """A database as it was before two rooms were placed; the last record that was lost."""
    async with running_service(broker_url, cell, url) as running:
        await place(running, "kept")
    copy = shutil.copyfile(tmp_path / "ladle.db", tmp_path / "copy.db")
    async with running_service(broker_url, cell, url) as running:
        await place(running, "lost-1", "lost-2")
    last = len(await records(url))  # what it still wrote while it stopped is lost as well
    for name in ("ladle.db-wal", "ladle.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    shutil.copyfile(copy, tmp_path / "ladle.db")
    return last


async def test_a_restored_backup_is_refused(
    restored: int, broker_url: str, cell: str, url: str
) -> None:
    before = await records(url)
    with pytest.raises(JournalBehind) as refused:
        async with running_service(broker_url, cell, url):
            pass
    assert refused.value.code == "journal-behind"
    assert refused.value.loss.head == len(before)
    assert len(before) < refused.value.loss.last_offset <= restored
    assert f"ends at record {len(before)}" in str(refused.value)
    assert await records(url) == before
    store = open_store(url)
    await store.open()
    lease = await store.lease()
    await store.close()
    assert lease is not None
    assert lease.holder == ""  # given up: a process with a newer copy need not wait for it


async def test_an_accepted_loss_is_journaled_and_asked_for_once(
    restored: int, broker_url: str, cell: str, url: str
) -> None:
    before = await records(url)
    async with running_service(broker_url, cell, url, accept_loss=True) as running:
        await place(running, "again")
    said = [record for record in await records(url) if record.kind == Kind.LOSS_ACCEPTED]
    assert [record.offset for record in said] == [len(before) + 1]
    payload = orjson.loads(said[0].body)["payload"]
    assert payload["head"] == len(before)
    assert len(before) < payload["last_offset"] <= restored
    assert payload["events"] >= 2
    # The same events are still on the stream, and no reason any more.
    async with running_service(broker_url, cell, url) as running:
        await place(running, "and-again")
    assert await asyncio.to_thread(verified, url) == 0


def verified(url: str) -> int:
    source = open_source(url)
    try:
        return verify(source).exit_code
    finally:
        source.close()


async def test_the_next_loss_is_refused_again(
    restored: int, broker_url: str, cell: str, url: str, tmp_path: Path
) -> None:
    async with running_service(broker_url, cell, url, accept_loss=True):
        pass
    copy = shutil.copyfile(tmp_path / "ladle.db", tmp_path / "copy.db")
    async with running_service(broker_url, cell, url) as running:
        await place(running, "lost-3")
    shutil.copyfile(copy, tmp_path / "ladle.db")
    with pytest.raises(JournalBehind):
        async with running_service(broker_url, cell, url):
            pass


async def test_an_empty_database_beside_a_full_stream_is_refused(
    restored: int, broker_url: str, cell: str, tmp_path: Path
) -> None:
    with pytest.raises(JournalBehind, match="ends at record 0"):
        async with running_service(broker_url, cell, f"sqlite:///{tmp_path}/new.db"):
            pass


async def records(url: str) -> list[Record]:
    store = open_store(url)
    await store.open()
    try:
        return await store.records(0, 10_000)
    finally:
        await store.close()


# --- the look itself -----------------------------------------------------------------------------


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    opened = await fresh_store(url)
    yield opened
    await opened.close()


@pytest.fixture
async def declared(broker_url: str, cell: str) -> Topology:
    await declare(broker_url, Topology(cell))
    return Topology(cell)


@asynccontextmanager
async def publishing(broker_url: str) -> AsyncIterator[Any]:
    link = AioPikaLink(broker_url, name="test")
    await link.open()
    try:
        yield link.publish
    finally:
        await link.close()


def said(exchange: str, message_id: str | None) -> Outgoing:
    return Outgoing(exchange, "room-active.sfu-1", b"{}", message_id=message_id, persistent=True)


async def test_an_empty_stream_is_no_loss(
    broker_url: str, declared: Topology, store: Store
) -> None:
    check = checking(broker_url, declared)
    assert await check.look(store, NOTHING) is None
    assert await check.look(store, Head(9, "ab" * 32, AT_MS)) is None


async def test_a_missing_stream_is_no_reason_not_to_start(
    broker_url: str, cell: str, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    assert await checking(broker_url, Topology(f"{cell}-none")).look(store, NOTHING) is None
    assert "was not checked" in caplog.text


async def test_only_what_ladle_said_itself_counts(
    broker_url: str, declared: Topology, store: Store
) -> None:
    cell = declared.cell
    async with publishing(broker_url) as publish:
        await publish(said(declared.media_events, f"{cell}:99:0"))  # whoever may write there
        for message_id in ("other:99:0", f"{cell}:9:7", f"{cell}:99", None):
            await publish(said(declared.placement_events, message_id))
        check = checking(broker_url, declared)
        assert await check.look(store, Head(9, "ab" * 32, 1)) is None
        await publish(said(declared.placement_events, f"{cell}:10:0"))
        with pytest.raises(JournalBehind) as refused:
            await check.look(store, Head(9, "ab" * 32, 1))
        assert (refused.value.loss.events, refused.value.loss.last_offset) == (1, 10)
        assert await check.look(store, Head(10, "ab" * 32, 1)) is None


async def test_a_look_is_bounded_in_time(
    broker_url: str,
    declared: Topology,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The broker does not come to the end: the term begins, and the log says what is not known."""

    async def never(self: StreamReader) -> str:
        return "a mark that does not come back"

    monkeypatch.setattr(StreamReader, "_mark", never)
    monkeypatch.setattr("ladle.placement.loss.LOOK_MS_MAX", 200)
    with caplog.at_level(logging.WARNING):
        assert await checking(broker_url, declared).look(store, NOTHING) is None
    assert "was not read to its end in 200 ms" in caplog.text
    async with publishing(broker_url) as publish:
        await publish(said(declared.placement_events, f"{declared.cell}:10:0"))
    monkeypatch.setattr("ladle.placement.loss.LOOK_MS_MAX", 3_000)
    with pytest.raises(JournalBehind):  # it has seen enough
        await checking(broker_url, declared).look(store, NOTHING)


async def test_a_long_stream_is_accepted_to_its_end_unread(
    broker_url: str, declared: Topology, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What there was no time to read is accepted with the rest: else the next start is refused."""
    async with publishing(broker_url) as publish:
        for number in range(1, 40):
            await publish(said(declared.placement_events, f"{declared.cell}:{number}:0"))
    real = LossCheck._read

    async def some_of_it(self: LossCheck, *args: Any) -> None:
        await real(self, *args)
        loss = args[2]
        loss.events, loss.last_offset, loss.position, loss.is_whole = 3, 3, 2, False

    monkeypatch.setattr(LossCheck, "_read", some_of_it)
    accepted = await checking(broker_url, declared, accept=True).look(store, NOTHING)
    assert accepted is not None
    assert (accepted["events"], accepted["is_whole"]) == (3, False)
    assert accepted["stream_position"] >= 39


async def test_what_another_writer_says_meanwhile_is_no_loss(
    broker_url: str, declared: Topology, store: Store
) -> None:
    """This one took the lease, loaded the tables, and was held up until it was another's."""
    mine = await writer_of(store)
    await store.append(mine, batch_after(await store.head()))
    async with publishing(broker_url) as publish:
        await publish(said(declared.placement_events, f"{declared.cell}:1:0"))
    with pytest.raises(LeaseLost, match="another writer went on from record 0"):
        await checking(broker_url, declared).look(store, NOTHING)


async def test_what_is_accepted_was_seen_by_who_started_it(
    broker_url: str, declared: Topology, store: Store
) -> None:
    """Nothing was lost at the first look: a loss of the days after is nobody's decision yet."""
    check = checking(broker_url, declared, accept=True)
    assert await check.look(store, Head(9, "ab" * 32, 1)) is None
    async with publishing(broker_url) as publish:
        await publish(said(declared.placement_events, f"{declared.cell}:10:0"))
    with pytest.raises(JournalBehind):
        await check.look(store, Head(9, "ab" * 32, 1))


async def test_a_stream_is_read_from_a_place_and_marks_are_told(
    broker_url: str, declared: Topology
) -> None:
    async with publishing(broker_url) as publish:
        for number in range(1_200):  # more than is acked at once
            await publish(said(declared.placement_events, str(number)))
    async with connected(broker_url) as connection:
        reader = StreamReader(connection, declared.log)
        found = [logged async for logged in reader.until_now(700)]
        assert [each.position for each in found] == list(range(700, 1_201))
        assert [each.message.message_id for each in found[:-1]] == [
            str(number) for number in range(700, 1_200)
        ]
        assert [is_mark(each.message) for each in found[-2:]] == [False, True]


def test_the_command_says_what_to_do(
    broker_url: str, cell: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forget() -> None:
        await declare(broker_url, Topology(cell))
        async with publishing(broker_url) as publish:
            await publish(said(Topology(cell).placement_events, f"{cell}:10:0"))

    asyncio.run(forget())
    settings = {"AMQP_URL": broker_url, "CELL": cell, "DATABASE_URL": url, "HTTP": "false"}
    for name, value in settings.items():
        monkeypatch.setenv(f"LADLE_{name}", value)
    result = CliRunner().invoke(app, ["placement"])
    assert result.exit_code == 1
    assert "journal-behind: the journal ends at record 0" in result.stderr
    assert "--accept-loss" in result.stderr


async def test_who_may_only_read_reads_until_it_is_quiet(
    broker_url: str, declared: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with publishing(broker_url) as publish:

        async def say(count: int) -> None:
            for number in range(count):
                await publish(said(declared.placement_events, str(number)))

        async def read(meanwhile: int) -> list[int]:
            found = []
            async with connected(broker_url) as connection:
                reader = StreamReader(connection, declared.log)
                async for logged in reader.until_quiet():
                    if not found:
                        await say(meanwhile)
                    found.append(logged.position)
            return found

        assert await read(0) == []
        await say(30)
        assert await read(0) == list(range(30))
        # A broker that takes its time is not quiet: what is there is waited for.
        with monkeypatch.context() as patched:
            patched.setattr("ladle.broker.stream.QUIET_S", 0.0)
            assert await read(0)
        # While more and more comes, nothing is quiet, and it ends all the same.
        found = await read(300)
    assert found == list(range(len(found)))
    assert 30 <= len(found) < 330
