"""What records send: after their commit, in their order, at least once, whatever happens."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import orjson
import pytest

from ladle.core.record import Record
from ladle.placement import term as term_module
from ladle.placement.outbox import CURSOR_EVERY_MS, IN_FLIGHT_MAX
from ladle_contracts.link import LinkError, Outgoing
from tests.fixtures.memory_link import Fault
from tests.placement.writing import Writing, writing

SUBSCRIBER = "sub.test"


@pytest.fixture
async def w(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Writing]:
    """A writer with one server, and a subscriber of all own events."""
    async with writing(tmp_path, monkeypatch) as made:
        made.broker.bind(made.topology.placement_events, SUBSCRIBER, "#")
        await made.register()
        await made.until(lambda: len(heard(made)) == 1, "the server's own event")
        yield made


def heard(w: Writing) -> list[str]:
    """The ids that the subscriber got, in order."""
    return [message.message_id or "" for message in w.broker.queues[SUBSCRIBER]]


def sent_by(records: list[Record]) -> list[str]:
    """The ids of what the records send to subscribers."""
    return [
        f"default:{record.offset}:{index}"
        for record in records
        for index, outbound in enumerate(orjson.loads(record.body)["outcome"].get("outbound", []))
        if outbound["what"] == "event"
    ]


async def all_heard(w: Writing) -> list[str]:
    """The first copies, in order, once all have come that the journal tells of."""
    expected = sent_by(await w.records())
    await w.until(lambda: set(expected) <= set(heard(w)), "all that the records send")
    return list(dict.fromkeys(heard(w)))


async def place(w: Writing, *rooms: str) -> None:
    for room_id in rooms:
        await w.reply(await w.allocate(room_id))


async def saved(w: Writing) -> None:
    """Let time pass until the cursor of all that was heard is saved.

    Once is not enough where the clock was turned before the outbox had begun to wait for it.
    """
    async with asyncio.timeout(10):
        while True:
            cursor = (await w.store.load()).outbox
            if f"default:{cursor.offset}:{cursor.index}" == heard(w)[-1]:
                return
            await w.advance(CURSOR_EVERY_MS + 1_000)


async def test_nothing_is_said_before_its_record_is_durable(w: Writing) -> None:
    before = len(heard(w))
    w.store.hold()
    asked = await w.allocate("room")
    await w.quiet_but_held()
    assert len(heard(w)) == before
    w.store.release()
    await w.reply(asked)
    assert await all_heard(w) == sent_by(await w.records())


async def test_answers_do_not_wait_for_it(w: Writing) -> None:
    """The broker confirms nothing for a while; callers are answered, acks go out."""
    w.link.hold_confirms()
    await place(w, "a", "b", "c")
    await w.quiet()
    assert w.unacked() == 0
    w.link.release_confirms()
    await all_heard(w)


async def test_in_the_order_of_the_journal(w: Writing) -> None:
    for n in range(30):
        await w.allocate(f"room-{n}")
        await w.created(f"adopted-{n}")
    await w.quiet()
    assert await all_heard(w) == sent_by(await w.records())
    assert len(heard(w)) == len(set(heard(w))), "once each, where nothing went wrong"


async def test_what_one_record_sends_goes_out_in_parts(
    w: Writing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A complete status may adopt ten thousand rooms; requests are served between the parts."""
    sizes = []
    publish_all = w.link.publish_all

    async def noted(messages: Sequence[Outgoing]) -> list[LinkError | None]:
        sizes.append(len(messages))
        return await publish_all(messages)

    monkeypatch.setattr(w.link, "publish_all", noted)
    rooms = [
        {"room_id": f"room-{n}", "worker_id": "0", "peers": 1, "consumers": 0}
        for n in range(2 * IN_FLIGHT_MAX + 9)
    ]
    await w.status(rooms=rooms, complete=True)
    await w.quiet()
    assert await all_heard(w) == sent_by(await w.records())
    assert sizes == [IN_FLIGHT_MAX, IN_FLIGHT_MAX, 9]
    assert len(heard(w)) == len(set(heard(w)))


