"""Archive a journal's beginning: from the database into segments that the journal anchors.

The order is the guarantee. The records are written to segments, the segments are on the disk and
read back, the manifest lists them, a record with their digests is appended under a term of its
own; only then do records leave the database, the oldest first. A crash at any step leaves archive
and database together as the whole log, and the next run goes on.
Source: docs/adr/0034-archive-at-a-snapshot.md.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ladle.audit.archive_folder import ArchiveFolder, SegmentWriter
from ladle.audit.archive_lock import held
from ladle.audit.archivings import Archiving, anchored_files, last_archiving
from ladle.audit.checkpoint import Checkpoint
from ladle.audit.errors import Altered, Incomplete
from ladle.audit.export import snapshots_in
from ladle.audit.source import Segment
from ladle.audit.walk import Walk
from ladle.core.record import FIRST_PREV_HASH, Kind, Record
from ladle.core.rows import COLUMNS
from ladle.journal.alone import batch_of, take_term
from ladle.journal.fold import loaded
from ladle.journal.snapshots import BadSnapshot, anchored, text_of
from ladle.journal.store import Head, Store, StoreError
from ladle.journal.whose import cell_of
from ladle_contracts.clock import Clock

PAGE = 500
DROPPED_AT_ONCE = 5_000
"""Records that leave the database in one transaction: a writer waits for some milliseconds."""

SNAPSHOT_ADVICE = "`ladle db snapshot` makes one; it can be cut there as soon as it may"
WAIT_ADVICE = "sign a newer checkpoint, or let the service run on, and try again"
Progress = Callable[[int, int], None]
"""(records written, of how many)."""


class NothingToArchive(Exception):
    """No records may leave the database. said: why, and up to which one they might."""

    def __init__(self, said: str, advice: str) -> None:
        super().__init__(said)
        self.advice = advice


@dataclass(frozen=True, slots=True)
class Archived:
    """first_offset, last_offset: of the records that were archived now; the latter is the cut.

    said_by: the record that anchors them. dropped: records that left the database now, those that
    an earlier run had archived and left there included; where there were only those, all is said
    of that run. snapshots: dropped, below the cut.
    """

    first_offset: int
    last_offset: int
    said_by: int
    segments: tuple[Segment, ...]
    dropped: int
    snapshots: int


class Archiver:
    """Archives what may be. `holder` names this process in the lease, and no other one."""

    def __init__(
        self,
        store: Store,
        folder: Path,
        checkpoint: Checkpoint,
        *,
        clock: Clock,
        holder: str,
        through: int | None = None,
        progress: Progress = lambda records, of: None,
    ) -> None:
        self._store = store
        self._path = folder
        self._folder: ArchiveFolder  # Read once it is held.
        self._checkpoint = checkpoint
        self._clock = clock
        self._holder = holder
        self._cell: str  # Likewise.
        self._through = through
        self._progress = progress

    async def run(self) -> Archived:
        """Raises NothingToArchive, SourceError (the archive does not fit), StoreError, OSError.

        SourceError also where another process writes to the folder. Once more is always allowed.
        """
        with held(self._path, make=True):
            self._folder = ArchiveFolder(self._path)
            return await self._run()

    async def _run(self) -> Archived:
        self._cell = await cell_of(self._store)
        head = await self._store.head()
        told = await last_archiving(self._store)
        dropped, snapshots = await self._end_the_last(told) if told else (0, 0)
        after = Head(told.last_offset, told.hash, 0) if told else Head(0, FIRST_PREV_HASH, 0)
        await self._hold_together(after, head)
        try:
            cut = await self._cut(after.offset)
        except NothingToArchive:
            if told is None or not (dropped or snapshots):
                raise
            first, last = told.segments[0].first_offset, told.last_offset
            return Archived(first, last, told.said_by, told.segments, dropped, snapshots)
        segments = await self._write(after, cut)
        said_by = await self._say(head, cut, segments)
        self._folder.tidy()
        dropped += await self._drop(cut)
        snapshots += await self._drop_snapshots(cut)
        return Archived(after.offset + 1, cut, said_by, segments, dropped, snapshots)

    async def _end_the_last(self, told: Archiving) -> tuple[int, int]:
        """What the journal says is archived must be in this folder; the database lets go of it."""
        listed = {segment.first_offset for segment in self._folder.segments}
        for segment in told.segments:
            if segment.first_offset not in listed:
                raise Incomplete(
                    f"record {told.said_by} says that records up to {told.last_offset} are in an "
                    f"archive, and {self._folder.path} has no {segment.name}",
                    "name the folder of that archive",
                )
        self._folder.take_up(await anchored_files(self._store), self._cell)
        dropped, last = 0, told.last_offset
        if await self._begins() <= last:
            before = told.segments[0].first_offset - 1
            self._folder.read_back(before, None, Head(last, told.hash, 0))
            dropped = await self._drop(last)
        return dropped, await self._drop_snapshots(last)

    async def _hold_together(self, after: Head, head: Head) -> None:
        """The archive, the database and the checkpoint must be of one journal."""
        begins, end = await self._begins(), self._folder.last_offset
        if begins > after.offset + 1:
            raise Incomplete(
                f"the database begins at record {begins}, and no record says where those before it "
                "are",
                "was the database changed by hand? `ladle audit verify` tells more",
            )
        if end > after.offset:
            # A run that was ended before it was journaled: this one writes the files anew.
            last = await self._store.record(end)
            if last is None or last.hash != self._folder.hash:
                raise Altered(
                    f"{self._folder.path} ends at record {end}, which is not this journal's",
                    "it is another journal's archive, or the database was restored from a backup: "
                    "name a new folder",
                )
        if self._checkpoint.offset > head.offset:
            raise Incomplete(
                f"the journal ends at record {head.offset}, before the checkpoint at "
                f"{self._checkpoint.offset}",
                "was the database restored from a backup? give the whole of it",
            )

    async def _cut(self, after: int) -> int:
        """The newest record that may be the last of the archive, which has a good snapshot.

        There, so that the state of every record that stays can be folded without the archive.
        """
        limits = await self._limits()
        limit = min(limits.values())
        kept = set(await self._store.snapshots())
        for anchor in reversed(await anchored(self._store)):
            if not after < anchor.offset <= limit or anchor.offset not in kept:
                continue
            with suppress(BadSnapshot):
                text_of(await self._store.snapshot(anchor.offset), anchor)
                return anchor.offset
        why = min(limits, key=limits.__getitem__)
        if limit <= after:
            raise NothingToArchive(f"no record above {after} may be archived: {why}", WAIT_ADVICE)
        raise NothingToArchive(
            f"no good snapshot is among records {after + 1} to {limit} ({why})", SNAPSHOT_ADVICE
        )

    async def _limits(self) -> dict[str, int]:
        """Why records must stay -> the last one that need not."""
        state = await self._store.load()
        sent, signed = state.outbox.offset, self._checkpoint.offset
        limits = {
            f"the checkpoint signs record {signed}": signed,
            f"the broker has confirmed what was sent before record {sent}": sent - 1,
        }
        column = COLUMNS["request"].index("offset")
        answers = [int(row[column]) for row in state.tables["request"]]
        if answers:
            first = min(answers)
            limits[f"the request of record {first} may come again within ten minutes"] = first - 1
        if self._through is not None:
            limits[f"--through {self._through}"] = self._through
        return limits

    async def _write(self, after: Head, cut: int) -> tuple[Segment, ...]:
        """Segments with the records behind `after` up to the cut, on the disk and read back.

        The chain is followed on to the checkpoint, which signs what is archived by it alone.
        """
        folder = self._folder
        writer = SegmentWriter(folder.path)
        snapshots = [*folder.snapshots]
        hash_ = ""
        try:
            async for records in self._chained(after):
                records = [record for record in records if record.offset <= cut]
                if records:
                    writer.add(records)
                    snapshots += snapshots_in(records)
                    hash_ = records[-1].hash
                    self._progress(records[-1].offset - after.offset, cut - after.offset)
            made = writer.finish()
        finally:
            writer.abandon()
        before = [each for each in folder.segments if each.last_offset <= after.offset]
        folder.write([*before, *made], sorted({*snapshots}), hash_, self._cell)
        folder.read_back(after.offset, after.hash, Head(cut, hash_, 0))
        return tuple(made)

    async def _chained(self, after: Head) -> AsyncIterator[list[Record]]:
        """Records behind `after` up to the checkpoint's, whose chain holds."""
        signed = self._checkpoint
        walk = Walk(after.offset, after.hash)
        while walk.offset < signed.offset:
            limit = min(PAGE, signed.offset - walk.offset)
            records = await self._store.records(walk.offset, limit)
            for record in records:
                for finding in walk.step(record):
                    said = f"record {finding.offset}: {finding.said}"
                    raise Altered(said, "`ladle audit verify` tells all that is wrong with it")
            if walk.gaps.records or not records:
                said = f"records are missing behind record {after.offset}"
                raise Incomplete(said, "`ladle audit verify` tells which")
            if walk.offset == signed.offset and walk.hash != signed.hash:
                raise Altered(
                    f"record {signed.offset} is not the one that the checkpoint signs",
                    "the journal was rewritten, or the checkpoint is another journal's",
                )
            yield records

    async def _say(self, head: Head, cut: int, segments: tuple[Segment, ...]) -> int:
        """Append the record that anchors the segments; its offset.

        head: of the journal before anything of the archive was read.
        """
        lease = await take_term(self._store, self._clock, self._holder)
        try:
            meanwhile = await self._store.history(
                after_offset=head.offset, limit=1, kinds=(Kind.ERASED.value, Kind.ARCHIVED.value)
            )
            if meanwhile:
                # The segments may have what was erased, or lie in another folder by now; the next
                # run writes them as they must be then.
                erased = meanwhile[0].kind == Kind.ERASED
                what = "a room was erased" if erased else "records were archived"
                raise NothingToArchive(f"{what} meanwhile", "run it again")
            state = await self._store.load()
            payload: dict[str, Any] = {
                "last_offset": cut,
                "hash": self._folder.hash,
                "segments": [asdict(segment) for segment in segments],
                "checkpoint": self._checkpoint.as_dict(),
            }
            view = loaded(state)
            batch = batch_of(view, state.head, lease, self._clock, Kind.ARCHIVED, payload)
            await self._store.append(lease, batch)
            return batch.records[0].offset
        finally:
            with suppress(StoreError):
                await self._store.give_up(lease)

    async def _drop(self, upto: int) -> int:
        """Take records out of the database, some thousand at a time, the oldest first."""
        first = await self._begins()
        for end in range(first + DROPPED_AT_ONCE - 1, upto + DROPPED_AT_ONCE, DROPPED_AT_ONCE):
            await self._store.drop_records(min(end, upto))
        return max(0, upto - first + 1)

    async def _drop_snapshots(self, cut: int) -> int:
        """Their anchors are in the archive; the one at the cut stays."""
        below = [offset for offset in await self._store.snapshots() if offset < cut]
        for offset in below:
            await self._store.drop_snapshot(offset)
        return len(below)

    async def _begins(self) -> int:
        first = await self._store.records(0, 1)
        return first[0].offset if first else 1
