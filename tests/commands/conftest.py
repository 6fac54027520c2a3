"""The commands as a person runs them, against a real service that runs beside the test."""

import asyncio
import json
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ladle.commands.app import app
from ladle.lab.synthetic import event, publish
from ladle_contracts.events import ServerDescription, ServerRegistered, WorkerDescription
from ladle_contracts.link import Outgoing
from tests.fixtures.broker import forget_cell
from tests.fixtures.service import Running, running_service

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Said:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """The last line of standard output."""
        return json.loads(self.out.splitlines()[-1])


@dataclass(frozen=True, slots=True)
class Ladle:
    """Runs `ladle ARGUMENTS` in this process, in an environment of its own."""

    environment: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str, **environment: str) -> Said:
        result = CliRunner().invoke(
            app, list(arguments), env={**self.environment, **environment}, prog_name="ladle"
        )
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Said(result.exit_code, result.stdout, result.stderr)

    def started(self, *arguments: str, **options: Any) -> "subprocess.Popen[str]":
        """The same in a process and process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "ladle.cli", *arguments],
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **options,
        )


@pytest.fixture
def nowhere() -> Ladle:
    """Commands where nothing listens: the discard port."""
    return Ladle({"LADLE_AMQP_URL": "amqp://guest:guest@127.0.0.1:9/"})


@pytest.fixture
def ladle(broker_url: str, cell: str, tmp_path: Path) -> Ladle:
    """Commands on the real broker, in a cell of their own, where no service runs."""
    return Ladle(
        {
            "LADLE_AMQP_URL": broker_url,
            "LADLE_CELL": cell,
            "LADLE_DATABASE_URL": f"sqlite:///{tmp_path}/ladle.db",
            "LADLE_REQUEST_TIMEOUT_MS": "1000",
        }
    )


@dataclass(frozen=True, slots=True)
class Served:
    """A running service with two servers of two workers: sfu-1 in eu, sfu-2 in us."""

    ladle: Ladle
    running: Running
    publish: Callable[[Outgoing], None]


@pytest.fixture(scope="module")
def served(broker_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The real service on a loop of its own, so that commands can have theirs."""
    cell = f"t{secrets.token_hex(5)}"
    database = f"sqlite:///{tmp_path_factory.mktemp('served')}/ladle.db"
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def wait_for(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(30)

    service = running_service(broker_url, cell, database)
    try:
        running = wait_for(service.__aenter__())
        try:
            wait_for(
                publish(broker_url, [_server(cell, "sfu-1", "eu"), _server(cell, "sfu-2", "us")])
            )
            view = running.service.term.writer.view
            wait_for(running.until(lambda: len(view.servers) == 2, "both servers"))
            environment = {
                "LADLE_AMQP_URL": broker_url,
                "LADLE_CELL": cell,
                "LADLE_DATABASE_URL": database,
            }
            yield Served(
                Ladle(environment),
                running,
                lambda message: wait_for(publish(broker_url, [message])),
            )
        finally:
            wait_for(service.__aexit__(None, None, None))
            forget_cell(broker_url, cell)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _server(cell: str, server_id: str, region: str) -> Outgoing:
    """Says nothing for long, and is up all the same."""
    registered = ServerRegistered(
        server=ServerDescription(
            host=f"{server_id}.example.org", region=region, status_interval_ms=600_000
        ),
        workers=[WorkerDescription(worker_id=str(number)) for number in range(2)],
    )
    return event(cell, server_id, 1, registered)


def left_over(mark: str) -> dict[int, str]:
    """Processes whose environment holds `mark`, by id: what a run has left behind."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue  # It ended meanwhile, or is somebody else's.
    return found
