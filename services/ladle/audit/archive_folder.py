"""An archive: a folder of compressed segments with a journal's beginning, and their manifest.

Segments are only ever added. A segment counts once the manifest lists it, the manifest is replaced
in one piece, and both are on the disk before anybody relies on them: a crash leaves the folder as
it was, with a file in it that nothing lists and that the next run writes over.
"""

import gzip
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from hashlib import file_digest
from itertools import islice
from pathlib import Path
from typing import Any

from ladle.audit.archivings import Anchored
from ladle.audit.errors import Altered, BadSource, Incomplete, Unreadable
from ladle.audit.export_files import HashingFile, JsonLines
from ladle.audit.export_rows import row_of
from ladle.audit.files import FileSource
from ladle.audit.form import COLUMNS
from ladle.audit.manifest import (
    ARCHIVE_FORMAT,
    FORMAT_VERSION,
    MANIFEST,
    UNFINISHED,
    Listed,
    read_manifest,
)
from ladle.audit.source import PAGE, Fault, Flaw, Segment
from ladle.audit.walk import Walk
from ladle.core.record import FIRST_PREV_HASH, Record
from ladle.journal.store import Head

SEGMENT_RECORDS = 100_000
"""A damaged segment costs no more than these; so many are written in some seconds."""

SEGMENT_NAME = re.compile(r"journal-[0-9]{12}(-[0-9]{1,6})?\.jsonl\.gz(\.part)?")
"""The first record's offset; and how often it was written anew, without what was erased."""

COPY_ADVICE = "get it from another copy of the archive, a backup for example"

OTHER_ADVICE = "name the archive of this journal; `ladle audit verify` tells more"


class ArchiveFolder:
    """The archive in a folder; a new or empty folder is an archive of nothing."""

    def __init__(self, folder: Path) -> None:
        """Raises SourceError where it is a folder of something else, OSError."""
        self.path = folder
        self.segments: tuple[Segment, ...] = ()
        self.snapshots: tuple[int, ...] = ()
        self.hash = FIRST_PREV_HASH
        self.exists = (folder / MANIFEST).exists()
        if self.exists:
            self._read()
        elif folder.exists():
            self._refuse_foreign()

    @property
    def last_offset(self) -> int:
        return self.segments[-1].last_offset if self.segments else 0

    def files(self, after_offset: int = 0) -> list[Listed]:
        """The segments that hold anything behind `after_offset`."""
        return [
            Listed(self.path / s.name, s.first_offset, s.last_offset, s.bytes, s.sha256)
            for s in self.segments
            if s.last_offset > after_offset
        ]

    def write(
        self, segments: Sequence[Segment], snapshots: Sequence[int], hash_: str, cell: str
    ) -> None:
        """The manifest, with these segments in place of those that were listed."""
        self.segments, self.snapshots, self.hash = tuple(segments), tuple(snapshots), hash_
        manifest = {
            "format": ARCHIVE_FORMAT,
            "format_version": FORMAT_VERSION,
            "encoding": "jsonl",
            "cell": cell,
            "columns": list(COLUMNS),
            "redacted": False,
            "filters": {},
            "complete": True,
            "rows": self.last_offset,
            "first_offset": 1,
            "last_offset": self.last_offset,
            "head": {"offset": self.last_offset, "hash": hash_},
            "snapshots": list(self.snapshots),
            "files": [
                {**asdict(s), "rows": s.last_offset - s.first_offset + 1} for s in self.segments
            ],
        }
        unfinished = self.path / UNFINISHED
        with unfinished.open("w", encoding="utf-8") as file:
            file.write(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, self.path / MANIFEST)
        sync_folder(self.path)
        self.exists = True

    def take_up(self, anchored: Anchored, cell: str) -> None:
        """End an erasure that was cut off behind its record: list the files that it anchors.

        The listed ones are still those in which the room is. Raises Altered where neither they nor
        others that are there are the anchored ones, and then changes nothing.
        """
        segments = tuple(self._as_anchored(segment, anchored) for segment in self.segments)
        if segments != self.segments:
            self.write(segments, self.snapshots, self.hash, cell)
        self.tidy()

    def _as_anchored(self, listed: Segment, anchored: Anchored) -> Segment:
        said_by, segment = anchored.get(listed.first_offset, (0, listed))
        if segment == listed:
            return listed
        # Erasing gives another name: under the same one the manifest itself was changed.
        anew = segment.name != listed.name and segment.last_offset == listed.last_offset
        if not anew or not self._holds(segment):
            said = f"{listed.name} is not the file that record {said_by} anchors"
            raise Altered(said, OTHER_ADVICE)
        return segment

    def _holds(self, segment: Segment) -> bool:
        """Is the file there, listed or not, byte for byte?"""
        if not SEGMENT_NAME.fullmatch(segment.name):
            return False
        try:
            with (self.path / segment.name).open("rb") as file:
                return file_digest(file, "sha256").hexdigest() == segment.sha256
        except FileNotFoundError:
            return False

    def tidy(self) -> None:
        """Remove segments that are not listed: begun, or written anew since."""
        listed = {segment.name for segment in self.segments}
        for path in self.path.iterdir():
            if SEGMENT_NAME.fullmatch(path.name) and path.name not in listed:
                path.unlink()

    def read_back(self, after_offset: int, after_hash: str | None, last: Head) -> None:
        """Read the segments behind `after_offset` up to `last`, record by record along the chain.

        after_hash: of the record there, where it is known. Raises Altered, Incomplete: what is
        there is not what was written.
        """
        walk = Walk(after_offset, after_hash)
        files = [f for f in self.files(after_offset) if (f.last_offset or 0) <= last.offset]
        for page in FileSource(self.path, files).pages(after_offset):
            for item in page:
                if isinstance(item, Flaw):
                    lacks = item.fault in (Fault.TORN, Fault.MISSING)
                    raise (Incomplete if lacks else Altered)(item.said, COPY_ADVICE)
                for finding in walk.step(item):
                    said = f"record {finding.offset} was read back changed: {finding.said}"
                    raise Altered(said, COPY_ADVICE)
        if (walk.offset, walk.hash, walk.gaps.records) != (last.offset, last.hash, 0):
            said = f"read back from {self.path}: it ends at {walk.offset}, not at {last.offset}"
            raise Altered(said, COPY_ADVICE)

    def _read(self) -> None:
        told = read_manifest(self.path, ARCHIVE_FORMAT)
        try:
            self.segments = tuple(_segment(file) for file in told["files"])
            self.snapshots = tuple(int(offset) for offset in told["snapshots"])
            self.hash = str(told["head"]["hash"])
            last = int(told["head"]["offset"])
        except (KeyError, TypeError, ValueError) as error:
            said = f"{self.path / MANIFEST} is no manifest of an archive: {error!r}"
            raise Unreadable(said, COPY_ADVICE) from error
        expected = 1
        for segment in self.segments:
            if segment.first_offset != expected:
                said = f"the manifest of {self.path} lists no file with record {expected}"
                raise Incomplete(said, COPY_ADVICE)
            expected = segment.last_offset + 1
        if last != expected - 1:
            said = f"the manifest of {self.path} ends at {expected - 1}, and says at {last}"
            raise Incomplete(said, COPY_ADVICE)

    def _refuse_foreign(self) -> None:
        if not self.path.is_dir():
            raise BadSource(f"{self.path} is no folder", "name a folder for the archive")
        for path in self.path.iterdir():
            if path.name != UNFINISHED and not SEGMENT_NAME.fullmatch(path.name):
                raise BadSource(
                    f"{self.path} is no archive, and {path.name} is in it",
                    "name a new or empty folder, or the archive that was begun",
                )


