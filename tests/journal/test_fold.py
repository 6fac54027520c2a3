"""`load(tables) == fold(journal)`, at every offset that was a batch's last."""

import asyncio
from random import Random

import pytest

from ladle.core.record import FIRST_PREV_HASH, Kind
from ladle.core.view import View
from ladle.journal import fold
from ladle.journal.chain import open_record, seal, verify
from ladle.journal.store import Batch, Changes
from tests.journal.making import SALT, record_after
from tests.journal.small_writer import small_writer


async def busy_day(writer, seed, steps=60):
    """Rooms asked for, created, deleted, released and forgotten; batches of any size."""
    random = Random(seed)
    for number in range(3):
        writer.register(f"sfu-{number}")
    digests = {}
    for step in range(steps):
        one_thing(writer, random)
        writer.now_ms += random.randrange(500)
        if random.randrange(3) == 0 or step == steps - 1:
            await writer.commit()
            digests[writer.view.offset] = writer.view.digest()
    return digests


def one_thing(writer, random):
    room_id = f"room-{random.randrange(8)}"
    room = writer.view.rooms.get(room_id)
    home = writer.view.routers.get((room_id, 0))
    match random.randrange(6):
        case 0 | 1:
            writer.ask("allocate", room_id=room_id, peers=random.randrange(2, 9))
        case 2 if home is not None:
            writer.tell("room-created", home.server_id, room_id=room_id, worker_id="0")
        case 3 if home is not None:
            writer.tell("room-deleted", home.server_id, room_id=room_id)
        case 4 if room is not None:
            writer.ask("release", room_id=room_id, allocation_id=room.allocation_id)
        case 5:
            writer.tick(random.randrange(1, 20_000))
        case _:
            workers = [{"worker_id": "0", "state": "running", "consumers": random.randrange(90)}]
            workers[0] |= {"producers": 1, "rooms": 1, "cpu_permille": 100, "memory_bytes": 1}
            server_id = f"sfu-{random.randrange(3)}"
            writer.tell("worker-status", server_id, workers=workers)


@pytest.mark.parametrize("seed", range(3))
async def test_the_tables_say_what_the_journal_says(store, other, seed):
    writer = await small_writer(store)
    digests = await busy_day(writer, seed)
    snapshot = await other.load()
    assert fold.loaded(snapshot).digest() == writer.view.digest()
    assert writer.view.stamps  # it was a day with something in it
    assert writer.view.rooms
    for offset, digest in digests.items():
        assert (await fold.view_at(other, offset)).digest() == digest
    found = await fold.check(other)
    assert found.holds
    assert found.offset == writer.head.offset


async def test_the_chain_of_a_day_holds(store):
    writer = await small_writer(store)
    await busy_day(writer, seed=7)
    records = await store.records(0, 1_000)
    assert len(records) == writer.head.offset
    assert verify(records, after_offset=0, after_hash=FIRST_PREV_HASH) is None


async def test_a_row_that_was_changed_by_hand_is_named(store):
    """The check must be able to fail."""
    writer = await small_writer(store)
    writer.register("sfu-1")
    writer.ask("allocate", room_id="standup")
    await writer.commit()
    row = writer.view.rooms["standup"]
    values = (*(await store.load()).tables["room"][0][:2], row.generation + 1)
    values += (await store.load()).tables["room"][0][3:]
    forged = record_after(writer.head, kind=Kind.CLOCK_STEP, term=writer.mine.term)
    await store.append(writer.mine, Batch([forged], Changes({"room": {("standup",): values}})))
    found = await fold.check(store)
    assert not found.holds
    assert found.differing == {"room": [("standup",)]}


async def test_a_row_too_many_is_named(store):
    writer = await small_writer(store)
    await writer.commit()
    extra = record_after(writer.head, kind=Kind.CLOCK_STEP, term=writer.mine.term)
    rows = {"timer": {("ghost", "x"): ("ghost", "x", 1, 0)}}
    await store.append(writer.mine, Batch([extra], Changes(rows)))
    assert (await fold.check(store)).differing == {"timer": [("ghost", "x")]}


async def test_the_replay_decides_nothing_anew(store):
    """Another decision in the record is what the view then has, for that is what was answered."""
    writer = await small_writer(store)
    writer.register("sfu-1")
    writer.register("sfu-2")
    writer.ask("allocate", room_id="standup")
    await writer.commit()
    asked = await store.record(writer.head.offset)
    opened = open_record(asked)
    chosen = opened.outcome["decision"]["winner"]["server_id"]
    elsewhere = {"sfu-1": "sfu-2", "sfu-2": "sfu-1"}[chosen]
    opened.outcome["decision"]["winner"]["server_id"] = elsewhere
    view = await fold.view_at(store, asked.offset - 1)
    from ladle.core.apply import apply

    apply(view, opened.entry, opened.outcome)
    assert view.routers["standup", 0].server_id == elsewhere


async def test_folding_goes_on_from_a_view(store):
    writer = await small_writer(store)
    digests = await busy_day(writer, seed=5)
    first, last = min(digests), max(digests)
    start = await fold.view_at(store, first)
    assert (await fold.view_at(store, last, start=start)).digest() == digests[last]


async def test_before_the_first_record_the_view_is_empty(store):
    assert (await fold.view_at(store, 0)).digest() == View().digest()


async def test_past_the_end_is_an_error_and_not_the_end(store):
    writer = await small_writer(store)
    await writer.commit()
    with pytest.raises(LookupError, match="before offset 9"):
        await fold.view_at(store, 9)


async def test_a_page_may_end_anywhere(store, monkeypatch):
    writer = await small_writer(store)
    digests = await busy_day(writer, seed=1, steps=30)
    monkeypatch.setattr(fold, "PAGE", 7)
    assert (await fold.view_at(store, max(digests))).digest() == digests[max(digests)]


async def test_checking_beside_a_writer(store, other):
    """The tables are read at one moment and the journal up to it, however far it goes on."""
    writer = await small_writer(store)
    writer.register("sfu-1")
    await writer.commit()

    async def write():
        for number in range(60):
            writer.ask("allocate", room_id=f"room-{number}")
            await writer.commit()

    writing = asyncio.create_task(write())
    offsets = []
    while not writing.done():
        found = await fold.check(other)
        assert found.holds, found
        offsets.append(found.offset)
    await writing
    assert offsets[0] < writer.head.offset


def test_an_erased_body_cannot_be_folded():
    record = record_after_erasure()
    with pytest.raises(ValueError, match=r".*"):
        open_record(record)


def record_after_erasure():
    from dataclasses import replace

    from ladle.journal.store import Head

    return replace(record_after(Head(0, FIRST_PREV_HASH, 0)), body=b"")


def test_sealing_needs_json():
    from ladle.core.record import Entry

    entry = Entry(1, 1, 1, Kind.TICK, {}, {}, {"set": {1, 2}})
    with pytest.raises(TypeError):
        seal(entry, {}, prev_hash=FIRST_PREV_HASH, salt=SALT)
