"""How a run of the fleet shows: one line while it goes on, a few at its end."""

import logging
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, TextIO

from rich.table import Table

from ladle.commands.output import err, show

if TYPE_CHECKING:
    from ladle.fleet.report import Incidents, Report
    from ladle.fleet.run import Progress

LINE_EVERY_S = 10.0
"""Progress where standard error is no terminal: a line now and then, not a flicker."""


class ProgressLine(logging.Handler):
    """On a terminal a line that is written over, elsewhere a line every ten seconds."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__(logging.WARNING)
        self._stream = stream or sys.stderr
        # A dumb terminal would show the signs that take it back to the line's beginning.
        self._terminal = self._stream.isatty() and not err.is_dumb_terminal
        self._told_at = -LINE_EVERY_S
        self._open = False

    def tell(self, progress: "Progress") -> None:
        line = progress_text(progress)
        if self._terminal:
            # One cell less than the width, or the cursor would wrap to the next line.
            self._stream.write(f"\r{line[: err.width - 1]}\x1b[K")
            self._open = True
        elif time.monotonic() - self._told_at >= LINE_EVERY_S:
            self._told_at = time.monotonic()
            self._stream.write(f"{line}\n")
        self._stream.flush()

    def emit(self, record: logging.LogRecord) -> None:
        """A warning of the run stands above the line, which goes on below it."""
        if self._open:
            self._stream.write("\r\x1b[K")
        self._stream.write(f"{record.getMessage()}\n")
        self._stream.flush()

    def end(self) -> None:
        """Leave the line; what follows begins a new one."""
        if self._open:
            self._stream.write("\n")
            self._stream.flush()
            self._open = False


def progress_text(progress: "Progress") -> str:
    """What matters first: narrow terminals cut off the end."""
    parts = [
        f"{progress.phase} {progress.elapsed_s:.0f} s",
        f"{progress.servers_running}/{progress.servers} servers",
        f"{progress.rooms} rooms",
        f"{progress.peers} peers",
        f"{progress.asked} asked",
    ]
    if progress.differences is not None:
        parts.insert(1, f"{progress.differences} differences")
    if progress.errors:
        parts.insert(1, f"{progress.errors} errors")
    for count, word in ((progress.refused, "refused"), (progress.moved, "moved")):
        if count:
            parts.append(f"{count} {word}")
    return "  ".join(parts)


def print_report(report: "Report") -> None:
    """The end of a run for a person."""
    asked, service = report.allocations, report.service
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bright_black", no_wrap=True)
    table.add_column()
    errors = f"[bold red]{asked.errors} errors[/]" if asked.errors else "0 errors"
    table.add_row(
        "asked",
        f"{asked.attempted}: {asked.placed} placed, {asked.existing} existing, "
        f"{asked.moved} moved, {asked.refused} refused, {errors}",
    )
    if report.refusals:
        table.add_row("refused as", counted(report.refusals))
    table.add_row("answered in", f"p50 {report.latency_p50_ms} ms, p99 {report.latency_p99_ms} ms")
    counts = "the service's counts: not read"
    if service is not None:
        counts = (
            f"the service applied {service.applied}, knew {service.duplicate} already, "
            f"refused {service.dead}"
        )
    table.add_row("events", f"{report.events_published} published; {counts}")
    if said := counted(_incidents(report.incidents)):
        table.add_row("incidents", said)
    show(table)
    if report.comparison is None:
        show("[bold red]the view was not read[/], and not compared with the fleet")
    elif report.view_matches_fleet:
        show(f"[green]the view matches the fleet[/] at journal offset {report.comparison.offset}")
    else:
        show("[bold red]the view differs from the fleet[/]")
    for sentence in report.sentences():
        show(f"  {sentence}", markup=False)


def _incidents(incidents: "Incidents") -> dict[str, int]:
    return {
        "crashes": incidents.crashes,
        "worker deaths": incidents.worker_deaths,
        "deploys": incidents.deploys,
        "partitions": incidents.partitions,
        "rooms lost": incidents.rooms_lost,
        "rooms closed as told": incidents.rooms_closed_as_told,
    }


def counted(counts: Mapping[str, int]) -> str:
    """`2 crashes, 5 rooms lost`: what happened at all, in order."""
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count)
