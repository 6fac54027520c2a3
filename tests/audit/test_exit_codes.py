"""Each way in which a source fails an audit: its exit code, and a sentence on what to do."""

import gzip
import json
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ladle.audit.export import Export
from ladle.audit.form import fields_of
from ladle.commands.app import app
from ladle.core.limits import RULES
from ladle.core.record import Entry, Kind, Record, chain_hash
from ladle.journal.chain import seal
from tests.audit.recorded import head_of

COUNT = 90
PER_FILE = 30
SEVEN = (
    *("offset", "recorded_at_ms", "term", "kind", "schema_version", "body_digest", "prev_hash"),
)


@pytest.fixture
def exported(records: list[Record], tmp_path: Path) -> Path:
    """A folder of three files of JSON lines, with their manifest."""
    folder = tmp_path / "export"
    export = Export(folder, format_="jsonl", rows_per_file=PER_FILE)
    export.add(records[:COUNT])
    export.finish(head_of(records[:COUNT]))
    return folder


def audit(*words: str) -> tuple[int, dict[str, Any], str]:
    """(exit code, the JSON object, what a person reads on standard error)."""
    result = CliRunner().invoke(app, ["audit", *words, "--json"])
    said = json.loads(result.stdout.splitlines()[-1]) if result.stdout else {}
    return result.exit_code, said, result.stderr


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.jsonl"))


def rewrite(file: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(change(lines)))


# --- 0 and 1 -------------------------------------------------------------------------------------


def test_what_is_whole_verifies(exported: Path) -> None:
    code, said, _ = audit("verify", "--source", str(exported))
    assert (code, said["status"], said["records"], said["derived"]) == (0, "verified", COUNT, COUNT)
    assert said["missing"] == {"records": 0, "ranges": [], "said": []}


def test_a_gzipped_file_is_read_as_it_is(exported: Path) -> None:
    file = files(exported)[0]
    packed = file.with_suffix(".jsonl.gz")
    packed.write_bytes(gzip.compress(file.read_bytes()))
    code, said, _ = audit("verify", "--source", str(packed))
    assert (code, said["records"]) == (0, PER_FILE)


def test_a_bit_flip_is_a_violation_that_names_both_sides(exported: Path) -> None:
    file = files(exported)[1]
    content = file.read_bytes()
    place = content.index(b'"term":1')
    file.write_bytes(content[: place + 7] + b"3" + content[place + 8 :])
    code, said, _ = audit("verify", "--source", str(exported))
    assert (code, said["status"]) == (1, "violation")
    first = said["violations"]["first"]
    assert (first["law"], first["offset"], first["where"]) == ("hash", PER_FILE + 1, "hash")
    assert first["recorded"] != first["derived"]
    assert said["violations"]["by_law"]["readable"] == 1, "the manifest's checksum tells as well"


def test_a_line_that_is_no_record_is_a_violation_and_the_rest_is_read(exported: Path) -> None:
    rewrite(files(exported)[0], lambda lines: [*lines[:4], b"{broken\n", *lines[5:]])
    code, said, _ = audit("verify", "--source", str(files(exported)[0]))
    assert (code, said["records"]) == (1, PER_FILE - 1)
    assert said["violations"]["count"] == 1
    assert "line 5 is no record" in said["violations"]["first"]["said"]
    assert said["unchecked"]


def test_a_changed_row_of_a_database_is_a_violation(database: Path) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE server SET watermark = watermark + 1 WHERE server_id = 'eu-1'")
    connection.close()
    code, said, _ = audit("verify", "--source", str(database))
    assert (code, said["violations"]["by_law"]) == (1, {"rows": 1})
    assert said["violations"]["first"]["where"] == "server eu-1, watermark"


def test_a_person_reads_the_first_difference(database: Path) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE journal SET room_id = 'another' WHERE offset = 20")
    connection.close()
    result = CliRunner().invoke(app, ["audit", "verify", "--source", str(database)])
    assert result.exit_code == 1
    assert "first difference: record 20: room_id and server_id" in result.stdout
    assert '  stands     ["another"' in result.stdout
    assert "differences in all: 1 (columns 1)" in result.stdout


# --- 2 -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("verify", "--source", "mysql://host/database"),
        ("at", "9", "--source", "amqp://127.0.0.1/"),
        ("at", "yesterday"),
        ("diff", "9", "10", "--table", "rooms"),
        ("diff", "10", "9"),
    ],
    ids=" ".join,
)
def test_usage(words: tuple[str, ...], exported: Path) -> None:
    given = () if "--source" in words else ("--source", str(exported))
    code, said, stderr = audit(*words, *given)
    assert (code, said["error"]["code"]) == (2, "usage")
    assert "try:" in stderr


