"""Erasing while the service runs: it stands down for a moment, takes its lease back, goes on."""

import asyncio

import pytest

from ladle.audit.erase import Erased, Eraser, NotPublished
from ladle.audit.open import open_source
from ladle.audit.verify import verify
from ladle.journal.alone import holder_name
from ladle.journal.open import open_store
from ladle_contracts.clock import SystemClock
from ladle_contracts.errors import PlacementError
from tests.fixtures.service import Running

pytestmark = pytest.mark.broker

ROOM = "confessions-of-a-mask"


async def erase(url: str) -> Erased:
    """As `ladle audit erase` does it; waits for what the outbox still has to send."""
    store = open_store(url)
    await store.open()
    try:
        async with asyncio.timeout(10):
            while True:
                eraser = Eraser(store, ROOM, clock=SystemClock(), holder=holder_name("erase"))
                try:
                    return await eraser.run()
                except NotPublished:
                    await asyncio.sleep(0.2)
    finally:
        await store.close()


async def refusal(client, request_id: str) -> str:
    """The code of the refusal; there is no server that could take the room."""
    with pytest.raises(PlacementError) as refused:
        await client.allocate(ROOM, request_id=request_id)
    return refused.value.code


async def test_the_service_goes_on(service: Running) -> None:
    assert service.service.term is not None
    term = service.service.term.lease.term
    async with service.client() as client:
        assert await refusal(client, "once") == "no-servers"
        assert await refusal(client, "once") == "no-servers"  # the recorded answer
        erased = await erase(service.settings.database)
        assert erased.records == 1
        # What was answered is not known any more, and is not decided again.
        assert await refusal(client, "once") == "unavailable"
        assert await refusal(client, "another") == "no-servers"
    await service.until(lambda: service.service.term is not None, "the next term")
    assert service.service.term.lease.term == term + 2  # one term for the erasure
    report = await asyncio.to_thread(audited, service.settings.database)
    assert report.exit_code == 0, report.findings.first
    assert report.erased == 1


def audited(url: str):
    source = open_source(url)
    try:
        return verify(source)
    finally:
        source.close()
