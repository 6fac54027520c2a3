"""Erasing a room: what goes, what stays, who is refused, and that the writer goes on."""

import sqlite3

import orjson
import pytest

from ladle.audit.checkpoint import Checkpoint, Consistency
from ladle.audit.erase import Erased, Eraser, NotPublished, StillKnown, names_room
from ladle.audit.erasures import Erasures, spans_of
from ladle.audit.export import Export
from ladle.audit.export_rows import Moment, Wanted
from ladle.audit.files import FileSource
from ladle.audit.verify import verify
from ladle.core.record import FIRST_PREV_HASH, Kind
from ladle.journal.chain import open_record
from ladle.journal.fold import loaded
from ladle.journal.open import open_store
from ladle.journal.snapshots import capture, keep, unpacked
from ladle.journal.store import Head, LeaseLost, OutboxCursor
from tests.fixtures.manual_clock import ManualClock
from tests.journal.making import AT_MS, fresh_store
from tests.journal.small_writer import small_writer

ROOM = "confessions-of-a-mask"
FORGOTTEN_MS = 700_000  # by then the view keeps nothing of a room that has ended


@pytest.fixture
async def store(database_url):
    opened = await fresh_store(database_url)
    yield opened
    await opened.close()


@pytest.fixture
async def writer(store):
    """A room that came, was active, and is forgotten; and another one that lives."""
    writer = await small_writer(store)
    writer.register("sfu-1", workers=1)
    for room_id in (ROOM, "standup"):
        answer = writer.ask("allocate", room_id=room_id)
        created = {"room_id": room_id, "worker_id": "0", "allocation_id": answer["allocation_id"]}
        writer.tell("room-created", "sfu-1", **created)
    worker = {"worker_id": "0", "state": "running", "consumers": 0, "producers": 0, "rooms": 2}
    worker |= {"cpu_permille": 1, "memory_bytes": 1}
    rooms = [
        {"room_id": room_id, "worker_id": "0", "peers": 2, "consumers": 0}
        for room_id in (ROOM, "standup")
    ]
    writer.tell("worker-status", "sfu-1", workers=[worker], rooms=rooms, complete=True)
    writer.tell("room-deleted", "sfu-1", room_id=ROOM)
    writer.tick(FORGOTTEN_MS)
    await writer.commit()
    await published(writer)
    return writer


async def published(writer):
    """Everything that was to be sent has been."""
    await writer.store.move_outbox(writer.mine, OutboxCursor(writer.head.offset, 9))


def eraser(store, room_id=ROOM, **options):
    clock = ManualClock(AT_MS + 5 * FORGOTTEN_MS)
    return Eraser(store, room_id, clock=clock, holder="eraser", **options)


async def everything(store):
    return await store.records(0, 1_000)


async def holds(store):
    """Is the chain whole, from the first record to the last?"""
    records = await everything(store)
    new = Checkpoint("test", records[-1].offset, records[-1].hash)
    check = Consistency(Checkpoint("test", 0, FIRST_PREV_HASH), new)
    check.add(records)
    return check.holds


async def test_a_part_without_the_erasing_record_is_no_violation(store, writer, tmp_path):
    """It lies behind the part's end, or before its beginning; nobody can tell from the part."""
    erased = await eraser(store).run()
    records = await everything(store)
    last = Head(records[-1].offset, records[-1].hash, 0)
    gone = [record.offset for record in records if not record.body]
    assert gone[0] < gone[-1] < erased.offset

    def report_of(name, wanted, alone=False):
        out = Export(tmp_path / name, format_="jsonl", wanted=wanted, rows_per_file=gone[-1])
        out.add(records)
        out.finish(last)
        source = min((tmp_path / name).glob("*.jsonl")) if alone else tmp_path / name
        return verify(FileSource(source))

    bounds = {"begin": Moment(offset=2), "end": Moment(offset=gone[-1])}
    parts = [
        report_of("alone", Wanted(), alone=True),
        report_of("until", Wanted(end=bounds["end"])),
        report_of("until-alone", Wanted(end=bounds["end"]), alone=True),
        report_of("window", Wanted(**bounds)),
        report_of("kinds", Wanted(kinds=("event", "request"))),
    ]
    for report in parts:
        assert (report.exit_code, report.findings.first, report.erased > 0) == (0, None, True)
        assert any("no record here" in s or "answers for each" in s for s in report.unchecked)
    assert report_of("whole", Wanted()).unchecked, "answered, and not derived behind it"


