"""Archiving: what leaves the database, when, and that archive and database stay one log."""

import asyncio
import gzip
import importlib
import json
import sqlite3
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from ladle.audit.archive import Archived, Archiver, NothingToArchive
from ladle.audit.archive_folder import ArchiveFolder
from ladle.audit.checkpoint import Checkpoint
from ladle.audit.erase import Eraser
from ladle.audit.errors import INCOMPLETE, VERIFIED, VIOLATION, Altered, BadSource, Incomplete
from ladle.audit.export_rows import Moment
from ladle.audit.finding import Law
from ladle.audit.open import open_source
from ladle.audit.replay import Replay
from ladle.audit.verify import Report, verify
from ladle.commands.app import app
from ladle.core.record import Kind, Record
from ladle.journal.engine import engine_for
from ladle.journal.open import open_store
from ladle.journal.snapshots import capture, keep
from ladle.journal.store import OutboxCursor, Store
from ladle.journal.tables import OUTBOX
from ladle.journal.url import parse
from tests.fixtures.manual_clock import ManualClock
from tests.journal.making import AT_MS, fresh_store
from tests.journal.small_writer import SmallWriter, small_writer
from tests.journal.test_fold import busy_day

DAYS = 3
FOLDER = "archive"
FORGOTTEN_MS = 700_000  # so long after it a request cannot come again, and a room is forgotten

Digests = dict[int, str]


async def days(url: str) -> tuple[Digests, list[Record]]:
    """Some days, a snapshot at the end of each; digests of the view by offset, and all records."""
    store = await fresh_store(url)
    writer = await small_writer(store)
    digests: Digests = {}
    for day in range(DAYS):
        digests |= await busy_day(writer, seed=day)
        await snapshot_at_night(store, writer)
    writer.tick(FORGOTTEN_MS)
    await writer.commit()
    await store.move_outbox(writer.mine, OutboxCursor(writer.head.offset, 0))
    records = await store.records(0, 10_000)
    await store.give_up(writer.mine)
    await store.close()
    return digests, records


async def snapshot_at_night(store: Store, writer: SmallWriter) -> None:
    writer.tick(FORGOTTEN_MS)
    await writer.commit()
    made = await capture(store)
    await keep(store, made)
    writer.fold(Kind.SNAPSHOT, made.payload)
    await writer.commit()


Journal = tuple[str, Digests, list[Record]]


@pytest.fixture
def journal(database_url: str) -> Journal:
    return (database_url, *asyncio.run(days(database_url)))


@pytest.fixture
def file(tmp_path: Path) -> tuple[Path, Digests, list[Record]]:
    """The same in a SQLite file that a test may spoil."""
    path = tmp_path / "ladle.db"
    return (path, *asyncio.run(days(f"sqlite:///{path}")))


def cuts(records: list[Record]) -> list[int]:
    """Where a snapshot is."""
    return [r.offset - 1 for r in records if r.kind == Kind.SNAPSHOT]


def signed(records: list[Record], offset: int | None = None) -> Checkpoint:
    last = records[(offset or len(records)) - 1]
    return Checkpoint("test", last.offset, last.hash)


def archive(url: str, folder: Path, checkpoint: Checkpoint, **options: Any) -> Archived:
    async def run() -> Archived:
        store = open_store(url)
        await store.open()
        try:
            clock = ManualClock(AT_MS + 50 * FORGOTTEN_MS)
            archiver = Archiver(
                store, folder, checkpoint, clock=clock, holder="archiver", **options
            )
            return await archiver.run()
        finally:
            await store.close()

    return asyncio.run(run())


def left(url: str) -> list[Record]:
    async def read() -> list[Record]:
        store = open_store(url)
        await store.open()
        try:
            return await store.records(0, 10_000)
        finally:
            await store.close()

    return asyncio.run(read())


def verified(url: str, folder: Path | None) -> Report:
    source = open_source(url, folder)
    try:
        return verify(source)
    finally:
        source.close()