# --- 3 -------------------------------------------------------------------------------------------


def another_text(folder: Path) -> Path:
    file = folder / "notes.txt"
    file.write_text("dear auditor,\n")
    return file


def another_json(folder: Path) -> Path:
    file = folder / "log.jsonl"
    file.write_text('{"level":"info"}\n')
    return file


def another_csv(folder: Path) -> Path:
    file = folder / "log.csv"
    file.write_text("offset,when\n1,2\n")
    return file


def another_database(folder: Path) -> Path:
    file = folder / "other.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE journal (line TEXT)")
    connection.close()
    return file


def an_empty_folder(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


@pytest.mark.parametrize(
    "make", [another_text, another_json, another_csv, another_database, an_empty_folder]
)
def test_something_of_another_kind_is_unreadable(make: Any, tmp_path: Path) -> None:
    code, said, stderr = audit("verify", "--source", str(make(tmp_path)))
    assert (code, said["error"]["code"]) == (3, "unreadable")
    assert "try:" in stderr


def test_a_damaged_database_is_unreadable(database: Path) -> None:
    content = bytearray(database.read_bytes())
    content[100:4096] = bytes(3996)
    database.write_bytes(content)
    code, said, _ = audit("verify", "--source", str(database))
    assert (code, said["error"]["code"]) == (3, "unreadable")


def refusals_of(records: list[Record], file: Path) -> list[dict[str, Any]]:
    """How `verify` and `at` refuse what they have no way to read."""
    lines = [json.dumps(fields_of(record), separators=(",", ":")) for record in records]
    file.write_text("\n".join(lines) + "\n")
    errors = []
    for command in (("verify",), ("at", str(len(records)))):
        code, said, _ = audit(*command, "--source", str(file))
        assert (code, said["error"]["code"]) == (3, "unreadable")
        errors.append(said["error"])
    return errors


@pytest.mark.parametrize("change", [{"schema_version": 2}, {"kind": "prophecy"}])
def test_a_record_of_the_future_is_refused_and_never_guessed_at(
    change: dict[str, Any], records: list[Record], tmp_path: Path
) -> None:
    newer = replace(records[10], **change)
    seven = {name: getattr(newer, name) for name in SEVEN}
    newer = replace(newer, hash=chain_hash(**seven))
    for error in refusals_of([*records[:10], newer], tmp_path / "journal.jsonl"):
        assert "record 11" in error["message"]
        assert "newer" in error["advice"]


def test_rules_of_the_future_are_refused_from_their_record_on(
    records: list[Record], tmp_path: Path
) -> None:
    """Told as they are: decisions by rules that this program has not would all look altered."""
    last = records[9]
    entry = Entry(11, last.recorded_at_ms, last.term, Kind.SETTINGS, {}, {}, {"rules": RULES + 1})
    newer = seal(entry, {"outbound": []}, prev_hash=last.hash, salt=b"0" * 16)
    for error in refusals_of([*records[:10], newer], tmp_path / "journal.jsonl"):
        assert f"edition {RULES + 1}" in error["message"]


def test_a_database_of_a_newer_program_is_refused(database: Path) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE lease SET schema_version = 99")
    connection.close()
    code, said, _ = audit("verify", "--source", str(database))
    assert (code, said["error"]["code"]) == (3, "unreadable")
    assert "version 99" in said["error"]["message"]


FOREIGN = {
    "revisions of another program": ["UPDATE alembic_version SET version_num = 'ab12cd34'"],
    "a table that is missing": ["DROP TABLE room"],
    "a column that is missing": ["ALTER TABLE journal RENAME COLUMN body TO text"],
    "other types": ["DROP TABLE lease", "CREATE TABLE lease (id TEXT, schema_version TEXT)"],
}


@pytest.mark.parametrize("changes", FOREIGN.values(), ids=list(FOREIGN))
def test_tables_of_another_program_are_unreadable(
    changes: list[str], database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is asked of them, and with nothing left running."""
    with sqlite3.connect(database) as connection:
        for change in changes:
            connection.execute(change)
    connection.close()
    source = ("--source", str(database))
    for words in (["verify"], ["at", "5"], ["timeline", "x"]):
        code, said, stderr = audit(*words, *source)
        assert (code, said["error"]["code"]) == (3, "unreadable"), words
        assert "another program's database" in said["error"]["message"]
        assert "try:" in stderr
    monkeypatch.setenv("LADLE_DATABASE_URL", f"sqlite:///{database}")
    code, said, _ = audit("erase", "--room", "x", "--yes")
    assert (code, said["error"]["code"]) == (3, "unreadable")
    doctor = CliRunner().invoke(app, ["doctor"])
    assert doctor.exit_code in (1, 3)
    assert "another program's database" in " ".join(doctor.stdout.split())


# --- 4 -------------------------------------------------------------------------------------------


def test_a_truncated_file_is_incomplete_and_no_tampering(exported: Path) -> None:
    file = files(exported)[-1]
    file.write_bytes(file.read_bytes()[:-100])
    code, said, _ = audit("verify", "--source", str(exported))
    assert (code, said["status"]) == (4, "incomplete")
    assert said["violations"]["count"] == 0
    assert any("in the middle of line 30" in each for each in said["missing"]["said"])
    assert any(f"should end at {COUNT}" in each for each in said["missing"]["said"])


def test_a_missing_segment_is_incomplete(exported: Path) -> None:
    files(exported)[1].unlink()
    code, said, _ = audit("verify", "--source", str(exported))
    assert (code, said["violations"]["count"]) == (4, 0)
    assert said["missing"]["ranges"] == [[PER_FILE + 1, 2 * PER_FILE]]
    assert "is not there" in said["missing"]["said"][0]


def test_a_gap_is_incomplete(exported: Path) -> None:
    rewrite(files(exported)[0], lambda lines: lines[:7] + lines[9:])
    code, said, _ = audit("verify", "--source", str(files(exported)[0]))
    assert (code, said["missing"]["ranges"]) == (4, [[8, 9]])
    assert "record 10" in said["unchecked"][0]


def test_an_export_that_did_not_end_is_incomplete(exported: Path) -> None:
    (exported / "manifest.json").rename(exported / "manifest.json.part")
    code, said, _ = audit("verify", "--source", str(exported))
    assert (code, said["error"]["code"]) == (4, "incomplete")


def test_a_truncated_archive_is_incomplete(exported: Path) -> None:
    packed = exported / "journal.jsonl.gz"
    packed.write_bytes(gzip.compress(files(exported)[0].read_bytes())[:-400])
    assert audit("verify", "--source", str(packed))[0] == 4


def test_a_truncated_parquet_file_is_incomplete(records: list[Record], tmp_path: Path) -> None:
    export = Export(tmp_path / "out", format_="parquet")
    export.add(records[:COUNT])
    export.finish(head_of(records[:COUNT]))
    (file,) = (tmp_path / "out").glob("*.parquet")
    file.write_bytes(file.read_bytes()[:-20])
    assert audit("verify", "--source", str(file))[0] == 4


def test_a_journal_whose_tail_is_gone_is_incomplete(database: Path) -> None:
    """An old journal restored under newer tables."""
    with sqlite3.connect(database) as connection:
        connection.execute("DELETE FROM journal WHERE offset > 800")
    connection.close()
    code, said, _ = audit("verify", "--source", str(database))
    assert (code, said["violations"]["count"]) == (4, 0)
    assert "its tail is lost" in said["missing"]["said"][0]


def test_a_moment_past_the_end_is_incomplete(exported: Path) -> None:
    code, said, _ = audit("at", str(COUNT + 1), "--source", str(exported))
    assert (code, said["error"]["code"]) == (4, "incomplete")


# --- 5 -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        "{}/nothing/here.jsonl",
        "sqlite:///{}/nothing.db",
        "postgresql://nobody@127.0.0.1:1/nothing",
    ],
)
def test_what_cannot_be_reached(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ladle.audit.database.BUSY_MS", 200)
    code, said, stderr = audit("verify", "--source", source.format(tmp_path))
    assert (code, said["error"]["code"]) == (5, "unreachable")
    assert "try:" in stderr


# --- the other commands --------------------------------------------------------------------------


def test_at_diff_and_timeline_on_the_command_line(database: Path, view: Any) -> None:
    source = ("--source", str(database))
    code, said, _ = audit("at", str(view.offset), *source)
    assert (code, said["digest"]) == (0, view.digest())
    assert {room["room_id"] for room in said["rooms"]} == set(view.rooms)
    code, said, _ = audit("diff", "100", "120", "--table", "room", *source)
    assert code == 0
    assert said["changes"]
    assert {change["table"] for change in said["changes"]} == {"room"}
    code, said, _ = audit("timeline", "room-1", *source)
    assert code == 0
    assert [line["offset"] for line in said["records"]] == sorted(
        line["offset"] for line in said["records"]
    )
    assert audit("timeline", "nobody", *source)[0] == 1


def test_an_audit_changes_nothing(database: Path, tmp_path: Path) -> None:
    before = shutil.copyfile(database, tmp_path / "before.db")
    database.chmod(0o444)
    assert audit("verify", "--source", f"sqlite:///{database}")[0] == 0
    assert database.read_bytes() == Path(before).read_bytes()
