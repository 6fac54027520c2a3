"""`ladle bench replay`: how fast a journal is audited, and what that needs as it grows."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from ladle.journal.open import open_store
from ladle.journal.schema import upgrade
from ladle.lab.bench_broker import bench_name, declared_cell
from ladle.lab.inbox import SERVERS, WORKERS, Feed, folded, job_of, timed
from ladle.lab.long_journal import LongJournal
from ladle.lab.processes import BenchError, Placement, Process
from ladle.lab.rounds import Figure, Sample
from ladle.lab.synthetic import register_fleet, server_ids
from ladle_contracts.topology import Topology

LENGTHS = (10_000, 100_000)
EVENTS = 10_000
LIVING = 1_000
"""Rooms that live at a time: the log grows and the fleet does not."""
SNAPSHOT_EVERY = 5_000
TIMEOUT_S = 3_600


@dataclass(frozen=True, slots=True)
class Audited:
    """One `ladle audit` in a process of its own. told: what it printed as JSON."""

    told: dict[str, Any]
    cpu_s: float
    peak_bytes: int


def run(
    amqp_url: str,
    folder: Path,
    *,
    rounds: int,
    progress: Callable[[str], None],
    lengths: Sequence[int] = LENGTHS,
    events: int = EVENTS,
    snapshot_every: int = SNAPSHOT_EVERY,
) -> list[Figure]:
    """`verify` against the live writer, in turn; then `verify` and `at` on a growing log.

    Raises BenchError where an audit does not come to "verified".
    """
    return [
        against_the_writer(amqp_url, folder, rounds=rounds, events=events, progress=progress),
        *asyncio.run(growing(folder, rounds, sorted(lengths), snapshot_every, progress)),
    ]


def against_the_writer(
    amqp_url: str, folder: Path, *, rounds: int, events: int, progress: Callable[[str], None]
) -> Figure:
    """Records a second that `verify` takes, against those that the service has just written.

    One round before is unheard. The service writes as fast as it reads from a full queue of rooms
    that come and go, and keeps a snapshot now and then, between which `verify` shares its work
    among all cores.
    """
    ours: list[float] = []
    live: list[float] = []
    often = {"LADLE_SNAPSHOT_RECORDS": str(SNAPSHOT_EVERY)}
    with (
        declared_cell(amqp_url, f"{bench_name()}-replay", server_ids(SERVERS)) as cell,
        Placement(folder, name="replay", amqp_url=amqp_url, cell=cell, env=often) as service,
        Process(["-m", "ladle.lab.generator"], env={}, log=folder / "generator.log") as load,
    ):
        register_fleet(amqp_url, Topology(cell), servers=SERVERS, workers=WORKERS)
        feed = Feed(cell, LIVING)
        for number in range(-1, rounds):
            written = _written(service, load, amqp_url, feed, events)
            told = audited(folder, "verify", service.database).told
            rate = told["records"] / told["seconds"]
            name = "warm-up" if number < 0 else f"round {number + 1}/{rounds}"
            progress(f"{name}: written {written.per_s:,.0f}/s, verified {rate:,.0f}/s")
            if number >= 0:
                live.append(written.per_s)
                ours.append(rate)
    ratio = median(a / b for a, b in zip(ours, live, strict=True))
    return Figure("replay.verify.rate", median(ours), "1/s", median(live), ratio, rounds)


def _written(service: Placement, load: Process, amqp_url: str, feed: Feed, events: int) -> Sample:
    job = job_of(amqp_url, feed.take(events))
    with service.journal() as journal:
        return timed(job, load, service, lambda: folded(service, journal, events))


async def growing(
    folder: Path,
    rounds: int,
    lengths: Sequence[int],
    snapshot_every: int,
    progress: Callable[[str], None],
) -> list[Figure]:
    """Peak memory of `verify`, and CPU time and peak of `at`, each against the shortest log.

    `at` asks for a moment that is half of `snapshot_every` behind the snapshot below it.
    """
    database = folder / "long.db"
    url = f"sqlite:///{database}"
    await upgrade(url)
    store = open_store(url)
    await store.open()
    seen: dict[str, list[list[float]]] = {}
    try:
        lease = await store.take_lease("bench", await store.lease())
        assert lease is not None, "nobody else knows this database"
        journal = LongJournal(store, lease, snapshot_every)
        for length in lengths:
            await journal.grow(length)
            progress(f"a log of {length:,} records is written")
            for name, value in _measured(folder, database, length, snapshot_every, rounds):
                seen.setdefault(name, []).append(value)
            progress(f"and audited {rounds} times")
    finally:
        await store.close()
    return [
        Figure(
            f"replay.{name}.{length}",
            median(values),
            "B" if name.endswith("peak") else "s",
            median(columns[0]),
            median(values) / median(columns[0]),
            rounds,
        )
        for name, columns in seen.items()
        for length, values in zip(lengths, columns, strict=True)
    ]


def _measured(
    folder: Path, database: Path, length: int, snapshot_every: int, rounds: int
) -> list[tuple[str, list[float]]]:
    behind = snapshot_every // 2
    offset = (length - behind) // snapshot_every * snapshot_every + behind
    verified, gone_back = [], []
    for _ in range(rounds):
        verified.append(audited(folder, "verify", database))
        gone_back.append(audited(folder, "at", database, str(offset)))
    if length > snapshot_every + behind and any(not each.told["snapshot"] for each in gone_back):
        raise BenchError(f"`audit at {offset}` began at record 1, beside a snapshot")
    return [
        ("verify.peak", [each.peak_bytes for each in verified]),
        ("at.cpu", [each.cpu_s for each in gone_back]),
        ("at.peak", [each.peak_bytes for each in gone_back]),
    ]


def audited(folder: Path, what: str, database: Path, *more: str) -> Audited:
    """Run `ladle audit WHAT`. Raises BenchError where it does not leave with 0."""
    file = folder / "measured.json"
    words = ["audit", what, *more, "--source", str(database), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "ladle.lab.measured", str(file), *words],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"`ladle audit {what}` left with {done.returncode}: {done.stderr[-800:]}")
    told = json.loads(file.read_text())
    return Audited(json.loads(done.stdout), told["cpu_s"], told["peak_bytes"])
