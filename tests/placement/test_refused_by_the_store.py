"""A message that cannot be recorded: it alone is refused, and all the others go through."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ladle.core import apply as apply_module
from ladle.core.record import Entry, Kind, Record
from ladle.core.view import View
from ladle.journal.store import BadData, LeaseLost
from ladle.placement import on_query
from ladle.placement import writer as writer_module
from ladle_contracts.requests import Lookup
from tests.placement.writing import Writing, writing

POISON = "poison"


@pytest.fixture
async def w(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Writing]:
    """A writer that has caught up, with one large server."""
    async with writing(tmp_path, monkeypatch) as made:
        await made.register(capacity=100_000)
        yield made


def names_poison(record: Record) -> bool:
    """What no database takes; the record of the refusal itself is taken."""
    return POISON.encode() in record.body and record.kind != Kind.REJECTED


async def in_one_batch(w: Writing, rooms: list[str]) -> list[str]:
    """Ask for all these rooms while the store is busy."""
    w.store.hold()
    await w.allocate("busy")
    await w.quiet_but_held()
    asked = [await w.allocate(room_id) for room_id in rooms]
    await w.quiet_but_held()
    assert len(w.term.writer.batch.records) == len(rooms)
    w.store.release()
    return asked


@pytest.mark.parametrize("place", [0, 5, 15])
async def test_a_data_error_in_a_batch(w: Writing, place: int) -> None:
    """The batch is halved until the message stands alone; who asked is told."""
    rooms = [f"room-{n}" for n in range(16)]
    rooms[place] = POISON
    w.store.refuses = names_poison
    asked = await in_one_batch(w, rooms)
    replies = [await w.reply(each) for each in asked]
    refused = replies.pop(place)
    assert refused["error"]["code"] == "internal"
    assert not refused["error"]["retryable"]
    assert all(reply["outcome"] == "placed" for reply in replies)
    await w.quiet()
    assert w.unacked() == 0
    assert [len(w.replies(each)) for each in asked] == [1] * 16, "each is answered once"
    assert POISON not in w.term.writer.view.rooms
    assert (await w.kinds()).count("rejected") == 1
    await w.tables_are_the_journal()


async def test_it_takes_few_batches_to_find_it(w: Writing) -> None:
    """Half and half again: not one commit for each message of a large batch."""
    w.store.refuses = names_poison
    appended = len(w.store.appends)
    asked = await in_one_batch(w, [*(f"room-{n}" for n in range(255)), POISON])
    for each in asked:
        await w.reply(each)
    assert len(w.store.appends) - appended < 40


async def test_two_of_them_in_one_batch(w: Writing) -> None:
    w.store.refuses = names_poison
    rooms = ["a", f"{POISON}-1", "b", "c", f"{POISON}-2", "d"]
    asked = await in_one_batch(w, rooms)
    codes = [(await w.reply(each))["status"] for each in asked]
    assert codes == ["ok", "error", "ok", "ok", "error", "ok"]
    await w.tables_are_the_journal()


async def test_an_event_goes_to_the_dead_letters(w: Writing) -> None:
    w.store.refuses = names_poison
    w.store.hold()
    for room_id in ("before", POISON, "after"):
        await w.created(room_id)
    await w.quiet_but_held()
    w.store.release()
    await w.until(lambda: len(w.dead_letters()) == 1, "the dead letter")
    await w.quiet()
    (letter,) = w.dead_letters()
    assert letter.headers["ladle-reason"] == "bad-data"
    assert POISON.encode() in letter.body
    assert w.term.writer.view.rooms.keys() == {"before", "after"}
    assert w.unacked() == 0
    await w.tables_are_the_journal()


async def test_a_status_among_those_that_share_a_record(w: Writing) -> None:
    """They are taken one by one then, each in a record of its own."""
    await w.register("sfu-2")
    await w.register("sfu-3")
    w.store.refuses = lambda record: record.kind == Kind.STATUSES and b"4321" in record.body
    await w.status("sfu-1", consumers=10)
    await w.status("sfu-2", consumers=4321)
    await w.status("sfu-3", consumers=30)
    await w.advance(1_000)
    await w.until(lambda: len(w.dead_letters()) == 1, "the dead letter")
    await w.quiet()
    observed = [w.term.writer.view.workers[f"sfu-{n}", "0"].observed for n in (1, 2, 3)]
    assert observed == [10, 0, 30]
    assert w.unacked() == 0
    await w.tables_are_the_journal()
    # And then they share one again.
    head = await w.store.head()
    await w.status("sfu-1")
    await w.status("sfu-3")
    await w.advance(1_000)
    assert await w.kinds(head.offset) == ["statuses"]


async def test_what_the_process_noted_is_not_lost_with_the_batch(w: Writing) -> None:
    """The connection came back while the batch was under way that was refused."""
    w.store.refuses = names_poison
    w.store.hold()
    await w.allocate("busy")
    await w.quiet_but_held()
    asked = await w.allocate(POISON)
    w.link.disconnect()
    w.link.reconnect()
    await w.quiet_but_held()
    w.store.release()
    await w.until(lambda: w.term.caught_up, "the marker")
    await w.reply(asked)
    await w.quiet()
    kinds = await w.kinds()
    assert kinds.count("bus-up") == 1
    assert kinds.count("caught-up") == 2
    assert kinds.index("bus-up") < len(kinds) - 1 - kinds[::-1].index("caught-up")
    await w.tables_are_the_journal()


async def test_messages_that_come_while_it_looks_are_folded_after(w: Writing) -> None:
    """The tables are read meanwhile; nothing may be folded into the view that is thrown away."""
    w.store.refuses = names_poison
    load, during = w.store.load, []

    async def load_slowly() -> Any:
        snapshot = await load()
        during.append(await w.allocate(f"meanwhile-{len(during)}"))
        await w.settled()
        return snapshot

    w.store.load = load_slowly  # type: ignore[method-assign]
    asked = await in_one_batch(w, ["a", POISON])
    for each in asked:
        await w.reply(each)
    assert during
    for each in during:
        assert (await w.reply(each))["outcome"] == "placed"
    await w.quiet()
    await w.tables_are_the_journal()


async def test_a_batch_of_nothing_but_our_own_ends_the_term(w: Writing) -> None:
    """Nobody sent it, so nobody can be refused: begin anew rather than try for ever."""
    await w.reply(await w.allocate("room"))
    w.store.refuses = lambda record: record.kind == Kind.TICK
    await w.clock.advance(60_000)
    assert isinstance(await w.failure(), BadData)


def failing_on(kind: Kind, text: str) -> Any:
    """`apply` with a defect."""

    def apply(view: View, entry: Entry) -> dict[str, Any]:
        if entry.kind == kind and text in str(entry.payload):
            # In the middle of it: the view is half changed and not to be trusted any more.
            view.offset += 1
            raise ZeroDivisionError("a defect")
        return apply_module.apply(view, entry)

    return apply


async def test_a_defect_of_the_fold_costs_one_message(
    w: Writing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that breaks the core would break it again after each restart."""
    monkeypatch.setattr(writer_module, "apply", failing_on(Kind.REQUEST, POISON))
    w.store.hold()
    appended = len(w.store.appends)
    asked = [await w.allocate("a")]
    await w.until(lambda: len(w.store.appends) > appended, "an append under way")
    asked += [await w.allocate(room_id) for room_id in ("b", POISON, "c")]
    await w.until(lambda: len(w.term.writer.batch.records) == 1, "what came before the defect")
    w.store.release()
    codes = [(await w.reply(each))["status"] for each in asked]
    assert codes == ["ok", "ok", "error", "ok"]
    (found,) = w.replies(asked[2])
    assert found["error"]["details"] == {"reason": "internal"}
    await w.quiet()
    assert w.unacked() == 0
    await w.tables_are_the_journal()


