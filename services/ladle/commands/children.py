"""Child processes of `ladle up`: they end with it, whatever ends it."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

from ladle.lab.parent import dying_with_parent


class Child:
    """One `ladle` command in a process and session of its own: a terminal's Ctrl-C is not its."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path | None) -> None:
        self.name = name
        self.process = process
        self.log = log

    @classmethod
    async def start(
        cls,
        arguments: Sequence[str],
        *,
        env: Mapping[str, str],
        log: Path | None = None,
        capture: bool = False,
    ) -> "Child":
        """Run `ladle ARGUMENTS`; what it says goes to `log`, or where ours does without one.

        `capture` keeps standard output for the caller. Call it from the main thread: the kernel
        watches the thread that forks.
        """
        with log.open("ab") if log else nullcontext() as errors:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "ladle.cli",
                *arguments,
                env={**os.environ, **env},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE if capture else errors,
                stderr=errors,
                start_new_session=True,
                preexec_fn=dying_with_parent(),
            )
        return cls(arguments[0], process, log)

    @property
    def running(self) -> bool:
        return self.process.returncode is None

    async def end(self, grace_s: float = 20) -> int:
        """SIGTERM, a while to finish, then SIGKILL; the exit code."""
        if self.running:
            self.process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self.process.wait(), grace_s)
            except TimeoutError:
                self.kill()
        return await self.process.wait()

    def kill(self) -> None:
        """At once, without a last word."""
        if self.running:
            self.process.kill()

    def last_lines(self, count: int = 8) -> str:
        """The end of its log, for the message that says it died."""
        if self.log is None:
            return ""
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-count:])
