"""`ladle bench soak`: a fleet at steady load for a while; memory and latency are to stay flat.

A third of the time is for settling: requests are remembered for ten minutes and a fleet's rooms
need some lives, so that a short run's memory still grows where a long one's is flat. The last third
is compared with the second.
"""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from ladle.lab.bench_broker import bench_name, declared_cell
from ladle.lab.processes import BenchError, Placement, Process
from ladle.lab.rounds import Figure
from ladle_contracts.client import PlacementClient

SERVERS, WORKERS = 500, 4
ROOMS_PER_S = 8.0
ASK_EVERY_S = 0.1
SAMPLES = 30
"""Looks at the service's memory, evenly spread."""
SHOWN_MAX = 3
"""Differences that an error names."""
END_TIMEOUT_S = 120
"""For the fleet to compare itself with the view, and to leave."""


@dataclass
class Soaked:
    """What was seen; times in seconds since the demand began."""

    rss: list[tuple[float, int]] = field(default_factory=list)
    calls: list[tuple[float, float]] = field(default_factory=list)
    """When a caller was answered, and after how many milliseconds."""

    def third(self, which: int, seconds: float) -> "Soaked":
        """The part of the first (0), second or last third of the time."""
        start, end = seconds * which / 3, seconds * (which + 1) / 3
        return Soaked(
            [(at, rss) for at, rss in self.rss if start <= at < end],
            [(at, ms) for at, ms in self.calls if start <= at < end],
        )


def run(
    amqp_url: str,
    folder: Path,
    *,
    seconds: int,
    progress: Callable[[str], None],
    servers: int = SERVERS,
) -> list[Figure]:
    """Run the fleet, ask beside it ten times a second, and look at the service meanwhile.

    Raises BenchError where fleet and view differ at the end, a caller got an error, or a letter is
    dead.
    """
    with (
        declared_cell(amqp_url, bench_name()) as cell,
        Placement(folder, name="soak", amqp_url=amqp_url, cell=cell, env={}) as service,
        _fleet(folder, amqp_url, cell, servers=servers, seconds=seconds) as fleet,
    ):
        _until_registered(service, fleet, servers)
        soaked = asyncio.run(_watch(service, amqp_url, cell, seconds, progress))
        report = json.loads(fleet.hear(END_TIMEOUT_S))
        dead = service.metric("ladle_dead_letters_total")
        events = service.metric("ladle_events_total")
    if found := _wrong(report, dead):
        raise BenchError("; ".join(found))
    return [
        *compared(soaked, seconds),
        Figure("soak.events", events / seconds, "1/s", None, None, 1),
        Figure("soak.dead_letters", dead, "messages", 0, None, 1),
    ]


def _wrong(report: dict[str, Any], dead: float) -> list[str]:
    """What no soak may end with, in sentences: as few as a person reads."""
    found: list[str] = []
    if report["view_matches_fleet"] is None:
        found.append("the view was not read at the end")
    elif not report["view_matches_fleet"]:
        differences = report.get("differences", [])
        shown = "".join(f", {each['sentence']}" for each in differences[:SHOWN_MAX])
        found.append(f"fleet and view differ in {len(differences)} points{shown}")
    if errors := report["allocations"]["errors"]:
        found.append(f"{errors} callers got an error")
    if dead:
        found.append(f"{dead:.0f} dead letters")
    return found


def compared(soaked: Soaked, seconds: float) -> list[Figure]:
    """The last third against the second. Raises BenchError where nothing was seen in one."""
    before, after = soaked.third(1, seconds), soaked.third(2, seconds)
    if min(map(len, (before.rss, after.rss))) < 1 or min(len(before.calls), len(after.calls)) < 2:
        raise BenchError("too short to compare its thirds: give it more seconds")
    return [
        _flat("soak.rss", "B", _memory(before), _memory(after)),
        _flat("soak.p50", "ms", _percentile(before, 50), _percentile(after, 50)),
        _flat("soak.p99", "ms", _percentile(before, 99), _percentile(after, 99)),
    ]


def _flat(name: str, unit: str, before: float, after: float) -> Figure:
    return Figure(name, after, unit, before, after / before, 1)


def _memory(part: Soaked) -> float:
    return median(rss for _, rss in part.rss)


def _percentile(part: Soaked, which: int) -> float:
    return quantiles((ms for _, ms in part.calls), n=100, method="inclusive")[which - 1]


def _fleet(folder: Path, amqp_url: str, cell: str, *, servers: int, seconds: int) -> Process:
    arguments: dict[str, Any] = {
        "servers": servers,
        "workers": WORKERS,
        "rate": ROOMS_PER_S,
        "duration": seconds + 5,  # until after the last look
    }
    return Process(
        [
            *("-m", "ladle.cli", "fleet", "--json"),
            *(word for name, value in arguments.items() for word in (f"--{name}", str(value))),
        ],
        env={"LADLE_AMQP_URL": amqp_url, "LADLE_CELL": cell},
        log=folder / "fleet.log",
    )


def _until_registered(service: Placement, fleet: Process, servers: int) -> None:
    until = time.monotonic() + END_TIMEOUT_S
    while service.metric("ladle_servers") < servers:
        if not fleet.running or time.monotonic() > until:
            raise BenchError(f"the fleet did not come up; {fleet.log_end()}")
        time.sleep(0.2)


async def _watch(
    service: Placement, amqp_url: str, cell: str, seconds: int, progress: Callable[[str], None]
) -> Soaked:
    soaked, started = Soaked(), time.monotonic()
    async with PlacementClient.connect(amqp_url, cell=cell) as client:
        asking = asyncio.create_task(_ask(client, soaked, started))
        try:
            for number in range(1, SAMPLES + 1):
                await asyncio.sleep(started + seconds * number / SAMPLES - time.monotonic())
                rss = service.rss_bytes()
                soaked.rss.append((seconds * (number - 0.5) / SAMPLES, rss))
                progress(f"{seconds * number // SAMPLES} of {seconds} s: {rss / 1e6:.0f} MB")
                if asking.done():
                    await asking
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
    return soaked


async def _ask(client: PlacementClient, soaked: Soaked, started: float) -> None:
    """A room is asked for and released; each of the two is a call that is timed."""
    number = 0
    while True:
        number += 1
        room_id, asked = f"soak-{number}", time.monotonic()
        placed = await client.allocate(room_id=room_id, peers=2)
        await _answered(soaked, started, asked)
        asked = time.monotonic()
        await client.release(room_id, placed.allocation_id)
        await _answered(soaked, started, asked)


async def _answered(soaked: Soaked, started: float, asked: float) -> None:
    now = time.monotonic()
    soaked.calls.append((now - started, 1000 * (now - asked)))
    await asyncio.sleep(ASK_EVERY_S)
