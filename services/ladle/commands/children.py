"""Child processes of `ladle up`: they end with it, whatever ends it."""

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

_PR_SET_PDEATHSIG = 1
TERM_GRACE_S = 20


def _with_parent() -> None:
    """In the child: a terminal's Ctrl-C is the parent's to pass on; die if it is killed."""
    os.setsid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Child:
    """One `ladle` command in a process of its own."""

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

        `capture` keeps standard output for the caller.
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
                preexec_fn=_with_parent,
            )
        return cls(arguments[0], process, log)

    @property
    def running(self) -> bool:
        return self.process.returncode is None

    async def end(self) -> int:
        """SIGTERM, a while to finish, then SIGKILL; the exit code."""
        if self.running:
            self.process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self.process.wait(), TERM_GRACE_S)
            except TimeoutError:
                self.process.kill()
        return await self.process.wait()

    def last_lines(self, count: int = 8) -> str:
        """The end of its log, for the message that says it died."""
        if self.log is None:
            return ""
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-count:])
