"""How `ladle` ends where no command says it: its words, its reader, its disk, its defects."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from ladle.commands.app import app
from ladle.commands.ending import run

LADLE = (sys.executable, "-m", "ladle.cli")
LONG = ("audit", "--help")


def ended(*words: str, stdout: int) -> tuple[int, str]:
    """The exit code of a process of its own, and what it said on standard error."""
    done = subprocess.run(
        [*LADLE, *words], stdout=stdout, stderr=subprocess.PIPE, text=True, check=False
    )
    return done.returncode, done.stderr


@pytest.fixture(params=["with a buffer", "without"])
def _buffering(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", "" if request.param == "with a buffer" else "1")


@pytest.mark.usefixtures("_buffering")
@pytest.mark.parametrize("words", [LONG, ("--version",), ("bench", "--help")])
def test_a_reader_who_went_away_is_no_error(words: tuple[str, ...]) -> None:
    """As in `ladle rooms | head -1`: quietly, with the code that a shell shows for SIGPIPE."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert ended(*words, stdout=writing) == (141, "")
    finally:
        os.close(writing)


@pytest.mark.usefixtures("_buffering")
@pytest.mark.parametrize("words", [LONG, ("--version",)])
def test_a_full_disk_behind_the_output_is_no_verdict(words: tuple[str, ...]) -> None:
    """1 would tell that an audit found something."""
    with Path("/dev/full").open("w") as full:
        code, said = ended(*words, stdout=full.fileno())
    assert code == 74
    assert said.startswith("ladle: cannot write: No space left on device\ntry: ")
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["view", "--jsn", "--json"], "No such option: --jsn"),
        (["--json", "nope"], "No such option: --json"),
        (["nope", "--json"], "No such command 'nope'"),
        (["audit", "timeline", "--json"], "Missing argument"),
        (["chaos", "--seeds", "many", "--json"], "Invalid value for '--seeds'"),
    ],
)
def test_a_mistake_in_the_words_is_an_object_for_programs(
    words: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(app, words) == 2
    told = capsys.readouterr()
    error = json.loads(told.out)["error"]
    assert (error["code"], error["retryable"]) == ("usage", False)
    assert why in error["message"]
    assert "Error" in told.err, "and a person reads it as ever"


def test_without_json_a_mistake_is_for_people_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(app, ["view", "--jsn"]) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_a_defect_is_told_as_one(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """With the traceback that whoever mends it needs, and with a code that is no verdict."""
    broken = typer.Typer()

    @broken.command()
    def command(as_json: bool = typer.Option(False, "--json")) -> None:
        raise LookupError("of the test")

    assert run(broken, words) == 70
    told = capsys.readouterr()
    assert "Traceback" in told.err
    assert "a defect of ladle, LookupError: of the test" in told.err
    if words:
        assert json.loads(told.out)["error"]["code"] == "internal"
    else:
        assert told.out == ""


def test_a_code_of_a_command_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    stopped = typer.Typer()

    @stopped.command()
    def command(how: str) -> None:
        if how == "ctrl-c":
            raise KeyboardInterrupt
        raise typer.Exit(int(how))

    assert [run(stopped, [how]) for how in ("0", "1", "4", "ctrl-c")] == [0, 1, 4, 130]
    assert capsys.readouterr().out == ""
