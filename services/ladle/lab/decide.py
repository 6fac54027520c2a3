"""`ladle bench decide`: a decision over 100 to 100,000 workers; pure core, one process."""

import time
from collections.abc import Callable, Sequence
from statistics import median

from ladle.core.apply import apply
from ladle.core.decide import decide
from ladle.core.record import Entry, Kind
from ladle.core.view import View
from ladle.lab.rounds import Figure
from ladle_contracts.events import ServerDescription, ServerRegistered, WorkerDescription
from ladle_contracts.requests import Allocate

WORKERS = (100, 1_000, 10_000, 100_000)
WORKERS_PER_SERVER = 10
REGIONS = 4
DECISIONS = 400


def run(
    *,
    rounds: int,
    progress: Callable[[str], None],
    sizes: Sequence[int] = WORKERS,
    decisions: int = DECISIONS,
) -> list[Figure]:
    """Median time of a decision at each of `sizes` workers, against the first in the same round."""
    views = {}
    for workers in sizes:
        progress(f"building {workers:,} workers")
        views[workers] = synthetic_view(workers)
    taken: dict[int, list[float]] = {workers: [] for workers in sizes}
    for number in range(rounds):
        for workers, view in views.items():
            taken[workers].append(_time(view, decisions))
        progress(f"round {number + 1}/{rounds}")
    base = taken[sizes[0]]
    return [
        Figure(
            f"decide.{workers}",
            median(times),
            "us",
            median(base),
            median(a / b for a, b in zip(times, base, strict=True)),
            rounds,
        )
        for workers, times in taken.items()
    ]


def synthetic_view(workers: int) -> View:
    """A fleet with different loads on every worker, made through the rules themselves."""
    view = View()
    servers = workers // WORKERS_PER_SERVER
    for number in range(servers):
        data = ServerRegistered(
            server=ServerDescription(
                host=f"s{number}.example.org", region=f"region-{number % REGIONS}"
            ),
            workers=[WorkerDescription(worker_id=str(n)) for n in range(WORKERS_PER_SERVER)],
        ).model_dump(mode="json")
        _event(view, f"s{number}", 1, "server-registered", data)
        status = {
            "workers": [
                {
                    "worker_id": str(n),
                    "state": "running",
                    "consumers": (number * 37 + n * 53) % 480,
                    "producers": 10,
                    "rooms": 5,
                    "cpu_permille": (number * 11 + n * 7) % 800,
                    "memory_bytes": 100_000_000,
                }
                for n in range(WORKERS_PER_SERVER)
            ],
            "rooms": None,
            "complete": False,
        }
        _event(view, f"s{number}", 2, "worker-status", status)
    view.take_changes()
    return view


def _event(view: View, server_id: str, sequence: int, kind: str, data: object) -> None:
    payload = {
        "type": kind,
        "id": f"{server_id}-{sequence}",
        "source_server_id": server_id,
        "incarnation": 1,
        "sequence": sequence,
        "time_ms": 1,
        "data": data,
    }
    apply(view, Entry(view.offset + 1, 1_800_000_000_000, 1, Kind.EVENT, {}, {}, payload))


def _time(view: View, decisions: int) -> float:
    """Microseconds of one decision, the median of many for rooms of different sizes."""
    entries = [_request(view, number) for number in range(decisions)]
    times = []
    for entry in entries:
        begun = time.perf_counter_ns()
        decide(view, entry)
        times.append(time.perf_counter_ns() - begun)
    return median(times) / 1000


def _request(view: View, number: int) -> Entry:
    body = Allocate(
        room_id=f"bench-{number}", peers=2 + number % 12, regions=[f"region-{number % REGIONS}"]
    ).model_dump(mode="json")
    payload = {
        "operation": "allocate",
        "request_id": f"r-{number}",
        "digest": "",
        "body": body,
    }
    return Entry(
        view.offset + 1, 1_800_000_001_000, 1, Kind.REQUEST, {"user": "bench"}, {}, payload
    )
