"""Connections that break: to the broker while batches commit, to the database inside COMMIT."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from ladle.broker.node import PrivateNode
from ladle.journal.open import open_store
from ladle.journal.store import Lease
from ladle_contracts.client import PlacementClient
from tests.acceptance.promises import (
    Promises,
    answered,
    asking,
    heard_events,
    servers,
    the_journal_holds,
)
from tests.fixtures.broker import private_node
from tests.fixtures.proxy import proxied
from tests.fixtures.service import running_service
from tests.journal.cutter import APPENDED, Cutter

pytestmark = pytest.mark.broker

CALL_MS = 60_000


@pytest.mark.parametrize("link", ["fast", "plain"])
async def test_redelivery_after_resets_while_batches_commit(
    broker_url: str, cell: str, tmp_path: Path, link: str
) -> None:
    """The service's connections are reset again and again under load; nobody notices but by time.

    What was delivered before comes again: requests get the recorded answer, events are recognised.
    """
    database_url, promises = f"sqlite:///{tmp_path}/ladle.db", Promises()
    async with (
        proxied(broker_url) as (proxy, url),
        running_service(url, cell, database_url, link=link) as service,
        heard_events(broker_url, cell) as heard,
        servers(broker_url, cell, 3),
        PlacementClient.connect(broker_url, cell=cell, timeout_ms=CALL_MS) as client,
    ):
        async with asking(client, promises, callers=16, pause_s=0.0):
            for _ in range(4):
                await answered(promises, 60)
                proxy.reset()
            await answered(promises, 60)
        await service.until(lambda: bool(service.service.readiness()["ready"]), "readiness")
        assert service.service.readiness()["term"] == 1, "a reset is no reason to stand down"
        await asyncio.sleep(0.5)
    assert promises.errors == []
    await the_journal_holds(database_url, promises)
    assert heard


async def lease_of(database_url: str) -> Lease | None:
    store = open_store(database_url)
    await store.open()
    try:
        return await store.lease()
    finally:
        await store.close()


async def test_a_writer_without_a_broker_gives_the_lease_up(
    broker_url: str, cell: str, tmp_path: Path
) -> None:
    """After twice the lease; and without a broker it does not take it again."""
    database_url = f"sqlite:///{tmp_path}/ladle.db"
    async with (
        proxied(broker_url) as (proxy, url),
        running_service(url, cell, database_url, lease_ms=500) as service,
        servers(broker_url, cell, 1),
        PlacementClient.connect(broker_url, cell=cell, timeout_ms=CALL_MS) as client,
    ):
        await client.allocate("before")
        await proxy.refuse()
        proxy.reset()
        await service.until(lambda: service.service.term is None, "the end of the term")
        async with asyncio.timeout(5):
            while (row := await lease_of(database_url)) and row.holder:
                await asyncio.sleep(0.05)
        await asyncio.sleep(1.5)
        assert await lease_of(database_url) == row
        waiting = asyncio.create_task(client.allocate("during"))
        await proxy.accept()
        assert (await waiting).term == 2
        assert (await client.lookup("before")).room_id == "before"


@pytest.fixture
def own_node(tmp_path: Path) -> Iterator[PrivateNode]:
    """A broker of this test alone: the shared one must not go away under the others."""
    with private_node(tmp_path / "node") as node:
        yield node


@pytest.mark.slow
async def test_the_broker_restarts_while_serving(own_node: PrivateNode, tmp_path: Path) -> None:
    """Service, servers and callers find each other again; what was answered stands."""
    database_url, promises = f"sqlite:///{tmp_path}/ladle.db", Promises()
    async with (
        running_service(own_node.url, "default", database_url, lease_ms=1_000) as service,
        servers(own_node.url, "default", 3),
        PlacementClient.connect(own_node.url, timeout_ms=120_000) as client,
    ):
        async with asking(client, promises, callers=8):
            await answered(promises, 100)
            await asyncio.to_thread(own_node.stop)
            await service.until(lambda: service.service.term is None, "the end of the term", 30)
            await asyncio.to_thread(own_node.start)
            await answered(promises, 100, within_s=90)
        assert service.service.readiness()["term"] == 2
        view = await client.view()
        assert [server.liveness for server in view.servers] == ["up"] * 3
    assert promises.errors == []
    await the_journal_holds(database_url, promises)


@pytest.mark.postgres
async def test_commits_whose_outcome_is_unknown(
    broker_url: str, cell: str, postgres_url: str
) -> None:
    """Cut inside COMMIT, with the commit done and not done: written once, answered once."""
    promises = Promises()
    async with (
        Cutter(postgres_url) as cutter,
        running_service(broker_url, cell, cutter.url, lease_ms=2_000) as service,
        servers(broker_url, cell, 3),
        PlacementClient.connect(broker_url, cell=cell, timeout_ms=CALL_MS) as client,
        asking(client, promises, callers=8, pause_s=0.0),
    ):
        for turn in range(10):
            await answered(promises, 20)
            cuts = cutter.cuts
            if turn % 2:
                cutter.deaf = True
            else:
                cutter.swallow_after = APPENDED
            await service.until(lambda cuts=cuts: cutter.cuts > cuts, "a cut")
            cutter.deaf, cutter.swallow_after = False, None
        await answered(promises, 20)
        assert service.service.readiness()["term"] == 1
    assert promises.errors == []
    await the_journal_holds(postgres_url, promises)
