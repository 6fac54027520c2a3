"""Snapshots in an audit: `at` starts from one, `verify` holds each against its own fold."""

import asyncio
import gc
import gzip
import json
import sqlite3
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from ladle.audit.collector import SELDOM, collecting_seldom
from ladle.audit.database import DatabaseSource
from ladle.audit.errors import VERIFIED, VIOLATION, Altered
from ladle.audit.export import Export
from ladle.audit.export_rows import Moment
from ladle.audit.files import FileSource
from ladle.audit.finding import Law
from ladle.audit.open import open_source
from ladle.audit.replay import Replay
from ladle.audit.verify import Report, verify
from ladle.commands.app import app
from ladle.core.record import FIRST_PREV_HASH, Kind, Record
from ladle.core.rows import COLUMNS
from ladle.journal.chain import open_record, rehash, seal
from ladle.journal.open import open_store
from ladle.journal.snapshots import capture, keep
from tests.journal.making import fresh_store
from tests.journal.small_writer import small_writer
from tests.journal.test_fold import busy_day

DAYS = 4

Digests = dict[int, str]


async def days(url: str) -> Digests:
    """Some days, with a snapshot behind each but the last; digests of the view by offset."""
    store = await fresh_store(url)
    writer = await small_writer(store)
    digests: Digests = {}
    for day in range(DAYS):
        digests |= await busy_day(writer, seed=day)
        if day < DAYS - 1:
            made = await capture(store)
            await keep(store, made)
            writer.fold(Kind.SNAPSHOT, made.payload)
            await writer.commit()
    await store.close()
    return digests


@pytest.fixture
def digests(database_url: str) -> Digests:
    return asyncio.run(days(database_url))


@pytest.fixture
def path(tmp_path: Path) -> tuple[Path, Digests]:
    """The same in a SQLite file that a test may spoil."""
    file = tmp_path / "days.db"
    return file, asyncio.run(days(f"sqlite:///{file}"))


def verified(url: str) -> Report:
    source = open_source(url)
    try:
        return verify(source)
    finally:
        source.close()


def test_going_back_starts_from_the_nearest_below(database_url: str, digests: Digests) -> None:
    source = DatabaseSource(database_url)
    kept = [anchor.offset for anchor in source.snapshots()]
    assert len(kept) == DAYS - 1
    for offset, digest in digests.items():
        replay = Replay(source, near=Moment(offset=offset))
        replay.to(Moment(offset=offset))
        assert replay.view.digest() == digest
        below = [each for each in kept if each <= offset]
        assert (replay.start.offset if replay.start else 0) == max(below, default=0)
    source.close()


def test_a_time_finds_its_snapshot_as_well(database_url: str, digests: Digests) -> None:
    source = DatabaseSource(database_url)
    anchor = source.snapshots()[1]
    moment = Moment(unix_ms=anchor.recorded_at_ms + 1)
    near, whole = Replay(source, near=moment), Replay(source)
    near.to(moment)
    whole.to(moment)
    assert near.start == anchor
    assert (near.view.offset, near.view.digest()) == (whole.view.offset, whole.view.digest())
    source.close()


def test_verify_holds_each_against_the_fold(database_url: str, digests: Digests) -> None:
    report = verified(database_url)
    assert (report.exit_code, report.snapshots, report.unchecked) == (VERIFIED, DAYS - 1, [])


def spoil(path: Path, change: Any) -> int:
    """Change the text of the second snapshot; its offset."""
    with sqlite3.connect(path) as connection:
        offsets = connection.execute("SELECT DISTINCT offset FROM snapshot ORDER BY 1").fetchall()
        offset = offsets[1][0]
        ((content,),) = connection.execute(
            "SELECT content FROM snapshot WHERE offset = ?", (offset,)
        )
        changed = change(gzip.decompress(content))
        connection.execute(
            "UPDATE snapshot SET content = ? WHERE offset = ?", (gzip.compress(changed), offset)
        )
    connection.close()
    return int(offset)


def another_state(text: bytes) -> bytes:
    told = orjson.loads(text)
    told["server"][0][COLUMNS["server"].index("watermark")] += 1
    return orjson.dumps(told, option=orjson.OPT_SORT_KEYS)


def test_a_snapshot_that_was_changed_is_found_and_not_used(path: tuple[Path, Digests]) -> None:
    file, digests = path
    offset = spoil(file, another_state)
    report = verified(str(file))
    assert (report.exit_code, dict(report.findings.counts)) == (VIOLATION, {Law.SNAPSHOT: 1})
    assert report.findings.first is not None
    assert report.findings.first.offset == offset
    source = open_source(str(file))
    replay = Replay(source, near=Moment(offset=offset))
    replay.to(Moment(offset=offset))
    assert replay.start is not None
    assert replay.start.offset < offset
    assert replay.view.digest() == digests[offset]
    source.close()


def test_a_missing_snapshot_is_no_violation(path: tuple[Path, Digests]) -> None:
    with sqlite3.connect(path[0]) as connection:
        connection.execute("DELETE FROM snapshot")
    connection.close()
    report = verified(str(path[0]))
    assert (report.exit_code, report.snapshots) == (VERIFIED, DAYS - 1)


