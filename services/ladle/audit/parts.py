"""`verify` on several cores: each process takes the records between two kept snapshots.

A part begins with the state that a snapshot holds and must come to the state that the next one was
anchored with, so what holds of all parts holds of the whole. Where any part finds anything, or
cannot check something, none of them counts: the journal is then verified in one pass, which tells.
"""

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, wait
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

from ladle.audit.collector import SELDOM
from ladle.audit.errors import SourceError
from ladle.audit.open import open_source
from ladle.audit.source import Source
from ladle.audit.verify import Check, Progress, Report, verify
from ladle.core.record import Record
from ladle.journal.snapshots import Anchor

LEAST_RECORDS = 5_000
"""A part of fewer is done about as soon as the view is made of the snapshot that it begins with."""

RECORDS_A_PIECE = 500
"""That are folded in the time that the rows in one piece of a snapshot's text take at the end."""

THREADS_END_S = 0.1
"""For how long a thread that ends is waited for before a process is forked beside it."""

SAY_EVERY_S = 1.0
"""While others are waited for."""


@dataclass(frozen=True, slots=True)
class Part:
    """Records behind `start` (None: from the first) up to `until` (None: to the end)."""

    start: Anchor | None
    until: Anchor | None


def cores() -> int:
    """Those that this process may use; not every system tells, which are then all it has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def verify_in_parts(
    given: str,
    archive: Path | None = None,
    progress: Progress = lambda records, share: None,
    *,
    jobs: int,
    least: int = LEAST_RECORDS,
) -> Report:
    """As `verify`, whose report it equals, in up to `jobs` processes. Raises SourceError.

    given, archive: as for `open_source`; each process opens it for itself.
    least: records that a part has at least, but for the last one.
    """
    started = time.perf_counter()
    report = None
    with closing(open_source(given, archive)) as source:
        parts = divided(source, jobs, least)
        if len(parts) == 1:
            report = verify(source, progress)
    if report is None:
        # Where this system lets nobody begin another process, or one dies, one pass does it all.
        # What a source refuses to a part is met again there, and told.
        with suppress(OSError, ImportError, BrokenExecutor, SourceError):
            report = _of_clean_parts(given, archive, parts, progress)
    if report is None:
        with closing(open_source(given, archive)) as source:
            report = verify(source, progress)
    report.seconds = time.perf_counter() - started
    return report


def _of_clean_parts(
    given: str, archive: Path | None, parts: list[Part], progress: Progress
) -> Report | None:
    """The report where every part is clean, the last one folded here, beside the view's rows."""
    with _processes(len(parts) - 1) as processes:
        others = [processes.fold(given, archive, part) for part in parts[:-1]]
        # Not before the others have begun: it has a thread, beside which no process is forked.
        with closing(open_source(given, archive)) as source:
            rows = source.rows()
            check = Check(Report(source.name), source.claim())
            report = check.report
            tell = processes.progress(progress, report, source)
            if not _fold(check, source, parts[-1], tell):
                return None
            before = _clean_ones(others, lambda: tell(report.records, None))
            if before is None:
                return None
            for each in reversed(before):
                check.absorb(each)
            check.end(rows)
            for finding in check.snapshots.kept(source):
                report.findings.add(finding)
            return report


def _clean_ones(
    others: "list[Future[Check | None]]", tell: Callable[[], None]
) -> list[Check] | None:
    """The checks of all other parts; None as soon as one is not clean."""
    found: list[Check] = []
    for other in others:
        while wait([other], SAY_EVERY_S).not_done:
            tell()
        # A process that failed, or that was killed for its memory, has checked nothing.
        check = None if other.exception() is not None else other.result()
        if check is None:
            return None
        found.append(check)
    return found


def divided(source: Source, jobs: int, least: int) -> list[Part]:
    """Parts as equal as the kept snapshots allow, in order, `jobs` of them at most."""
    claim = source.claim()
    cuts: list[Anchor] = []
    whole = not (claim.after_offset or claim.archived or claim.selected)
    if whole and claim.head is not None:
        kept = source.snapshots()
        # The last part is shorter: with it the view's rows are read and compared.
        pieces = kept[-1].parts - 1 if kept else 0
        length = claim.head.offset + RECORDS_A_PIECE * pieces
        for number in range(1, jobs):
            wanted = length * number // jobs
            best = min(kept, key=lambda each: abs(each.offset - wanted), default=None)
            if best and best.offset - (cuts[-1].offset if cuts else 0) >= least:
                cuts.append(best)
    return [Part(*ends) for ends in zip([None, *cuts], [*cuts, None], strict=True)]


