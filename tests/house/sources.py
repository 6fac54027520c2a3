"""The project's own sources, as the house rules look at them."""

import ast
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LISTED = ("--cached", "--others", "--exclude-standard")
SOURCE_ROOTS = (ROOT / "contracts", ROOT / "services")


@dataclass(frozen=True)
class Module:
    """One source file: its dotted name, its path from the root, its syntax tree."""

    name: str
    path: str
    tree: ast.Module
    lines: int

    def __str__(self) -> str:
        return self.path


def modules() -> list[Module]:
    """Every Python module of both source roots, in the order of their names."""
    found = [
        _module(path, root)
        for root in SOURCE_ROOTS
        for path in root.rglob("*.py")
        if "node_modules" not in path.parts
    ]
    return sorted(found, key=lambda module: module.name)


def imports(module: Module) -> Iterator[tuple[str, int]]:
    """(dotted name, line) of all that a module imports, at the top and inside functions.

    Names for type checkers alone count as well: they tie two parts together like any other.
    """
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = _base(module, node)
            # `from ladle import placement` imports a module, too.
            for alias in node.names:
                yield f"{base}.{alias.name}", node.lineno


def tracked_files() -> list[Path]:
    """What git keeps (or would keep: new files that it does not ignore), sorted.

    Without git, as in an unpacked archive on a bare machine: all that .gitignore does not name.
    """
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        return files_that_are_not_ignored()
    listed = subprocess.run(
        # A checkout that another user owns is none to git, unless it is told so.
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", *LISTED],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = (ROOT / name for name in listed.stdout.split("\0") if name)
    return sorted(path for path in paths if path.is_file())


def files_that_are_not_ignored() -> list[Path]:
    patterns = [
        line.rstrip("/")
        for line in (ROOT / ".gitignore").read_text(encoding="utf-8").split()
        if not line.startswith("#")
    ]

    def kept(path: Path) -> bool:
        parts = path.relative_to(ROOT).parts
        ignored = any(fnmatch(part, pattern) for part in parts for pattern in patterns)
        return not ignored and parts[0] != ".git"

    return sorted(path for path in ROOT.rglob("*") if path.is_file() and kept(path))


def _module(path: Path, root: Path) -> Module:
    text = path.read_text(encoding="utf-8")
    parts = path.relative_to(root).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return Module(name, str(path.relative_to(ROOT)), ast.parse(text), text.count("\n"))


def _base(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = module.name.split(".")
    if not module.path.endswith("__init__.py"):
        package = package[:-1]
    package = package[: len(package) - node.level + 1]
    return ".".join([*package, node.module] if node.module else package)
