"""The processes of a benchmark: started, asked for their CPU time and memory, ended by their id."""

import os
import select
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from ladle.lab.parent import dying_with_parent

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
START_TIMEOUT_S = 60
ANSWER_TIMEOUT_S = 120
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Never through a proxy: what is asked for is on this machine."""


class BenchError(Exception):
    """A part of the benchmark did not come up or did not answer."""


class ProcessSilent(BenchError):
    """A part that runs said nothing for so long that waiting on would be waiting for ever."""


class Process:
    """A Python module or command of ours in a process of its own."""

    def __init__(self, arguments: Sequence[str], *, env: Mapping[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as errors:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                [sys.executable, *arguments],
                env={**os.environ, **env},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
                preexec_fn=dying_with_parent(),  # noqa: PLW1509 (benchmarks start no threads)
            )
        self._heard = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    def say(self, line: str) -> None:
        """A line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def hear(self, timeout_s: float = ANSWER_TIMEOUT_S) -> str:
        """The next line of its standard output.

        Raises ProcessSilent where none comes in time, BenchError where none can come any more.
        """
        assert self._process.stdout is not None
        pipe, until = self._process.stdout.fileno(), time.monotonic() + timeout_s
        while b"\n" not in self._heard:
            readable, _, _ = select.select([pipe], [], [], max(0.0, until - time.monotonic()))
            if not readable:
                raise ProcessSilent(f"it said nothing in {timeout_s:.0f} s; {self.log_end()}")
            data = os.read(pipe, 1 << 16)
            if not data:
                raise BenchError(f"a process ended early: {self.log_end()}")
            self._heard += data
        line, _, self._heard = self._heard.partition(b"\n")
        return line.decode()

    def log_end(self) -> str:
        """The last of what it wrote to its standard error: its folder goes with the benchmark."""
        return self.log.read_text(errors="replace")[-800:].strip() or "it logged nothing"

    def cpu_s(self) -> float:
        """User and system seconds so far."""
        return cpu_s(self.pid)

    def rss_bytes(self) -> int:
        """Resident memory now."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE

    def end(self) -> None:
        """SIGTERM, then SIGKILL where it does not follow in 15 s."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    @property
    def running(self) -> bool:
        return self._process.poll() is None


def cpu_s(pid: int) -> float:
    """User and system seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


class NewEvents:
    """Counts the events that a journal got since it was opened, in the reader's own time.

    The service's metrics would say it too, but asking for them fifty times a second costs the
    service a third of the CPU time that is measured.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        (self._after,) = connection.execute('SELECT max("offset") FROM "journal"').fetchone()

    def count(self) -> int:
        """Records of the kind `event`; committed ones."""
        (count,) = self._connection.execute(
            'SELECT count(*) FROM "journal" WHERE "offset" > ? AND "kind" = ?',
            (self._after or 0, "event"),
        ).fetchone()
        return int(count)


class Placement(Process):
    """The real placement service, with a journal of its own."""

    def __init__(
        self, folder: Path, *, name: str, amqp_url: str, cell: str, env: Mapping[str, str]
    ) -> None:
        from ladle.broker.node import free_ports

        self.cell = cell
        self.http_port = free_ports(1)[0]
        self.database = folder / f"{name}.db"
        super().__init__(
            ["-m", "ladle.cli", "placement"],
            env={
                "LADLE_AMQP_URL": amqp_url,
                "LADLE_DATABASE_URL": f"sqlite+aiosqlite:///{self.database}",
                "LADLE_CELL": cell,
                "LADLE_HTTP_PORT": str(self.http_port),
                "LADLE_LOG_LEVEL": "warning",
                # One caller stands for all of them here.
                "LADLE_CALLER_REQUESTS_PER_S": "0",
                **env,
            },
            log=folder / f"{name}.log",
        )
        self._wait_ready()

    def _wait_ready(self) -> None:
        until = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < until:
            if not self.running:
                raise BenchError(f"placement ended: {self.log_end()}")
            try:
                with _DIRECT.open(self._url("/readyz"), timeout=2):
                    return
            except OSError:
                time.sleep(0.1)
        raise BenchError(f"placement was not ready in {START_TIMEOUT_S} s: {self.log}")

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.http_port}{path}"

    @contextmanager
    def journal(self) -> Iterator[NewEvents]:
        """What it journals from now on."""
        connection = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)
        try:
            yield NewEvents(connection)
        finally:
            connection.close()

    def metric(self, name: str) -> float:
        """The sum over a metric's samples. Raises BenchError where the service does not say."""
        try:
            with _DIRECT.open(self._url("/metrics"), timeout=10) as answer:
                text: str = answer.read().decode()
        except OSError as error:
            raise BenchError(f"placement does not answer ({error}); {self.log_end()}") from error
        total = 0.0
        for line in text.splitlines():
            if line.startswith((f"{name} ", f"{name}{{")):
                total += float(line.rpartition(" ")[2])
        return total
