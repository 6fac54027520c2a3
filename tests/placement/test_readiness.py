"""/readyz of the running service: not ready without its database or while a broker blocks."""

import asyncio
import sqlite3
from contextlib import closing

import pytest

from ladle.journal.open import open_store
from ladle.placement.build import make_link
from ladle.placement.metrics import Metrics
from ladle.placement.service import PlacementService
from ladle.placement.term import Term
from ladle.placement.whose_journal import OtherCell
from ladle_contracts.clock import SystemClock
from ladle_contracts.link import LinkState
from ladle_contracts.topology import Topology
from tests.fixtures.service import Running

pytestmark = pytest.mark.broker


async def test_ready_means_that_all_of_it_is_there(service: Running) -> None:
    state = service.service.readiness()
    assert (state["role"], state["ready"]) == ("writer", True)
    assert (state["broker"], state["database"], state["caught_up"]) == (True, True, True)


async def test_a_standby_is_ready_once_it_has_read_the_journal(
    service: Running,
) -> None:
    """Before that it serves nobody, and may yet end for what it reads there."""
    settings = service.settings.model_copy(update={"holder": "second"})
    store = open_store(settings.database)
    second = PlacementService(
        settings, store=store, make_link=lambda: make_link(settings), clock=SystemClock()
    )
    stop = asyncio.Event()
    running = asyncio.create_task(second.run(stop))
    seen = []
    try:
        async with asyncio.timeout(20):
            while not (state := second.readiness())["ready"]:
                seen.append(state)
                await asyncio.sleep(0.01)
        assert (state["role"], state["offset"]) == ("standby", second.standby.follower.offset)
        assert any(state["broker"] and state["database"] for state in seen), (
            "both were there before"
        )
        assert all(state["offset"] is None for state in seen)
    finally:
        stop.set()
        await running


async def test_a_database_of_another_cell_is_refused(service: Running) -> None:
    """By the process that would be its standby, before it answers or writes anything."""
    settings = service.settings.model_copy(update={"cell": "other", "holder": "second"})
    second = PlacementService(
        settings,
        store=open_store(settings.database),
        make_link=lambda: make_link(settings),
        clock=SystemClock(),
    )
    with pytest.raises(OtherCell, match=f"of cell {service.cell}, and LADLE_CELL says other"):
        async with asyncio.timeout(20):
            await second.run(asyncio.Event())
    assert service.service.readiness()["ready"]


async def test_a_writer_does_not_begin_in_it_either(service: Running) -> None:
    """Two may have begun together on an empty database, and looked before there was a journal."""
    settings = service.settings.model_copy(update={"cell": "other"})
    term = service.service.term
    assert term is not None
    before = term.writer.committed
    late = Term(
        settings=settings,
        topology=Topology("other"),
        store=term._store,
        link=term._link,
        declaring=term._declaring,
        clock=SystemClock(),
        metrics=Metrics(),
        lease=term.lease,
        holder="second",
    )
    with pytest.raises(OtherCell):
        await late.start()
    assert (await term._store.head()) == before


async def test_not_ready_without_the_database(service: Running) -> None:
    """Locked by somebody else: nothing can be answered, whatever the broker says."""
    path = service.settings.database.partition("///")[2]
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        await service.until(lambda: not service.service.readiness()["ready"], "the lock to show")
        state = service.service.readiness()
        assert (state["broker"], state["database"]) == (True, False)
        other.execute("ROLLBACK")
    await service.until(lambda: bool(service.service.readiness()["ready"]), "the way back")


async def test_not_ready_while_the_broker_takes_no_messages(service: Running) -> None:
    """Its memory or disk alarm: connections stand, and no answer gets out."""
    link = service.service._link
    assert link is not None
    for told, ready in (
        (LinkState.BLOCKED, False),
        (LinkState.DOWN, False),
        (LinkState.UP, False),
        (LinkState.UNBLOCKED, True),
    ):
        service.service._on_link_state(link, told, "as a test says")
        async with asyncio.timeout(10):
            # UP sets a new marker, which has to come back before anything is ready.
            while service.service.readiness()["ready"] is not ready:
                await asyncio.sleep(0.02)
