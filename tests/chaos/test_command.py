"""`ladle chaos --simulated`: the report, the exit codes, and what it refuses."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ladle.commands.app import app
from ladle.commands.chaos_simulated import simulate_seeds
from tests.chaos.test_simulation import acks_before_the_commit


def ladle(*words: str) -> Result:
    return CliRunner().invoke(app, ["chaos", *words])


def said(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_two_processes_say_what_one_says() -> None:
    words = ("--simulated", "--seeds", "3", "--first", "7", "--steps", "5", "--json")
    alone, shared = ladle(*words, "--jobs", "1"), ladle(*words, "--jobs", "2")
    assert (alone.exit_code, shared.exit_code) == (0, 0)
    assert said(alone) == said(shared)
    assert (said(alone)["first"], said(alone)["seeds"]) == (7, 3)
    assert said(alone)["violations"] == []


def test_a_violation_is_told_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 1; and the command, typed again, finds it again."""
    acks_before_the_commit(monkeypatch)
    result = ladle("--simulated", "--seeds", "2", "--first", "1", "--jobs", "1", "--json")
    assert result.exit_code == 1
    violation = said(result)["violations"][0]
    assert violation["law"] == "nothing is acked before it is durable"
    words = violation["command"].split()
    assert words[:2] == ["ladle", "chaos"]
    again = ladle(*words[2:])
    assert again.exit_code == 1
    assert violation["what"] in again.stdout.replace("\n", " ")
    assert "violations" in again.stdout


def test_more_failures_than_are_made_smaller_are_all_told(monkeypatch: pytest.MonkeyPatch) -> None:
    acks_before_the_commit(monkeypatch)
    report = simulate_seeds(range(1, 9), 5, (), 1)
    assert [each.seed for each in report.broken] == list(range(1, 9))


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--seeds", "3"], "--seeds: with --simulated only"),
        (["--steps", "0"], "--steps: with --simulated only"),
        (["--simulated", "--standby"], "--standby: without --simulated only"),
        (["--simulated", "--failovers", "2"], "--failovers: without --simulated only"),
        (["--simulated", "--only", "crash,earthquake"], "--only: no such kind: earthquake"),
    ],
)
def test_what_does_not_go_together_is_refused(words: list[str], why: str) -> None:
    result = ladle(*words)
    assert result.exit_code == 2
    assert why in result.stderr
