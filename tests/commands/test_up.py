"""`ladle up` from its start to its end, whatever ends it, with nothing left running."""

import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from ladle.broker.node import RABBITMQ_BIN
from ladle.commands.run_folder import RUNS_KEPT, new_run_folder, prune_runs
from ladle.commands.up_screen import without_password
from tests.commands.conftest import Ladle, Said, left_over

END_S = 180.0
"""No more than a guard against a hang: the comparison alone may take half a minute."""


@pytest.fixture
def up(ladle: Ladle, tmp_path: Path) -> Iterator["Up"]:
    """`ladle up` on the given broker; whatever a test leaves is ended by its process id."""
    run = Up(ladle, tmp_path)
    yield run
    for pid in left_over(str(tmp_path)):
        os.kill(pid, signal.SIGKILL)


class Up:
    """One `ladle up` in a folder of the test, which marks all processes that it begins."""

    def __init__(self, ladle: Ladle, folder: Path) -> None:
        self.folder = folder
        self.environment = ladle.environment | {"MARK_OF_THIS_RUN": str(folder)}
        self.process: subprocess.Popen[str] | None = None

    def start(self, *arguments: str) -> "Up":
        ladle = Ladle(self.environment)
        self.process = ladle.started("up", "--state", str(self.folder), *arguments, cwd=self.folder)
        return self

    def send(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def end(self) -> Said:
        assert self.process is not None
        out, err = self.process.communicate(timeout=END_S)
        return Said(self.process.returncode, out, err)

    def until(self, condition: Callable[[str], bool]) -> None:
        """Wait until a process of the run is one that `condition` picks by its command line."""
        deadline = time.monotonic() + END_S
        while not any(condition(line) for line in self.left().values()):
            assert self.process is not None
            assert self.process.poll() is None, self.end()
            assert time.monotonic() < deadline, self.left()
            time.sleep(0.1)

    def until_a_room_is_placed(self) -> None:
        """A fleet that is a process is not at work yet: on a busy machine it loads for seconds."""
        deadline = time.monotonic() + END_S
        while not any(map(has_rooms, self.folder.rglob("ladle.db"))):
            assert self.process is not None
            assert self.process.poll() is None, self.end()
            assert time.monotonic() < deadline, self.left()
            time.sleep(0.1)

    def left(self) -> dict[int, str]:
        return left_over(str(self.folder))

    def gone_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.left() and time.monotonic() < deadline:
            time.sleep(0.1)
        return not self.left()


def has_rooms(database: Path) -> bool:
    """Whether its view holds a room; one without tables does not."""
    with (
        closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection,
        suppress(sqlite3.OperationalError),
    ):
        return bool(connection.execute("SELECT EXISTS (SELECT 1 FROM room)").fetchone()[0])
    return False


def is_fleet(line: str) -> bool:
    return "ladle.cli fleet" in line


def is_placement(line: str) -> bool:
    return "ladle.cli placement" in line


KEYS = {
    "allocations": {"attempted", "placed", "existing", "moved", "refused", "errors"},
    "latency_ms": {"p50", "p99"},
    "events": {"published", "applied", "duplicate", "dead"},
}


def check_result(said: Said) -> None:
    assert said.code == 0, said.err
    result = said.json()
    assert set(result) == {*KEYS, "journal_offset", "view_matches_fleet"}
    for name, keys in KEYS.items():
        assert set(result[name]) == keys
    asked = result["allocations"]
    assert asked["attempted"] == sum(count for name, count in asked.items() if name != "attempted")
    assert asked["placed"] + asked["moved"] > 0
    assert asked["errors"] == 0
    assert 0 < result["latency_ms"]["p50"] <= result["latency_ms"]["p99"]
    assert result["events"]["applied"] > 0
    assert result["events"]["dead"] == 0
    assert result["journal_offset"] > 0
    assert result["view_matches_fleet"] is True


def test_a_short_run_prints_its_result_as_the_last_line(up: Up) -> None:
    said = up.start("--duration", "2", "--rate", "8", "--json").end()
    check_result(said)
    assert len(said.out.splitlines()) == 1
    assert up.left() == {}

    again = up.start("--duration", "1", "--rate", "8", "--json").end()
    check_result(again)
    assert again.json()["journal_offset"] > said.json()["journal_offset"], "on the same journal"


def test_each_run_begins_a_journal_of_its_own_on_a_given_broker(up: Up) -> None:
    """What the broker's stream knows of an earlier run is no loss of records."""
    del up.environment["LADLE_DATABASE_URL"]
    for _ in range(2):
        check_result(up.start("--duration", "1", "--rate", "8", "--json").end())


@pytest.mark.postgres
def test_a_short_run_on_postgresql(up: Up, postgres_url: str) -> None:
    up.environment["LADLE_DATABASE_URL"] = postgres_url
    check_result(up.start("--duration", "2", "--rate", "8", "--json").end())
    assert up.left() == {}


def test_ctrl_c_ends_it_in_order_with_the_comparison(up: Up) -> None:
    up.start("--rate", "8")
    up.until_a_room_is_placed()
    up.send(signal.SIGINT)
    said = up.end()
    assert said.code == 0, said.err
    assert "the view matches the fleet" in said.out
    for told in ("placement", "journal", "Look, in a second terminal", "ladle top", "stopping"):
        assert told in said.err
    assert up.left() == {}


def test_a_second_ctrl_c_ends_it_at_once(up: Up) -> None:
    up.start("--rate", "8", "--json")
    up.until(is_fleet)
    time.sleep(2)
    up.send(signal.SIGINT)
    time.sleep(0.05)
    up.send(signal.SIGINT)
    said = up.end()
    assert up.left() == {}
    if said.code:  # Else the comparison was quicker than the second signal.
        assert said.json()["error"]["message"] == "stopped before there was a result"


def test_a_kill_takes_the_children_along(up: Up) -> None:
    up.start()
    up.until(is_fleet)
    assert any(map(is_placement, up.left().values()))
    up.send(signal.SIGKILL)
    assert up.end().code == -signal.SIGKILL
    assert up.gone_within(10), up.left()


def test_a_placement_that_dies_ends_the_run(up: Up) -> None:
    up.start()
    up.until(is_fleet)
    (pid,) = (pid for pid, line in up.left().items() if is_placement(line))
    os.kill(pid, signal.SIGKILL)
    said = up.end()
    assert said.code == 3
    assert "the placement service ended" in said.err
    assert up.left() == {}


def test_ctrl_c_while_the_broker_starts(up: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (Path("/") / RABBITMQ_BIN / "rabbitmq-server").exists():
        pytest.skip("no RabbitMQ package here: nothing to interrupt")
    monkeypatch.delenv("LADLE_AMQP_URL", raising=False)
    del up.environment["LADLE_AMQP_URL"]
    up.start()
    up.until(lambda line: "beam" in line)
    up.send(signal.SIGINT)
    began = time.monotonic()
    said = up.end()
    assert said.code == 0, said.err
    assert time.monotonic() - began < 15
    assert up.gone_within(5), up.left()


def test_a_broker_that_is_not_there_ends_it_soon(nowhere: Ladle, tmp_path: Path) -> None:
    up = Up(nowhere, tmp_path)
    said = up.start("--json").end()
    assert said.code == 3
    assert "LADLE_AMQP_URL" in said.err
    assert said.json()["error"]["code"] == "unreachable"
    assert up.left() == {}


def test_the_last_runs_are_kept_and_running_ones_always(tmp_path: Path) -> None:
    ended = [tmp_path / f"2026-11-22T09-00-0{number}Z-4194999" for number in range(RUNS_KEPT + 2)]
    running = tmp_path / f"2026-11-21T09-00-00Z-{os.getpid()}"
    other = tmp_path / "2026-notes"
    for folder in (*ended, running, other):
        folder.mkdir()
    prune_runs(tmp_path)
    assert running.exists(), "its process still runs"
    assert other.exists(), "not a run's folder"
    assert [folder.exists() for folder in ended] == [False] * 2 + [True] * RUNS_KEPT
    assert new_run_folder(tmp_path).name.endswith(f"Z-{os.getpid()}")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://user:secret@host:5672/", "amqp://user:***@host:5672/"),
        ("amqp://user:se@cret@host/", "amqp://user:***@host/"),
        ("amqp://host/", "amqp://host/"),
        (
            "postgresql://u@host/db?sslpassword=se@c&a=b",
            "postgresql://u@host/db?sslpassword=***&a=b",
        ),
        ("postgresql://u:p@host/db?password=secret", "postgresql://u:***@host/db?password=***"),
        ("sqlite:////tmp/a.db", "sqlite:////tmp/a.db"),
    ],
)
def test_no_password_is_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown
