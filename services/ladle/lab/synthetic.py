"""A fleet that only says what a benchmark needs: registrations, statuses, room events."""

import asyncio
import time
from collections.abc import Iterable

from ladle_contracts.amqp import AioPikaLink
from ladle_contracts.envelope import encode_event
from ladle_contracts.events import (
    EventData,
    ServerDescription,
    ServerRegistered,
    WorkerDescription,
    WorkerState,
    WorkerStatus,
)
from ladle_contracts.link import Outgoing
from ladle_contracts.topology import Topology

INCARNATION = 1_763_802_000_000
CAPACITY = 100_000
QUIET_INTERVAL_MS = 600_000
"""Between two statuses, as registered: a benchmark's servers are silent and must not go stale."""


def server_ids(servers: int) -> tuple[str, ...]:
    return tuple(f"bench-{number:04}" for number in range(servers))


def registration(server_id: str, workers: int, *, interval_ms: int) -> ServerRegistered:
    """A server with `workers` workers that carry any benchmark."""
    return ServerRegistered(
        server=ServerDescription(
            host=f"{server_id}.example.org", status_interval_ms=interval_ms, region="bench"
        ),
        workers=[
            WorkerDescription(worker_id=str(number), capacity_consumers=CAPACITY)
            for number in range(workers)
        ],
    )


def status(workers: int, consumers: int) -> WorkerStatus:
    """A plain status of ordinary numbers."""
    return WorkerStatus(
        workers=[
            WorkerState(
                worker_id=str(number),
                state="running",
                consumers=consumers + number,
                producers=20 + number,
                rooms=12,
                cpu_permille=320 + number,
                memory_bytes=180_000_000 + number * 4096,
            )
            for number in range(workers)
        ]
    )


def event(cell: str, server_id: str, sequence: int, data: EventData) -> Outgoing:
    """An event of a benchmark's server, as its publisher would send it."""
    return encode_event(
        data,
        server_id=server_id,
        event_id=f"{server_id}-{sequence}",
        time_ms=time.time_ns() // 1_000_000,
        incarnation=INCARNATION,
        sequence=sequence,
        cell=cell,
    )


async def publish(amqp_url: str, messages: Iterable[Outgoing]) -> None:
    """All of them, confirmed, many at once."""
    link = AioPikaLink(amqp_url)
    await link.open()
    try:
        waiting: list[Outgoing] = []
        for message in messages:
            waiting.append(message)
            if len(waiting) == 500:
                await asyncio.gather(*(link.publish(one) for one in waiting))
                waiting.clear()
        await asyncio.gather(*(link.publish(one) for one in waiting))
    finally:
        await link.close()


def register_fleet(
    amqp_url: str,
    topology: Topology,
    *,
    servers: int,
    workers: int,
    interval_ms: int = QUIET_INTERVAL_MS,
) -> None:
    """Register `servers` x `workers` and wait until the broker has it."""
    asyncio.run(
        publish(
            amqp_url,
            (
                event(
                    topology.cell,
                    server_id,
                    1,
                    registration(server_id, workers, interval_ms=interval_ms),
                )
                for server_id in server_ids(servers)
            ),
        )
    )
