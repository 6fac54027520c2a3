"""The load of a benchmark in a process of its own: `python -m ladle.lab.generator`.

Reads one JSON job from standard input, waits for a line "go", runs it, prints one JSON result.
"""

import json
import os
import sys
import time
import uuid
from dataclasses import asdict, dataclass
from typing import Any

from ladle.lab.raw_amqp import RawConnection, encoded
from ladle_contracts.link import DIRECT_REPLY_TO

REPLY_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Job:
    """Publish `count` messages, at most `outstanding` unanswered (0: events, confirmed at the end).

    exchange, routing_keys: where to. bodies: taken in turn with the keys, as text; `{n}` becomes
    unique. Where `outstanding` asks for answers, each message is a request with its own id.
    """

    url: str
    exchange: str
    routing_keys: list[str]
    bodies: list[str]
    count: int
    outstanding: int
    content_type: str = "application/json"
    persistent: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What the generator saw. Seconds; latencies in ms; `cpu_s` of the generator itself."""

    sent: int
    answered: int
    errors: int
    seconds: float
    cpu_s: float
    p50_ms: float
    p99_ms: float


def messages(job: Job) -> list[tuple[str, bytes]]:
    """(correlation id, frames) of every message, encoded before the clock starts."""
    made = []
    run = uuid.uuid4().hex[:12]
    for number in range(job.count):
        name = f"{run}-{number}"
        properties: dict[str, Any] = {
            "content_type": job.content_type,
            "message_id": name,
            "delivery_mode": 2 if job.persistent else 1,
        }
        if job.outstanding:
            properties |= {
                "correlation_id": name,
                "reply_to": DIRECT_REPLY_TO,
                "headers": {"request_id": name},
            }
        body = job.bodies[number % len(job.bodies)].replace("{n}", name)
        key = job.routing_keys[number % len(job.routing_keys)]
        made.append((name, encoded(job.exchange, key, body.encode(), properties)))
    return made


def run(job: Job, connection: RawConnection, made: list[tuple[str, bytes]]) -> Result:
    """Send them all; with answers, keep `outstanding` under way until the last is answered.

    Without, until the broker has them: whoever waits for a last one that was lost waits for ever.
    """
    started, cpu = time.perf_counter(), time.process_time()
    if not job.outstanding:
        for begin in range(0, len(made), 200):
            connection.write(b"".join(frames for _, frames in made[begin : begin + 200]))
        connection.await_confirms(len(made))
        seconds = time.perf_counter() - started
        return Result(len(made), 0, 0, seconds, time.process_time() - cpu, 0.0, 0.0)
    sent_at: dict[str, float] = {}
    latencies: list[float] = []
    errors = 0
    waiting = iter(made)

    def send(count: int) -> None:
        now = time.perf_counter()
        batch = []
        for _, (name, frames) in zip(range(count), waiting, strict=False):
            sent_at[name] = now
            batch.append(frames)
        if batch:
            connection.write(b"".join(batch))

    send(job.outstanding)
    while sent_at:
        arrived = 0
        for name, body in connection.replies():
            begun = sent_at.pop(name, None)
            if begun is None:
                continue
            latencies.append(time.perf_counter() - begun)
            errors += b'"status":"error"' in body[:400]
            arrived += 1
        send(arrived)
    seconds = time.perf_counter() - started
    latencies.sort()
    return Result(
        sent=len(made),
        answered=len(latencies),
        errors=errors,
        seconds=seconds,
        cpu_s=time.process_time() - cpu,
        p50_ms=1000 * latencies[len(latencies) // 2],
        p99_ms=1000 * latencies[len(latencies) * 99 // 100],
    )


def main() -> None:
    """One job after the other from standard input, until it closes."""
    for line in sys.stdin:
        job = Job(**json.loads(line))
        connection = RawConnection(job.url, timeout_s=REPLY_TIMEOUT_S)
        if job.outstanding:
            connection.consume(DIRECT_REPLY_TO, no_ack=True)
        else:
            connection.confirm()
        made = messages(job)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        result = run(job, connection, made)
        connection.close()
        sys.stdout.write(json.dumps({**asdict(result), "pid": os.getpid()}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
