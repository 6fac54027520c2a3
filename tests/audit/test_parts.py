"""`verify` in parts: its report is the one of a single pass, whatever is wrong and where."""

import asyncio
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ladle.audit import parts
from ladle.audit.errors import VERIFIED, VIOLATION, Unreadable
from ladle.audit.finding import Law
from ladle.audit.open import open_source
from ladle.audit.parts import Part, divided, fold_part, verify_in_parts
from ladle.audit.verify import Report, verify
from ladle.commands.app import app
from ladle.journal.snapshots import unpacked
from tests.audit.test_archive import archive, signed
from tests.audit.test_archive import days as archived_days
from tests.audit.test_snapshots import another_state, chained_anew, days, spoil

JOBS = 4
"""As many parts as `days` has: three snapshots, and what follows the last."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A SQLite file that a test may spoil."""
    path = tmp_path / "days.db"
    asyncio.run(days(f"sqlite:///{path}"))
    return path


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts in this process, one after the other: where many journals are verified."""

    class Here:
        def fold(self, given: str, folder: Path | None, part: Part) -> "Future[Any]":
            future: Future[Any] = Future()
            future.set_result(fold_part(given, folder, part, lambda records, share: None))
            return future

        def progress(self, progress: Any, *_: Any) -> Any:
            return progress

    @contextmanager
    def processes(count: int) -> Iterator[Here]:
        yield Here()

    monkeypatch.setattr(parts, "_processes", processes)


@pytest.fixture
def no_single_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked for in parts is verified in parts."""

    def refuse(*_: Any) -> Report:
        raise AssertionError("it was verified in one pass after all")

    monkeypatch.setattr(parts, "verify", refuse)


def in_parts(given: str, jobs: int = JOBS, folder: Path | None = None) -> Report:
    return timeless(verify_in_parts(given, folder, jobs=jobs, least=1))


def in_one_pass(given: str, folder: Path | None = None) -> Report:
    source = open_source(given, folder)
    try:
        return timeless(verify(source))
    finally:
        source.close()


def timeless(report: Report) -> Report:
    return replace(report, seconds=0.0)


@pytest.mark.usefixtures("no_single_pass")
def test_processes_come_to_the_report_of_one_pass(database_url: str) -> None:
    asyncio.run(days(database_url))
    report = in_parts(database_url, 2)
    assert report == in_one_pass(database_url)
    assert (report.exit_code, report.snapshots) == (VERIFIED, JOBS - 1)
    assert report.derived == report.records == report.head.offset
    assert report.rows


@pytest.mark.usefixtures("here", "no_single_pass")
def test_fewer_parts_than_snapshots(file: Path) -> None:
    for jobs in (2, 3, 8):
        assert in_parts(str(file), jobs) == in_one_pass(str(file))


def test_parts_meet_and_are_as_equal_as_the_snapshots_allow(file: Path) -> None:
    source = open_source(str(file))
    kept = source.snapshots()
    assert divided(source, 1, 1) == [Part(None, None)]
    two = divided(source, 2, 1)
    assert two == [Part(None, kept[1]), Part(kept[1], None)]
    assert divided(source, JOBS, 1) == [
        Part(None, kept[0]),
        Part(kept[0], kept[1]),
        Part(kept[1], kept[2]),
        Part(kept[2], None),
    ]
    assert divided(source, JOBS, 10**6) == [Part(None, None)]
    source.close()


