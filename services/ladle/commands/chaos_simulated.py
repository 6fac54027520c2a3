"""`ladle chaos --simulated`: many seeds on all cores, each failing one made smaller and told how to
repeat it."""

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING

import typer
from rich.table import Table

from ladle.commands.output import NO, USAGE, fail, print_json, say, show

if TYPE_CHECKING:
    from ladle.chaos.simulated.report import SimulationReport
    from ladle.chaos.simulated.simulation import Outcome

NO_FAULTS = "none"
PROGRESS_EVERY = 25
SHRUNK_MAX = 5
"""Of more failing seeds the rest is reported as it ran: most share one cause."""


def chaos_simulated(
    *, first: int, seeds: int, steps: int | None, only: str | None, jobs: int, json_: bool
) -> None:
    """Run them, print the report; exit 1 where a law was broken."""
    from ladle.chaos.simulated.simulation import STEPS

    kinds = None if only is None else kinds_of(only)
    report = simulate_seeds(
        range(first, first + seeds), STEPS if steps is None else steps, kinds, jobs
    )
    if json_:
        print_json(report.as_json())
    else:
        _print(report)
    if report.broken:
        raise typer.Exit(NO)


def kinds_of(only: str) -> tuple[str, ...]:
    """The kinds of faults that a comma-separated list names."""
    from ladle.chaos.simulated.faults import Fault

    names = tuple(name for name in only.split(",") if name and name != NO_FAULTS)
    if unknown := sorted(set(names) - {fault.value for fault in Fault}):
        known = ", ".join(fault.value for fault in Fault)
        fail(USAGE, f"--only: no such kind: {', '.join(unknown)}", f"one or more of {known}")
    return names


def run_seed(seed: int, steps: int, kinds: Sequence[str] | None) -> "Outcome":
    """One seed, in this process."""
    from ladle.chaos.simulated.faults import Fault
    from ladle.chaos.simulated.simulation import simulate
    from ladle.commands.simulated_service import PROGRAMS

    only = None if kinds is None else [Fault(kind) for kind in kinds]
    return simulate(seed, PROGRAMS, steps=steps, only=only)


def shrunk(failed: "Outcome") -> "Outcome":
    """The smallest run of that seed that breaks the same law, in this process."""
    from ladle.chaos.simulated.shrink import shrink

    return shrink(failed, partial(run_seed, failed.seed))


def simulate_seeds(
    seeds: Sequence[int], steps: int, kinds: Sequence[str] | None, jobs: int
) -> "SimulationReport":
    """All of them, `jobs` at a time, and what they came to."""
    from ladle.chaos.simulated.report import SimulationReport, command_of

    report, failed = SimulationReport(seeds[0]), list["Outcome"]()
    with _workers(min(jobs, len(seeds))) as each:
        for outcome in each(partial(run_seed, steps=steps, kinds=kinds), seeds):
            report.add(outcome)
            if outcome.violation is not None:
                failed.append(outcome)
                say(f"seed {outcome.seed}: {outcome.violation[0]}: {outcome.violation[1]}")
                # Now: what is to come may take hours, and may be interrupted.
                say(f"  again: {command_of(outcome)}")
            if report.seeds % PROGRESS_EVERY == 0:
                say(f"{report.seeds} of {len(seeds)} seeds, {len(failed)} broke a law")
        if failed:
            say("making the failing runs smaller")
        smallest = list(each(shrunk, failed[:SHRUNK_MAX]))
    report.found([*smallest, *failed[SHRUNK_MAX:]])
    return report


@contextmanager
def _workers(jobs: int) -> Iterator[Callable[..., Iterator["Outcome"]]]:
    """A `map` over so many processes, or in this one. New ones, not forked: this one may have
    threads. A seed decides what all of its process draws, so one process runs one at a time."""
    if jobs == 1:
        yield map
        return
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), signal.signal, _NO_INTERRUPT)
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)


_NO_INTERRUPT = (signal.SIGINT, signal.SIG_IGN)
"""Ctrl-C is the parent's to hear; each process ends with the seed that it is at."""


def _print(report: "SimulationReport") -> None:
    said = report.as_json()
    table = Table(box=None, padding=(0, 2), show_header=False)
    table.add_row("seeds", f"{said['seeds']:,}, from {said['first']}")
    table.add_row("simulated", f"{said['simulated_hours']:,} hours")
    for name in ("records", "commits", "terms", "events"):
        table.add_row(name, f"{said[name]:,}")
    for name in ("attempted", "acknowledged", "refused", "unknown"):
        table.add_row(name, f"{said[name]:,}")
    for name in ("faults_by_kind", "crashes_by_step"):
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in said[name].items())
        table.add_row(name.replace("_", " "), kinds or "none")
    table.add_row("violations", f"{len(report.broken):,}")
    show(table)
    for broken in report.broken:
        show(f"seed {broken.seed}: {broken.law}: {broken.what}", markup=False)
        show(f"  again: {broken.command}", markup=False)
