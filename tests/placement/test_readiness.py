"""/readyz of the running service: not ready without its database or while a broker blocks."""

import asyncio
import sqlite3
from contextlib import closing

import pytest

from ladle_contracts.link import LinkState
from tests.fixtures.service import Running

pytestmark = pytest.mark.broker


async def test_ready_means_that_all_of_it_is_there(service: Running) -> None:
    state = service.service.readiness()
    assert (state["role"], state["ready"]) == ("writer", True)
    assert (state["broker"], state["database"], state["caught_up"]) == (True, True, True)


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
