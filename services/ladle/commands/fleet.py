"""`ladle fleet`: emulated media servers and the people who meet on them."""

import asyncio
import signal
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from ladle.commands.output import NO, UNREACHABLE, USAGE, err, fail, out, print_json

if TYPE_CHECKING:
    from ladle.fleet.options import FleetOptions
    from ladle.fleet.report import Report
    from ladle.fleet.run import Progress

LINE_EVERY_S = 10.0
"""Progress where standard error is no terminal: a line now and then, not a flicker."""


def fleet(
    servers: Annotated[int, typer.Option(min=1, max=2000, help="Media servers.")] = 3,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Workers of each.")] = 4,
    workload: Annotated[
        str, typer.Option(help="meetings, classes, webinar or burst.")
    ] = "meetings",
    duration: Annotated[float, typer.Option(min=0.1, help="Seconds of demand.")] = 30.0,
    forever: Annotated[bool, typer.Option("--forever", help="Until Ctrl-C instead.")] = False,
    rate: Annotated[float, typer.Option(min=0.01, help="Rooms per second.")] = 4.0,
    speed_up: Annotated[
        float, typer.Option(min=0.1, help="How much faster than life rooms live.")
    ] = 240.0,
    seed: Annotated[int, typer.Option(help="Same seed, same demand and faults.")] = 1,
    region: Annotated[
        list[str] | None, typer.Option(help="Servers are spread over these; repeatable.")
    ] = None,
    burst_rooms: Annotated[int, typer.Option(min=1, help="Rooms of a burst.")] = 200,
    callers: Annotated[int, typer.Option(min=1, help="Who ask for each burst room at once.")] = 1,
    status_interval_ms: Annotated[
        int, typer.Option(min=100, help="Between two statuses of a server.")
    ] = 5_000,
    crash_every: Annotated[
        float, typer.Option(min=0, help="Mean seconds between crashes; 0: none.")
    ] = 0.0,
    worker_death_every: Annotated[
        float, typer.Option(min=0, help="Mean seconds between deaths of a worker; 0: none.")
    ] = 0.0,
    deploy_every: Annotated[
        float, typer.Option(min=0, help="Mean seconds between rolling restarts; 0: none.")
    ] = 0.0,
    leave: Annotated[
        str, typer.Option(help="At the end: deregister, close-rooms or vanish.")
    ] = "deregister",
    connection_per_server: Annotated[
        bool, typer.Option("--connection-per-server", help="As in life; else all share one.")
    ] = False,
    metrics_url: Annotated[
        str | None, typer.Option(help="The service's /metrics, for its event counts.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Run emulated media servers with a workload, and compare their truth with Ladle's view.

    Exit 0 where the view matches and nobody got an error, else 1 with the differences.

    Example: ladle fleet --servers 20 --workload classes --duration 60 --crash-every 10
    """
    from ladle.fleet.options import Faults, FleetOptions
    from ladle.fleet.workloads import WORKLOADS

    if workload not in WORKLOADS:
        fail(USAGE, f"--workload: {workload!r} is none of {', '.join(WORKLOADS)}")
    if leave not in ("deregister", "close-rooms", "vanish"):
        fail(USAGE, f"--leave: {leave!r} is none of deregister, close-rooms, vanish")
    options = FleetOptions(
        servers=servers,
        workers=workers,
        workload=workload,
        duration_s=None if forever else duration,
        rate_per_s=rate,
        speed_up=speed_up,
        seed=seed,
        regions=tuple(region or ()),
        burst_rooms=burst_rooms,
        callers=callers,
        status_interval_ms=status_interval_ms,
        faults=Faults(
            crash_every_s=crash_every,
            worker_death_every_s=worker_death_every,
            deploy_every_s=deploy_every,
        ),
        leave=leave,
        connection_per_server=connection_per_server,
    )
    report = _run(options, metrics_url)
    if json_:
        print_json(report.as_json())
    else:
        print_report(report)
    if not report.view_matches_fleet or report.allocations.errors:
        raise typer.Exit(NO)


def _run(options: "FleetOptions", metrics_url: str | None) -> "Report":
    from pydantic import ValidationError

    from ladle.commands.asking import ADVICE
    from ladle.commands.output import settings_errors
    from ladle_contracts.errors import PlacementError
    from ladle_contracts.link import LinkError

    try:
        return asyncio.run(_fleet(options, metrics_url))
    except ValidationError as error:
        fail(USAGE, settings_errors(error), "docs/configuration.md lists every variable")
    except (PlacementError, LinkError, OSError) as error:
        fail(UNREACHABLE, str(error), ADVICE)
    except ValueError as error:
        fail(USAGE, str(error))


async def _fleet(options: "FleetOptions", metrics_url: str | None) -> "Report":
    from dataclasses import replace

    from ladle.fleet.run import run
    from ladle.fleet.service_counts import counts_from_metrics, nothing_counted
    from ladle_contracts.amqp import AioPikaLink
    from ladle_contracts.settings import ClientSettings

    settings = ClientSettings()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return await run(
        replace(options, cell=settings.cell, request_timeout_ms=settings.request_timeout_ms),
        lambda name: AioPikaLink(settings.url, name=name, ssl_context=settings.ssl_context()),
        count_events=counts_from_metrics(metrics_url) if metrics_url else nothing_counted,
        on_progress=_progress(),
        stop=stop,
    )


def _progress() -> "Callable[[Progress], None]":
    last = 0.0
    terminal = sys.stderr.isatty()

    def tell(progress: "Progress") -> None:
        nonlocal last
        line = (
            f"{progress.phase:<9} {progress.elapsed_s:6.0f} s  "
            f"{progress.servers_running}/{progress.servers} servers  {progress.rooms} rooms  "
            f"{progress.peers} peers  {progress.consumers} consumers  "
            f"asked {progress.asked}: {progress.placed} placed, {progress.existing} existing, "
            f"{progress.moved} moved, {progress.refused} refused, {progress.errors} errors"
        )
        if progress.differences is not None:
            line += f"  {progress.differences} differences"
        if terminal:
            err.print(f"\r{line}\x1b[K", end="", soft_wrap=True)
        elif time.monotonic() - last >= LINE_EVERY_S:
            last = time.monotonic()
            err.print(line, soft_wrap=True)

    return tell


def print_report(report: "Report") -> None:
    """The end of a run for a person."""
    asked = report.allocations
    if sys.stderr.isatty():
        err.print()
    out.print(
        f"asked {asked.attempted}: {asked.placed} placed, {asked.existing} existing, "
        f"{asked.moved} moved, {asked.refused} refused, {asked.errors} errors; "
        f"p50 {report.latency_p50_ms} ms, p99 {report.latency_p99_ms} ms"
    )
    out.print(
        f"events {report.events_published} published; the service applied "
        f"{report.service.applied}, recognised {report.service.duplicate} duplicates, "
        f"refused {report.service.dead}"
    )
    if report.view_matches_fleet:
        out.print(
            f"[green]the view matches the fleet[/] at journal offset {report.comparison.offset}"
        )
        return
    out.print("[bold red]the view differs from the fleet[/]")
    for sentence in report.sentences():
        out.print(f"  {sentence}", markup=False)