def fold_part(given: str, archive: Path | None, part: Part, tell: Progress) -> Check | None:
    """The check of a part that ends at a snapshot; None where it is not clean."""
    assert part.until is not None
    try:
        source = open_source(given, archive)
        try:
            # A part does not come to the end that is told of the whole.
            check = Check(Report(source.name), replace(source.claim(), head=None))
            clean = _fold(check, source, part, tell)
        finally:
            source.close()
    except SourceError:
        return None  # In one pass it is met again, and told.
    view, walk, until = check.derivation.view, check.walk, part.until
    reached = (walk.offset, walk.hash, view.digest()) == (until.offset, until.hash, until.digest)
    # Its rows stay here: nobody needs them, and they are many.
    check.derivation.view = type(view)()
    return check if clean and reached else None


def _fold(check: Check, source: Source, part: Part, tell: Progress) -> bool:
    """Whether the part is clean."""
    try:
        for record in _records(source, part, tell, check.report):
            if part.start is None or record.offset > part.start.offset:
                check.record(record)
            elif (record.offset, record.hash) == (part.start.offset, part.start.hash):
                check.begin(record, part.start, source.view_of(part.start))
            else:
                return False
            if not check.is_clean:
                return False
    except _NoRecord:
        return False
    return True


class _NoRecord(Exception):
    """Something stands in the log that is no record."""


class _Stopped(Exception):
    """The other parts no longer matter."""


def _records(source: Source, part: Part, tell: Progress, report: Report) -> Iterator[Record]:
    """The record at `start` first, which tells term and time of those behind it."""
    begin = 0 if part.start is None else part.start.offset - 1
    for page in source.pages(begin):
        for item in page:
            if not isinstance(item, Record):
                raise _NoRecord
            if part.until is not None and item.offset > part.until.offset:
                return
            yield item
        tell(report.records, None)


class _Processes:
    """Parts in processes of their own; what each has read so far is counted in shared memory."""

    def __init__(self, count: int) -> None:
        context = get_context("fork" if _may_fork() else "spawn")
        # Without locks: a child that is killed while it holds one would be waited for.
        self._stop: Any = context.RawValue("b", 0)
        self._read: Any = context.RawArray("q", count)
        self._begun = 0
        self.pool = ProcessPoolExecutor(count, context, _in_child, (self._stop, self._read))

    def fold(self, given: str, archive: Path | None, part: Part) -> "Future[Check | None]":
        number, self._begun = self._begun, self._begun + 1
        return self.pool.submit(_fold_in_child, number, given, archive, part)

    def progress(self, progress: Progress, report: Report, source: Source) -> Progress:
        """Of all parts together."""
        claim = source.claim()
        end = claim.head.offset if claim.head is not None else 0

        def tell(records: int, share: float | None) -> None:
            records += sum(self._read)
            progress(records, records / end if end else None)

        return tell

    def close(self) -> None:
        self._stop.value = 1
        self.pool.shutdown(cancel_futures=True)


def _may_fork() -> bool:
    """A forked process has begun in milliseconds, and a new one when a thousand records are done.

    Only where no thread holds a lock that the child would find taken for ever; one that ends with
    its database is waited for.
    """
    if sys.platform != "linux":
        return False
    until = time.monotonic() + THREADS_END_S
    while threading.active_count() > 1 and time.monotonic() < until:
        time.sleep(0.001)
    return threading.active_count() == 1


@contextmanager
def _processes(count: int) -> Iterator[_Processes]:
    processes = _Processes(count)
    try:
        yield processes
    finally:
        processes.close()


_shared: list[Any] = []


def _in_child(*shared: Any) -> None:
    """Ctrl-C is the parent's to hear; it sets `stop`, and each child ends at its page's end."""
    _shared[:] = shared
    gc.set_threshold(*SELDOM)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    """A parent that is killed says nothing, and its children would stay for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _fold_in_child(number: int, given: str, archive: Path | None, part: Part) -> Check | None:
    stop, read = _shared

    def tell(records: int, share: float | None) -> None:
        read[number] = records
        if stop.value:
            raise _Stopped

    try:
        return fold_part(given, archive, part, tell)
    except _Stopped:
        return None
