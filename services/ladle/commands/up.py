"""`ladle up`: broker, placement and a fleet, to look at and to try things on."""

import asyncio
import json
import os
import shutil
import signal
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from ladle.commands.brokers import FoundBroker, NoBroker, find_broker
from ladle.commands.children import Child
from ladle.commands.output import SERVICE_MODULES, UNREACHABLE, err, fail, needs

READY_TIMEOUT_S = 60
RUNS_KEPT = 5
DEFAULT_HTTP_PORT = 9464


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What the fleet of this run is told, and where everything lies."""

    state: Path
    duration_s: float | None
    servers: int
    workers: int
    workload: str
    rate_per_s: float | None
    seed: int
    json: bool


@needs("service", *SERVICE_MODULES)
def up(
    duration: Annotated[
        float | None,
        typer.Option(help="End by itself after so many seconds; until Ctrl-C unless given."),
    ] = None,
    servers: Annotated[int, typer.Option(min=1, max=200, help="Emulated media servers.")] = 3,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Workers of each.")] = 4,
    workload: Annotated[
        str, typer.Option(help="meetings, classes, webinar or burst.")
    ] = "meetings",
    rate: Annotated[float | None, typer.Option(min=0.01, help="Rooms per second.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same demand.")] = 1,
    json_: Annotated[
        bool, typer.Option("--json", help="Print the result as one JSON object, the last line.")
    ] = False,
    state: Annotated[
        Path, typer.Option(help="Where runs keep their journal, logs and broker.")
    ] = Path(".run"),
) -> None:
    """Bring up a broker, the placement service and an emulated fleet with a running workload.

    The broker is LADLE_AMQP_URL if set, else docker compose's, else a private node from the
    machine's rabbitmq-server package. The journal is LADLE_DATABASE_URL if set, else a new SQLite
    file. Ctrl-C stops all of it.

    Example: ladle up --duration 30 --json
    """
    options = UpOptions(state, duration, servers, workers, workload, rate, seed, json_)
    code = asyncio.run(_Up(options).run())
    raise typer.Exit(code)


class _Up:
    """One run of everything; each part is stopped in the reverse order of its start."""

    def __init__(self, options: UpOptions) -> None:
        self.options = options
        self.folder = new_run_folder(options.state)
        self.stop = asyncio.Event()
        self.broker: FoundBroker | None = None
        self.children: list[Child] = []

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        try:
            return await self._run()
        except NoBroker as error:
            fail(UNREACHABLE, str(error))
        finally:
            await self._end()

    def _on_signal(self) -> None:
        if not self.stop.is_set():
            err.print("[dim]stopping[/]")
        self.stop.set()

    async def _run(self) -> int:
        # In a thread: a node takes seconds to start and Ctrl-C must be heard meanwhile.
        self.broker = await asyncio.to_thread(
            find_broker, self.folder, lambda text: err.print(f"[dim]{text}[/]")
        )
        if self.stop.is_set():
            return 0
        env = self._environment(self.broker.url)
        placement = await Child.start(["placement"], env=env, log=self.folder / "placement.log")
        self.children.append(placement)
        http = f"http://127.0.0.1:{env['LADLE_HTTP_PORT']}"
        if not await self._until_ready(placement, http):
            return 0
        self._say_where(env, http)
        fleet = await Child.start(self._fleet_arguments(http), env=env, capture=self.options.json)
        self.children.append(fleet)
        return await self._watch(placement, fleet)

    def _environment(self, amqp_url: str) -> dict[str, str]:
        from ladle.broker.node import free_ports

        # One port for a person who looks for it, another where it is taken.
        port = os.environ.get("LADLE_HTTP_PORT") or str(
            DEFAULT_HTTP_PORT if port_is_free(DEFAULT_HTTP_PORT) else free_ports(1)[0]
        )
        database = os.environ.get("LADLE_DATABASE_URL") or (
            f"sqlite+aiosqlite:///{(self.folder / 'ladle.db').resolve()}"
        )
        return {
            "LADLE_AMQP_URL": amqp_url,
            "LADLE_DATABASE_URL": database,
            "LADLE_HTTP_PORT": port,
        }

    def _fleet_arguments(self, http: str) -> list[str]:
        options = self.options
        arguments = [
            "fleet",
            *("--servers", str(options.servers)),
            *("--workers", str(options.workers)),
            *("--workload", options.workload),
            *("--seed", str(options.seed)),
            *("--metrics-url", f"{http}/metrics"),
        ]
        if options.rate_per_s is not None:
            arguments += ["--rate", str(options.rate_per_s)]
        if options.duration_s is not None:
            arguments += ["--duration", str(options.duration_s)]
        else:
            arguments += ["--forever"]
        return [*arguments, "--json"] if options.json else arguments

    async def _until_ready(self, placement: Child, http: str) -> bool:
        """False where a stop came first; leaves with 3 where the service died or is too slow."""
        until = time.monotonic() + READY_TIMEOUT_S
        while not self.stop.is_set():
            if not placement.running:
                fail(UNREACHABLE, f"the placement service ended:\n{placement.last_lines()}")
            if (await asyncio.to_thread(_get, f"{http}/readyz"))[0] == 200:
                return True
            if time.monotonic() > until:
                fail(
                    UNREACHABLE,
                    f"the placement service was not ready in {READY_TIMEOUT_S} s",
                    f"look at {placement.log}",
                )
            await asyncio.sleep(0.2)
        return False

    def _say_where(self, env: dict[str, str], http: str) -> None:
        from rich.table import Table

        assert self.broker is not None
        options = self.options
        table = Table.grid(padding=(0, 2))
        table.add_column(style="bold")
        table.add_column()
        table.add_row("broker", f"{without_password(self.broker.url)}  ({self.broker.how})")
        table.add_row("journal", without_password(env["LADLE_DATABASE_URL"]))
        table.add_row("placement", f"{http}  /readyz /metrics /asyncapi")
        table.add_row(
            "fleet",
            f"{options.servers} servers x {options.workers} workers, {options.workload}, "
            f"seed {options.seed}",
        )
        table.add_row("logs", str(self.folder))
        err.print(table)
        ask = f"LADLE_AMQP_URL={self.broker.url} ladle top"
        err.print(f"\nlook: [bold]{ask}[/]   stop: [bold]Ctrl-C[/]\n", soft_wrap=True)

    async def _watch(self, placement: Child, fleet: Child) -> int:
        reading = asyncio.create_task(_read_all(fleet))
        ended = [
            asyncio.create_task(fleet.process.wait()),
            asyncio.create_task(placement.process.wait()),
            asyncio.create_task(self.stop.wait()),
        ]
        await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
        if not placement.running and not self.stop.is_set():
            fail(UNREACHABLE, f"the placement service ended:\n{placement.last_lines()}")
        interrupted = self.stop.is_set()
        code = await fleet.end()
        for task in ended:
            task.cancel()
        printed = await reading
        if self.options.json and printed:
            self._print_result(printed)
        return 0 if interrupted else code

    def _print_result(self, printed: str) -> None:
        last = printed.strip().splitlines()[-1]
        json.loads(last)  # The fleet's last line is its result; anything else is a defect.
        typer.echo(last)

    async def _end(self) -> None:
        for child in reversed(self.children):
            await child.end()
        if self.broker is not None:
            await asyncio.to_thread(self.broker.stop)
        prune_runs(self.options.state)


async def _read_all(child: Child) -> str:
    if child.process.stdout is None:
        return ""
    return (await child.process.stdout.read()).decode()


def _get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""
    except OSError:
        return 0, ""


def port_is_free(port: int) -> bool:
    """Can a server listen on this port of the loopback now?"""
    import socket

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def without_password(url: str) -> str:
    """The URL with its password hidden, for people's eyes and logs."""
    head, at, tail = url.rpartition("@")
    scheme, slashes, user = head.partition("://")
    if not (at and slashes and ":" in user):
        return url
    return f"{scheme}://{user.partition(':')[0]}:***@{tail}"


def new_run_folder(state: Path) -> Path:
    """A folder of its own for each run: a journal is never mixed with an earlier one."""
    name = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    folder = state / f"{name}-{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def prune_runs(state: Path) -> None:
    """Keep the last few runs; their journals are for looking at, not archives."""
    runs: list[Path] = sorted(p for p in state.glob("20*") if p.is_dir())
    for old in runs[:-RUNS_KEPT]:
        shutil.rmtree(old, ignore_errors=True)
