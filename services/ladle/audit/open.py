"""`--source` to a source: a database URL, a database file, an export or its folder; `--archive`."""

import re
from pathlib import Path

from ladle.audit.database import DatabaseSource
from ladle.audit.errors import BadSource
from ladle.audit.files import FileSource
from ladle.audit.pair import ArchivedSource
from ladle.audit.source import Source

STREAM = ("amqp://", "amqps://")
"""How the URL of a broker begins, whose stream some commands read in place of a journal."""

SQLITE = b"SQLite format 3\x00"
URL = re.compile(r"[a-z0-9+]+://")


def open_source(given: str, archive: Path | None = None) -> Source:
    """The source that `given` names; the caller closes it. Raises SourceError.

    archive: a folder with the beginning of the database's journal.
    A path to a SQLite file is a database, whatever it is called.
    """
    source = _open(given)
    if archive is None:
        return source
    try:
        if not isinstance(source, DatabaseSource):
            raise BadSource(
                f"an archive goes with a database, and {source.name} is none",
                "name the database with --source, or the archive alone as --source",
            )
        return ArchivedSource(archive, source)
    except BaseException:
        source.close()
        raise


def _open(given: str) -> Source:
    if given.startswith(STREAM):
        raise BadSource(
            "the broker's stream holds what was said, and no records: this cannot be read from it",
            "give a database, an export or an archive; of the stream there are `verify`, "
            "`timeline` and `export --format cloudevents`",
        )
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