def whole(url: str, folder: Path) -> list[Any]:
    source = open_source(url, folder)
    try:
        return [item for page in source.pages() for item in page]
    finally:
        source.close()


# --- what goes and what stays --------------------------------------------------------------------


def test_archive_and_database_are_the_same_log(journal: Journal, tmp_path: Path) -> None:
    url, digests, records = journal
    folder = tmp_path / "archive"
    done = archive(url, folder, signed(records))
    cut = cuts(records)[-1]
    assert (done.first_offset, done.last_offset, done.dropped) == (1, cut, cut)
    assert [record.offset for record in left(url)] == list(range(cut + 1, len(records) + 2))
    assert whole(url, folder)[:-1] == records
    report = verified(url, folder)
    assert (report.exit_code, report.unchecked, report.findings.first) == (VERIFIED, [], None)
    assert (report.derived, report.segments, report.snapshots) == (len(records) + 1, 1, DAYS)
    assert report.rows is not None
    source = open_source(url, folder)
    for offset, digest in [*digests.items()][::9]:
        replay = Replay(source, near=Moment(offset=offset))
        replay.to(Moment(offset=offset))
        assert replay.view.digest() == digest
    source.close()


def test_the_record_anchors_the_segments(journal: Journal, tmp_path: Path) -> None:
    url, _, records = journal
    done = archive(url, tmp_path / FOLDER, signed(records))
    record = left(url)[-1]
    said = orjson.loads(record.body)["payload"]
    assert (record.offset, record.kind, record.term) == (done.said_by, Kind.ARCHIVED, 2)
    cut = cuts(records)[-1]
    assert (said["last_offset"], said["hash"]) == (cut, records[cut - 1].hash)
    assert said["checkpoint"] == signed(records).as_dict()
    (segment,) = said["segments"]
    packed = (tmp_path / FOLDER / segment["name"]).read_bytes()
    assert len(packed) == segment["bytes"]
    assert gzip.decompress(packed).count(b"\n") == cut


def test_an_archive_grows_and_can_be_read_alone(journal: Journal, tmp_path: Path) -> None:
    url, _, records = journal
    first, second, third = cuts(records)
    one = archive(url, tmp_path / FOLDER, signed(records), through=second - 1)
    assert (one.last_offset, one.snapshots) == (first, 0)
    two = archive(url, tmp_path / FOLDER, signed(records, third + 1))
    assert (two.first_offset, two.last_offset, two.snapshots) == (first + 1, third, 2)
    assert len(ArchiveFolder(tmp_path / FOLDER).segments) == 2
    assert verified(url, tmp_path / FOLDER).exit_code == VERIFIED
    alone = verified(str(tmp_path / FOLDER), None)
    assert (alone.exit_code, alone.head.offset, alone.derived) == (VERIFIED, third, third)


