"""`ladle up`: broker, placement and a fleet, to look at and to try things on."""

import asyncio
import json
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from ladle.commands.brokers import Broker, GivenBroker, NoBroker, find_broker
from ladle.commands.children import Child
from ladle.commands.guard import check_database, command, require
from ladle.commands.output import DONE, NO, UNREACHABLE, USAGE, err, fail, say
from ladle.commands.ports import http_status, port_is_free, reachable
from ladle.commands.run_folder import new_run_folder, prune_runs
from ladle.commands.up_screen import say_where

READY_TIMEOUT_S = 60
COMPARE_GRACE_S = 75
"""The fleet's end: half a minute to agree with the view, answers under way, and leaving."""
DEFAULT_HTTP_PORT = 9464
WORKLOADS = ("meetings", "classes", "webinar", "burst")


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


@command
def up(
    duration: Annotated[
        float | None,
        typer.Option(
            min=0.1, help="Seconds of demand, then it ends by itself; unless given, until Ctrl-C."
        ),
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
        Path, typer.Option(help="Folder where runs keep their journal, logs and broker.")
    ] = Path(".run"),
) -> None:
    """Bring up a broker, the placement service and an emulated fleet with a running workload.

    The broker is LADLE_AMQP_URL if set, else docker compose's, else a private node from the
    machine's rabbitmq-server package. The journal is LADLE_DATABASE_URL if set, else a new SQLite
    file. Ctrl-C stops all of it.

    Example: ladle up --duration 30 --json
    """
    require("service")
    from ladle.placement.settings import PlacementSettings

    if workload not in WORKLOADS:
        fail(USAGE, f"--workload: {workload!r} is none of {', '.join(WORKLOADS)}")
    options = UpOptions(state, duration, servers, workers, workload, rate, seed, json_)
    settings = PlacementSettings()
    check_database(settings.database)
    port, host = settings.http_port, settings.http_host
    if "LADLE_HTTP_PORT" in os.environ and port and not port_is_free(port, host):
        # Whoever answers there would be taken for the service that is about to start.
        fail(
            USAGE,
            f"LADLE_HTTP_PORT: cannot listen on {host}:{port}, as another program does",
            "name a free port, or none: one is chosen then",
        )
    code = asyncio.run(_Up(options).run())
    raise typer.Exit(code)


