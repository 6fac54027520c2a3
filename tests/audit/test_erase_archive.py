"""Erasing reaches the archive: nothing of the room is left in it, and the chain leads through."""

import asyncio
import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ladle.audit.archive import Archiver, NothingToArchive
from ladle.audit.archive_folder import ArchiveFolder
from ladle.audit.checkpoint import Checkpoint
from ladle.audit.erase import Erased, Eraser, StillKnown
from ladle.audit.erase_archive import ErasedArchive
from ladle.audit.errors import Altered, BadSource, Incomplete
from ladle.audit.open import open_source
from ladle.audit.verify import verify
from ladle.audit.walk import is_erased
from ladle.commands.app import app
from ladle.core.record import Kind, Record
from ladle.core.rows import COLUMNS
from ladle.journal.open import open_store
from tests.audit.test_archive import (
    FORGOTTEN_MS,
    archive,
    archived,
    days,
    file,
    left,
    one_record,
    verified,
    whole,
)
from tests.fixtures.manual_clock import ManualClock
from tests.journal.making import AT_MS

__all__ = ["archived", "file"]  # fixtures of the archive's own tests

Pair = tuple[str, Path]


def erase(url: str, room: str, folder: Path | None, **options: Any) -> Erased:
    async def run() -> Erased:
        store = open_store(url)
        await store.open()
        try:
            clock = ManualClock(AT_MS + 60 * FORGOTTEN_MS)
            return await Eraser(
                store, room, clock=clock, holder="eraser", archive=folder, **options
            ).run()
        finally:
            await store.close()

    return asyncio.run(run())


def a_room(archived: Pair) -> str:
    """The one with the most records that nothing but the journal remembers."""
    rooms = [each.room_id for each in whole(*archived) if each.room_id]
    return max(sorted({*rooms} - known(archived[0])), key=rooms.count)


def known(url: str) -> set[str]:
    """Rooms in the tables."""
    source = open_source(url)
    rows = source.rows()
    source.close()
    assert rows is not None
    names = [name for name in rows.snapshot.tables if "room_id" in COLUMNS[name]]
    return {
        row[COLUMNS[name].index("room_id")] for name in names for row in rows.snapshot.tables[name]
    }


def traces(folder: Path, room: str) -> list[str]:
    """Files of the archive, listed or not, in which the room still is."""
    needle = f'"{room}"'.encode()
    return [
        path.name
        for path in folder.iterdir()
        if needle in (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else b"")
        or (path.suffix != ".gz" and needle in path.read_bytes())
    ]


def said(records: list[Record], kind: Kind) -> list[int]:
    return [record.offset for record in records if record.kind == kind]


def test_nothing_of_the_room_is_left_in_it_and_the_chain_leads_through(archived: Pair) -> None:
    url, folder = archived
    room, before = a_room(archived), whole(*archived)
    erased = erase(url, room, folder, with_mentions=True)
    assert erased.archived > 1
    assert erased.not_read == 0
    assert traces(folder, room) == []
    after = whole(*archived)
    assert [r.hash for r in after[: len(before)]] == [r.hash for r in before]
    gone = [r.offset for r in after if is_erased(r)]
    assert len(gone) == erased.records
    for old, new in zip(before, after, strict=False):
        assert new == old or new.offset in gone
    names = {s.name for s in ArchiveFolder(folder).segments}
    assert {path.name for path in folder.glob("*.gz")} == names  # the old ones went
    assert any("-1.jsonl.gz" in name for name in names)
    report = verified(url, folder)
    assert (report.exit_code, report.findings.count) == (0, 0)
    assert report.segments == len(names)
    assert report.erased == erased.records
    # The record that says so, and behind it the one that anchors the segments as they are.
    assert said(left(url), Kind.ERASED) == [erased.offset]
    assert said(left(url), Kind.ARCHIVED)[-1] == (erased.offset or 0) + 1


