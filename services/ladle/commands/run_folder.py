"""Where runs of `ladle up` keep what they write: a folder each, the last few kept."""

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

from ladle.commands.places import make_folder

RUNS_KEPT = 5


def new_run_folder(state: Path) -> Path:
    """A folder of its own for each run: a journal is never mixed with an earlier one.

    Leaves with 2 where none can be made there.
    """
    name = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    return make_folder("--state", state / f"{name}-{os.getpid()}")


def prune_runs(state: Path) -> None:
    """Keep the last few runs, and those that still run: journals to look at, no archive."""
    runs: list[Path] = sorted(p for p in state.glob("20*Z-*") if p.is_dir())
    for old in runs[:-RUNS_KEPT]:
        if not _runs(old.name.rpartition("-")[2]):
            shutil.rmtree(old, ignore_errors=True)


def _runs(pid: str) -> bool:
    return pid.isdigit() and Path("/proc", pid).exists()
