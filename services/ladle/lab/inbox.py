"""`ladle bench events`: events journaled from the quorum inbox, against a bare consumer."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from ladle.lab.bench_broker import bench_name, declared_cell, declared_queue
from ladle.lab.generator import Job
from ladle.lab.processes import BenchError, NewEvents, Placement, Process, ProcessSilent
from ladle.lab.rounds import Figure, Sample, interleave, throughput
from ladle.lab.synthetic import event, register_fleet, server_ids
from ladle_contracts.events import EventData, RoomCreated, RoomDeleted
from ladle_contracts.link import Outgoing
from ladle_contracts.topology import Topology

SERVERS, WORKERS = 20, 8
EVENTS = 10_000
SERVED = "server"
SILENCE_S = 60.0
"""How long whoever takes the events may take none of them before the benchmark gives up."""
POLL_S = 0.02


def run(
    amqp_url: str,
    folder: Path,
    *,
    rounds: int,
    progress: Callable[[str], None],
    events: int = EVENTS,
) -> list[Figure]:
    """Both links of the service and the yardstick, in turn; a quorum queue for each.

    `events` of each round is a multiple of what the yardstick counts by, SAY_EVERY.
    """
    name = bench_name()
    with (
        declared_cell(amqp_url, f"{name}-fast", server_ids(SERVERS)) as fast_cell,
        declared_cell(amqp_url, f"{name}-plain", server_ids(SERVERS)) as plain_cell,
        declared_queue(amqp_url, f"{name}.sink", quorum=True) as queue,
        _placement(folder, "fast", amqp_url, fast_cell) as fast,
        _placement(folder, "plain", amqp_url, plain_cell) as plain,
        Process(
            ["-m", "ladle.lab.yardstick", "sink", amqp_url, queue],
            env={},
            log=folder / "yardstick.log",
        ) as yardstick,
        Process(["-m", "ladle.lab.generator"], env={}, log=folder / "generator.log") as load,
    ):
        yardstick.hear()
        feeds = {}
        for service in (fast, plain):
            register_fleet(amqp_url, Topology(service.cell), servers=SERVERS, workers=WORKERS)
            feeds[service.cell] = Feed(service.cell)
        sink_feed, sink_count = Feed(fast_cell), 0

        def sink() -> Sample:
            nonlocal sink_count
            sink_count += events
            job = job_of(amqp_url, sink_feed.take(events), queue=queue)
            return timed(job, load, yardstick, lambda: taken(yardstick, sink_count))

        def journaled(service: Placement) -> Sample:
            job = job_of(amqp_url, feeds[service.cell].take(events))
            with service.journal() as journal:
                return timed(job, load, service, lambda: folded(service, journal, events))

        samples = interleave(
            {
                "yardstick": sink,
                "fast": lambda: journaled(fast),
                "plain": lambda: journaled(plain),
            },
            rounds,
            progress,
        )
    base = samples.pop("yardstick")
    return [
        figure
        for link, ours in samples.items()
        for figure in throughput(f"events.{link}", ours, base, SERVED)
    ]


class Feed:
    """Rooms created on the fleet's servers in turn, with sequences that go on.

    living: rooms that live at a time, the oldest of more is deleted; None: each lives for good.
    """

    def __init__(self, cell: str, living: int | None = None) -> None:
        self._cell = cell
        self._living = living
        self._first = self._next = 0
        self._sequences = dict.fromkeys(server_ids(SERVERS), 1)  # 1 is its registration's.

    def take(self, count: int) -> Iterator[Outgoing]:
        for _ in range(count):
            if self._living is not None and self._next - self._first > self._living:
                number, self._first = self._first, self._first + 1
                yield self._said(number, RoomDeleted(room_id=f"room-{number}"))
            else:
                number, self._next = self._next, self._next + 1
                worker_id = str(number % WORKERS)
                yield self._said(number, RoomCreated(room_id=f"room-{number}", worker_id=worker_id))

    def _said(self, room: int, data: EventData) -> Outgoing:
        server_id = server_ids(SERVERS)[room % SERVERS]
        self._sequences[server_id] += 1
        return event(self._cell, server_id, self._sequences[server_id], data)


def _placement(folder: Path, link: str, amqp_url: str, cell: str) -> Placement:
    return Placement(
        folder, name=f"events-{link}", amqp_url=amqp_url, cell=cell, env={"LADLE_LINK": link}
    )


def timed(job: Job, load: Process, server: Process, wait: Callable[[], None]) -> Sample:
    """From the first publish to the last event taken; the queue fills faster than it is read.

    The generator is heard first: then the broker has all, and who is silent has no excuse.
    """
    load.say(json.dumps(asdict(job)))
    if load.hear() != "ready":
        raise BenchError("the generator is not ready")
    before, started = server.cpu_s(), time.perf_counter()
    load.say("go")
    result = json.loads(load.hear())
    wait()
    seconds = time.perf_counter() - started
    return Sample(
        per_s=job.count / seconds,
        messages=job.count,
        seconds=seconds,
        cpu_s={SERVED: server.cpu_s() - before, "generator": result["cpu_s"]},
    )


def taken(yardstick: Process, count: int, silence_s: float = SILENCE_S) -> None:
    """Until the sink has taken `count` in all. Raises BenchError where it falls silent before."""
    so_far = 0
    while so_far < count:
        try:
            so_far = int(yardstick.hear(silence_s))
        except ProcessSilent as silence:
            raise BenchError(
                f"the sink took {so_far} of {count} events, which the broker has: {silence}"
            ) from silence


def folded(
    service: Placement, journal: NewEvents, target: int, silence_s: float = SILENCE_S
) -> None:
    """Until `target` events are journaled. Raises BenchError where the service stops before."""
    so_far, until = -1, 0.0
    while (now := journal.count()) < target:
        if now > so_far:
            so_far, until = now, time.monotonic() + silence_s
        elif not service.running or time.monotonic() > until:
            raise BenchError(
                f"the service journaled {so_far} of {target} events, which the broker has, "
                f"and then none in {silence_s:.0f} s; {service.log_end()}"
            )
        time.sleep(POLL_S)


def job_of(amqp_url: str, messages: Iterator[Outgoing], *, queue: str | None = None) -> Job:
    """Publish them as they are, or into a queue by its name."""
    made = list(messages)
    return Job(
        url=amqp_url,
        exchange=made[0].exchange if queue is None else "",
        routing_keys=[message.routing_key for message in made] if queue is None else [queue],
        bodies=[message.body.decode() for message in made],
        count=len(made),
        outstanding=0,
        content_type=made[0].content_type,
        persistent=True,
    )
