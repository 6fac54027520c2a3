"""Why a room is where it is, told from the journal."""

import pytest

from ladle.core.record import Kind
from ladle.journal import explain, story
from ladle.journal.explain import explanation
from ladle_contracts.events import WorkerStatus
from tests.journal.making import AT_MS
from tests.journal.small_writer import small_writer


@pytest.fixture
async def writer(store):
    writer = await small_writer(store)
    writer.register("sfu-1")
    writer.register("sfu-2")
    return writer


def home_of(writer, room_id="standup"):
    return writer.view.routers[room_id, 0].server_id


def allocation_of(writer, room_id="standup"):
    return writer.view.rooms[room_id].allocation_id


def restart(writer, server_id):
    """Its next life is heard of."""
    before = writer.view.servers[server_id].incarnation
    writer.fold(
        Kind.EVENT,
        {
            "type": "room-deleted",
            "id": "restart",
            "source_server_id": server_id,
            "incarnation": before + 1,
            "sequence": 1,
            "time_ms": AT_MS,
            "data": {"room_id": "another", "allocation_id": None, "reason": None},
        },
    )


async def told(writer, room_id="standup", **about):
    await writer.commit()
    return await explanation(writer.store, room_id, **about)


async def test_a_room_that_was_placed(writer):
    writer.ask("allocate", room_id="standup", peers=4)
    found = await told(writer)
    assert found.generation == 1
    assert found.record.offset == writer.head.offset
    story = "\n".join(found.lines)
    assert "backend asked to allocate it, request request-5 (record 5, term 1)" in story
    assert story.startswith("2025-11-22T09:00:00.000Z: ")
    assert "24 consumers" in story
    assert f"server {home_of(writer)}" in story


async def test_what_happened_afterwards(writer):
    """Found by the room, by its home and by the clock; other rooms are not in it."""
    writer.ask("allocate", room_id="standup")
    writer.ask("allocate", room_id="other")
    home = home_of(writer)
    writer.ask("allocate", room_id="standup")
    writer.tell("room-created", home, room_id="standup", worker_id="0")
    writer.tick(31_000)
    writer.tell("room-deleted", home, room_id="standup")
    found = await told(writer)
    place = found.lines.index(next(line for line in found.lines if "again" in line))
    assert list(found.lines[place:]) == [
        "2025-11-22T09:00:00.000Z: backend asked to allocate it again, answered existing "
        "(record 7, term 1).",
        f"2025-11-22T09:00:00.000Z: server {home} created it (record 8, term 1).",
        f"2025-11-22T09:00:31.000Z: server {home} deleted it; it ended, and has no home any more "
        "(record 10, term 1).",
    ]
    assert "other" not in " ".join(found.lines)


async def test_a_hold_that_ran_out_in_a_tick(writer):
    """The tick's record names no room in its columns."""
    writer.ask("allocate", room_id="standup")
    home = home_of(writer)
    writer.tick(31_000)
    found = await told(writer)
    expired = f"nobody had come to server {home} in time"
    assert any(expired in line and "(record 6" in line for line in found.lines)


async def test_an_earlier_generation(writer):
    writer.ask("allocate", room_id="standup")
    first = home_of(writer)
    writer.tell("room-created", first, room_id="standup", worker_id="0")
    writer.ask("move", room_id="standup", if_generation=1, reason="maintenance")
    second = home_of(writer)
    assert first != second
    now = await told(writer)
    assert (now.generation, now.record.offset) == (2, 7)
    assert "backend asked to move it" in now.lines[0]
    before = await explanation(writer.store, "standup", generation=1)
    assert (before.generation, before.record.offset) == (1, 5)
    # The story of a home ends with the next one.
    assert f"it moved to server {second}, generation 2" in before.lines[-1]
    assert await explanation(writer.store, "standup", generation=3) is None


async def test_an_adopted_room(writer):
    writer.tell("room-created", "sfu-2", room_id="standup", worker_id="1")
    found = await told(writer)
    assert found.generation == 1
    assert "server sfu-2 said that room standup lives there" in found.lines[0]


async def test_a_room_adopted_from_a_list(writer):
    """A complete status names many rooms, so none in its columns."""
    status = WorkerStatus.model_validate(
        {
            "workers": [
                {
                    "worker_id": "0",
                    "state": "running",
                    "consumers": 2,
                    "producers": 2,
                    "rooms": 1,
                    "cpu_permille": 10,
                    "memory_bytes": 1,
                }
            ],
            "rooms": [{"room_id": "standup", "worker_id": "0", "peers": 2, "consumers": 2}],
            "complete": True,
        }
    )
    payload = {
        "type": "worker-status",
        "id": "s",
        "source_server_id": "sfu-1",
        "incarnation": AT_MS,
        "sequence": 2,
        "time_ms": AT_MS,
        "data": status.model_dump(mode="json"),
    }
    writer.fold(Kind.EVENT, payload)
    found = await told(writer)
    assert found.record.offset == writer.head.offset
    assert "server sfu-1 said" in found.lines[0]


async def test_a_room_that_was_only_refused(writer):
    writer.ask("allocate", room_id="huge", peers=200)
    found = await told(writer, "huge")
    assert found.generation is None
    assert "room-too-large" in " ".join(found.lines)


async def test_a_room_that_nobody_ever_named(writer):
    assert await told(writer, "nobody") is None
    assert await explanation(writer.store, "nobody", generation=1) is None


async def test_a_name_that_is_used_again(writer):
    """The last life is meant, although an earlier one had the same generation once."""
    writer.ask("allocate", room_id="standup")
    room = writer.view.rooms["standup"]
    writer.ask("release", room_id="standup", allocation_id=room.allocation_id)
    writer.ask("allocate", room_id="standup")
    found = await told(writer)
    assert found.record.offset == writer.head.offset


