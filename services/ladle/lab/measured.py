"""A `ladle` command that tells what it took: `python -m ladle.lab.measured FILE COMMAND ...`.

Written to FILE when the command has ended: {"cpu_s", "peak_bytes"}. Peak is the most of resident
memory that this process had; what a parent is told of its child counts the parent's own as well.
"""

import json
import runpy
import sys
import time
from pathlib import Path


def peak_bytes() -> int:
    """VmHWM of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise LookupError("the kernel does not say how much memory was resident at most")


def main() -> None:
    """The command as it always runs; its exit code is this one's."""
    file = Path(sys.argv[1])
    sys.argv = ["ladle", *sys.argv[2:]]
    try:
        runpy.run_module("ladle.cli", run_name="__main__", alter_sys=True)
    finally:
        told = {"cpu_s": time.process_time(), "peak_bytes": peak_bytes()}
        file.write_text(json.dumps(told))


if __name__ == "__main__":
    main()