def test_an_older_copy_of_the_archive_is_found(archived: Pair, tmp_path: Path) -> None:
    """The right to be forgotten reaches each copy, or the audit tells that it did not."""
    url, folder = archived
    copy = shutil.copytree(folder, tmp_path / "copy")
    erase(url, a_room(archived), folder)
    report = verified(url, copy)
    assert report.exit_code == 1
    assert report.findings.first is not None
    assert "not the one that was anchored" in report.findings.first.said


def test_the_archive_alone_says_that_nobody_here_answers(archived: Pair) -> None:
    url, folder = archived
    erase(url, a_room(archived), folder)
    source = open_source(str(folder))
    report = verify(source)
    source.close()
    assert (report.exit_code, report.findings.count) == (0, 0)
    assert any("behind the archive's end" in each for each in report.unchecked)


def test_another_room_is_erased_and_the_archive_grows_on(archived: Pair) -> None:
    url, folder = archived
    first = a_room(archived)
    erase(url, first, folder)
    other = a_room(archived)
    assert other != first
    assert erase(url, other, folder).archived
    assert any("-2.jsonl.gz" in s.name for s in ArchiveFolder(folder).segments)
    assert (erase(url, other, folder).offset, traces(folder, first)) == (None, [])
    # The next run holds the folder against what was said last, and has nothing to do yet.
    last = left(url)[-1]
    with pytest.raises(Exception, match=r"may be archived|no good snapshot"):
        archive(url, folder, Checkpoint("test", last.offset, last.hash))
    assert verified(url, folder).exit_code == 0


