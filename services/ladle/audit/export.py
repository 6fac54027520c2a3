"""An export: a folder of files with the journal's records, and a manifest that vouches for them.

The manifest is written last, in one piece; until then a part of it says that the export goes on.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ladle.audit.export_files import FORMATS, HashingFile, RowWriter
from ladle.audit.export_origins import Origins
from ladle.audit.export_rows import Row, Wanted, row_of
from ladle.audit.form import COLUMNS
from ladle.audit.manifest import (
    FORMAT,
    FORMAT_VERSION,
    begin_manifest,
    end_manifest,
    forget_begun,
)
from ladle.audit.source import Claim
from ladle.core.record import Kind, Record
from ladle.journal.snapshots import anchor_of
from ladle.journal.store import Head

ROWS_PER_FILE = 500_000
"""A file that ends now and then bounds what a format keeps about itself until it is closed."""


class ExportRefused(Exception):
    """The folder holds something already; an export never writes over what it finds."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file as the manifest names it. Offsets are those of its first and last row."""

    name: str
    rows: int
    first_offset: int
    last_offset: int
    bytes: int
    sha256: str


@dataclass(slots=True)
class _OpenFile:
    name: str
    file: HashingFile
    writer: RowWriter
    first_offset: int
    last_offset: int = 0
    rows: int = 0


class Export:
    """`add` pages of records in order, then `finish`; or `abandon`, which leaves no manifest."""

    def __init__(
        self,
        folder: Path,
        *,
        format_: str,
        wanted: Wanted | None = None,
        redact: bool = False,
        cell: str = "default",
        rows_per_file: int = ROWS_PER_FILE,
        claim: Claim | None = None,
    ) -> None:
        """claim: what the source says of itself.

        Raises ExportRefused unless `folder` is new or empty; KeyError for an unknown format."""
        self._ending, self._make_writer = FORMATS[format_]
        self._folder = folder
        self._format = format_
        self._wanted = wanted or Wanted()
        self._redact = redact
        self._origins = Origins(self._wanted, claim)
        self._cell = cell
        self._rows_per_file = rows_per_file
        self._open: _OpenFile | None = None
        self._files: list[FileEntry] = []
        self._snapshots: list[int] = []
        self.rows = 0
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ExportRefused(f"{folder} is not empty")
        begin_manifest(folder, FORMAT)

    def add(self, records: Sequence[Record]) -> None:
        """Write those of the page that are wanted."""
        self._origins.saw(records)
        self._snapshots += snapshots_in(records)
        rows = [row_of(r, redact=self._redact) for r in records if self._wanted.takes(r)]
        while rows:
            current = self._open or self._new_file(rows[0]["offset"])
            fitting = rows[: self._rows_per_file - current.rows]
            rows = rows[len(fitting) :]
            self._write(current, fitting)

    def finish(self, head: Head) -> dict[str, Any]:
        """Close the files and write the manifest, which is returned.

        head: the last record that was read, wanted or not; the source may know a later one.
        """
        self._close_file()
        head = self._origins.head(head)
        manifest = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "encoding": self._format,
            "cell": self._cell,
            "columns": list(COLUMNS),
            **self._origins.as_dict(self._redact),
            "rows": self.rows,
            "first_offset": self._files[0].first_offset if self._files else None,
            "last_offset": self._files[-1].last_offset if self._files else None,
            "head": {"offset": head.offset, "hash": head.hash},
            # A reader who goes through once must know where to take the digests of the state.
            "snapshots": self._snapshots,
            "files": [asdict(entry) for entry in self._files],
        }
        end_manifest(self._folder, manifest)
        return manifest

    def abandon(self) -> None:
        """Close what is open; there is no manifest, and that says enough. Never raises."""
        current, self._open = self._open, None
        if current is not None:
            # What is still in a buffer finds the disk as full as what was written before it.
            with suppress(OSError):
                current.writer.close()
            with suppress(OSError):
                current.file.close()
        forget_begun(self._folder)

    def _new_file(self, first_offset: int) -> _OpenFile:
        name = f"journal-{first_offset:012d}{self._ending}"
        file = HashingFile(self._folder / name)
        self._open = _OpenFile(name, file, self._make_writer(file, self._cell), first_offset)
        return self._open

    def _write(self, current: _OpenFile, rows: Sequence[Row]) -> None:
        current.writer.write(rows)
        current.rows += len(rows)
        current.last_offset = rows[-1]["offset"]
        self.rows += len(rows)
        if current.rows >= self._rows_per_file:
            self._close_file()

    def _close_file(self) -> None:
        current, self._open = self._open, None
        if current is None:
            return
        current.writer.close()
        size, sha256 = current.file.size, current.file.sha256
        current.file.close()
        self._files.append(
            FileEntry(
                current.name, current.rows, current.first_offset, current.last_offset, size, sha256
            )
        )


def snapshots_in(records: Sequence[Record]) -> list[int]:
    """Offsets after which a snapshot was made, as far as these records anchor one."""
    anchors = [anchor_of(record) for record in records if record.kind == Kind.SNAPSHOT]
    return [anchor.offset for anchor in anchors if anchor is not None]
