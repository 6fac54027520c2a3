"""An export of a journal that is not whole, or of an export: the manifest tells what is missing."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ladle.audit.export_origins import joined
from ladle.commands.app import app
from tests.audit.test_exit_codes import audit


def without(database: Path, where: str) -> Path:
    with sqlite3.connect(database) as connection:
        connection.execute(f"DELETE FROM journal WHERE {where}")
    connection.close()
    return database


def exported(source: Path, to: Path, *words: str) -> tuple[int, dict[str, Any]]:
    """(exit code, the manifest, which is what was printed)."""
    code, said, _ = audit("export", "--source", str(source), "--to", str(to), *words)
    assert json.loads((to / "manifest.json").read_text()) == said
    return code, said


@pytest.mark.parametrize(
    ("where", "words", "gaps"),
    [
        ("offset BETWEEN 5 AND 9", (), [[5, 9]]),
        ("offset < 12 OR offset = 30", (), [[1, 11], [30, 30]]),
        ("offset BETWEEN 5 AND 9", ("--from", "7", "--until", "20"), [[7, 9]]),
        ("offset BETWEEN 5 AND 9", ("--until", "6"), [[5, 6]]),
        ("offset BETWEEN 5 AND 9", ("--room", "room-1"), [[5, 9]]),
    ],
)
def test_an_export_of_a_journal_with_a_gap_says_so(
    database: Path, tmp_path: Path, where: str, words: tuple[str, ...], gaps: list[list[int]]
) -> None:
    code, manifest = exported(without(database, where), tmp_path / "out", *words)
    assert (code, manifest["complete"], manifest["gaps"]) == (4, False, gaps)
    code, said, _ = audit("verify", "--source", str(tmp_path / "out"))
    assert (code, said["status"], said["violations"]["count"]) == (4, "incomplete", 0)
    assert said["missing"]["ranges"] == gaps or words
    code, again = exported(tmp_path / "out", tmp_path / "again")
    assert (code, again["gaps"]) == (4, gaps)


@pytest.mark.parametrize("words", [("--from", "10"), ("--until", "3")])
def test_a_gap_outside_of_what_is_wanted_is_not_missed(
    database: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    without(database, "offset BETWEEN 5 AND 9")
    code, manifest = exported(database, tmp_path / "out", *words)
    assert (code, manifest["gaps"]) == (0, [])


def test_a_person_reads_which_records_are_missing(database: Path, tmp_path: Path) -> None:
    without(database, "offset = 5")
    words = ["audit", "export", "--source", str(database), "--to", str(tmp_path / "out")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 4
    assert "INCOMPLETE: the source does not have records 5;" in result.stdout


def test_an_export_of_an_export_keeps_its_filters_and_its_redaction(
    database: Path, tmp_path: Path
) -> None:
    _, whole = exported(database, tmp_path / "whole")
    assert (whole["complete"], whole["gaps"], whole["goes_on"]) == (True, [], False)
    exported(database, tmp_path / "one", "--room", "room-1", "--redact")
    code, two = exported(tmp_path / "one", tmp_path / "two", "--until", "200")
    assert code == 0
    assert (two["complete"], two["redacted"]) == (False, True)
    assert two["filters"] == {"room_id": "room-1", "until": "200"}
    assert two["head"] == whole["head"], "that of the journal, wanted or not"
    assert audit("verify", "--source", str(tmp_path / "two"))[0] == 0


def test_an_export_of_a_file_alone_does_not_know_where_the_journal_ends(
    database: Path, tmp_path: Path
) -> None:
    exported(database, tmp_path / "one")
    (file,) = (tmp_path / "one").glob("*.jsonl")
    code, two = exported(file, tmp_path / "two")
    assert (code, two["complete"], two["goes_on"]) == (0, False, None)
    code, said, _ = audit("verify", "--source", str(tmp_path / "two"))
    assert (code, said["unchecked"]) == (0, ["whether the journal goes on behind its end"])


def test_filters_that_both_hold() -> None:
    one = {"room_id": "a", "from": "5", "kinds": ["event", "tick"]}
    other = {"from": "9", "kinds": ["tick", "request"], "until": "20"}
    assert joined(one, other) == {
        "room_id": "a", "from": ["5", "9"], "kinds": ["tick"], "until": "20",
    }  # fmt: skip
