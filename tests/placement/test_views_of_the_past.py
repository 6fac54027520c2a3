"""Views of the past asked for at once: one is folded at a time, and nobody waits for ever."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from ladle.core.view import View
from ladle.journal.open import open_store
from ladle.journal.store import Store
from ladle.placement import journal_answers, on_query
from ladle_contracts.client import PlacementClient
from ladle_contracts.envelope import Request
from ladle_contracts.errors import RateLimited
from ladle_contracts.replies import ViewReply
from ladle_contracts.requests import ViewQuery
from tests.fixtures.service import Running

pytestmark = pytest.mark.broker

ASKED = 8


class SlowFold:
    """The real fold behind a gate; how many are in it, and were at most."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gate, self.now, self.most = asyncio.Event(), 0, 0
        self._real = journal_answers.view_at
        monkeypatch.setattr(journal_answers, "view_at", self._fold)

    async def _fold(self, store: Store, offset: int) -> View:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await self.gate.wait()
            return await self._real(store, offset)
        finally:
            self.now -= 1


@asynccontextmanager
async def many_ask(
    client: PlacementClient,
) -> AsyncIterator[list["asyncio.Task[ViewReply]"]]:
    asked = [asyncio.create_task(client.view(at_offset=1)) for _ in range(ASKED)]
    try:
        yield asked
    finally:
        await asyncio.gather(*asked, return_exceptions=True)


async def ended(asked: list["asyncio.Task[ViewReply]"], count: int) -> list[BaseException | None]:
    """What came of them, once so many have an end."""
    async with asyncio.timeout(20):
        while sum(task.done() for task in asked) < count:
            await asyncio.sleep(0.01)
    return [task.exception() for task in asked if task.done()]


async def test_folds_run_one_by_one_and_too_many_are_refused(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = SlowFold(monkeypatch)
    async with (
        service.client(attempts_max=1) as client,
        many_ask(client) as asked,
    ):
        refused = await ended(asked, ASKED - on_query.FOLDS_MAX)
        assert all(isinstance(error, RateLimited) for error in refused), refused
        assert all(isinstance(e, RateLimited) and e.retry_after_ms for e in refused)
        # Other reads of the journal do not wait for the folds.
        assert (await client.history()).records
        slow.gate.set()
        answers = await ended(asked, ASKED)
    assert answers.count(None) == on_query.FOLDS_MAX
    assert slow.most == 1


async def test_who_would_wait_too_long_is_refused(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is folded, the others are told in time; and afterwards there is room again."""
    slow = SlowFold(monkeypatch)
    store = open_store(service.settings.database)
    await store.open()
    reads = on_query.JournalReads(store, wait_s=0.05)
    request = Request("view", "", "", ViewQuery(at_offset=1))
    folding = asyncio.create_task(reads.answer(request))
    waiting = await asyncio.gather(*(reads.answer(request) for _ in range(on_query.FOLDS_MAX - 1)))
    assert [answer["error"]["code"] for answer in waiting] == ["unavailable"] * len(waiting)
    slow.gate.set()
    assert (await folding)["status"] == "ok"
    assert (await reads.answer(request))["offset"] == 1
    await store.close()
