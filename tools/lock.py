"""Write the hash-locked requirements from pyproject.toml (`make lock`).

Four files, each installable with `pip install --require-hashes`: build.txt (what installs
and builds the package), light.txt (contract, publisher, client), run.txt (everything that runs)
and dev.txt (run.txt and what tests, linters and docs need). The larger file is locked first and
constrains the smaller ones, so that one version of a library serves all of them.

No index address is written: the files install from whatever index the machine is set to.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "requirements"
SELF = re.compile(r"^ladle\[(?P<extras>[a-z, -]+)\]$")

# pip-compile's options; --allow-unsafe because --require-hashes wants pip and setuptools too,
# where something depends on them.
OPTIONS = (
    "--quiet",
    "--generate-hashes",
    "--allow-unsafe",
    "--strip-extras",
    "--no-emit-index-url",
    "--no-emit-find-links",
    "--no-emit-trusted-host",
    "--no-emit-options",
    "--no-annotate",
)


def requirements_of(project: dict[str, Any], extra: str | None) -> list[str]:
    """The requirements of the project with one of its extras, extras of its own unfolded."""

    def unfold(names: list[str]) -> Iterator[str]:
        for name in names:
            own = SELF.match(name)
            if own is None:
                yield name
                continue
            for inner in own["extras"].split(","):
                yield from unfold(project["optional-dependencies"][inner.strip()])

    extras = project["optional-dependencies"][extra] if extra else []
    return sorted({*project["dependencies"], *unfold(extras)})


def lock(name: str, wanted: list[str], *, within: str | None, options: list[str]) -> None:
    """Write requirements/<name>.txt; raises CalledProcessError where no versions fit."""
    constraint = ["--constraint", f"requirements/{within}.txt"] if within else []
    subprocess.run(
        [
            *(sys.executable, "-m", "piptools", "compile", *OPTIONS, *constraint, *options),
            *("--output-file", f"requirements/{name}.txt", "-"),
        ],
        input="\n".join(wanted) + "\n",
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "CUSTOM_COMPILE_COMMAND": "make lock"},
    )


def main() -> int:
    """Lock all four; options (such as --upgrade) go to pip-compile."""
    options = sys.argv[1:]
    described = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = described["project"]
    # An editable install by hatchling needs `editables`, which it asks for only while building.
    # pip is locked with them: before 23.3 it takes the newest release for `coverage[toml]`,
    # whatever the lock says of `coverage`, and then refuses that for want of a hash. Debian 12
    # brings 23.0.
    build = [*described["build-system"]["requires"], "editables>=0.5,<1", "pip>=23.3"]
    FOLDER.mkdir(exist_ok=True)
    lock("dev", [*requirements_of(project, "dev"), *build], within=None, options=options)
    # What the larger lock says goes: --upgrade is for it alone.
    lock("run", requirements_of(project, "all"), within="dev", options=[])
    lock("light", requirements_of(project, None), within="dev", options=[])
    lock("build", build, within="dev", options=[])
    return 0


if __name__ == "__main__":
    sys.exit(main())
