"""An archive and the database with the rest of the journal, read as one log."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ladle.audit.archive_folder import ArchiveFolder
from ladle.audit.database import DatabaseSource
from ladle.audit.errors import Incomplete, Unreachable
from ladle.audit.files import FileSource
from ladle.audit.source import Claim, Fault, Flaw, Item, Rows
from ladle.core.view import View
from ladle.journal.snapshots import Anchor

FOLDER_ADVICE = "give the folder that `ladle db archive` wrote to"


class ArchivedSource:
    """Records up to the archive's last one are read from it, those behind it from the database.

    While records are taken out of the database both have some: the archive's are read, and the
    chain leads from its last one into the database. Raises SourceError from every method.
    """

    def __init__(self, folder: Path, rest: DatabaseSource) -> None:
        self._rest = rest
        try:
            self._archive = ArchiveFolder(folder)
        except OSError as error:
            raise Unreachable(f"{folder}: {error.strerror}", "check path and rights") from error
        if not folder.exists():
            raise Unreachable(f"there is no folder {folder}", FOLDER_ADVICE)
        if not self._archive.exists:
            said = f"{folder} is an archive that was begun and has no manifest"
            raise Incomplete(said, "run `ladle db archive` again; the database has all records")
        self._files = FileSource(folder, self._archive.files())
        self.name = f"{rest.name} with the archive {folder}"

    def claim(self) -> Claim:
        claim = self._rest.claim()
        snapshots = sorted({*self._archive.snapshots, *claim.snapshots})
        return replace(
            claim,
            snapshots=tuple(snapshots),
            archived=0,
            segments=self._archive.segments,
            begins=self._rest.begins,
        )

    def rows(self) -> Rows | None:
        return self._rest.rows()

    def pages(self, after_offset: int = 0) -> Iterator[list[Item]]:
        end = self._archive.last_offset
        if after_offset < end:
            yield from self._files.pages(after_offset)
        if end + 1 < self._rest.begins:
            said = (
                f"the archive {self._archive.path} ends at record {end}, and the database begins "
                f"at {self._rest.begins}"
            )
            yield [Flaw(Fault.MISSING, said)]
        yield from self._rest.pages(max(after_offset, end))

    def snapshots(self) -> list[Anchor]:
        return self._rest.snapshots()

    def hold(self, anchor: Anchor) -> None:
        self._rest.hold(anchor)

    def view_of(self, anchor: Anchor) -> View:
        return self._rest.view_of(anchor)

    def share_read(self, offset: int) -> float | None:
        return self._rest.share_read(offset)

    def close(self) -> None:
        self._files.close()
        self._rest.close()
