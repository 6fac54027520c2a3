"""`--source` to a source: a database URL, a database file, an export or its folder."""

import re
from pathlib import Path

from ladle.audit.database import DatabaseSource
from ladle.audit.files import FileSource
from ladle.audit.source import Source

SQLITE = b"SQLite format 3\x00"
URL = re.compile(r"[a-z0-9+]+://")


def open_source(given: str) -> Source:
    """The source that `given` names; the caller closes it. Raises SourceError.

    A path to a SQLite file is a database, whatever it is called.
    """
    if URL.match(given):
        return DatabaseSource(given)
    path = Path(given)
    if path.is_file() and _start_of(path) == SQLITE:
        return DatabaseSource(f"sqlite:///{path}")
    return FileSource(path)


def _start_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(len(SQLITE))
    except OSError:
        return b""
