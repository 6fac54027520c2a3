"""What the audit commands share: `--source`, its failures as exit codes, progress on long reads."""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from ladle.commands.output import fail, say

if TYPE_CHECKING:
    from ladle.audit.source import Item, Source
    from ladle.core.record import Record

SOURCE_HELP = (
    "A database URL or file, an export or its folder; for verify, timeline and export a broker's "
    "amqp:// URL as well. LADLE_DATABASE_URL if not given."
)
SourceOption = Annotated[str | None, typer.Option("--source", metavar="SOURCE", help=SOURCE_HELP)]
ArchiveOption = Annotated[
    Path | None,
    typer.Option(
        "--archive", metavar="FOLDER", help="The beginning of the journal, from `ladle db archive`."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

_NAMES = {1: "violation", 2: "usage", 3: "unreadable", 4: "incomplete", 5: "unreachable"}
USAGE = 2
SAY_EVERY_S = 2.0
VERIFY_ADVICE = "`ladle audit verify` tells all that is wrong with it"


def fail_audit(code: int, said: str, advice: str) -> NoReturn:
    """Leave with one of the audit's exit codes (docs/audit-export.md); never returns."""
    fail(code, said, advice, error={"code": _NAMES[code]})


def default_source() -> str:
    """LADLE_DATABASE_URL, or what it is without."""
    from ladle.placement.settings import PlacementSettings

    return PlacementSettings().database


@contextmanager
def opened(
    given: str | None, archive: Path | None = None, *, with_lacks: bool = False
) -> "Iterator[Source]":
    """The source, closed afterwards; what keeps it from being read ends the command.

    with_lacks: also one that may have lost anything, as `verify` reads it to say what is there.
    """
    from ladle.audit.open import open_source

    with reading(), closing(open_source(given or default_source(), archive)) as source:
        lacks = source.claim().lacks
        if lacks is not None and not with_lacks:
            raise lacks
        yield source


@contextmanager
def reading() -> "Iterator[None]":
    """What keeps a source from being read ends the command."""
    from ladle.audit.collector import collecting_seldom
    from ladle.audit.errors import SourceError

    try:
        with collecting_seldom():
            yield
    except SourceError as error:
        fail_audit(error.exit_code, error.said, error.advice)


def cell_of(source: "Source", *, refuse_other: bool = False) -> str:
    """The cell whose journal it is, as the journal says; LADLE_CELL where nobody else tells.

    refuse_other: end the command where LADLE_CELL is set and says otherwise.
    """
    from ladle.audit.whose import cell_of as told_by
    from ladle_contracts.settings import ClientSettings

    theirs, settings = told_by(source), ClientSettings()
    if theirs is None:
        return settings.cell
    if refuse_other and "cell" in settings.model_fields_set and settings.cell != theirs:
        fail_audit(
            USAGE,
            f"{source.name} holds the journal of cell {theirs}, and LADLE_CELL says "
            f"{settings.cell}",
            "name the journal of that cell with --source, or the journal's cell in LADLE_CELL",
        )
    return theirs


def records_of(items: "Sequence[Item]") -> "list[Record]":
    """The records of a page; a place that holds none ends the command: nothing is skipped."""
    from ladle.audit.errors import Altered, Incomplete
    from ladle.audit.source import Fault
    from ladle.core.record import Record

    records = []
    for item in items:
        if not isinstance(item, Record):
            lacks = item.fault in (Fault.TORN, Fault.MISSING)
            raise (Incomplete if lacks else Altered)(item.said, VERIFY_ADVICE)
        records.append(item)
    return records


class Progress:
    """Records so far, records a second and the time left, now and then on standard error."""

    def __init__(self, what: str = "records") -> None:
        self._what = what
        self._started = self._said = time.monotonic()

    def __call__(self, records: int, share: float | None) -> None:
        """share: of the whole that was read, 0 to 1; None where nobody knows."""
        now = time.monotonic()
        if now - self._said < SAY_EVERY_S:
            return
        self._said = now
        spent = now - self._started
        left = f", {spent / share - spent:,.0f} s left" if share else ""
        say(f"{records:,} {self._what}, {records / spent:,.0f}/s{left}")