async def test_content_goes_and_the_chain_stays(store, writer):
    before = await everything(store)
    erased = await eraser(store, reason="asked for by its owner").run()
    after = await everything(store)
    own = [record.offset for record in before if record.room_id == ROOM]
    assert len(own) == 3  # asked for, created, deleted
    assert erased == Erased(offset=len(before) + 1, records=3, mentions=1)
    assert await holds(store)
    for old, new in zip(before, after, strict=False):
        if old.offset in own:
            assert (new.body, new.salt, new.room_id, new.server_id) == (b"", b"", None, None)
            assert (new.body_digest, new.hash) == (old.body_digest, old.hash)
        else:
            assert new == old
    opened = open_record(after[-1])
    assert opened.entry.kind is Kind.ERASED
    assert opened.entry.payload == {
        "records": [list(span) for span in spans_of(own)],
        "reason": "asked for by its owner",
    }
    assert opened.outcome == {"status": "applied", "outbound": []}
    assert after[-1].recorded_at_ms == AT_MS + 5 * FORGOTTEN_MS


async def test_other_records_that_name_the_room_go_where_that_is_asked(store, writer):
    assert any(names_room(record, ROOM) for record in await everything(store))
    erased = await eraser(store, with_mentions=True).run()
    assert (erased.records, erased.mentions) == (4, 1)
    assert not any(ROOM.encode() in record.body for record in await everything(store))
    assert await holds(store)


async def test_the_view_goes_on_as_it_was(store, writer):
    before = loaded(await store.load())
    await eraser(store).run()
    after = loaded(await store.load())
    assert after.dump() == before.dump()
    assert after.offset == before.offset + 1


async def test_erasing_twice_changes_nothing(store, writer):
    await eraser(store).run()
    once = await everything(store)
    again = await eraser(store).run()
    assert again == Erased(offset=None, records=0, mentions=1)
    assert await everything(store) == once


async def test_nothing_of_others_is_erased(store, writer):
    before = await everything(store)
    assert (await eraser(store, "confessions").run()).offset is None
    assert await everything(store) == before
    assert await store.lease() is not None
    assert (await store.lease()).holder == "small-writer"


async def test_a_room_that_the_view_knows_is_refused(store, writer):
    before = await everything(store)
    with pytest.raises(StillKnown) as refused:
        await eraser(store, "standup").run()
    assert "room" in refused.value.tables
    assert await everything(store) == before
    assert (await store.lease()).holder == "small-writer"


async def test_what_is_not_published_is_not_erased(store, writer):
    """The outbox is the journal: what is erased before it was sent would never be sent."""
    writer.ask("allocate", room_id="other")
    await writer.commit()
    writer.tick(40_000)  # nobody came
    writer.tick(FORGOTTEN_MS)
    await writer.commit()
    with pytest.raises(NotPublished):
        await eraser(store, "other").run()
    await published(writer)
    assert (await eraser(store, "other").run()).records == 1


async def test_a_writer_is_fenced_and_takes_its_term_again(store, writer, database_url):
    """Beside a running service: what it has in flight is refused, and it starts from the tables."""
    other = open_store(database_url)
    await other.open()
    try:
        await eraser(other).run()
    finally:
        await other.close()
    writer.ask("allocate", room_id="late")
    with pytest.raises(LeaseLost):
        await writer.commit()
    free = await store.lease()
    assert (free.term, free.holder) == (2, "")
    mine = await store.take_lease("small-writer", free)
    assert mine is not None
    snapshot = await store.load()
    writer.mine, writer.view, writer.head = mine, loaded(snapshot), snapshot.head
    writer._records.clear()
    writer.now_ms = snapshot.head.recorded_at_ms
    writer.register("sfu-1", workers=1)  # silent for so long, it was lost
    assert writer.ask("allocate", room_id="late")["outcome"] == "placed"
    await writer.commit()
    assert await holds(store)