class SegmentWriter:
    """Writes records into segments: `add` pages in order, then `finish`; or `abandon`."""

    def __init__(self, folder: Path) -> None:
        self.segments: list[Segment] = []
        self._folder = folder
        self._open: _OpenSegment | None = None

    def add(self, records: Sequence[Record]) -> None:
        for chunk in self._fitting(records):
            if self._open is None:
                self._open = _OpenSegment(self._folder, chunk[0].offset)
            self._open.add(chunk)
            if self._open.count >= SEGMENT_RECORDS:
                self._close()

    def finish(self) -> list[Segment]:
        """All segments, each on the disk under its name."""
        self._close()
        sync_folder(self._folder)
        return self.segments

    def abandon(self) -> None:
        """Close what is open; nothing lists it."""
        current, self._open = self._open, None
        if current is not None:
            current.abandon()

    def _fitting(self, records: Sequence[Record]) -> Iterator[Sequence[Record]]:
        while records:
            room = SEGMENT_RECORDS - (self._open.count if self._open else 0)
            yield records[:room]
            records = records[room:]

    def _close(self) -> None:
        current, self._open = self._open, None
        if current is not None:
            self.segments.append(current.close())


class _OpenSegment:
    """One file while it is written: under another name until it is whole and on the disk."""

    def __init__(self, folder: Path, first_offset: int, name: str | None = None) -> None:
        self.count = 0
        self._first = self._last = first_offset
        self._path = folder / (name or f"journal-{first_offset:012d}.jsonl.gz")
        self._part = folder / f"{self._path.name}.part"
        self._part.unlink(missing_ok=True)
        self._file = HashingFile(self._part)
        # No name and no time in it: the same records give the same bytes.
        self._gzip = gzip.GzipFile("", "wb", 6, self._file, mtime=0)
        self._lines = JsonLines(self._gzip, "")

    def add(self, records: Sequence[Record]) -> None:
        self._lines.write([row_of(record) for record in records])
        self.count += len(records)
        self._last = records[-1].offset

    def close(self) -> Segment:
        self._gzip.close()
        self._file.sync()
        made = Segment(self._path.name, self._first, self._last, self._file.size, self._file.sha256)
        self._file.close()
        os.replace(self._part, self._path)
        return made

    def abandon(self) -> None:
        # A buffer finds the disk as full as what was written before it.
        with suppress(OSError):
            self._gzip.close()
        with suppress(OSError):
            self._file.close()


def rewritten(folder: Path, old: Segment, records: Iterable[Record]) -> Segment:
    """A new file with these records in place of those of `old`, under the next name."""
    stem, _, times = old.name.removesuffix(".jsonl.gz").removeprefix("journal-").partition("-")
    made = _OpenSegment(folder, old.first_offset, f"journal-{stem}-{int(times or 0) + 1}.jsonl.gz")
    source = iter(records)
    try:
        while page := list(islice(source, PAGE)):
            made.add(page)
        segment = made.close()
    except BaseException:
        made.abandon()
        raise
    sync_folder(folder)
    return segment


def sync_folder(folder: Path) -> None:
    """A file's name is on the disk when its folder is."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _segment(file: dict[str, Any]) -> Segment:
    name = str(file["name"])
    if Path(name).name != name:
        raise ValueError(f"the file name {name!r} leads elsewhere")
    return Segment(
        name,
        int(file["first_offset"]),
        int(file["last_offset"]),
        int(file["bytes"]),
        str(file["sha256"]),
    )
