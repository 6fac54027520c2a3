"""The service as a process among others: stopped in mid load, frozen, out of disk."""

import asyncio
import signal
from pathlib import Path

import pytest

from ladle.core.record import Kind
from ladle.journal.open import open_store
from ladle_contracts.client import PlacementClient
from tests.acceptance.promises import (
    Promises,
    all_records,
    answered,
    asking,
    heard_events,
    servers,
    the_journal_holds,
)
from tests.fixtures.placement_process import PlacementProcess, placement_process

pytestmark = [pytest.mark.broker, pytest.mark.slow]

CALL_MS = 60_000
CALLERS = 60


async def holders(database_url: str) -> list[tuple[int, str]]:
    """Term and holder of each writer, in the order of the journal."""
    store = open_store(database_url)
    await store.open()
    try:
        records = [r for r in await all_records(store) if r.kind == Kind.WRITER_ACTIVE]
        return [(record.term, record.body.decode()) for record in records]
    finally:
        await store.close()


async def test_sigterm_in_mid_load(
    broker_url: str, cell: str, database_url: str, tmp_path: Path
) -> None:
    """Batch finished, answered, acked, lease given up at once; the standby goes on without a gap.

    The lease would last a minute: only who gives it up lets the other one write in time.
    """
    settings = {
        "amqp_url": broker_url,
        "cell": cell,
        "database_url": database_url,
        "lease_ms": 60_000,
    }
    promises = Promises()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with placement_process(tmp_path / "a", holder="first", **settings) as first:
        await first.ready()
        async with (
            placement_process(tmp_path / "b", holder="second", **settings) as second,
            PlacementClient.connect(broker_url, cell=cell, timeout_ms=CALL_MS) as client,
            heard_events(broker_url, cell) as heard,
            servers(broker_url, cell, 3),
        ):
            await second.ready("standby")
            async with asking(client, promises, callers=16, pause_s=0.0):
                await answered(promises, 100)
                assert await first.terminate() == 0, first.tail()
                assert first.lines()[-1]["message"] == "stopped"
                await answered(promises, 100)
            assert (await second.ready())["term"] == 2
            assert await second.terminate() == 0, second.tail()
            await asyncio.sleep(1)
    assert promises.errors == []
    assert [term for term, _ in await holders(database_url)] == [1, 2]
    await the_journal_holds(database_url, promises, heard=heard, cell=cell)


@pytest.mark.postgres
async def test_a_zombie(broker_url: str, cell: str, postgres_url: str, tmp_path: Path) -> None:
    """Frozen past its lease and thawed: it appends nothing, says so, and stands by.

    Requests that were delivered to it before and while it was frozen are answered by the other.
    """
    settings = {"amqp_url": broker_url, "cell": cell, "database_url": postgres_url}
    promises = Promises()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with (
        placement_process(tmp_path / "a", holder="zombie", lease_ms=1_000, **settings) as zombie,
        PlacementClient.connect(broker_url, cell=cell, timeout_ms=CALL_MS) as client,
    ):
        await zombie.ready()
        async with (
            placement_process(tmp_path / "b", holder="other", lease_ms=1_000, **settings) as other,
            servers(broker_url, cell, 3),
        ):
            await other.ready("standby")
            async with asking(client, promises, callers=16, pause_s=0.0):
                await answered(promises, 100)
                zombie.send(signal.SIGSTOP)
                # Whose request went to the frozen one waits until it is thawed, or until the broker
                # misses its heartbeats.
                await other.says("writing")
                await asyncio.sleep(1)
                zombie.send(signal.SIGCONT)
                await zombie.says("stood down: term 1 ")
                await zombie.ready("standby")
                await answered(promises, 100)
            assert await other.terminate() == 0, other.tail()
            # And it is a standby like any other.
            assert (await zombie.ready())["term"] == 3
            await promises.ask(client, "afterwards")
        assert await zombie.terminate() == 0, zombie.tail()
    assert promises.errors == []
    assert promises.answers["afterwards"]
    store = open_store(postgres_url)
    await store.open()
    terms = [record.term for record in await all_records(store)]
    await store.close()
    assert terms == sorted(terms), "nothing of a term after the next one has begun"
    await the_journal_holds(postgres_url, promises)


@pytest.mark.postgres
async def test_a_frozen_writer_keeps_no_caller_waiting_past_its_time_out(
    broker_url: str, cell: str, postgres_url: str, tmp_path: Path
) -> None:
    """All settings as shipped. Every other request goes to it, until the broker misses heartbeats
    and gives them to the other one: before a caller, who asks again only twice, gives up."""
    settings = {"amqp_url": broker_url, "cell": cell, "database_url": postgres_url}
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    promises = Promises()
    async with (
        placement_process(tmp_path / "a", holder="frozen", **settings) as frozen,
        PlacementClient.connect(broker_url, cell=cell) as client,
    ):
        await frozen.ready()
        async with (
            placement_process(tmp_path / "b", holder="other", **settings) as other,
            servers(broker_url, cell, 3),
        ):
            await other.ready("standby")
            frozen.send(signal.SIGSTOP)
            await asyncio.gather(*(promises.ask(client, f"room-{n}") for n in range(CALLERS)))
            assert promises.errors == []
            assert len(promises.answers) == CALLERS
            frozen.send(signal.SIGCONT)
            await frozen.ready("standby")
            assert await other.terminate() == 0, other.tail()
        assert await frozen.terminate() == 0, frozen.tail()
    await the_journal_holds(postgres_url, promises)


async def test_a_full_disk(broker_url: str, cell: str, tmp_path: Path) -> None:
    """The journal cannot be written: the process says so and ends with 3; with room it goes on."""
    database_url = f"sqlite:///{tmp_path}/ladle.db"
    settings = {"amqp_url": broker_url, "cell": cell, "database_url": database_url}
    promises = Promises()
    process = PlacementProcess(tmp_path, lease_ms=500, **settings)
    await process.start(file_bytes_max=1_500_000)
    try:
        await process.ready()
        async with (
            PlacementClient.connect(broker_url, cell=cell, timeout_ms=CALL_MS) as client,
            servers(broker_url, cell, 3),
            asking(client, promises, callers=16, pause_s=0.0),
        ):
            assert await process.ended() == 3, process.tail()
            last_words = process.tail()
            assert "cannot write" in last_words
            assert "free disk space" in last_words
            assert "Traceback" not in last_words.splitlines()[-1]
            answers_before = promises.count
            await process.start()
            await process.ready()
            await answered(promises, 50)
        assert answers_before > 0
        assert await process.terminate() == 0, process.tail()
    finally:
        if process.running:
            await process.kill()
    assert promises.errors == []
    await the_journal_holds(database_url, promises)
