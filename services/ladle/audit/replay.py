"""The journal folded to a moment: the state as it was, from the records alone.

Nothing is decided again; the recorded outcomes are taken. The chain is held on the way, so a state
that is shown was written so.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from ladle.audit.derive import CHANGES_KEPT
from ladle.audit.errors import Altered, BadSource, Incomplete
from ladle.audit.export_rows import Moment
from ladle.audit.source import Fault, Flaw, Source
from ladle.audit.verify import Progress, refuse_unknown
from ladle.audit.walk import Walk, is_erased
from ladle.core.apply import apply
from ladle.core.record import Record
from ladle.core.view import View
from ladle.journal.chain import Opened, open_record
from ladle.journal.snapshots import Anchor

VERIFY_ADVICE = "`ladle audit verify` says all that is wrong with it"
WHOLE_ADVICE = "give the journal, or a complete export of it"
ARCHIVE_ADVICE = "give the folder of the archive as well, with --archive"


class Replay:
    """The view of a source, going forward only. `to`, or `steps` record by record.

    near: the first moment that is wanted; the replay may then start from a snapshot below it.
    start: that snapshot, if one was taken. Raises SourceError where a record is missing, changed,
    erased or unknown.
    """

    def __init__(
        self,
        source: Source,
        progress: Progress = lambda records, share: None,
        *,
        near: Moment | None = None,
    ) -> None:
        claim = source.claim()
        if claim.after_offset or claim.selected is not None:
            raise Incomplete(
                f"{source.name} holds a part of a journal: no state can be folded from it",
                WHOLE_ADVICE,
            )
        self.view = View()
        self._source = source
        self._progress = progress
        self._walk = Walk(claim.after_offset, claim.after_hash)
        self.start: Anchor | None = None
        if near is not None:
            self._start_near(near)
        self._records = self._checked()
        self._next: Record | None = next(self._records, None)
        self._opened: Opened | None = None

    def _start_near(self, moment: Moment) -> None:
        """Begin at the newest good snapshot that is not past the moment; at the log's if none."""
        for anchor in reversed(self._source.snapshots()):
            if _is_past(anchor, moment):
                continue
            try:
                view = self._source.view_of(anchor)
            except Altered:
                continue  # `verify` tells; an older one, or the log from its beginning, will do.
            self._follow_to_its_anchor(anchor)
            self.view, self.start = view, anchor
            self._walk = Walk(anchor.offset, anchor.hash)
            return

    def _follow_to_its_anchor(self, anchor: Anchor) -> None:
        """The chain from the snapshot's record to the one that anchors it: a few hundred links.

        Without it, a made-up anchor would do for a state that never was.
        """
        walk = Walk(anchor.offset, anchor.hash)
        for page in self._source.pages(anchor.offset):
            for item in page:
                if isinstance(item, Flaw):
                    raise _refusal(item)
                for finding in walk.step(item):
                    raise Altered(f"record {finding.offset}: {finding.said}", VERIFY_ADVICE)
                if item.offset >= anchor.anchored_at:
                    return

    def to(self, moment: Moment) -> None:
        """Fold all records up to this one, or up to this time; Incomplete for an offset past it."""
        if moment.offset is not None and moment.offset < self.view.offset:
            raise BadSource("the replay only goes forward", "name the earlier moment first")
        while self._next is not None and not _is_past(self._next, moment):
            self.fold()
        if moment.offset is not None and moment.offset > self.view.offset:
            raise Incomplete(
                f"{self._source.name} ends at record {self.view.offset}, before {moment.offset}",
                "name an offset that it has, or a time",
            )

    def steps(self) -> Iterator[tuple[Record, Opened]]:
        """Fold record after record to the end; the view stands at the one that is given."""
        while self._next is not None:
            record = self._next
            yield record, self.fold()

    def peek(self) -> Opened | None:
        """What `fold` would fold next, the view as it is before it; None at the end."""
        if self._next is not None and self._opened is None:
            with _folding(self._next):
                self._opened = open_record(self._next)
        return self._opened

    def fold(self) -> Opened:
        """Fold the next record; the view's changes hold at least those of this one."""
        record, opened = self._next, self.peek()
        assert record is not None, "there is no record left"
        assert opened is not None
        if record.offset % CHANGES_KEPT == 0:
            self.view.take_changes()
        with _folding(record):
            apply(self.view, opened.entry, opened.outcome)
        self._next, self._opened = next(self._records, None), None
        return opened

    def _checked(self) -> Iterator[Record]:
        count = 0
        for page in self._source.pages(self._walk.offset):
            for item in page:
                if isinstance(item, Flaw):
                    raise _refusal(item)
                self._check(item)
                yield item
            count += len(page)
            self._progress(count, self._source.share_read(self._walk.offset))

    def _check(self, record: Record) -> None:
        expected = self._walk.offset + 1
        for finding in self._walk.step(record):
            raise Altered(f"record {finding.offset}: {finding.said}", VERIFY_ADVICE)
        if self._walk.gaps.records:
            said = f"records {expected} to {record.offset - 1} are missing"
            archived = record.offset - 1 <= self._source.claim().archived
            advice = ARCHIVE_ADVICE if archived else WHOLE_ADVICE
            raise Incomplete(f"{self._source.name}: {said}", advice)
        refuse_unknown(record)
        if is_erased(record):
            raise Incomplete(
                f"the content of record {record.offset} was erased: no state from there on can be "
                "folded",
                f"ask for a moment before it: {record.offset - 1} is the last",
            )


@contextmanager
def _folding(record: Record) -> Iterator[None]:
    """Whatever stands in a record: it is the source that is wrong, not the audit."""
    try:
        yield
    except Exception as error:
        said = f"record {record.offset} cannot be folded: {type(error).__name__}: {error}"
        raise Altered(said, VERIFY_ADVICE) from error


def _is_past(record: Record | Anchor, moment: Moment) -> bool:
    if moment.offset is not None:
        return record.offset > moment.offset
    return moment.unix_ms is not None and record.recorded_at_ms > moment.unix_ms


def _refusal(flaw: Flaw) -> Altered | Incomplete:
    if flaw.fault in (Fault.TORN, Fault.MISSING):
        return Incomplete(flaw.said, "get it from another copy, or export it again")
    return Altered(flaw.said, VERIFY_ADVICE)