def test_segments_are_of_bounded_size(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, _, records = journal
    monkeypatch.setattr("ladle.audit.archive_folder.SEGMENT_RECORDS", 70)
    monkeypatch.setattr("ladle.audit.archive.DROPPED_AT_ONCE", 30)
    done = archive(url, tmp_path / FOLDER, signed(records))
    ends = [segment.last_offset for segment in done.segments]
    assert ends == [*range(70, done.last_offset, 70), done.last_offset]
    assert whole(url, tmp_path / FOLDER)[:-1] == records
    assert verified(url, tmp_path / FOLDER).segments == len(ends)


def test_the_database_alone_says_what_is_missing(journal: Journal, tmp_path: Path) -> None:
    url, _, records = journal
    cut = archive(url, tmp_path / FOLDER, signed(records)).last_offset
    report = verified(url, None)
    assert (report.exit_code, report.findings.count) == (INCOMPLETE, 0)
    assert report.gaps.ranges == [(1, cut)]
    assert report.missing == [
        f"records 1 to {cut} were moved to an archive, as the journal says: give its folder with "
        "--archive"
    ]
    source = open_source(url)
    with pytest.raises(Incomplete) as refused:
        Replay(source).to(Moment(offset=cut))
    assert "--archive" in refused.value.advice
    # What stays is folded from the snapshot at the cut, without the archive.
    replay = Replay(source, near=Moment(offset=len(records)))
    replay.to(Moment(offset=len(records)))
    assert replay.start is not None
    assert replay.start.offset == cut
    source.close()


# --- what may not go -----------------------------------------------------------------------------


def test_nothing_goes_above_the_checkpoint(journal: Journal, tmp_path: Path) -> None:
    url, _, records = journal
    first, second, _ = cuts(records)
    assert archive(url, tmp_path / FOLDER, signed(records, second - 1)).last_offset == first
    with pytest.raises(NothingToArchive, match=f"checkpoint signs record {second - 1}"):
        archive(url, tmp_path / FOLDER, signed(records, second - 1))


def test_nothing_goes_that_was_not_sent(journal: Journal, tmp_path: Path) -> None:
    url, _, records = journal
    first, second, _ = cuts(records)
    set_outbox(url, second)
    assert archive(url, tmp_path / FOLDER, signed(records)).last_offset == first
    set_outbox(url, first)
    with pytest.raises(NothingToArchive, match=f"sent before record {first}"):
        archive(url, tmp_path / FOLDER, signed(records))


def set_outbox(url: str, offset: int) -> None:
    """The cursor as it would be had the broker confirmed less."""

    async def run() -> None:
        engine = engine_for(parse(url), 2_000, writes=True)
        async with engine.begin() as connection:
            await connection.execute(OUTBOX.update().values(offset=offset))
        await engine.dispose()

    asyncio.run(run())


async def test_an_answer_that_may_be_asked_for_again_stays(tmp_path: Path) -> None:
    store = await fresh_store(f"sqlite:///{tmp_path}/ladle.db")
    writer = await small_writer(store)
    writer.ask("allocate", room_id="standup")
    asked = writer.head.offset
    await writer.commit()
    made = await capture(store)
    await keep(store, made)
    writer.fold(Kind.SNAPSHOT, made.payload)
    await writer.commit()
    await store.move_outbox(writer.mine, OutboxCursor(writer.head.offset, 0))
    checkpoint = Checkpoint("test", writer.head.offset, writer.head.hash)
    clock = ManualClock(AT_MS)
    archiver = Archiver(store, tmp_path / "to", checkpoint, clock=clock, holder="archiver")
    with pytest.raises(NothingToArchive, match=f"request of record {asked} may come again"):
        await archiver.run()
    await store.close()


def test_without_a_snapshot_nothing_is_cut(file: Any, tmp_path: Path) -> None:
    path, _, records = file
    execute(path, "DELETE FROM snapshot")
    with pytest.raises(NothingToArchive, match="no good snapshot") as refused:
        archive(f"sqlite:///{path}", tmp_path / "to", signed(records))
    assert "ladle db snapshot" in refused.value.advice
    assert not (tmp_path / "to").exists()


def test_a_journal_that_was_rewritten_is_not_archived(file: Any, tmp_path: Path) -> None:
    path, _, records = file
    other = Checkpoint("test", len(records), "ab" * 32)
    with pytest.raises(Altered, match="not the one that the checkpoint signs"):
        archive(f"sqlite:///{path}", tmp_path / "to", other)
    execute(path, "UPDATE journal SET body = x'7b7d' WHERE offset = 9")
    with pytest.raises(Altered, match="record 9"):
        archive(f"sqlite:///{path}", tmp_path / "to", signed(records))
    assert len(left(f"sqlite:///{path}")) == len(records)


def test_a_restored_database_is_not_archived(file: Any, tmp_path: Path) -> None:
    path, _, records = file
    ahead = Checkpoint("test", len(records) + 1, "ab" * 32)
    with pytest.raises(Incomplete, match="before the checkpoint"):
        archive(f"sqlite:///{path}", tmp_path / "to", ahead)


def execute(path: Path, *statements: str) -> None:
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


# --- a crash at each step ------------------------------------------------------------------------

STEPS = {
    "while a segment is written": ("archive_folder.JsonLines.write", 2),
    "before it has its name": ("archive_folder.HashingFile.sync", 1),
    "before the manifest": ("archive_folder.ArchiveFolder.write", 1),
    "before it is read back": ("archive_folder.ArchiveFolder.read_back", 1),
    "before the record": ("archive.batch_of", 1),
    "before records go": ("archive.Archiver._drop", 1),
    "while records go": ("SqliteStore.drop_records", 2),
    "before snapshots go": ("archive.Archiver._drop_snapshots", 1),
}


class Crash(BaseException):
    """As a process that ends: nobody catches it."""


@pytest.mark.parametrize("step", STEPS)
def test_a_crash_leaves_the_whole_log(
    file: Any, tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _, records = file
    url, folder = f"sqlite:///{path}", tmp_path / "archive"
    monkeypatch.setattr("ladle.audit.archive_folder.SEGMENT_RECORDS", 70)
    monkeypatch.setattr("ladle.audit.archive.DROPPED_AT_ONCE", 30)
    with monkeypatch.context() as patch:
        crash_at(patch, *STEPS[step])
        with pytest.raises(Crash):
            archive(url, folder, signed(records))
    readable = folder if (folder / "manifest.json").exists() else None
    items = whole(url, readable) if readable else left(url)
    assert items[: len(records)] == records
    report = verified(url, readable)
    assert (report.exit_code, report.findings.first) == (VERIFIED, None)
    again = archive(url, folder, signed(records))
    assert again.last_offset == cuts(records)[-1]
    assert left(url)[0].offset == again.last_offset + 1
    assert verified(url, folder).exit_code == VERIFIED
    assert {each.name for each in folder.iterdir()} == {
        "manifest.json",
        *[segment.name for segment in ArchiveFolder(folder).segments],
    }


def crash_at(patch: pytest.MonkeyPatch, name: str, times: int) -> None:
    """The call of that number ends the process before it does anything."""
    where = "ladle.journal.sqlite" if name.startswith("SqliteStore") else "ladle.audit"
    module, _, attribute = f"{where}.{name}".rpartition(".")
    try:
        owner: Any = importlib.import_module(module)
    except ModuleNotFoundError:
        owner = getattr(importlib.import_module(module.rpartition(".")[0]), module.split(".")[-1])
    real, count = getattr(owner, attribute), 0

    def call(*args: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count == times:
            raise Crash
        return real(*args, **options)

    patch.setattr(owner, attribute, call)


def test_what_was_erased_meanwhile_is_not_in_the_archive(
    file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _, records = file
    url, folder = f"sqlite:///{path}", tmp_path / "archive"
    room = next(record.room_id for record in records if record.room_id)
    real = Archiver._say

    async def erase_first(self: Archiver, *args: Any) -> int:
        store = open_store(url)
        await store.open()
        clock = ManualClock(AT_MS + 50 * FORGOTTEN_MS)
        assert (await Eraser(store, room, clock=clock, holder="eraser").run()).records
        await store.close()
        return await real(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Archiver, "_say", erase_first)
        with pytest.raises(NothingToArchive, match="erased meanwhile"):
            archive(url, folder, signed(records))
    # The snapshots with the room are gone: another one, behind what was erased.
    found = [Path(each) for each in folder.glob("*.gz")]
    assert found
    with pytest.raises(NothingToArchive):
        archive(url, folder, signed(records, cuts(records)[0] - 1))


# --- what may be wrong with an archive -----------------------------------------------------------


@pytest.fixture
def archived(file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path]:
    """A journal of which the beginning is in three segments or more."""
    path, _, records = file
    monkeypatch.setattr("ladle.audit.archive_folder.SEGMENT_RECORDS", 70)
    archive(f"sqlite:///{path}", tmp_path / "archive", signed(records))
    return f"sqlite:///{path}", tmp_path / "archive"


def audit(*words: str) -> tuple[int, dict[str, Any], str]:
    """(exit code, the JSON object, standard error)."""
    result = CliRunner().invoke(app, ["audit", *words, "--json"])
    return result.exit_code, json.loads(result.stdout or "{}"), result.stderr


def pair(archived: tuple[str, Path]) -> tuple[str, ...]:
    return ("--source", archived[0], "--archive", str(archived[1]))


def test_every_command_reads_the_pair(archived: tuple[str, Path], tmp_path: Path) -> None:
    source = pair(archived)
    code, said, _ = audit("verify", *source)
    assert (code, said["status"], said["segments"]) == (0, "verified", len(list_of(archived)))
    assert audit("at", "20", *source)[0] == 0
    code, said, _ = audit("diff", "20", "40", *source)
    assert code == 0
    assert said["changes"]
    room = next(each["key"][0] for each in said["changes"] if each["table"] == "room")
    code, said, _ = audit("timeline", room, *source)
    assert code == 0
    assert said["records"][0]["offset"] < 40
    code, said, _ = audit("export", "--to", str(tmp_path / "out"), *source)
    assert (code, said["complete"], said["first_offset"]) == (0, True, 1)
    assert audit("verify", "--source", str(tmp_path / "out"))[0] == 0
    code, said, stderr = audit("export", "--to", str(tmp_path / "no"), "--source", archived[0])
    assert (code, said["error"]["code"]) == (INCOMPLETE, "incomplete")
    assert "--archive" in stderr


def test_the_growth_of_a_journal_is_proved_with_its_archive(
    archived: tuple[str, Path], tmp_path: Path
) -> None:
    """Its first records are where the proof begins; without them nothing is said to hold."""
    key, note = tmp_path / "key", tmp_path / "note"
    verifier = audit("keygen", str(key), "--name", "ladle.example/eu")[1]["verifier_key"]
    note.write_text(audit("checkpoint", "--key", str(key), *pair(archived))[1]["note"])
    words = ("consistency", str(note), "--key", verifier)
    code, said, _ = audit(*words, *pair(archived))
    assert (code, said["records"]) == (0, said["new"]["offset"])
    code, said, _ = audit(*words, "--source", archived[0])
    assert (code, said["error"]["code"]) == (INCOMPLETE, "incomplete")
    assert "are in an archive" in said["error"]["message"]
    assert "--archive" in said["error"]["advice"]


def list_of(archived: tuple[str, Path]) -> list[Path]:
    return sorted(archived[1].glob("*.gz"))


def test_a_missing_segment_is_incomplete(archived: tuple[str, Path]) -> None:
    gone = list_of(archived)[1]
    gone.unlink()
    code, said, _ = audit("verify", *pair(archived))
    assert (code, said["violations"]["count"]) == (4, 0)
    assert said["missing"]["ranges"] == [[71, 140]]
    assert f"{gone}, with records 71 to 140, is not there" in said["missing"]["said"][0]
    code, said, stderr = audit("timeline", "nobody", *pair(archived))
    assert (code, said["error"]["code"]) == (4, "incomplete")
    assert "another copy" in stderr


def test_a_bit_flip_in_a_segment_is_a_violation(archived: tuple[str, Path]) -> None:
    segment = list_of(archived)[0]
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 4
    segment.write_bytes(content)
    code, said, _ = audit("verify", *pair(archived))
    assert (code, said["status"]) == (1, "violation")
    assert "SHA-256" in said["violations"]["first"]["said"] or segment.name in str(said)
    assert audit("at", "20", *pair(archived))[0] == 1


def test_a_segment_that_was_made_anew_is_a_violation(archived: tuple[str, Path]) -> None:
    """Its records and its manifest fit; the chain anchors another file."""
    segment = list_of(archived)[0]
    segment.write_bytes(gzip.compress(gzip.decompress(segment.read_bytes()), 1, mtime=0))
    manifest = archived[1] / "manifest.json"
    told = json.loads(manifest.read_text())
    told["files"][0]["sha256"] = sha256(segment.read_bytes()).hexdigest()
    told["files"][0]["bytes"] = segment.stat().st_size
    manifest.write_text(json.dumps(told))
    code, said, _ = audit("verify", *pair(archived))
    assert (code, said["violations"]["by_law"]) == (1, {"archive": 1})
    assert "not the one that was anchored" in said["violations"]["first"]["said"]


def test_records_that_left_without_a_word_are_a_violation(file: Any, tmp_path: Path) -> None:
    path, _, records = file
    url, folder = f"sqlite:///{path}", tmp_path / "archive"
    done = archive(url, folder, signed(records))
    execute(path, f"DELETE FROM journal WHERE offset >= {done.said_by}")
    report = verified(url, folder)
    assert (report.exit_code, dict(report.findings.counts)) == (VIOLATION, {Law.ARCHIVE: 1})
    assert report.findings.first is not None
    assert "no record anchors" in report.findings.first.said


def test_a_gap_between_archive_and_database(archived: tuple[str, Path]) -> None:
    manifest = archived[1] / "manifest.json"
    told = json.loads(manifest.read_text())
    told["files"] = told["files"][:2]
    told["head"]["offset"] = told["last_offset"] = 140
    manifest.write_text(json.dumps(told))
    code, said, _ = audit("verify", *pair(archived))
    assert (code, said["violations"]["count"]) == (4, 0)
    assert any("ends at record 140, and the database begins" in s for s in said["missing"]["said"])
    told["files"] = told["files"][1:]
    manifest.write_text(json.dumps(told))
    code, said, _ = audit("verify", *pair(archived))
    assert (code, said["error"]["code"]) == (4, "incomplete")
    assert "lists no file with record 1" in said["error"]["message"]


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda folder: folder / "nowhere", 5),
        (lambda folder: _with(folder / "text", "manifest.json", "dear auditor,"), 3),
        (lambda folder: _with(folder / "export", "manifest.json", EXPORT), 3),
        (lambda folder: _with(folder / "newer", "manifest.json", NEWER), 3),
        (lambda folder: _with(folder / "half", "manifest.json", HALF), 3),
        (lambda folder: _with(folder / "notes", "notes.txt", "dear auditor,"), 2),
        (lambda folder: _with(folder / "begun", "journal-000000000001.jsonl.gz.part", ""), 4),
    ],
)
def test_what_is_no_archive(make: Any, code: int, file: Any, tmp_path: Path) -> None:
    given = ("--source", str(file[0]), "--archive", str(make(tmp_path)))
    found, said, stderr = audit("verify", *given)
    assert (found, said["status"]) == (code, "error")
    assert "try:" in stderr


EXPORT = json.dumps({"format": "ladle-journal-export", "format_version": 1, "files": []})
NEWER = json.dumps({"format": "ladle-journal-archive", "format_version": 9})
HALF = json.dumps({"format": "ladle-journal-archive", "format_version": 1, "files": [{}]})


def _with(folder: Path, name: str, content: str) -> Path:
    folder.mkdir()
    (folder / name).write_text(content)
    return folder


def test_an_archive_goes_with_a_database_alone(archived: tuple[str, Path]) -> None:
    folder = str(archived[1])
    code, said, stderr = audit("verify", "--source", folder, "--archive", folder)
    assert (code, said["error"]["code"]) == (2, "usage")
    assert "goes with a database" in stderr


def test_the_next_run_refuses_another_folder(archived: tuple[str, Path], tmp_path: Path) -> None:
    url, folder = archived
    records = left(url)
    checkpoint = Checkpoint("test", records[-1].offset, records[-1].hash)
    with pytest.raises(Incomplete, match="says that records up to"):
        archive(url, tmp_path / "another", checkpoint)
    with pytest.raises(BadSource, match="is no archive"):
        archive(url, _with(tmp_path / "notes", "notes.txt", ""), checkpoint)
    manifest = folder / "manifest.json"
    told = json.loads(manifest.read_text())
    told["files"][0]["sha256"] = "ab" * 32
    manifest.write_text(json.dumps(told))
    with pytest.raises(Altered, match="is not the file that record"):
        archive(url, folder, checkpoint)


def test_another_journals_archive_is_not_written_over(file: Any, tmp_path: Path) -> None:
    path, _, records = file
    url, folder = f"sqlite:///{path}", tmp_path / "archive"
    archive(url, folder, signed(records))
    before = {each.name: each.read_bytes() for each in folder.iterdir()}
    other = tmp_path / "other.db"
    asyncio.run(one_record(f"sqlite:///{other}"))
    head = left(f"sqlite:///{other}")[-1]
    with pytest.raises(Altered, match="not this journal's"):
        archive(f"sqlite:///{other}", folder, Checkpoint("test", head.offset, head.hash))
    assert {each.name: each.read_bytes() for each in folder.iterdir()} == before


async def one_record(url: str) -> None:
    store = await fresh_store(url)
    writer = await small_writer(store)
    await writer.commit()
    await store.close()


# --- the command ---------------------------------------------------------------------------------


@pytest.fixture
def command(file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`ladle db archive` of that journal, with a checkpoint of its head that a key has signed."""
    monkeypatch.setenv("LADLE_DATABASE_URL", f"sqlite:///{file[0]}")
    run = CliRunner().invoke
    key = run(app, ["audit", "keygen", str(tmp_path / "key"), "--name", "ladle.example/eu"])
    (tmp_path / "key.pub").write_text(key.stdout)
    note = run(app, ["audit", "checkpoint", "--key", str(tmp_path / "key")])
    (tmp_path / "note").write_text(note.stdout)
    given = ["--checkpoint", str(tmp_path / "note"), "--key", str(tmp_path / "key.pub")]

    def call(*words: str) -> Any:
        return run(app, ["db", "archive", "--to", str(tmp_path / FOLDER), *given, *words])

    return call


def test_the_command_says_what_it_did(command: Any, file: Any, tmp_path: Path) -> None:
    path, _, records = file
    first, *_, last = cuts(records)
    done = command("--through", str(first))
    assert done.exit_code == 0, done.output
    assert f"records 1 to {first} are in 1 segment of" in done.stdout
    assert f"record {len(records) + 1} anchors them" in done.stdout
    assert f"{first} records and 0 snapshots left the database" in done.stdout
    told = json.loads(command("--json").stdout)
    assert (told["status"], told["first_offset"], told["last_offset"]) == ("ok", first + 1, last)
    assert (told["said_by"], told["snapshots"]) == (len(records) + 2, DAYS - 1)
    refused = command("--json")
    assert (refused.exit_code, json.loads(refused.stdout)["error"]["code"]) == (1, "no")
    assert audit("verify", "--source", str(path), "--archive", str(tmp_path / FOLDER))[0] == 0
    report = CliRunner().invoke(
        app, ["audit", "verify", "--source", str(path), "--archive", str(tmp_path / FOLDER)]
    )
    assert "segments  2 of the archive are the anchored ones" in report.stdout


def test_the_command_refuses_what_nobody_signed(command: Any, file: Any, tmp_path: Path) -> None:
    note = tmp_path / "note"
    note.write_text(note.read_text().replace("eu", "us"))
    assert command().exit_code == 1
    note.unlink()
    assert command().exit_code == 5
    assert len(left(f"sqlite:///{file[0]}")) == len(file[2])
