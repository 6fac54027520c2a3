"""`ladle fleet`: emulated media servers and the people who meet on them."""

import asyncio
import logging
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError

from ladle.commands.advice import FLEET_ADVICE, SERVICE_ADVICE
from ladle.commands.asking import asked
from ladle.commands.fleet_screen import ProgressLine, print_report
from ladle.commands.guard import command
from ladle.commands.output import NO, UNREACHABLE, USAGE, complain, fail, print_json
from ladle_contracts.amqp import AioPikaLink
from ladle_contracts.settings import ClientSettings

if TYPE_CHECKING:
    from ladle.fleet.options import FleetOptions
    from ladle.fleet.report import Report

LEAVES = ("deregister", "close-rooms", "vanish")


@command
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
    burst_peers: Annotated[int, typer.Option(min=1, help="Peers of each burst room.")] = 2,
    burst_window_ms: Annotated[
        int, typer.Option(min=0, help="A burst's asks come within this time; 0: all at once.")
    ] = 0,
    callers: Annotated[int, typer.Option(min=1, help="Who ask for each burst room at once.")] = 1,
    status_interval_ms: Annotated[
        int, typer.Option(min=100, help="Between two statuses of a server.")
    ] = 5_000,
    complete_every: Annotated[
        int, typer.Option(min=0, help="Each so-manieth status lists all rooms; 0: on request.")
    ] = 12,
    crash_every: Annotated[
        float, typer.Option(min=0, help="Mean seconds between crashes; 0: none.")
    ] = 0.0,
    worker_death_every: Annotated[
        float, typer.Option(min=0, help="Mean seconds between deaths of a worker; 0: none.")
    ] = 0.0,
    deploy_every: Annotated[
        float, typer.Option(min=0, help="Mean seconds between rolling restarts; 0: none.")
    ] = 0.0,
    partition_every: Annotated[
        float, typer.Option(min=0, help="Mean seconds between servers cut off; 0: none.")
    ] = 0.0,
    patience_ms: Annotated[
        int, typer.Option(min=0, help="How long a caller asks on who is refused or not answered.")
    ] = 15_000,
    settle_timeout: Annotated[
        float, typer.Option(min=0, help="At the end: seconds for view and fleet to agree.")
    ] = 30.0,
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

    Exit 0 where the view matches and nobody got an error, 1 with the differences where not, and 3
    where the view could not be read at the end. Null (--json) and "not read" are what nobody knows.

    Example: ladle fleet --servers 20 --workload classes --duration 60 --crash-every 10
    """
    from ladle.fleet.options import Faults, FleetOptions
    from ladle.fleet.workloads import WORKLOADS

    if workload not in WORKLOADS:
        fail(USAGE, f"--workload: {workload!r} is none of {', '.join(WORKLOADS)}")
    if leave not in LEAVES:
        fail(USAGE, f"--leave: {leave!r} is none of {', '.join(LEAVES)}")
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
        burst_peers=burst_peers,
        burst_window_ms=burst_window_ms,
        callers=callers,
        status_interval_ms=status_interval_ms,
        complete_every=complete_every,
        faults=Faults(
            crash_every_s=crash_every,
            worker_death_every_s=worker_death_every,
            deploy_every_s=deploy_every,
            partition_every_s=partition_every,
        ),
        patience_ms=patience_ms,
        settle_timeout_s=settle_timeout,
        leave=leave,
        connection_per_server=connection_per_server,
    )
    report = _run(options, metrics_url)
    if json_:
        print_json(report.as_json())
    else:
        print_report(report)
    if report.comparison is None:
        # What there is has been printed: no second object for those who read JSON.
        complain(report.sentences()[0], SERVICE_ADVICE)
        raise typer.Exit(UNREACHABLE)
    if not report.view_matches_fleet or report.allocations.errors:
        raise typer.Exit(NO)


def _run(options: "FleetOptions", metrics_url: str | None) -> "Report":
    with asked():
        try:
            return asyncio.run(_fleet(options, metrics_url))
        except ValidationError:
            raise
        except TimeoutError as error:
            fail(UNREACHABLE, str(error) or "no answer in time", FLEET_ADVICE)
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
        except ValueError as error:
            fail(USAGE, str(error))


async def _fleet(options: "FleetOptions", metrics_url: str | None) -> "Report":
    from ladle.fleet.run import run
    from ladle.fleet.service_counts import counts_from_metrics, nothing_counted

    settings = ClientSettings()
    stop = _stop_on_signals()
    line = ProgressLine()
    root = logging.getLogger()
    root.addHandler(line)
    try:
        return await run(
            replace(options, cell=settings.cell, request_timeout_ms=settings.request_timeout_ms),
            lambda name: AioPikaLink(settings.url, name=name, ssl_context=settings.ssl_context()),
            count_events=counts_from_metrics(metrics_url) if metrics_url else nothing_counted,
            on_progress=line.tell,
            stop=stop,
        )
    finally:
        root.removeHandler(line)
        line.end()


def _stop_on_signals() -> asyncio.Event:
    """Set by the first signal, for an end with its comparison; the second ends it at once."""
    stop, running = asyncio.Event(), asyncio.current_task()
    assert running is not None

    def on_signal() -> None:
        if stop.is_set():
            running.cancel()
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, on_signal)
    return stop
