"""The connection breaks while a batch is under way: all comes again, nothing counts twice."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ladle_contracts.link import Outgoing
from tests.placement.writing import Writing, writing


@pytest.fixture
async def w(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Writing]:
    """A writer that has caught up, with one server."""
    async with writing(tmp_path, monkeypatch) as made:
        await made.register()
        yield made


async def test_redelivery_after_a_reset_while_a_batch_commits(w: Writing) -> None:
    """The request gets the recorded answer, the event is recognised, each stands there once."""
    w.store.hold()
    asked = await w.allocate("room")
    await w.created("adopted")
    await w.quiet_but_held()
    w.link.disconnect()
    w.link.reconnect()
    await w.quiet_but_held()
    w.store.release()
    await w.until(lambda: len(w.replies(asked)) == 2, "both answers")
    await w.until(lambda: w.term.caught_up, "the marker")
    await w.quiet()
    first, second = w.replies(asked)
    assert first == second
    assert w.unacked() == 0
    kinds = await w.kinds()
    assert (kinds.count("request"), kinds.count("event")) == (1, 2)  # one registers the server
    assert w.metrics.requests.of("allocate", "recalled").value == 1
    assert w.metrics.events.of("room-created", "duplicate").value == 1
    await w.tables_are_the_journal()


async def test_the_answer_is_lost_with_the_connection(w: Writing) -> None:
    """Committed while nobody could be told; who asks again is told."""
    offset = w.term.writer.committed.offset + 1
    w.store.hold()
    asked = await w.allocate("room")
    await w.quiet_but_held()
    w.link.disconnect()
    w.store.release()
    await w.until(lambda: w.term.writer.committed.offset == offset, "the commit")
    assert w.replies() == []
    w.link.reconnect()
    reply = await w.reply(asked)
    assert (reply["outcome"], reply["journal_offset"]) == ("placed", offset)
    await w.quiet()
    assert (await w.kinds()).count("request") == 1
    assert w.unacked() == 0


async def test_acks_of_an_earlier_connection_are_not_sent(w: Writing) -> None:
    """The tags of a lost channel mean other messages on the next one."""
    w.store.hold()
    await w.created("first")
    await w.quiet_but_held()
    w.link.disconnect()
    w.link.reconnect()
    await w.quiet_but_held()
    w.link.acked.clear()
    w.store.release()
    await w.until(lambda: w.term.caught_up, "the marker")
    await w.quiet()
    assert {message.epoch for message in w.link.acked} == {1, 2}
    assert not w.broker.queues[w.topology.inbox]
    assert w.unacked() == 0


async def test_a_dead_letter_while_the_connection_is_away(w: Writing) -> None:
    """Not acked before the broker has the copy; it comes again, and its copy then goes out."""
    bad = Outgoing(
        w.topology.media_events,
        "room-created.sfu-1",
        b"{",
        content_type="application/cloudevents+json",
    )
    w.store.hold()
    await w.peer.publish(bad)
    await w.quiet_but_held()
    w.link.disconnect()
    w.store.release()
    await w.until(lambda: w.term.writer.committed.offset == 4, "the commit")
    assert w.dead_letters() == []
    w.link.reconnect()
    await w.until(lambda: w.dead_letters() != [], "the copy")
    await w.advance(100)
    assert w.unacked() == 0
    assert {letter.headers["ladle-reason"] for letter in w.dead_letters()} == {"not-json"}