async def test_a_history_longer_than_is_looked_at(writer, monkeypatch):
    """A name that is used every day: the home that it has is explained, not an old one."""
    monkeypatch.setattr(explain, "SCAN_MAX", 6)
    monkeypatch.setattr(explain, "PAGE", 2)
    for _ in range(9):
        writer.ask("allocate", room_id="standup")
    room = writer.view.rooms["standup"]
    writer.ask("release", room_id="standup", allocation_id=room.allocation_id)
    writer.ask("allocate", room_id="standup")
    allocated = writer.head.offset
    writer.ask("allocate", room_id="standup")
    await writer.commit()
    for generation in (None, 2):
        found = await explanation(writer.store, "standup", generation=generation)
        assert (found.generation, found.record.offset) == (2, allocated)
        assert found.lines[-1].endswith(f"(record {allocated + 1}, term 1).")


async def test_a_room_taken_over_by_a_list(writer):
    """A status names no room in its columns; the home before it is not the answer."""
    writer.ask("allocate", room_id="standup")
    home = home_of(writer)
    other = "sfu-2" if home == "sfu-1" else "sfu-1"
    writer.tell("room-created", home, room_id="standup", worker_id="0")
    writer.tick(5_000)
    listed = {"room_id": "standup", "worker_id": "0", "peers": 2, "consumers": 4}
    writer.register(home)
    restart(writer, home)
    assert writer.view.rooms["standup"].phase == "stranded"
    writer.tell("worker-status", other, workers=[], rooms=[listed], complete=True)
    assert home_of(writer) == other
    found = await told(writer)
    assert (found.generation, found.record.offset) == (2, writer.head.offset)
    assert f"server {other} said" in found.lines[0]


async def test_a_long_story_is_cut(writer, monkeypatch):
    """What became of the room stays; what was asked in vain meanwhile goes first."""
    monkeypatch.setattr(story, "LINES_MAX", 3)
    monkeypatch.setattr(explain, "PAGE", 2)
    writer.ask("allocate", room_id="standup")
    home = home_of(writer)
    writer.tell("room-created", home, room_id="standup", worker_id="0")
    for _ in range(6):
        writer.ask("allocate", room_id="standup")
    writer.tell("room-deleted", home, room_id="standup")
    found = await told(writer)
    assert "Of what happened since, 5 things are left out here." in found.lines
    assert f"server {home} created it" in found.lines[-3]
    assert f"server {home} deleted it" in found.lines[-1]


async def test_a_deletion_while_its_place_is_held_again(writer):
    """Ladle announces nothing then, and the hold that runs out later is not all that happened."""
    writer.ask("allocate", room_id="standup")
    home = home_of(writer)
    writer.tell("room-created", home, room_id="standup", worker_id="0")
    writer.ask("allocate", room_id="standup")
    writer.tell("room-deleted", home, room_id="standup", reason="empty")
    deleted = writer.head.offset
    held = await told(writer)
    assert held.lines[-1] == (
        f"2025-11-22T09:00:00.000Z: server {home} deleted it, for this reason: empty; its place "
        "there is still held, because a caller was sent there not long before "
        f"(record {deleted}, term 1)."
    )
    writer.tick(31_000)
    found = await told(writer)
    assert found.lines[:-1] == held.lines
    assert f"nobody had come back to server {home} in time" in found.lines[-1]
    assert "has no home any more" in found.lines[-1]


async def test_a_release(writer):
    writer.ask("allocate", room_id="standup")
    home = home_of(writer)
    writer.ask("release", room_id="standup", allocation_id=allocation_of(writer))
    found = await told(writer)
    assert f"backend released it; server {home} had not created it" in found.lines[-1]


async def test_a_release_of_a_room_that_lives(writer):
    """Its server is told to close it, and the room ends when that says so."""
    writer.ask("allocate", room_id="standup")
    home = home_of(writer)
    writer.tell("room-created", home, room_id="standup", worker_id="0")
    writer.ask("release", room_id="standup", allocation_id=allocation_of(writer))
    writer.tell("room-deleted", home, room_id="standup", reason="released")
    found = await told(writer)
    assert f"backend released it, so server {home} was told to close it" in found.lines[-2]
    assert f"server {home} deleted it, for this reason: released" in found.lines[-1]


async def test_a_home_that_is_lost(writer):
    """Stranded with its server, and over when nobody asked for it."""
    writer.ask("allocate", room_id="standup")
    home = home_of(writer)
    writer.tell("room-created", home, room_id="standup", worker_id="0")
    restart(writer, home)
    writer.tick(writer.view.limits.strand_ms)
    found = await told(writer)
    assert f"server {home} restarted, and the room was lost with its memory" in found.lines[-2]
    assert f"nobody asked for it in time after its server {home} was lost" in found.lines[-1]


async def test_a_move_ends_with_the_old_copy(writer):
    writer.ask("allocate", room_id="standup")
    first = home_of(writer)
    writer.tell("room-created", first, room_id="standup", worker_id="0")
    writer.ask("move", room_id="standup", if_generation=1, reason="maintenance")
    second = home_of(writer)
    writer.tell("room-created", second, room_id="standup", worker_id="0")
    writer.tell("room-deleted", first, room_id="standup")
    found = await told(writer)
    assert f"server {second} created it" in found.lines[-2]
    assert f"server {first} deleted its copy of it" in found.lines[-1]
    before = await explanation(writer.store, "standup", generation=1)
    assert f"away from server {first}, because backend asked for it" in before.lines[-1]