class _Up:
    """One run of everything; each part is stopped in the reverse order of its start."""

    def __init__(self, options: UpOptions) -> None:
        self.options = options
        self.folder = new_run_folder(options.state)
        self.stop = asyncio.Event()
        self.broker: Broker | None = None
        self.children: list[Child] = []

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._on_signal)
        try:
            return await self._run()
        except NoBroker as error:
            fail(UNREACHABLE, str(error), error.advice)
        finally:
            await self._end()

    def _on_signal(self) -> None:
        if self.stop.is_set():
            say("stopping at once")
            for child in self.children:
                child.kill()
            return
        self.stop.set()
        # Behind the fleet's progress line and the ^C that a terminal shows.
        line = "\n" if err.is_terminal else ""
        say(f"{line}stopping in order, with a last comparison; Ctrl-C again stops at once")

    async def _run(self) -> int:
        self.broker = await asyncio.to_thread(find_broker, self.folder)
        say(self.broker.starting)
        if not await self._start_broker(self.broker):
            return self._nothing_to_show()
        env = self._environment(self.broker.url)
        words = ["placement"]
        if not os.environ.get("LADLE_DATABASE_URL"):
            # The journal is a new one on purpose; a broker that was given may know an earlier one.
            words.append("--accept-loss")
        placement = await Child.start(words, env=env, log=self.folder / "placement.log")
        self.children.append(placement)
        http = f"http://{reachable(os.environ.get('LADLE_HTTP_HOST'))}:{env['LADLE_HTTP_PORT']}"
        if not await self._until_ready(placement, http):
            return self._nothing_to_show()
        say_where(self.broker, env, http, self.folder, self._fleet_in_words())
        fleet = await Child.start(self._fleet_arguments(http), env=env, capture=self.options.json)
        self.children.append(fleet)
        return await self._watch(placement, fleet)

    async def _start_broker(self, broker: Broker) -> bool:
        """False where a stop came first; a node takes seconds, and Ctrl-C must be heard."""
        starting = asyncio.create_task(asyncio.to_thread(broker.start))
        stopping = asyncio.create_task(self.stop.wait())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        while not starting.done():
            await asyncio.to_thread(broker.stop)
            await asyncio.wait({starting}, timeout=0.2)
        if self.stop.is_set():
            with suppress(NoBroker):
                await starting
            return False
        await starting
        return True

    def _environment(self, amqp_url: str) -> dict[str, str]:
        from ladle.broker.node import free_ports

        # One port for a person who looks for it, another where it is taken.
        port = os.environ.get("LADLE_HTTP_PORT", "0")
        if port == "0":
            free = port_is_free(DEFAULT_HTTP_PORT)
            port = str(DEFAULT_HTTP_PORT if free else free_ports(1)[0])
        database = os.environ.get("LADLE_DATABASE_URL") or (
            f"sqlite+aiosqlite:///{(self.folder / 'ladle.db').resolve()}"
        )
        return {
            "LADLE_AMQP_URL": amqp_url,
            "LADLE_DATABASE_URL": database,
            "LADLE_HTTP": "true",
            "LADLE_HTTP_PORT": port,
            # The fleet reads the service's counts, and not through a proxy.
            "no_proxy": ",".join(
                filter(
                    None,
                    ("127.0.0.1", os.environ.get("LADLE_HTTP_HOST"), os.environ.get("no_proxy")),
                )
            ),
        }

    def _fleet_in_words(self) -> str:
        options = self.options
        return (
            f"{options.servers} servers x {options.workers} workers, {options.workload}, "
            f"seed {options.seed}"
        )

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
                self._fail_ended(placement)
            if await asyncio.to_thread(http_status, f"{http}/readyz") == 200:
                return True
            if time.monotonic() > until:
                fail(
                    UNREACHABLE,
                    f"the placement service was not ready in {READY_TIMEOUT_S} s",
                    f"look at {placement.log}",
                )
            await asyncio.sleep(0.2)
        return False

    async def _watch(self, placement: Child, fleet: Child) -> int:
        reading = asyncio.create_task(_read_all(fleet))
        ends = [
            asyncio.create_task(fleet.process.wait()),
            asyncio.create_task(placement.process.wait()),
            asyncio.create_task(self.stop.wait()),
        ]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for task in ends:
            task.cancel()
        if not placement.running and not self.stop.is_set():
            self._fail_ended(placement)
        code = await fleet.end(COMPARE_GRACE_S)
        result = await reading
        if code < 0 and not self.stop.is_set():
            fail(
                UNREACHABLE,
                f"the fleet was ended by signal {-code}",
                "`dmesg` says whether memory ran out; smaller: --servers, --rate",
            )
        if self.options.json and result:
            # The fleet's last line is its result; anything else is a defect.
            last = result.strip().splitlines()[-1]
            json.loads(last)
            typer.echo(last)
            return code
        # A signal ended the fleet before it had begun, or at once.
        return self._nothing_to_show() if code < 0 else code

    @staticmethod
    def _fail_ended(placement: Child) -> NoReturn:
        said = placement.last_lines()
        fail(
            UNREACHABLE,
            f"the placement service ended:\n{said}",
            # Mostly it has said what to do about it itself.
            "" if "\ntry: " in said else f"look at {placement.log}",
        )

    def _nothing_to_show(self) -> int:
        """Stopped before there was a result: what a person wanted, and nothing for a program."""
        if self.options.json:
            fail(NO, "stopped before there was a result")
        return DONE

    async def _end(self) -> None:
        for child in reversed(self.children):
            if child.running:
                say(f"stopping {child.name}")
            await child.end()
        if self.broker is not None:
            if not isinstance(self.broker, GivenBroker):
                say("stopping the broker")
            await asyncio.to_thread(self.broker.stop)
        prune_runs(self.options.state)


async def _read_all(child: Child) -> str:
    if child.process.stdout is None:
        return ""
    return (await child.process.stdout.read()).decode()
