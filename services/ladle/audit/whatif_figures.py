"""What is counted in each of two worlds: requests, refusals, moves; how full workers were."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import isqrt
from typing import Any, NamedTuple

from ladle.core.index import running_workers, together
from ladle.core.record import Entry, Kind
from ladle.core.rows import COLUMNS
from ladle.core.view import View
from ladle.core.words import Liveness

HOMES = frozenset({"placed", "moved"})


@dataclass(slots=True)
class Counts:
    """Requests with an answer, those that were given a home, refusals by code, moves of rooms."""

    requests: int = 0
    placed: int = 0
    moves: int = 0
    refusals: Counter[str] = field(default_factory=Counter)

    def add(self, entry: Entry, outcome: Mapping[str, Any]) -> None:
        """One record; a move is whatever was said to have moved a room."""
        self.moves += sum(line["type"] == "room-moved" for line in outcome["outbound"])
        reply = outcome.get("reply")
        if entry.kind is not Kind.REQUEST or reply is None:
            return
        self.requests += 1
        if outcome["status"] == "refused":
            self.refusals[str(outcome["reason"])] += 1
        elif reply.get("outcome") in HOMES:
            self.placed += 1


class Sample(NamedTuple):
    """The workers of the servers that are up, at one moment. Fills in permille of capacity."""

    workers: int
    empty: int
    used: int
    mean: int
    fullest: int
    imbalance: int
    """Standard deviation of the fills: 0 where all workers are equally full."""


def sample(view: View) -> Sample:
    """O(workers)."""
    loads = list(_loads(view))
    fills = [used * 1000 // max(1, capacity) for used, capacity in loads]
    count, total = len(fills), sum(fills)
    # n * sum of squares - square of the sum = n^2 * variance: integers to the last step.
    spread = isqrt(max(0, count * sum(fill * fill for fill in fills) - total * total))
    return Sample(
        workers=count,
        empty=sum(used == 0 for used, _ in loads),
        used=sum(used for used, _ in loads),
        mean=total // max(1, count),
        fullest=max(fills, default=0),
        imbalance=spread // max(1, count),
    )


def _loads(view: View) -> Iterator[tuple[int, int]]:
    """Used and capacity of each worker; of a server that chooses its workers, of all together."""
    for server in view.servers.values():
        if server.liveness != Liveness.UP:
            continue
        running = running_workers(view, server.server_id)
        if not server.places_workers:
            yield view.loads.used_together(server.server_id), together(running)[0]
            continue
        for worker in running:
            yield view.loads.used(worker.server_id, worker.worker_id), worker.capacity


Place = tuple[str, str | None]
"""server_id, worker_id; None: the server as a whole."""


@dataclass(slots=True)
class Peak:
    """The most consumers in use at any record, in what was and in what would have been."""

    capacity: int
    used: list[int] = field(default_factory=lambda: [0, 0])


class Peaks:
    """Of each worker that was ever there: grows with the fleet."""

    def __init__(self) -> None:
        self.of: dict[Place, Peak] = {}

    def note(self, world: int, view: View, changes: Mapping[str, Mapping[Any, Any]]) -> None:
        """Look at the workers that changed. world: 0 for what was, 1 for what would have been."""
        for server_id, worker_id in _places_in(changes):
            server = view.servers.get(server_id)
            if server is None:
                continue
            if server.places_workers:
                worker = view.workers.get((server_id, worker_id or ""))
                if worker is not None:
                    used = view.loads.used(server_id, worker_id)
                    self._raise((server_id, worker_id), world, used, worker.capacity)
            else:
                capacity = together(running_workers(view, server_id))[0]
                used = view.loads.used_together(server_id)
                self._raise((server_id, None), world, used, capacity)

    def _raise(self, place: Place, world: int, used: int, capacity: int) -> None:
        peak = self.of.setdefault(place, Peak(capacity))
        peak.capacity = max(peak.capacity, capacity)
        peak.used[world] = max(peak.used[world], used)


_SERVER = {name: COLUMNS[name].index("server_id") for name in ("router", "worker")}
_WORKER = {name: COLUMNS[name].index("worker_id") for name in ("router", "worker")}


def _places_in(changes: Mapping[str, Mapping[Any, Any]]) -> set[Place]:
    return {
        (row[_SERVER[name]], row[_WORKER[name]])
        for name in ("router", "worker")
        for row in changes.get(name, {}).values()
        if row is not None
    }
