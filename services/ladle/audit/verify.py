"""`ladle audit verify`: everything that must hold of a journal, in one pass.

The first difference is reported in full and the others are counted; missing records and what could
not be checked are told apart from what is wrong.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import orjson

from ladle.audit.archivings import ArchiveCheck
from ladle.audit.derive import Derivation
from ladle.audit.erasures import Erasures
from ladle.audit.errors import INCOMPLETE, VERIFIED, VIOLATION, Unreadable
from ladle.audit.finding import Finding, Findings, Law
from ladle.audit.rows import differing_rows
from ladle.audit.snapshots import SnapshotCheck
from ladle.audit.source import Claim, Fault, Flaw, Item, Rows, Source
from ladle.audit.walk import Gaps, Walk, is_erased
from ladle.audit.witness import Witness
from ladle.core.limits import RULES
from ladle.core.record import FIRST_PREV_HASH, SCHEMA_VERSION, Kind, Record, digest_of
from ladle.core.view import View
from ladle.journal.chain import content_of, rehash
from ladle.journal.snapshots import Anchor
from ladle.journal.store import Head
from ladle.journal.upcasting import is_known

KINDS = frozenset(kind.value for kind in Kind)
START = Head(0, FIRST_PREV_HASH, 0)
FILE_ADVICE = "audit it with the Ladle that wrote it, or a newer one"

Progress = Callable[[int, float | None], None]
"""(records read, share of the whole from 0 to 1 or None)."""


@dataclass(slots=True)
class Report:
    """What was found. head: the last record that was read.

    derived: records that the core derived again; erased: whose content was taken away.
    rows: rows of the view that were compared; None where they were not.
    snapshots: anchors of snapshots that were held against the fold.
    segments: files of the archive that were held against the records that anchor them.
    heard: events that the stream has as well; None where it was not asked.
    missing: ends and pieces that are not there, each a sentence. unchecked: likewise.
    """

    source: str
    records: int = 0
    head: Head = START
    derived: int = 0
    erased: int = 0
    rows: int | None = None
    snapshots: int = 0
    segments: int = 0
    heard: int | None = None
    findings: Findings = field(default_factory=Findings)
    gaps: Gaps = field(default_factory=Gaps)
    missing: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """What is wrong outweighs what is missing: a gap may be an accident."""
        if self.findings.count:
            return VIOLATION
        return INCOMPLETE if self.missing or self.gaps.records else VERIFIED


def verify(
    source: Source,
    progress: Progress = lambda records, share: None,
    *,
    hear: Callable[[], Witness] | None = None,
) -> Report:
    """Check the whole source; O(records) time, O(view) memory. Raises SourceError.

    hear: makes a witness of the broker's stream, once the end of the source is fixed: what the
        source has was on the stream before.
    """
    started = time.perf_counter()
    report = Report(source.name)
    rows = source.rows()
    claim = source.claim()
    check = Check(report, claim, hear() if hear else None)
    for page in source.pages():
        for item in page:
            check.item(item)
        progress(report.records, source.share_read(check.walk.offset))
    check.end(rows)
    for finding in check.snapshots.kept(source):
        report.findings.add(finding)
    report.seconds = time.perf_counter() - started
    return report


class Check:
    """One pass: the walk along the chain, and the derivation beside it."""

    def __init__(self, report: Report, claim: Claim, witness: Witness | None = None) -> None:
        self.report = report
        self.claim = claim
        self.walk = Walk(claim.after_offset, claim.after_hash, sparse=claim.selected is not None)
        self.walk.gaps = report.gaps
        self.derivation = Derivation()
        self.erasures = Erasures()
        self.snapshots = SnapshotCheck(claim.snapshots)
        self.archive = ArchiveCheck(claim)
        self.witness = witness
        if claim.after_offset:
            first = claim.after_offset + 1
            self.derivation.stop(first, f"it begins at record {first}, without those before it")
        elif claim.selected is not None:
            self.derivation.stop(1, f"it holds a selection ({claim.selected})")

    def begin(self, record: Record, anchor: Anchor, view: View) -> None:
        """Go on behind `record`, with the view of the snapshot that was made there.

        The record itself is held against the chain, and neither counted nor derived.
        """
        self.walk = Walk(record.offset - 1, None, sparse=self.claim.selected is not None)
        self.walk.gaps = self.report.gaps
        for finding in self.walk.step(record):
            self.report.findings.add(finding)
        self.derivation.view = view
        self.snapshots.took(anchor)

    @property
    def is_clean(self) -> bool:
        """So far everything was there, could be checked, and holds."""
        report = self.report
        doubts = report.findings.count or report.gaps.records or report.erased or report.missing
        known = self.derivation.stopped is None and self.snapshots.passed_over is None
        return known and not doubts

    def absorb(self, before: "Check") -> None:
        """Add what was counted by the clean check of a part before this one."""
        report, other = self.report, before.report
        report.records += other.records
        self.derivation.records += before.derivation.records
        self.snapshots.compared += before.snapshots.compared
        self.archive.absorb(before.archive)

    def item(self, item: Item) -> None:
        if isinstance(item, Record):
            self.record(item)
        else:
            self.flaw(item)

    def flaw(self, flaw: Flaw) -> None:
        if flaw.fault in (Fault.TORN, Fault.MISSING):
            self.report.missing.append(flaw.said)
            return
        offset = None
        if flaw.fault is Fault.DAMAGED:
            self.walk.skip_damaged()
            offset = self.walk.offset
            self.derivation.stop(offset, "it cannot be read")
        self.report.findings.add(Finding(Law.READABLE, offset, flaw.said))

    def record(self, record: Record) -> None:
        report, walk = self.report, self.walk
        before, gaps, count = walk.offset, walk.gaps.records, report.findings.count
        for finding in walk.step(record):
            report.findings.add(finding)
        if report.findings.count == count:
            refuse_unknown(record)
        report.records += 1
        if walk.gaps.records > gaps:
            self.derivation.stop(record.offset, f"record {before + 1} is missing before it")
        if is_erased(record):
            report.erased += 1
            self.erasures.saw(walk.offset)
            self.derivation.stop(record.offset, "its content was erased")
        elif record.kind == Kind.ERASED:
            self._answered(record)
        if walk.offset == before:
            return  # Out of order: the state before it is not the present one.
        if record.offset != walk.offset:
            # The offset is what was changed; the walk knows where the record belongs.
            record = replace(record, offset=walk.offset)
        for finding in self.derivation.step(record):
            report.findings.add(finding)
        if self.derivation.stopped is None:
            self.snapshots.note(self.derivation.view, record)
        self._keeping(record)

        if self.witness is not None:
            for finding in self.witness.record(record):
                report.findings.add(finding)

    def _keeping(self, record: Record) -> None:
        """What a record says of how the journal is kept."""
        if record.kind == Kind.SNAPSHOT:
            for finding in self.snapshots.anchor(record):
                self.report.findings.add(finding)
        elif record.kind == Kind.ARCHIVED and not is_erased(record):
            for finding in self.archive.record(record):
                self.report.findings.add(finding)

    def _answered(self, record: Record) -> None:
        try:
            self.erasures.named(content_of(record)["payload"])
        except (ValueError, KeyError, TypeError) as error:
            said = f"it does not name the records that it erased: {error}"
            self.report.findings.add(Finding(Law.BODY, record.offset, said))

    def end(self, rows: Rows | None) -> None:
        """What only the end shows: a missing tail, the tables, what could not be checked."""
        report, walk = self.report, self.walk
        report.head = walk.head
        report.derived = self.derivation.records
        self._head()
        self._archive()
        report.snapshots = self.snapshots.compared
        if self.snapshots.passed_over:
            report.unchecked.append(self.snapshots.passed_over)
        if self.derivation.stopped is not None:
            offset, why = self.derivation.stopped
            last = f" to {walk.offset}" if walk.offset > offset else ""
            report.unchecked.append(
                f"decisions and outcomes from record {offset}{last} were not derived again, only "
                f"the chain was checked: {offset} is where {why}"
                if offset <= walk.offset
                else f"decisions and outcomes were not derived again: {why}"
            )
        if report.erased:
            report.unchecked.append(
                f"the content of {report.erased} records was erased; their digests stand"
            )
            self._erased()
        if self.claim.untold is not None:
            report.unchecked.append(self.claim.untold)
        if rows is not None:
            self._rows(rows)
        if self.witness is not None:
            self._against_stream(self.witness, rows)

    def _against_stream(self, witness: Witness, rows: Rows | None) -> None:
        report, outbox = self.report, rows.snapshot.outbox if rows is not None else None
        for finding in witness.end(self.claim, self.walk.head, outbox):
            report.findings.add(finding)
        report.unchecked.extend(witness.unchecked())
        report.heard = witness.compared
        if witness.is_a_stranger:
            report.missing.append(
                "the journal and the stream have no event in common: is it the broker of this "
                "cell? LADLE_AMQP_URL and LADLE_CELL say which"
            )

    def _archive(self) -> None:
        report, archived = self.report, self.claim.archived
        if archived:
            report.missing.append(
                f"records 1 to {archived} were moved to an archive, as the journal says: give its "
                "folder with --archive"
            )
        for finding in self.archive.end():
            report.findings.add(finding)
        report.segments = self.archive.compared

    def _erased(self) -> None:
        """Content that is missing was erased if a record says so, and else taken away.

        A source without any content is a redacted one: nothing in it could say so. Neither can
        one that was filtered, or that has lost records.
        """
        report = self.report
        partial = self.claim.selected is not None or report.gaps.records or report.missing
        if report.erased == report.records or partial:
            said = "whether a record answers for each erasure was not checked: "
            why = "records are left out" if partial else "it is redacted"
            report.unchecked.append(said + why)
            return
        unanswered = self.erasures.unanswered()
        if unanswered and (self.claim.goes_on or self.claim.untold is not None):
            count = sum(last - first + 1 for first, last in unanswered)
            where = "the archive's" if self.claim.goes_on else "its"
            what = "the database as well" if self.claim.goes_on else "the whole of it"
            report.unchecked.append(
                f"no record here says that the content of {count} records was erased: one behind "
                f"{where} end must; give {what}"
            )
            return
        for first, last in unanswered:
            records = records_named(first, last)
            said = f"the content of {records} is gone, and no record says that it was erased"
            report.findings.add(Finding(Law.ERASED, first, said, "body"))

    def _head(self) -> None:
        """The end that was told beforehand, by a manifest or the database."""
        head, walk, origin = self.claim.head, self.walk, self.claim.origin
        # Of a selection, whose offsets skip anyhow, nothing but the manifest tells of a gap.
        for first, last in origin.gaps if origin and self.claim.selected is not None else ():
            self.report.missing.append(
                f"the journal that it is from did not have {records_named(first, last)}"
            )
        if self.claim.lacks is not None:
            self.report.missing.append(f"{self.claim.lacks.said}: {self.claim.lacks.advice}")
        if head is None:
            return
        if walk.offset < head.offset:
            missing = head.offset - walk.offset
            self.report.missing.append(
                f"it ends at record {walk.offset}, and should end at {head.offset}: the last "
                f"{missing} are missing"
            )
        elif (walk.offset, walk.hash) != (head.offset, head.hash):
            said = "it does not end with the record that was told beforehand"
            self.report.findings.add(
                Finding(Law.HEAD, walk.offset, said, "hash", walk.hash, head.hash)
            )

    def _rows(self, rows: Rows) -> None:
        report, head = self.report, rows.snapshot.head
        ahead = max(rows.newest_offset, rows.snapshot.outbox.offset)
        if ahead > head.offset:
            report.missing.append(
                f"the journal ends at record {head.offset}, and the tables know of {ahead}: its "
                "tail is lost"
            )
        if rows.newest_offset > head.offset:
            report.unchecked.append("the view's tables were not compared: they show a later state")
            return
        view = self.derivation.view
        if self.derivation.stopped is not None or view.offset != head.offset:
            report.unchecked.append("the view's tables were not compared: the fold is not whole")
            return
        report.rows = sum(len(table) for table in rows.snapshot.tables.values())
        for finding in differing_rows(view, rows):
            report.findings.add(finding)


def records_named(first: int, last: int) -> str:
    """`record 5`, `records 5 to 9`."""
    return f"records {first} to {last}" if last > first else f"record {first}"


def refuse_unknown(record: Record) -> None:
    """Raise Unreadable for a record that is whole, and of a kind or version that is not known.

    From a record on that names a newer edition of the rules, outcomes cannot be derived either.
    """
    known = is_known(record.schema_version) and record.kind in KINDS
    if not known and rehash(record) == record.hash:
        raise Unreadable(
            f"record {record.offset} is of kind {record.kind!r}, schema version "
            f"{record.schema_version}; this program knows up to version {SCHEMA_VERSION}",
            FILE_ADVICE,
        )
    edition = edition_in(record) if record.kind == Kind.SETTINGS else 0
    if edition > RULES and digest_of(record.salt, record.body) == record.body_digest:
        raise Unreadable(
            f"from record {record.offset} on edition {edition} of the rules decides; this "
            f"program knows up to edition {RULES}",
            FILE_ADVICE,
        )


def edition_in(record: Record) -> int:
    """The edition of the rules that a record of settings names; 0 where it names none."""
    try:
        edition = orjson.loads(record.body)["payload"].get("rules", 0)
    except (ValueError, LookupError, TypeError, AttributeError):
        return 0  # Erased, or no body of Ladle's: that is found out elsewhere.
    return edition if isinstance(edition, int) else 0