def test_the_last_part_is_shorter_where_the_view_is_large(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process reads and compares the rows as well."""
    source = open_source(str(file))
    kept, head = source.snapshots(), source.claim().head
    assert head is not None
    large = [replace(anchor, parts=2) for anchor in kept]
    monkeypatch.setattr(source, "snapshots", lambda: large)
    monkeypatch.setattr(parts, "RECORDS_A_PIECE", head.offset // 2)
    assert divided(source, 2, 1) == [Part(None, large[2]), Part(large[2], None)]
    source.close()


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("column", "value"),
    [("body", b"{}"), ("hash", "e" * 64), ("prev_hash", "e" * 64), ("recorded_at_ms", 1)],
)
def test_a_changed_record_is_told_wherever_it_is(file: Path, column: str, value: Any) -> None:
    """Where one part ends, where the next begins, and in the last."""
    source = open_source(str(file))
    kept = [anchor.offset for anchor in source.snapshots()]
    source.close()
    for offset in (kept[0], kept[0] + 1, kept[-1] + 2):
        with spoiled(file, column, value, offset):
            report = in_parts(str(file))
            assert report == in_one_pass(str(file))
            assert report.exit_code == VIOLATION, offset


@contextmanager
def spoiled(file: Path, column: str, value: Any, offset: int) -> Iterator[None]:
    where = f'SET "{column}" = ? WHERE "offset" = ?'
    with sqlite3.connect(file) as connection:
        ((before,),) = connection.execute(
            f'SELECT "{column}" FROM journal WHERE "offset" = ?', (offset,)
        )
        connection.execute(f"UPDATE journal {where}", (value, offset))
        connection.commit()
        yield
        connection.execute(f"UPDATE journal {where}", (before, offset))
    connection.close()


@pytest.mark.usefixtures("here")
def test_a_removed_record_is_told_wherever_it_is(file: Path) -> None:
    source = open_source(str(file))
    kept = [anchor.offset for anchor in source.snapshots()]
    source.close()
    for offset in (kept[0], kept[1] + 1):
        with sqlite3.connect(file) as connection:
            connection.execute('DELETE FROM journal WHERE "offset" = ?', (offset,))
        connection.close()
        report = in_parts(str(file))
        assert report == in_one_pass(str(file))
        assert report.exit_code


@pytest.mark.usefixtures("here")
def test_a_made_up_state_with_an_anchor_of_its_own_is_told(file: Path) -> None:
    """The part behind it would go on from it and find nothing: the part before it does."""
    offset = spoil(file, another_state)

    def forge(payload: dict[str, Any]) -> None:
        if payload["offset"] == offset:
            payload["digest"] = forged(file, offset)

    chained_anew(file, forge)
    report = in_parts(str(file))
    assert report == in_one_pass(str(file))
    assert Law.SNAPSHOT in report.findings.counts


def forged(file: Path, offset: int) -> str:
    """The digest of the snapshot's text as it stands there now."""
    with sqlite3.connect(file) as connection:
        kept = connection.execute("SELECT content FROM snapshot WHERE offset = ?", (offset,))
        text = unpacked(content for (content,) in kept)
    connection.close()
    return sha256(text).hexdigest()


@pytest.mark.usefixtures("here")
def test_a_changed_snapshot_that_the_last_part_begins_with_is_told(file: Path) -> None:
    """And does not end the audit as a source that cannot be read."""
    offset = spoil(file, another_state)
    source = open_source(str(file))
    assert [part.start.offset for part in divided(source, 2, 1)[1:] if part.start] == [offset]
    source.close()
    report = in_parts(str(file), 2)
    assert report == in_one_pass(str(file))
    assert report.findings.counts == {Law.SNAPSHOT: 1}


@pytest.mark.usefixtures("here")
def test_a_changed_row_of_the_view_is_told(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE server SET watermark = watermark + 1")
    connection.close()
    report = in_parts(str(file))
    assert report == in_one_pass(str(file))
    assert report.exit_code == VIOLATION


@pytest.mark.usefixtures("here", "no_single_pass")
def test_an_archive_and_its_rest(tmp_path: Path) -> None:
    url, folder = f"sqlite:///{tmp_path}/ladle.db", tmp_path / "archive"
    _, records = asyncio.run(archived_days(url))
    archive(url, folder, signed(records))
    report = in_parts(url, 2, folder)
    assert report == in_one_pass(url, folder)
    assert (report.exit_code, report.segments > 0) == (VERIFIED, True)


def test_the_database_without_its_archive_is_read_in_one_pass(tmp_path: Path) -> None:
    url, folder = f"sqlite:///{tmp_path}/ladle.db", tmp_path / "archive"
    _, records = asyncio.run(archived_days(url))
    archive(url, folder, signed(records))
    source = open_source(url)
    assert divided(source, JOBS, 1) == [Part(None, None)]
    source.close()
    assert in_parts(url) == in_one_pass(url)


def test_a_source_that_fails_in_a_part_is_told_by_the_single_pass(file: Path) -> None:
    source = open_source(str(file))
    part = divided(source, 2, 1)[0]
    source.close()
    file.write_bytes(b"SQLite format 3\x00 and then nothing of the kind")
    assert fold_part(str(file), None, part, lambda records, share: None) is None
    with pytest.raises(Unreadable):
        in_parts(str(file))


def test_a_part_whose_process_dies_is_verified_in_one_pass(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed for the memory that it took, say: nothing of it counts, and nothing is lost."""
    fold = parts._Processes.fold

    def killed(processes: Any, *words: Any) -> "Future[Any]":
        future = fold(processes, *words)
        for process in multiprocessing.active_children():
            process.kill()
        return future

    monkeypatch.setattr(parts._Processes, "fold", killed)
    assert in_parts(str(file), 2) == in_one_pass(str(file))
    assert not multiprocessing.active_children()


def test_where_no_process_can_begin_one_pass_does_it_all(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError("no more processes here")

    monkeypatch.setattr(parts._Processes, "__init__", refuse)
    assert in_parts(str(file), 2) == in_one_pass(str(file))


PARENT = """
import os, sys, time
from ladle.audit import parts
if __name__ == "__main__":
    assert parts._may_fork() == (sys.platform == "linux")
    with parts._processes(1) as processes:
        print(processes.pool.submit(os.getpid).result(), flush=True)
        time.sleep(600)
"""


def test_no_process_is_forked_beside_a_thread() -> None:
    """Which may hold a lock that nobody would ever give back in the child."""
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait)
    thread.start()
    try:
        assert not parts._may_fork()
    finally:
        ended.set()
        thread.join()


def test_nothing_outlives_a_parent_that_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "parent.py"
    program.write_text(PARENT)
    with subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    raise AssertionError("the child stayed")


@pytest.mark.usefixtures("no_single_pass")
def test_progress_tells_of_all_parts_together(file: Path) -> None:
    told: list[tuple[int, float | None]] = []
    source = open_source(str(file))
    head = source.claim().head
    source.close()
    assert head is not None
    verify_in_parts(str(file), None, lambda *each: told.append(each), jobs=2, least=1)
    assert told
    assert all(share == pytest.approx(records / head.offset) for records, share in told)


def test_on_the_command_line(file: Path) -> None:
    words = ["audit", "verify", "--source", str(file), "--jobs", "2"]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert CliRunner().invoke(app, ["audit", "verify", "--jobs", "0"]).exit_code == 2