@pytest.mark.parametrize("where", ["rewrite", "let_go"])
def test_who_is_killed_in_between_erases_again(
    where: str, archived: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, folder = archived
    room = a_room(archived)
    real = ErasedArchive.rewrite

    def half(self: ErasedArchive, *arguments: Any) -> None:
        if where == "rewrite":
            real(self, *arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ErasedArchive, where, half)
        with pytest.raises(KeyboardInterrupt):
            erase(url, room, folder)
    again = erase(url, room, folder) if where == "let_go" else None
    if again:  # It was erased, and only the files were still the old ones.
        assert (again.offset, traces(folder, room)) == (None, [])
    else:
        assert verified(url, folder).exit_code == 0  # nothing happened
        assert erase(url, room, folder).archived > 1
    assert verified(url, folder).exit_code == 0
    listed = {segment.name for segment in ArchiveFolder(folder).segments}
    assert {path.name for path in folder.glob("*.gz*")} == listed
    assert erase(url, room, folder) == Erased(None, 0, erase(url, room, folder).mentions)


def cut_off(patch: pytest.MonkeyPatch, pair: Pair, room: str, where: str = "write") -> None:
    """Erase it, and be killed when the records are committed and the folder is not yet done."""

    def end(*_: Any) -> None:
        raise KeyboardInterrupt

    with patch.context() as now:
        now.setattr(ArchiveFolder, where, end)
        if where == "tidy":  # The first one is that of what an earlier run left.
            now.setattr(ArchiveFolder, "take_up", end_of_nothing)
        with pytest.raises(KeyboardInterrupt):
            erase(pair[0], room, pair[1], with_mentions=True)
    assert said(left(pair[0]), Kind.ERASED)
    assert traces(pair[1], room)


def end_of_nothing(*_: Any) -> None:
    """No erasure was cut off before."""


@pytest.mark.parametrize("where", ["write", "tidy"])
def test_the_erasing_of_another_room_takes_up_one_that_was_cut_off(
    where: str, archived: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It began with the files that the first had left listed, and anchored that room again."""
    url, folder = archived
    room = a_room(archived)
    rooms = {each.room_id for each in whole(*archived) if each.room_id}
    other = min(rooms - known(url) - {room})
    cut_off(monkeypatch, archived, room, where)
    assert erase(url, other, folder, with_mentions=True).archived
    assert (traces(folder, room), traces(folder, other)) == ([], [])
    assert [r for r in whole(url, folder) if r.room_id in (room, other)] == []
    assert verified(url, folder).exit_code == 0


def test_who_is_refused_has_taken_it_up_all_the_same(
    archived: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, folder = archived
    room = a_room(archived)
    cut_off(monkeypatch, archived, room)
    with pytest.raises(StillKnown):
        erase(url, min(known(url)), folder)
    assert (traces(folder, room), verified(url, folder).exit_code) == ([], 0)


def test_archiving_takes_up_an_erasing_that_was_cut_off(
    archived: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, folder = archived
    room = a_room(archived)
    cut_off(monkeypatch, archived, room)
    last = left(url)[-1]
    with pytest.raises(NothingToArchive):
        archive(url, folder, Checkpoint("test", last.offset, last.hash))
    assert (traces(folder, room), verified(url, folder).exit_code) == ([], 0)


@pytest.mark.parametrize("what", ["gone", "changed"])
def test_without_the_anchored_files_nothing_is_taken_up(
    what: str, archived: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, folder = archived
    room = a_room(archived)
    cut_off(monkeypatch, archived, room)
    files = sorted(path.name for path in folder.iterdir())
    anew = min(folder.glob("*-1.jsonl.gz"))
    if what == "gone":
        files.remove(anew.name)
        anew.unlink()
    else:
        anew.write_bytes(anew.read_bytes()[:-1] + b"!")
    last = left(url)[-1]
    with pytest.raises(Altered, match=f"is not the file that record {last.offset} anchors"):
        erase(url, "another", folder)
    with pytest.raises(Altered, match=f"is not the file that record {last.offset} anchors"):
        archive(url, folder, Checkpoint("test", last.offset, last.hash))
    assert sorted(path.name for path in folder.iterdir()) == files


def test_without_the_archive_it_is_said_that_it_was_not_read(archived: Pair) -> None:
    url, folder = archived
    room = a_room(archived)
    end = ArchiveFolder(folder).last_offset
    words = ["audit", "erase", "--room", room, "--yes"]

    def run(*more: str) -> tuple[int, dict[str, Any], str]:
        result = CliRunner().invoke(app, [*words, *more], env={"LADLE_DATABASE_URL": url})
        told = json.loads(result.stdout) if "--json" in more else {}
        return result.exit_code, told, result.stdout

    code, told, _ = run("--json")
    assert (code, told["not_read"], told["status"]) == (4, end, "incomplete")
    assert f"records 1 to {end} are in an archive" in run()[2]
    assert traces(folder, room)
    code, told, _ = run("--archive", str(folder), "--json")
    assert (code, told["status"], told["not_read"]) == (0, "ok", 0)
    assert told["archived"] > 1
    assert run("--archive", str(folder), "--json")[0] == 1
    code, told, _ = run("--archive", str(folder / "none"), "--json")
    assert (code, told["error"]["code"]) == (4, "incomplete")
    assert "nothing was erased" in told["error"]["message"]


def test_what_is_not_this_journals_archive_is_refused(
    archived: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, folder = archived
    room = a_room(archived)
    fresh = f"sqlite:///{tmp_path}/fresh.db"
    asyncio.run(one_record(fresh))
    with pytest.raises(BadSource):
        erase(fresh, room, folder)
    segment = sorted(folder.glob("*.gz"))[0]
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 4
    segment.write_bytes(content)
    with pytest.raises(Altered):
        erase(url, room, folder)
    segment.unlink()
    with pytest.raises(Incomplete):
        erase(url, room, folder)
    assert said(left(url), Kind.ERASED) == []


def test_records_that_are_in_both_go_from_both(file: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """An archiving that was ended before it took the records out of the database."""
    path, _, records = file
    url, folder = f"sqlite:///{path}", tmp_path / "archive"

    async def ended(*_: Any) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Archiver, "_drop", ended)
        with pytest.raises(KeyboardInterrupt):
            archive(url, folder, Checkpoint("test", records[-1].offset, records[-1].hash))
    room = a_room((url, folder))
    erased = erase(url, room, folder, with_mentions=True)
    assert traces(folder, room) == []
    gone = {r.offset for r in left(url) if is_erased(r)}
    assert len(gone) == erased.records
    assert verified(url, folder).exit_code == 0


assert days  # what the fixtures are made of