@pytest.mark.parametrize("fault", [Fault.CONFIRM_LOST, Fault.MESSAGE_LOST, Fault.REFUSED])
async def test_what_is_not_confirmed_is_sent_again(w: Writing, fault: Fault) -> None:
    w.link.faults.extend([fault])
    await place(w, "a")
    await w.advance(1_000)
    await place(w, "b")
    assert await all_heard(w) == sent_by(await w.records())


async def test_a_lost_connection_holds_it_up_and_loses_nothing(w: Writing) -> None:
    w.store.hold()
    await w.allocate("a")
    await w.quiet_but_held()
    w.link.disconnect()
    w.store.release()
    await w.advance_held(5_000)
    w.link.reconnect()
    await w.advance_held(5_000)
    await w.caught_up()
    assert await all_heard(w) == sent_by(await w.records())


async def test_a_crash_before_the_confirm(w: Writing) -> None:
    """The next writer sends again, with the same id, what nobody saw confirmed."""
    await saved(w)
    w.link.hold_confirms()
    await place(w, "a", "b")
    await w.until(lambda: len(heard(w)) == 2, "the first, unconfirmed")
    await w.crash()
    await w.begin()
    await w.caught_up()
    assert await all_heard(w) == sent_by(await w.records())
    assert len(heard(w)) > len(set(heard(w))), "the unconfirmed one came twice"


async def test_a_crash_after_the_commit_and_before_the_publish(w: Writing) -> None:
    w.link.faults.extend([Fault.MESSAGE_LOST] * 1_000)
    await place(w, "a", "b")
    before = len(heard(w))
    await w.crash()
    assert len(heard(w)) == before
    await w.begin()
    await w.caught_up()
    assert await all_heard(w) == sent_by(await w.records())


async def test_the_cursor_is_never_ahead_of_the_confirms(w: Writing) -> None:
    """It rides along with every batch, and says no more than the broker did."""
    await saved(w)
    before = (await w.store.load()).outbox
    w.link.hold_confirms()
    await place(w, "a", "b", "c")
    await w.advance(CURSOR_EVERY_MS + 1_000)
    assert (await w.store.load()).outbox == before
    w.link.release_confirms()
    await all_heard(w)
    await w.settled()
    await w.created("rides-along")
    await w.quiet()
    cursor = (await w.store.load()).outbox
    assert f"default:{cursor.offset}:{cursor.index}" in sent_by(await w.records())
    assert cursor.offset > before.offset


async def test_a_clean_end_says_how_far_it_came(w: Writing) -> None:
    """The next writer has nothing to repeat."""
    await place(w, "a", "b")
    await w.term.end(clean=True, grace_ms=5_000)
    w.link.disconnect()
    said = heard(w)
    await w.begin()
    await w.caught_up()
    await w.settled()
    assert heard(w) == said == sent_by(await w.records())


async def test_a_command_without_a_queue(w: Writing) -> None:
    """Its server's queue is declared first: the server will find the command there."""
    queue = w.topology.command_queue("sfu-1")
    await w.until(lambda: queue in w.broker.queues, "the queue of a registered server")
    w.broker.delete_queue(queue)
    placed = await w.reply(await w.allocate("room"))
    await w.created("room")
    await w.quiet()
    await w.release(placed)
    await w.until(lambda: queue in w.broker.queues, "the queue again")
    await w.until(lambda: len(w.broker.queues[queue]) == 1, "the command")
    (command,) = w.broker.queues[queue]
    assert command.routing_key == "close-room.sfu-1"


async def test_one_that_cannot_be_encoded_holds_up_no_other(
    w: Writing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A defect, the same after each restart: it is logged and left out."""
    encode = term_module.encode_outbound

    def broken(item, index, outbound, cell, **rest):
        if outbound["data"].get("room_id") == "broken":
            raise ValueError("no such event")
        return encode(item, index, outbound, cell, **rest)

    monkeypatch.setattr(term_module, "encode_outbound", broken)
    await place(w, "a", "broken", "b")
    await w.until(lambda: len(heard(w)) == 3, "the others")
    rooms = [orjson.loads(m.body)["data"].get("room_id") for m in w.broker.queues[SUBSCRIBER]]
    assert rooms == [None, "a", "b"]