async def test_who_goes_back_to_an_older_database_ends_the_term(w: Writing, tmp_path: Path) -> None:
    """A backup was restored meanwhile: the next term is asked whether records were lost."""
    await w.reply(await w.allocate("room"))
    await w.quiet()
    w.store.refuses = names_poison
    with closing(sqlite3.connect(tmp_path / "ladle.db")) as database, database:
        database.execute('DELETE FROM journal WHERE "offset" = (SELECT max("offset") FROM journal)')
    await w.allocate(POISON)
    error = await w.failure()
    assert isinstance(error, LeaseLost)
    assert "this writer left it at" in str(error)


async def test_a_defect_of_a_read_is_answered(w: Writing, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(on_query, "from_view", broken)
    reply = await w.reply(await w.ask(Lookup(room_id="room")))
    assert reply["error"]["code"] == "internal"
    assert (await w.reply(await w.allocate("room")))["outcome"] == "placed"


async def test_a_defect_of_an_event(w: Writing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "apply", failing_on(Kind.EVENT, POISON))
    for room_id in ("before", POISON, "after"):
        await w.created(room_id)
    await w.until(lambda: len(w.dead_letters()) == 1, "the dead letter")
    await w.quiet()
    assert w.dead_letters()[0].headers["ladle-reason"] == "internal"
    assert w.term.writer.view.rooms.keys() == {"before", "after"}
    assert w.unacked() == 0
    await w.tables_are_the_journal()


async def test_a_defect_among_statuses_that_share_a_record(
    w: Writing, monkeypatch: pytest.MonkeyPatch
) -> None:
    await w.register("sfu-2")
    monkeypatch.setattr(writer_module, "apply", failing_on(Kind.STATUSES, "4321"))
    await w.status("sfu-1", consumers=10)
    await w.status("sfu-2", consumers=4321)
    await w.advance(1_000)
    await w.until(lambda: len(w.dead_letters()) == 1, "the dead letter")
    await w.quiet()
    assert w.term.writer.view.workers["sfu-1", "0"].observed == 10
    assert w.unacked() == 0
    await w.tables_are_the_journal()


async def test_a_defect_of_the_timers_ends_the_term(
    w: Writing, monkeypatch: pytest.MonkeyPatch
) -> None:
    await w.reply(await w.allocate("room"))
    monkeypatch.setattr(writer_module, "apply", failing_on(Kind.TICK, ""))
    await w.clock.advance(60_000)
    assert isinstance(await w.failure(), ZeroDivisionError)
