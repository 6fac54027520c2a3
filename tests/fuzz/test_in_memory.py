"""Whatever is sent, each message ends in one way, and the next good one is taken.

The real writer with its journal, over the broker in memory: breadth. Each example begins with an
empty journal, so that a failing one is repeated by itself; `LADLE_FUZZ_EXAMPLES` searches longer.
"""

import asyncio
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ladle_contracts.events import (
    RoomCreated,
    ServerDescription,
    ServerDraining,
    ServerRegistered,
    WorkerDescription,
    WorkerState,
    WorkerStatus,
)
from tests.fuzz.ends import Ends, check_dead_letter, check_records, check_reply
from tests.fuzz.inputs import SEQUENCES_MAX, Sent, events, messages, requests
from tests.placement.writing import REPLIES, Writing, writing

EXAMPLES = int(os.environ.get("LADLE_FUZZ_EXAMPLES", "0"))
BOUNDED = settings(
    max_examples=EXAMPLES or 10,
    derandomize=not EXAMPLES,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
GOOD = SEQUENCES_MAX + 100
LOAD = WorkerState(
    worker_id="0",
    state="running",
    consumers=77,
    producers=0,
    rooms=0,
    cpu_permille=0,
    memory_bytes=0,
)


def in_a_term(messages: list[Sent], *, together: bool = False) -> None:
    """Send them to a writer of its own, and see what became of each."""

    async def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        async with writing(folder, monkeypatch) as w:
            await registered(w, "sfu-1", 1)
            before = Ends.of(w.metrics)
            for message in messages:
                await w.peer.publish(message.outgoing(w.topology))
                if not together:
                    await w.quiet()
            await ended(w, before.total + len(messages))
            await seen_from_outside(w)
            await the_next_good_ones_work(w)
            check_records(await w.records())
            await w.tables_are_the_journal()

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as monkeypatch:
        asyncio.run(run(Path(folder), monkeypatch))


async def registered(w: Writing, server_id: str, sequence: int) -> None:
    known = w.term.writer.view.servers.get(server_id)
    server = ServerDescription(host=f"{server_id}.example.org")
    workers = [WorkerDescription(worker_id="0", capacity_consumers=500)]
    life = {} if known is None else {"incarnation": known.incarnation}
    await w.event(
        server_id, ServerRegistered(server=server, workers=workers), sequence=sequence, **life
    )
    await w.quiet()


async def ended(w: Writing, total: int) -> None:
    """Until all have an end, waiting statuses too; then nothing may follow."""
    await w.advance(w.settings.statuses_wait_ms)
    await w.until(lambda: Ends.of(w.metrics).total >= total, f"{total} ends")
    queues = [w.topology.inbox, w.topology.requests, w.topology.queries]
    await w.until(lambda: not any(map(w.unacked, queues)), "the acks")
    assert Ends.of(w.metrics).total == total


async def seen_from_outside(w: Writing) -> None:
    """The counts are what others see."""
    ends = Ends.of(w.metrics)
    replies = [message for message in w.link.published if message.type == "reply"]
    for reply in replies:
        check_reply(reply.body)
    assert len(replies) == ends.answered
    letters = w.dead_letters()
    for letter in letters:
        check_dead_letter(letter.headers)
    assert len(letters) == ends.dead_letters


async def the_next_good_ones_work(w: Writing) -> None:
    """A server that was spoken for, one that is new, and a caller."""
    await registered(w, "sfu-1", GOOD)
    life = w.term.writer.view.servers["sfu-1"].incarnation
    created = RoomCreated(room_id="good", worker_id="0")
    await w.event("sfu-1", created, sequence=GOOD + 1, incarnation=life)
    status = WorkerStatus(workers=[LOAD], rooms=[])
    await w.event("sfu-1", status, sequence=GOOD + 2, incarnation=life)
    await w.event("sfu-1", ServerDraining(reason="good"), sequence=GOOD + 3, incarnation=life)
    await registered(w, "sfu-good", 1)
    asked = await w.allocate("asked", "good-request", server_id="sfu-good")
    reply = await w.reply(asked)
    assert (reply["status"], reply["outcome"]) == ("ok", "placed")
    view = w.term.writer.view
    assert view.servers["sfu-1"].host == "sfu-1.example.org"
    assert view.servers["sfu-1"].server_drain_reason == "good"
    assert view.workers["sfu-1", "0"].observed == LOAD.consumers
    assert view.rooms["good"].phase == "active"


@BOUNDED
@given(st.lists(messages(), min_size=10, max_size=60), st.booleans())
def test_any_messages(sent: list[Sent], together: bool) -> None:
    in_a_term(sent, together=together)


@BOUNDED
@given(st.lists(events(), min_size=20, max_size=60))
def test_any_events_of_a_few_servers(sent: list[Sent]) -> None:
    in_a_term(sent, together=True)


@BOUNDED
@given(st.lists(requests(REPLIES), min_size=10, max_size=60))
def test_any_requests(sent: list[Sent]) -> None:
    in_a_term(sent, together=True)
