"""A commit that fails, or whose outcome nobody knows: written and answered once or not at all."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ladle.journal.store import CommitUnknown, LeaseLost, StoreBroken, StoreBusy
from ladle.placement.commit import RETRY_MS_MAX
from tests.placement.writing import Writing, writing


@pytest.fixture
async def w(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Writing]:
    """A writer that has caught up, with one server."""
    async with writing(tmp_path, monkeypatch) as made:
        await made.register()
        yield made


async def test_a_commit_whose_outcome_is_unknown_and_that_happened(w: Writing) -> None:
    """Looked up, not written again; the caller is answered now."""
    w.store.after.append(CommitUnknown("cut inside COMMIT"))
    asked = await w.allocate("room")
    await w.until(lambda: not w.store.after, "the lost commit")
    assert w.replies() == []
    await w.clock.advance(100)
    reply = await w.reply(asked)
    assert reply["journal_offset"] == (await w.store.head()).offset
    await w.quiet()
    assert w.unacked() == 0
    assert (await w.kinds()).count("request") == 1
    await w.tables_are_the_journal()


async def test_a_commit_whose_outcome_is_unknown_and_that_did_not_happen(w: Writing) -> None:
    """The same bytes are written again: no second decision."""
    w.store.before.append(CommitUnknown("cut before COMMIT"))
    appended = len(w.store.appends)
    asked = await w.allocate("room")
    await w.until(lambda: not w.store.before, "the lost commit")
    await w.clock.advance(100)
    await w.reply(asked)
    first, second = w.store.appends[appended:]
    assert [record.hash for record in first.records] == [record.hash for record in second.records]
    assert (await w.kinds()).count("request") == 1


async def test_unknown_several_times_over(w: Writing, caplog: pytest.LogCaptureFixture) -> None:
    w.store.before += [CommitUnknown("once"), StoreBusy("then locked"), CommitUnknown("twice")]
    w.store.after.append(CommitUnknown("and once more"))
    asked = await w.allocate("room")
    for tried in range(1, 5):
        # A look-up takes the database's thread as long as it takes: time passes in the pauses only.
        await paused(w, caplog, tried)
        await w.clock.advance(500)
    assert (await w.reply(asked))["outcome"] == "placed"
    assert (await w.kinds()).count("request") == 1
    await w.tables_are_the_journal()


async def paused(w: Writing, caplog: pytest.LogCaptureFixture, times: int) -> None:
    """Until the writer has gone to wait before its next try `times` times."""

    def said() -> int:
        return sum("trying again" in record.message for record in caplog.records)

    await w.until(lambda: said() >= times, f"pause {times}")


async def test_a_busy_database_is_waited_for(w: Writing, caplog: pytest.LogCaptureFixture) -> None:
    w.store.before += [StoreBusy("locked")] * 3
    asked = await w.allocate("room")
    for tried in range(1, 4):
        await paused(w, caplog, tried)
        await w.clock.advance(1_000)
    assert (await w.reply(asked))["outcome"] == "placed"


async def test_a_database_that_stays_busy_ends_the_term_without_an_answer(w: Writing) -> None:
    """Nothing is acked: whoever writes next gets it all again."""
    w.store.before += [StoreBusy("locked")] * 1_000
    await w.allocate("room")
    await w.created("adopted")
    while not w.term.over.done():
        await w.clock.advance(RETRY_MS_MAX // 4)
        await w.settled()
    assert isinstance(await w.failure(), StoreBusy)
    assert w.replies() == []
    assert w.unacked() == 2


@pytest.mark.parametrize("error", [LeaseLost("another term"), StoreBroken("disk full")])
async def test_what_is_not_retried(w: Writing, error: Exception) -> None:
    """A lost lease and an I/O error end the term at once: no answer, no ack, no second try."""
    w.store.before.append(error)
    appended = len(w.store.appends)
    await w.allocate("room")
    assert await w.failure() is error
    assert len(w.store.appends) == appended + 1
    assert w.replies() == []
    assert w.unacked() == 1
    await w.allocate("later")
    await w.settled()
    assert len(w.store.appends) == appended + 1, "a writer that has failed writes no more"


async def test_a_zombies_append(w: Writing) -> None:
    """Another holder took the term while this one was away: the fence refuses what it writes."""
    taken = await w.store.take_lease("writer-2", await w.store.lease())
    assert taken is not None
    head = await w.store.head()
    await w.allocate("room")
    assert isinstance(await w.failure(), LeaseLost)
    assert await w.store.head() == head
    assert w.replies() == []
    assert w.unacked() == 1


async def test_an_unknown_commit_under_another_holder(w: Writing) -> None:
    """Whether it happened is no longer this writer's to say: it answers nothing."""
    w.store.hold()
    w.store.after.append(CommitUnknown("cut inside COMMIT"))
    asked = await w.allocate("room")
    await w.quiet_but_held()
    w.store.release()
    await w.until(lambda: not w.store.after, "the lost commit")
    assert await w.store.take_lease("writer-2", await w.store.lease()) is not None
    await w.clock.advance(100)
    assert isinstance(await w.failure(), LeaseLost)
    assert w.replies(asked) == []
    assert w.unacked() == 1
