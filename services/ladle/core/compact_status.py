"""A plain status as the journal keeps it: values by position, for names would be most of it.

    [server_id, incarnation, sequence,
     [[worker_id, runs (1, or 0: it died), consumers, producers, rooms, cpu_permille, memory_bytes],
      ...]]

It is plain where it lists no rooms, is not complete and has a sequence. The event's id and time are
left out: incarnation and sequence name the event as well, and the record says when it came. The
positions are the journal's format: a new value goes to the end, under a new schema version.
"""

from collections.abc import Mapping
from operator import itemgetter
from typing import Any

Packed = list[Any]

_numbers = itemgetter("consumers", "producers", "rooms", "cpu_permille", "memory_bytes")


def pack(payload: Mapping[str, Any]) -> Packed:
    """The payload of a plain `worker-status`, shortened."""
    workers = [
        [worker["worker_id"], int(worker["state"] == "running"), *_numbers(worker)]
        for worker in payload["data"]["workers"]
    ]
    return [payload["source_server_id"], payload["incarnation"], payload["sequence"], workers]


def unpack(packed: Packed) -> dict[str, Any]:
    """The payload again, but for its id and time."""
    server_id, incarnation, sequence, workers = packed
    return {
        "type": "worker-status",
        "source_server_id": server_id,
        "incarnation": incarnation,
        "sequence": sequence,
        "data": {
            "workers": [_state(*worker) for worker in workers],
            "rooms": None,
            "complete": False,
        },
    }


def _state(
    worker_id: str,
    runs: int,
    consumers: int,
    producers: int,
    rooms: int,
    cpu_permille: int,
    memory_bytes: int,
) -> dict[str, Any]:
    return {
        "worker_id": worker_id,
        "state": "running" if runs else "died",
        "consumers": consumers,
        "producers": producers,
        "rooms": rooms,
        "cpu_permille": cpu_permille,
        "memory_bytes": memory_bytes,
    }
