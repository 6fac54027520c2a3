"""One process at a time on an archive: two at once would undo each other's work."""

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ladle.audit.archive import Archiver, NothingToArchive
from ladle.audit.archive_folder import ArchiveFolder
from ladle.audit.archive_lock import held
from ladle.audit.erase import Eraser
from ladle.audit.erase_archive import ErasedArchive
from ladle.audit.errors import BadSource, Incomplete, InUse
from ladle.commands.app import app
from ladle.core.record import Kind
from ladle.journal.store import LeaseLost
from tests.audit.test_archive import archive, archived, cuts, file, left, signed, verified, whole
from tests.audit.test_erase_archive import Pair, a_room, erase, known, said, traces

__all__ = ["archived", "file"]  # fixtures of the archive's own tests

HOLD = (
    "import sys; from pathlib import Path; from ladle.audit.archive_lock import held\n"
    "with held(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
)


def beside(work: Callable[[], Any]) -> Any:
    """As another process does it: with a loop, a store and a lock of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


@pytest.fixture
def begun(file: Any, tmp_path: Path) -> tuple[Pair, Callable[[], Any]]:
    """A journal that was archived up to its first snapshot, and the archiving of the rest."""
    path, _, records = file
    pair = (f"sqlite:///{path}", tmp_path / "archive")
    _, second, third = cuts(records)
    archive(*pair, signed(records), through=second - 1)
    return pair, lambda: archive(*pair, signed(records, third + 1))


@pytest.mark.parametrize("there", [True, False], ids=["a room", "no such room"])
def test_nothing_is_archived_while_a_room_is_erased(
    there: bool, begun: tuple[Pair, Callable[[], Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The records left the database, and the manifest was put back to what it had been."""
    pair, archive_on = begun
    before, end = whole(*pair), ArchiveFolder(pair[1]).last_offset
    real, room = ErasedArchive.search, a_room(pair) if there else "no-such-room"

    def search(self: ErasedArchive, *arguments: Any) -> None:
        real(self, *arguments)
        with pytest.raises(InUse, match="another archiving or erasing works on"):
            beside(archive_on)

    with monkeypatch.context() as patch:
        patch.setattr(ErasedArchive, "search", search)
        assert bool(erase(pair[0], room, pair[1]).records) == there
    assert [r.hash for r in whole(*pair)][: len(before)] == [r.hash for r in before]
    assert ArchiveFolder(pair[1]).last_offset == end
    assert verified(*pair).exit_code == 0
    if not there:  # Of the erased room no snapshot is left to cut at.
        assert archive_on().first_offset == end + 1
        assert verified(*pair).exit_code == 0


def test_one_room_is_erased_at_a_time(archived: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both wrote a file of the same name, and each anchored its own."""
    url, folder = archived
    room, real = a_room(archived), ErasedArchive.rewrite
    rooms = {each.room_id for each in whole(*archived) if each.room_id}
    other = min(rooms - known(url) - {room})

    def rewrite(self: ErasedArchive, *arguments: Any) -> None:
        real(self, *arguments)
        with pytest.raises(InUse):
            beside(lambda: erase(url, other, folder))

    with monkeypatch.context() as patch:
        patch.setattr(ErasedArchive, "rewrite", rewrite)
        assert erase(url, room, folder, with_mentions=True).archived
    assert (traces(folder, room), verified(url, folder).exit_code) == ([], 0)
    assert erase(url, other, folder, with_mentions=True).archived
    assert (traces(folder, other), verified(url, folder).exit_code) == ([], 0)


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_was_archived_meanwhile_was_not_looked_at(
    when: str, begun: tuple[Pair, Callable[[], Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --archive no folder is held: the room went on in the files, and was called erased."""
    (url, folder), archive_on = begun
    room, real = a_room((url, folder)), Eraser._search

    async def search(self: Eraser) -> None:
        monkeypatch.undo()
        if when == "before":  # Then nothing of the room is found any more.
            beside(archive_on)
        await real(self)
        if when == "after":
            beside(archive_on)

    monkeypatch.setattr(Eraser, "_search", search)
    with pytest.raises(LeaseLost, match="archived meanwhile"):
        erase(url, room, None)
    assert said(left(url), Kind.ERASED) == []
    assert erase(url, room, folder, with_mentions=True).archived
    assert (traces(folder, room), verified(url, folder).exit_code) == ([], 0)


def test_two_archivings_into_two_folders_are_not_both_anchored(
    file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _, records = file
    url, real = f"sqlite:///{path}", Archiver._say

    async def say(self: Archiver, *arguments: Any) -> int:
        monkeypatch.undo()
        beside(lambda: archive(url, tmp_path / "other", signed(records)))
        return await real(self, *arguments)

    monkeypatch.setattr(Archiver, "_say", say)
    with pytest.raises(NothingToArchive, match="records were archived meanwhile"):
        archive(url, tmp_path / "one", signed(records))
    assert len(said(left(url), Kind.ARCHIVED)) == 1
    assert verified(url, tmp_path / "other").exit_code == 0


def test_the_command_says_who_is_in_the_way_until_that_one_is_dead(archived: Pair) -> None:
    url, folder = archived
    words = ["audit", "erase", "--room", a_room(archived), "--yes", "--json"]
    words += ["--archive", str(folder)]

    def run() -> tuple[int, dict[str, Any]]:
        result = CliRunner().invoke(app, words, env={"LADLE_DATABASE_URL": url})
        return result.exit_code, json.loads(result.stdout)

    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            code, told = run()
            assert (code, told["error"]["code"]) == (5, "unreachable")
            assert "nothing was erased: another archiving or erasing" in told["error"]["message"]
        finally:
            holder.kill()
    assert run()[0] == 0


def test_a_folder_that_was_made_for_nothing_goes_again(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    with pytest.raises(Incomplete, match="no folder"), held(folder):
        pass
    with held(folder, make=True), pytest.raises(InUse), held(folder, make=True):
        pass
    assert not folder.exists()
    with held(folder, make=True):
        (folder / "segment").write_bytes(b"")
    assert folder.exists()
    with pytest.raises(BadSource, match="is no folder"), held(folder / "segment", make=True):
        pass