async def test_nothing_is_left_in_the_file(tmp_path):
    """SQLite keeps deleted bytes in free pages and in its log, unless it is told not to."""
    url = f"sqlite:///{tmp_path}/ladle.db"
    store = await fresh_store(url)
    writer = await small_writer(store)
    for _ in range(200):  # refused, so the view never knew it
        assert writer.ask("allocate", room_id=ROOM)["error"]["code"] == "no-servers"
    await writer.commit()
    await published(writer)
    assert traces(tmp_path) > 0
    await eraser(store).run()
    assert traces(tmp_path) == 0
    await store.close()


def traces(folder):
    return sum(path.read_bytes().count(ROOM.encode()) for path in folder.iterdir())


async def test_a_crash_in_between_leaves_all_or_nothing(tmp_path):
    """Records and erasure are one transaction: where the second fails the first is not there."""
    store = await fresh_store(f"sqlite:///{tmp_path}/ladle.db")
    writer = await small_writer(store)
    writer.ask("allocate", room_id=ROOM)
    await writer.commit()
    await published(writer)
    with sqlite3.connect(tmp_path / "ladle.db") as connection:
        connection.execute(
            "CREATE TRIGGER no BEFORE UPDATE ON \"journal\" BEGIN SELECT raise(ABORT, 'no'); END"
        )
    before = await everything(store)
    with pytest.raises(Exception, match="no"):
        await eraser(store).run()
    assert await everything(store) == before
    await store.close()


# Who answers for an erased record.


def test_spans():
    assert spans_of([]) == []
    assert spans_of([1, 2, 3, 7, 9, 10]) == [(1, 3), (7, 7), (9, 10)]


@pytest.mark.parametrize(
    ("seen", "named", "unanswered"),
    [
        ([], [], []),
        ([5], [], [(5, 5)]),
        ([5, 6, 7], [[5, 7]], []),
        ([5, 6, 7], [[6, 6]], [(5, 5), (7, 7)]),
        ([5, 6, 7, 9], [[9, 9], [5, 6]], [(7, 7)]),
        ([5, 6], [[1, 2], [6, 20]], [(5, 5)]),
        ([2, 3, 4, 5], [[1, 2], [4, 4], [3, 3]], [(5, 5)]),
    ],
)
def test_an_erased_record_that_nobody_answers_for(seen, named, unanswered):
    erasures = Erasures()
    for offset in seen:
        erasures.saw(offset)
    for span in named:
        erasures.named({"records": [span]})
    assert erasures.unanswered() == unanswered


@pytest.mark.parametrize("payload", [{}, {"records": [[2, 1]]}, {"records": [[0, 1]]}])
def test_what_names_no_records(payload):
    with pytest.raises((KeyError, ValueError)):
        Erasures().named(payload)


async def test_a_name_inside_another_is_not_meant(store, writer):
    record = (await everything(store))[-1]
    record.body = orjson.dumps({"payload": {"worker_id": ROOM, "room_id": f"{ROOM}-2"}})
    assert not names_room(record, ROOM)
    record.body = orjson.dumps({"payload": {"data": {"rooms": [{"room_id": ROOM}]}}})
    assert names_room(record, ROOM)


async def test_no_snapshot_keeps_the_room(store, writer):
    """One that was made while the room lived is forgotten with it; others stay."""
    makes = await small_day_with_snapshots(store, writer)
    erased = await eraser(store).run()
    assert erased.offset is not None
    assert await store.snapshots() == [makes["after"]]
    assert ORJSON_ROOM not in unpacked(await store.snapshot(makes["after"]))


ORJSON_ROOM = orjson.dumps(ROOM)


async def small_day_with_snapshots(store, writer):
    """One more life of the room: a snapshot in the midst of it, and one when it is forgotten."""
    made = {}
    writer.register("sfu-1", workers=1)  # It was silent for so long that nothing is placed there.
    answer = writer.ask("allocate", room_id=ROOM)
    await writer.commit()
    made["within"] = await keep_one(store, writer)
    assert ORJSON_ROOM in unpacked(await store.snapshot(made["within"]))
    writer.ask("release", room_id=ROOM, allocation_id=answer["allocation_id"])
    writer.tick(FORGOTTEN_MS)
    await writer.commit()
    made["after"] = await keep_one(store, writer)
    await published(writer)
    return made


async def keep_one(store, writer):
    made = await capture(store)
    await keep(store, made)
    writer.fold(Kind.SNAPSHOT, made.payload)
    await writer.commit()
    return made.head.offset
