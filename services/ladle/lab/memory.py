"""`ladle bench memory`: what the service needs for 1,000 servers x 8 workers and 20,000 rooms."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ladle.lab.bench_broker import bench_name, declared_cell
from ladle.lab.processes import BenchError, Placement
from ladle.lab.rounds import Figure
from ladle.lab.synthetic import event, publish, register_fleet, server_ids
from ladle_contracts.events import RoomCreated
from ladle_contracts.link import Outgoing
from ladle_contracts.topology import Topology

SERVERS, WORKERS, ROOMS = 1_000, 8, 20_000
BYTES_MAX = 300_000_000
TIMEOUT_S = 300


def run(
    amqp_url: str,
    folder: Path,
    *,
    progress: Callable[[str], None],
    servers: int = SERVERS,
    rooms: int = ROOMS,
) -> list[Figure]:
    """Register the fleet, create the rooms, and read the process's resident memory."""
    ids = server_ids(servers)
    with (
        declared_cell(amqp_url, bench_name(), ids) as cell,
        Placement(folder, name="memory", amqp_url=amqp_url, cell=cell, env={}) as service,
    ):
        empty = service.rss_bytes()
        register_fleet(amqp_url, Topology(cell), servers=servers, workers=WORKERS)
        progress(f"{servers} servers registered")
        asyncio.run(publish(amqp_url, _rooms(cell, ids, rooms)))
        until = time.monotonic() + TIMEOUT_S
        while service.metric("ladle_rooms") < rooms:
            if time.monotonic() > until:
                raise BenchError(f"the service did not know {rooms} rooms in {TIMEOUT_S} s")
            time.sleep(0.5)
            progress(f"{service.metric('ladle_rooms'):.0f} of {rooms} rooms")
        full = service.rss_bytes()
    return [
        Figure("memory.rss", full, "B", BYTES_MAX, full / BYTES_MAX, 1),
        Figure("memory.rss_empty", empty, "B", None, None, 1),
    ]


def _rooms(cell: str, ids: tuple[str, ...], rooms: int) -> Iterator[Outgoing]:
    for number in range(rooms):
        server_id, sequence = ids[number % len(ids)], 2 + number // len(ids)
        created = RoomCreated(room_id=f"room-{number}", worker_id=str(number % WORKERS))
        yield event(cell, server_id, sequence, created)