def chained_anew(file: Path, change: Any) -> None:
    """The journal with the payloads of its anchors changed, and every hash made anew."""
    store = open_store(f"sqlite:///{file}")

    async def read() -> list[Record]:
        await store.open()
        try:
            return await store.records(0, 10_000)
        finally:
            await store.close()

    before = FIRST_PREV_HASH
    with sqlite3.connect(file) as connection:
        for record in asyncio.run(read()):
            opened = open_record(record)
            payload = dict(opened.entry.payload)
            if record.kind == Kind.SNAPSHOT:
                change(payload)
            sealed = seal(
                opened.entry._replace(payload=payload), opened.outcome,
                prev_hash=before, salt=record.salt,
            )  # fmt: skip
            connection.execute(
                "UPDATE journal SET body = ?, body_digest = ?, prev_hash = ?, hash = ? "
                "WHERE offset = ?",
                (sealed.body, sealed.body_digest, before, sealed.hash, record.offset),
            )
            before = sealed.hash
    connection.close()


def test_a_made_up_state_with_an_anchor_of_its_own_is_found(path: tuple[Path, Digests]) -> None:
    """Snapshot and anchor agree, and every hash was made anew: only the fold tells."""
    file, _ = path
    offset = spoil(file, another_state)
    with sqlite3.connect(file) as connection:
        ((content,),) = connection.execute(
            "SELECT content FROM snapshot WHERE offset = ?", (offset,)
        )
    connection.close()
    digest = sha256(gzip.decompress(content)).hexdigest()

    def forge(payload: dict[str, Any]) -> None:
        if payload["offset"] == offset:
            payload["digest"] = digest

    chained_anew(file, forge)
    report = verified(str(file))
    assert report.exit_code == VIOLATION
    assert Law.SNAPSHOT in report.findings.counts


def test_no_state_is_shown_whose_chain_to_the_anchor_is_broken(
    path: tuple[Path, Digests],
) -> None:
    """The anchor is whole in itself, and follows another record than the one it anchors."""
    file, _ = path
    source = open_source(str(file))
    anchor = source.snapshots()[0]
    (page,) = source.pages(anchor.anchored_at - 1)
    source.close()
    assert isinstance(page[0], Record)
    moved = replace(page[0], prev_hash="e" * 64)
    with sqlite3.connect(file) as connection:
        connection.execute(
            "UPDATE journal SET prev_hash = ?, hash = ? WHERE offset = ?",
            (moved.prev_hash, rehash(moved), moved.offset),
        )
    connection.close()
    source = open_source(str(file))
    with pytest.raises(Altered, match=f"record {moved.offset}"):
        Replay(source, near=Moment(offset=anchor.offset))
    source.close()


def test_an_export_tells_where_to_look(path: tuple[Path, Digests], tmp_path: Path) -> None:
    source = open_source(str(path[0]))
    export = Export(tmp_path / "out", format_="jsonl")
    for page in source.pages():
        export.add([item for item in page if isinstance(item, Record)])
    manifest = export.finish(source.claim().head)  # type: ignore[arg-type]
    kept = [anchor.offset for anchor in source.snapshots()]
    source.close()
    assert manifest["snapshots"] == kept
    report = verify(FileSource(tmp_path / "out"))
    assert (report.exit_code, report.snapshots, report.unchecked) == (VERIFIED, DAYS - 1, [])
    (file,) = (tmp_path / "out").glob("*.jsonl")
    report = verify(FileSource(file))
    assert (report.exit_code, report.snapshots) == (VERIFIED, 0)
    assert "3 anchors of snapshots" in report.unchecked[0]


def test_on_the_command_line(path: tuple[Path, Digests], monkeypatch: pytest.MonkeyPatch) -> None:
    file, digests = path
    monkeypatch.setenv("LADLE_DATABASE_URL", f"sqlite:///{file}")
    last = max(digests)
    made = CliRunner().invoke(app, ["db", "snapshot", "--json"])
    assert made.exit_code == 0
    told = json.loads(made.stdout)
    assert (told["offset"], told["digest"], told["anchored_at"]) == (last, digests[last], last + 1)
    at = CliRunner().invoke(app, ["audit", "at", str(last), "--json"])
    assert json.loads(at.stdout)["snapshot"] == last
    whole = CliRunner().invoke(app, ["audit", "at", str(last), "--from-start", "--json"])
    assert json.loads(whole.stdout)["snapshot"] is None
    assert json.loads(whole.stdout)["digest"] == json.loads(at.stdout)["digest"] == digests[last]
    shown = CliRunner().invoke(app, ["audit", "verify"])
    assert (shown.exit_code, f"snapshots {DAYS} compared" in shown.stdout) == (0, True)


def test_nothing_is_kept_of_an_empty_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LADLE_DATABASE_URL", f"sqlite:///{tmp_path}/new.db")
    assert CliRunner().invoke(app, ["db", "upgrade"]).exit_code == 0
    assert CliRunner().invoke(app, ["db", "snapshot"]).exit_code == 1


def test_the_collector_of_cycles_is_as_it_was_afterwards() -> None:
    before = gc.get_threshold()
    with collecting_seldom():
        assert gc.get_threshold() == SELDOM != before
        assert gc.get_freeze_count()
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)
