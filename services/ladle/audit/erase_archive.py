"""Erase a room from an archive as well: its segments are written anew without what must go.

A segment's digest is anchored in the journal, so a new one needs a new anchor: a record of kind
`archived` that lists all segments as they are now, in the transaction of the `erased` record. The
new files stand beside the old ones until that is committed; then the manifest lists them, and the
old ones go. A crash before the commit leaves the archive as it was; after it, the next erasure or
archiving, whatever it is of, lists the files that the journal anchors before it does anything.
Source: docs/adr/0039-erase-in-the-archive.md.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ladle.audit.archive_folder import ArchiveFolder, rewritten
from ladle.audit.archivings import Anchored, archiving_of
from ladle.audit.errors import Altered, Incomplete
from ladle.audit.files import FileSource
from ladle.audit.source import Fault, Flaw, Segment
from ladle.audit.walk import Walk
from ladle.core.record import FIRST_PREV_HASH, Record
from ladle.journal.chain import content_of
from ladle.journal.store import Head

COPY_ADVICE = "`ladle audit verify` with the archive tells what is wrong with it"


class ErasedArchive:
    """One archive from which one room goes: `search`, `rewrite`, after the commit `let_go`.

    anchor: the newest record of kind `archived`. Raises SourceError, OSError.
    """

    def __init__(self, folder: Path, anchor: Record, anchored: Anchored, cell: str) -> None:
        """anchored: its files, as the journal has them; where the manifest lists those from before
        an erasure that was cut off, that one is ended first.
        """
        archiving = archiving_of(anchor)
        assert archiving is not None
        self._told = Head(archiving.last_offset, archiving.hash, 0)
        self._checkpoint = content_of(anchor)["payload"]["checkpoint"]
        self._folder = ArchiveFolder(folder)
        self._cell = cell
        if self._folder.last_offset != self._told.offset:
            raise Incomplete(
                f"the archive {folder} ends at record {self._folder.last_offset}, and record "
                f"{anchor.offset} says that it should end at {self._told.offset}",
                "give the folder of this journal's archive; `ladle db archive` ends a run that was "
                "ended",
            )
        self._folder.take_up(anchored, cell)
        self._segments: tuple[Segment, ...] = self._folder.segments

    @property
    def last_offset(self) -> int:
        return self._told.offset

    def search(self, take: Callable[[Record], None]) -> None:
        """Each record in order; that it is this journal's archive is known only at the end."""
        walk = Walk(0, FIRST_PREV_HASH)
        for item in self._items(self._segments):
            for finding in walk.step(item):
                raise Altered(f"record {finding.offset}: {finding.said}", COPY_ADVICE)
            take(item)
        if (walk.offset, walk.hash, walk.gaps.records) != (self._told.offset, self._told.hash, 0):
            said = f"{self._folder.path} ends with another record than the journal says"
            raise Altered(said, "give the folder of this journal's archive")

    def rewrite(self, wanted: Sequence[int]) -> None:
        """New files, on the disk, of the segments that hold any of these records."""
        gone = frozenset(wanted)
        made: list[Segment] = []
        for segment in self._segments:
            if any(segment.first_offset <= offset <= segment.last_offset for offset in gone):
                records = (_without(r) if r.offset in gone else r for r in self._items([segment]))
                segment = rewritten(self._folder.path, segment, records)
            made.append(segment)
        self._segments = tuple(made)

    def payload(self) -> dict[str, Any]:
        """What the record says that anchors the segments as they are now."""
        return {
            "last_offset": self._told.offset,
            "hash": self._told.hash,
            "segments": [asdict(segment) for segment in self._segments],
            "checkpoint": self._checkpoint,
        }

    def let_go(self) -> None:
        """The manifest lists the new files, and what it does not list is removed."""
        folder = self._folder
        if self._segments != folder.segments:
            folder.write(self._segments, folder.snapshots, folder.hash, self._cell)
        folder.tidy()

    def _items(self, segments: Sequence[Segment]) -> Iterator[Record]:
        files = {file.path.name: file for file in self._folder.files()}
        for page in FileSource(self._folder.path, [files[s.name] for s in segments]).pages():
            for item in page:
                if isinstance(item, Flaw):
                    lacks = item.fault in (Fault.TORN, Fault.MISSING)
                    raise (Incomplete if lacks else Altered)(item.said, COPY_ADVICE)
                yield item


def _without(record: Record) -> Record:
    """What the chain needs stays."""
    return replace(record, body=b"", salt=b"", room_id=None, server_id=None)
