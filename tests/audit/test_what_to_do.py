"""Every failure says what to do; a bad URL is told by its part; no time where there is none."""

import asyncio
import json
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ladle.commands.app import app
from ladle.journal.schema import upgrade
from tests.audit.test_exit_codes import audit


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("postgresql://u:secret@h:abc/d", "its port is no number"),
        ("postgresql://u:secret@h:99999/d", "its port 99999"),
        ("postgresql://u:secret@[::1/d", "its host has a bracket"),
        ("postgresql://u:secret@h/d?sslmode=bogus", "its sslmode 'bogus'"),
        ("mysql://u:secret@h/d", "'mysql' is no database"),
        ("postgresql://u:sec/ret@h:x/d", "is not a database URL"),
        ("sqlite:///", "it names no file"),
        ("sqlite:///ladle.db?mode=ro", "SQLite takes no options"),
    ],
)
def test_a_bad_url_is_told_by_its_part(url: str, part: str) -> None:
    code, said, stderr = audit("verify", "--source", url)
    assert (code, said["error"]["code"]) == (2, "usage")
    assert part in said["error"]["message"]
    assert "LADLE_DATABASE_URL" not in said["error"]["message"], "which was not given"
    assert "sec" not in stderr
    assert said["error"]["advice"]


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    asyncio.run(upgrade(f"sqlite:///{tmp_path}/empty.db"))
    return tmp_path / "empty.db"


def test_an_empty_journal_has_no_time(empty: Path, database: Path) -> None:
    assert audit("verify", "--source", str(empty))[1]["head"]["recorded_at"] is None
    assert audit("at", "0", "--source", str(empty))[1]["recorded_at"] is None
    for words in (["verify"], ["at", "0"], ["whatif", "--policy", "pack"]):
        result = CliRunner().invoke(app, ["audit", *words, "--source", str(empty)])
        assert result.exit_code == 0
        assert "1970" not in result.output
    result = CliRunner().invoke(app, ["audit", "at", "0", "--source", str(database)])
    assert "before the first record" in result.stdout


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("timeline", "nobody"), 1),
        (("export", "--to", "/dev/null/x"), 5),
        (("keygen", "/dev/null/key", "--name", "a"), 5),
        (("keygen", "key", "--name", "two words"), 2),
        (("checkpoint", "--key", "/nowhere"), 5),
        (("consistency", "/nowhere", "--key", "/bin/true"), 3),
    ],
    ids=str,
)
def test_a_failure_says_what_to_do(words: tuple[str, ...], code: int, database: Path) -> None:
    source = () if words[0] == "keygen" else ("--source", str(database))
    result = CliRunner().invoke(app, ["audit", *words, *source, "--json"])
    assert result.exit_code == code, result.output
    assert json.loads(result.stdout.splitlines()[-1])["error"]["advice"]
    assert "try:" in result.stderr


def test_a_verdict_says_what_to_do(database: Path) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute("DELETE FROM journal WHERE offset = 20")
    connection.close()
    assert audit("verify", "--source", str(database))[1]["advice"]
    result = CliRunner().invoke(app, ["audit", "verify", "--source", str(database)])
    assert result.exit_code == 4
    assert "try: get what is missing" in result.stderr
