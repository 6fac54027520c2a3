"""`ladle bench rpc`: journaled `allocate` against a bare aio-pika echo."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from ladle.lab.bench_broker import bench_name, declared_cell, declared_queue
from ladle.lab.generator import Job
from ladle.lab.processes import BenchError, Placement, Process
from ladle.lab.rounds import Figure, Sample, interleave, latency, throughput
from ladle.lab.synthetic import register_fleet
from ladle_contracts.topology import Topology

SERVERS, WORKERS = 20, 8
MESSAGES = {1: 400, 16: 2_500, 256: 6_000}
"""How many are sent, by how many may be unanswered: about a second or two of each."""
SERVED = "server"


def run(
    amqp_url: str,
    folder: Path,
    *,
    rounds: int,
    progress: Callable[[str], None],
    messages: Mapping[int, int] = MESSAGES,
) -> list[Figure]:
    """Both links of the service and the yardstick, in turn; `messages` at each outstanding."""
    name = bench_name()
    figures: list[Figure] = []
    with (
        declared_cell(amqp_url, f"{name}-fast") as fast_cell,
        declared_cell(amqp_url, f"{name}-plain") as plain_cell,
        declared_queue(amqp_url, f"{name}.echo") as queue,
        _placement(folder, "fast", amqp_url, fast_cell) as fast,
        _placement(folder, "plain", amqp_url, plain_cell) as plain,
        Process(
            ["-m", "ladle.lab.yardstick", "echo", amqp_url, queue],
            env={},
            log=folder / "yardstick.log",
        ) as yardstick,
        Process(["-m", "ladle.lab.generator"], env={}, log=folder / "generator.log") as load,
    ):
        yardstick.hear()
        for service in (fast, plain):
            register_fleet(amqp_url, Topology(service.cell), servers=SERVERS, workers=WORKERS)
        for outstanding, count in messages.items():
            progress(f"{outstanding} outstanding")
            samples = interleave(
                {
                    "yardstick": lambda n=outstanding, m=count: _echo(  # type: ignore[misc]
                        amqp_url, queue, n, m, load, yardstick
                    ),
                    "fast": lambda n=outstanding, m=count: _allocate(  # type: ignore[misc]
                        amqp_url, fast, n, m, load
                    ),
                    "plain": lambda n=outstanding, m=count: _allocate(  # type: ignore[misc]
                        amqp_url, plain, n, m, load
                    ),
                },
                rounds,
                progress,
            )
            base = samples.pop("yardstick")
            for link, ours in samples.items():
                label = f"rpc.{link}.{outstanding}"
                figures += throughput(label, ours, base, SERVED)
                figures += latency(label, ours, base)
    return figures


def _placement(folder: Path, link: str, amqp_url: str, cell: str) -> Placement:
    return Placement(
        folder, name=f"rpc-{link}", amqp_url=amqp_url, cell=cell, env={"LADLE_LINK": link}
    )


def body() -> str:
    """An allocate of a room of its own for two; `{n}` becomes unique."""
    return json.dumps({"room_id": "room-{n}", "peers": 2})


def _allocate(
    amqp_url: str, service: Placement, outstanding: int, count: int, load: Process
) -> Sample:
    job = Job(
        url=amqp_url,
        exchange=Topology(service.cell).placement_requests,
        routing_keys=["allocate"],
        bodies=[body()],
        count=count,
        outstanding=outstanding,
    )
    return measure(job, load, service)


def _echo(
    amqp_url: str, queue: str, outstanding: int, count: int, load: Process, yardstick: Process
) -> Sample:
    job = Job(
        url=amqp_url,
        exchange="",
        routing_keys=[queue],
        bodies=[body()],
        count=count,
        outstanding=outstanding,
    )
    return measure(job, load, yardstick)


def measure(job: Job, load: Process, server: Process) -> Sample:
    """One job through the generator, with the CPU time of both ends."""
    load.say(json.dumps(asdict(job)))
    if load.hear() != "ready":
        raise BenchError("the generator is not ready")
    before = server.cpu_s()
    load.say("go")
    result = json.loads(load.hear())
    if result["errors"] or result["answered"] != job.count:
        raise BenchError(f"{result['errors']} errors, {result['answered']} of {job.count} answered")
    return Sample(
        per_s=job.count / result["seconds"],
        messages=job.count,
        seconds=result["seconds"],
        cpu_s={SERVED: server.cpu_s() - before, "generator": result["cpu_s"]},
        p50_ms=result["p50_ms"],
        p99_ms=result["p99_ms"],
    )
