"""A sequence that no server can have reached: a dead letter, and its life goes on being heard."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ladle.placement.on_event import SEQUENCE_AHEAD_MAX
from ladle_contracts.events import (
    EventData,
    RoomCreated,
    RoomDeleted,
    ServerDeregistered,
    ServerDescription,
    ServerDraining,
    ServerRegistered,
    WorkerDescription,
    WorkerState,
    WorkerStatus,
)
from ladle_contracts.fields import INT_MAX
from tests.placement.writing import LIFE, Writing, writing

REGISTERED = ServerRegistered(
    server=ServerDescription(host="sfu-1.example.org"),
    workers=[WorkerDescription(worker_id="0", capacity_consumers=500)],
)
RUNNING = WorkerState(
    worker_id="0",
    state="running",
    consumers=7,
    producers=0,
    rooms=0,
    cpu_permille=0,
    memory_bytes=0,
)
KINDS: dict[str, EventData] = {
    "registered": REGISTERED,
    "draining": ServerDraining(),
    "goodbye": ServerDeregistered(),
    "created": RoomCreated(room_id="standup", worker_id="0"),
    "deleted": RoomDeleted(room_id="standup"),
    "status": WorkerStatus(workers=[RUNNING]),
    "complete status": WorkerStatus(workers=[RUNNING], rooms=[], complete=True),
}


@pytest.fixture
async def w(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Writing]:
    async with writing(tmp_path, monkeypatch) as made:
        yield made


async def heard_as_ever(w: Writing, after: int) -> None:
    """The next events of this life count: rooms, load, administration, and where it is."""
    await w.event("sfu-1", RoomCreated(room_id="next", worker_id="0"), sequence=after + 1)
    await w.event("sfu-1", WorkerStatus(workers=[RUNNING], rooms=[]), sequence=after + 2)
    await w.event("sfu-1", ServerDraining(), sequence=after + 3)
    await w.event("sfu-1", REGISTERED, sequence=after + 4)
    await w.quiet()
    view = w.term.writer.view
    assert view.rooms["next"].phase == "active"
    assert view.workers["sfu-1", "0"].observed == 7
    server = view.servers["sfu-1"]
    assert (server.administration, server.registered_sequence) == ("draining", after + 4)


@pytest.mark.parametrize("kind", KINDS)
async def test_one_event_out_of_reach_mutes_no_server(w: Writing, kind: str) -> None:
    """All that the life said afterwards was taken for a copy, until the server's restart."""
    await w.register()
    await w.event("sfu-1", KINDS[kind], sequence=INT_MAX)
    await w.until(lambda: len(w.dead_letters()) == 1, "the dead letter")
    (letter,) = w.dead_letters()
    assert letter.headers["ladle-reason"] == "sequence-ahead"
    assert str(letter.headers["ladle-detail"]).startswith("sequence: ")
    await heard_as_ever(w, after=1)
    await w.tables_are_the_journal()


async def test_a_life_that_is_not_known_yet_cannot_begin_out_of_reach(w: Writing) -> None:
    await w.event("sfu-1", REGISTERED, sequence=SEQUENCE_AHEAD_MAX + 1)
    await w.until(lambda: len(w.dead_letters()) == 1, "the dead letter")
    await w.event("sfu-1", REGISTERED, sequence=1)
    await w.event("sfu-1", REGISTERED, sequence=INT_MAX, incarnation=LIFE + 1)
    await w.until(lambda: len(w.dead_letters()) == 2, "the second")
    assert w.term.writer.view.servers["sfu-1"].incarnation == LIFE, "no life began"


async def test_what_can_be_reached_is_taken(w: Writing) -> None:
    """Much is lost with a broker, and much was said before Ladle was there."""
    await w.event("sfu-1", REGISTERED, sequence=SEQUENCE_AHEAD_MAX)
    await w.event("sfu-1", ServerDraining(), sequence=2 * SEQUENCE_AHEAD_MAX)
    await w.quiet()
    await heard_as_ever(w, after=2 * SEQUENCE_AHEAD_MAX)
    assert not w.dead_letters()
