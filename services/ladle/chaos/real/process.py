"""`ladle placement` as a process of its own: killed, stopped, frozen like any other."""

import asyncio
import json
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

START_S = 60.0
END_S = 30.0
ROLE_S = 2.0


class PlacementProcess:
    """One placement service; `env` are LADLE_* settings without the prefix, in any case.

    preexec: what the new process does first, before it is `ladle placement`. program: what Python
    runs in place of this version's `ladle`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        preexec: Callable[[], None] | None = None,
        program: tuple[str, ...] = ("-m", "ladle.cli"),
        **env: object,
    ) -> None:
        self._program = program
        self._preexec = preexec
        self._env = {f"LADLE_{name.upper()}": str(value) for name, value in env.items()}
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self.log = folder / "placement.jsonl"
        self.starts = 0

    async def start(self, *, file_bytes_max: int | None = None, **more_env: object) -> Self:
        """Run it; returns at once. Each start has a log file of its own.

        file_bytes_max: no file of the process grows beyond it, as on a full disk.
        """
        self.starts += 1
        self.log = self._folder / f"placement-{self.starts}.jsonl"
        more = {f"LADLE_{name.upper()}": str(value) for name, value in more_env.items()}
        with self.log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, *self._program, "placement"),
                env={**os.environ, "LADLE_HTTP_PORT": "0", **self._env, **more},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=partial(_prepare, self._preexec, file_bytes_max),
            )
        return self

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        """The process id of the present or the last run."""
        assert self._process is not None
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        return None if self._process is None else self._process.returncode

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process, by its own id."""
        assert self._process is not None
        self._process.send_signal(number)

    async def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self.send(signal.SIGKILL)
        await self.ended()

    async def terminate(self) -> int:
        """SIGTERM, and the exit code."""
        self.send(signal.SIGTERM)
        return await self.ended()

    async def ended(self, within_s: float = END_S) -> int:
        """The exit code, once it has ended."""
        assert self._process is not None
        async with asyncio.timeout(within_s):
            return await self._process.wait()

    def lines(self) -> list[dict[str, Any]]:
        """What it has logged so far; a line of plain text is a message without more."""
        found = []
        for line in self.log.read_text(errors="replace").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                found.append({"message": line})
        return found

    async def says(self, words: str, within_s: float = START_S) -> dict[str, Any]:
        """The first line with these words in its message, once it is there."""
        return await self._line(lambda line: words in line["message"], words, within_s)

    async def _line(
        self, wanted: Callable[[dict[str, Any]], bool], what: str, within_s: float
    ) -> dict[str, Any]:
        async with asyncio.timeout(within_s):
            while True:
                for line in self.lines():
                    if wanted(line):
                        return line
                assert self.running, f"it ended instead of saying {what!r}: {self.tail()}"
                await asyncio.sleep(0.02)

    async def ready(self, role: str = "writer", within_s: float = START_S) -> Mapping[str, Any]:
        """What /readyz says once it is ready in this role."""
        listens = await self._line(lambda line: line["message"] == "http", "http", within_s)
        port = listens["port"]
        async with asyncio.timeout(within_s):
            while True:
                state = await _readyz(port)
                if state.get("ready") and state.get("role") == role:
                    return state
                assert self.running, f"it ended before it was ready: {self.tail()}"
                await asyncio.sleep(0.02)

    async def role(self) -> str | None:
        """Writer or standby, as it says of itself now; None where it does not say."""
        ports = [line["port"] for line in self.lines() if line["message"] == "http"]
        if not self.running or not ports:
            return None
        try:
            async with asyncio.timeout(ROLE_S):
                state = await _readyz(ports[-1])
        except TimeoutError:
            return None
        return state.get("role") if state.get("ready") else None

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])


@asynccontextmanager
async def placement_process(
    folder: Path, *, program: tuple[str, ...] = ("-m", "ladle.cli"), **env: object
) -> AsyncIterator[PlacementProcess]:
    """A process that is gone afterwards, whatever state it was in."""
    process = PlacementProcess(folder, preexec=None, program=program, **env)
    await process.start()
    try:
        yield process
    finally:
        if process.running:
            await process.kill()


def _prepare(preexec: Callable[[], None] | None, file_bytes_max: int | None) -> None:
    if preexec is not None:
        preexec()
    if file_bytes_max is not None:
        # Python ignores the signal that comes with it; writing fails.
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes_max, file_bytes_max))


async def _readyz(port: int) -> dict[str, Any]:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return {}
    try:
        writer.write(b"GET /readyz HTTP/1.0\r\n\r\n")
        answer = await reader.read()
    except OSError:
        return {}
    finally:
        writer.close()
    state: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2] or b"{}")
    return state
