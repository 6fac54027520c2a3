"""`ladle chaos`: faults on purpose, and whether all that was promised still holds."""

import asyncio
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ladle.commands.chaos_simulated import chaos_simulated
from ladle.commands.guard import check_database, command
from ladle.commands.output import NO, UNREACHABLE, USAGE, fail, print_json, say, show
from ladle.commands.places import make_folder
from ladle_contracts.amqp import AioPikaLink

if TYPE_CHECKING:
    from ladle.chaos.real.report import ChaosReport
    from ladle.chaos.real.run import ChaosOptions

SEEDS = 100


@command
def chaos(
    minutes: Annotated[float, typer.Option(min=0.1, max=600, help="Of faults.")] = 5.0,
    seed: Annotated[int, typer.Option(help="Same seed, same order of faults.")] = 1,
    database: Annotated[
        str | None, typer.Option(help="An empty database; a new SQLite file unless given.")
    ] = None,
    standby: Annotated[
        bool, typer.Option("--standby", help="Run a second process that stands by.")
    ] = False,
    failovers: Annotated[
        int,
        typer.Option(
            min=0,
            max=1000,
            help="Instead: kill -9 of the writer so many times, with a standby; an error that a "
            "caller gets is a violation too.",
        ),
    ] = 0,
    folder: Annotated[
        Path | None, typer.Option(help="Keep broker, database and logs here; it must be empty.")
    ] = None,
    simulated: Annotated[
        bool,
        typer.Option(
            "--simulated",
            help="Instead: the real code over a simulated broker, database and clock, many seeds.",
        ),
    ] = False,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1, max=10_000_000, help="With --simulated: so many seeds; 100 if not given."
        ),
    ] = None,
    first: Annotated[
        int | None, typer.Option(min=0, help="With --simulated: the first seed; 1 if not given.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=0, max=100_000, help="With --simulated: steps of each seed.")
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            help="With --simulated: of the kinds of faults that a seed draws, these alone; "
            "comma-separated, or 'none'."
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, max=256, help="With --simulated: processes; all cores if not given."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Break a real broker, connections and processes under load, and check what was promised.

    A private RabbitMQ, the database, placement processes, emulated media servers and callers are
    started here and ended again; no broker of yours is touched. Exit 0 where nothing was lost, no
    room had two homes, and fleet, view and journal agree; else 1.

    With --simulated nothing is started: writer, publisher and client run over a broker, a database
    and clocks that a seed makes and breaks, hours of it in minutes. Laws are checked at each
    commit, publish, reply and ack, and at the end. What breaks one is made smaller, with the
    command that repeats it.

    Example: ladle chaos --minutes 5 --seed 7 --standby --json

    Example: ladle chaos --simulated --seeds 500 --first 1
    """
    if simulated:
        real = {"--database": database, "--standby": standby or None, "--folder": folder}
        _refuse("without --simulated only", {**real, "--failovers": failovers or None})
        chaos_simulated(
            first=1 if first is None else first,
            seeds=seeds or SEEDS,
            steps=steps,
            only=only,
            jobs=jobs or os.cpu_count() or 1,
            json_=json_,
        )
        return
    simulation = {"--seeds": seeds, "--first": first, "--steps": steps}
    _refuse("with --simulated only", {**simulation, "--only": only, "--jobs": jobs})
    from ladle.chaos.real.run import ChaosOptions

    with tempfile.TemporaryDirectory(prefix="ladle-chaos-") as scratch:
        where = _prepared(folder) if folder else Path(scratch)
        url = database or f"sqlite:///{where}/ladle.db"
        check_database(url)
        options = ChaosOptions(
            seed=seed, seconds=minutes * 60, database=url, standby=standby, failovers=failovers
        )
        report = _run(options, where)
    if json_:
        print_json(report.as_json())
    else:
        _print(report)
    if report.violations:
        raise typer.Exit(NO)


def _refuse(why: str, options: Mapping[str, object]) -> None:
    for name, value in options.items():
        if value is not None:
            fail(USAGE, f"{name}: {why}")


def _prepared(folder: Path) -> Path:
    make_folder("--folder", folder)
    if any(folder.iterdir()):
        fail(USAGE, f"--folder: {folder} is not empty")
    return folder


def _run(options: "ChaosOptions", folder: Path) -> "ChaosReport":
    from ladle.broker.node import NodeError
    from ladle.chaos.real.run import NotEmpty, run
    from ladle.journal.store import StoreError
    from ladle.lab.parent import dying_with_parent

    try:
        report, _ = asyncio.run(
            run(options, folder, play_fleet, say=say, preexec=dying_with_parent())
        )
    except NotEmpty as error:
        fail(USAGE, f"--database: {error}")
    except NodeError as error:
        fail(UNREACHABLE, str(error), "`ladle doctor` says whether RabbitMQ's package is there")
    except StoreError as error:
        fail(UNREACHABLE, str(error), "check --database, and that it runs and lets this machine in")
    return report


async def play_fleet(url: str, over: asyncio.Event) -> list[str]:
    """Emulated media servers and the people on them, until it is over; what the view has wrong."""
    from ladle.chaos.real.run import CALL_MS
    from ladle.fleet.options import FleetOptions
    from ladle.fleet.run import run

    options = FleetOptions(
        servers=3,
        workers=2,
        # The plain callers' rooms stay held to the end.
        capacity_consumers=100_000,
        duration_s=None,
        rate_per_s=6,
        # An hour lasts six seconds: rooms live through a fault or two.
        speed_up=600,
        status_interval_ms=2_000,
        complete_every=4,
        request_timeout_ms=CALL_MS,
        patience_ms=CALL_MS,
        settle_timeout_s=60,
    )
    report = await run(options, lambda name: AioPikaLink(url, name=name), stop=over)
    return report.sentences()


def _print(report: "ChaosReport") -> None:
    said = report.as_json()
    table = Table(box=None, padding=(0, 2), show_header=False)
    for name in ("attempted", "acknowledged", "failed", "lost", "duplicated", "recovered"):
        table.add_row(name, f"{said[name]:,}")
    table.add_row("unexpected", f"{said['unexpected']:,}")
    kinds = ", ".join(f"{kind} {count}" for kind, count in said["faults_by_kind"].items())
    table.add_row("faults", f"{said['faults']} ({kinds})")
    silent = said["unavailable_s"]
    table.add_row("unavailable", f"p50 {silent['p50']} s, max {silent['max']} s")
    show(table)
    for sentence in said["violations"]:
        show(sentence, markup=False)
