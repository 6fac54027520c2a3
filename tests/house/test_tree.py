"""What is committed belongs to the project: no address of a machine, an index or a registry."""

import re
from pathlib import Path

import pytest

from tests.house.sources import ROOT, files_that_are_not_ignored, tracked_files

# Spelled in two pieces, so that this file does not contain what it looks for.
PLACES_OF_A_MACHINE = ["/work" + "/", "/root" + "/", "/home" + "/", "../" + "shared"]
INDEXES = ["pypi" + ".org", "pythonhosted" + ".org", "registry.npmjs" + ".org", "npmmirror" + "."]
NOT_THE_PROJECTS = re.compile("|".join(map(re.escape, PLACES_OF_A_MACHINE + INDEXES)))
TEXT = re.compile(r"\.(py|md|toml|txt|in|ya?ml|json|sh|cfg|ini|conf|js|mjs|svg|html|mako)$")


@pytest.mark.parametrize("path", tracked_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_machine_in_the_tree(path: Path) -> None:
    if not TEXT.search(path.name) and path.name not in {"Makefile", "Dockerfile", "run"}:
        return
    found = [
        f"{number}: {match.group()}"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if (match := NOT_THE_PROJECTS.search(line))
    ]
    assert found == []


def test_nothing_big_or_binary_slips_in() -> None:
    big = {str(path.relative_to(ROOT)): path.stat().st_size for path in tracked_files()}
    big = {name: size for name, size in big.items() if size > 600_000}
    assert big == {}


def test_the_tree_is_the_same_without_git() -> None:
    """A bare machine has an unpacked archive and no git."""
    without = {path for path in files_that_are_not_ignored() if path.name != ".git"}
    assert without == set(tracked_files())
