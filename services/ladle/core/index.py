"""Where there is room: per region, workers by how full they are and servers by what they can carry.

A server is out with one reason, or in with its undominated workers: a worker is dominated where
another one of its server is no fuller and no smaller, so choosing among the rest is choosing among
all. Nothing here has a slot number or an order that comes from history: what a region holds is a
function of the rows, however they came about.
Source: docs/adr/0002-index.md.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import orjson
from sortedcontainers import SortedDict, SortedList

from ladle.core.words import Administration, Liveness

if TYPE_CHECKING:
    from ladle.core.rows import Server, Worker
    from ladle.core.view import View

NO_REGION = ""
"""The region of servers that name none."""

NO_WORKER = ""
"""Stands for the worker of a server that chooses its workers itself."""

CONFLICTING = "conflicting"
NO_WORKERS = "no-workers"
CPU = "cpu"


class Pick(NamedTuple):
    """A worker that could be chosen. Tuples compare, so that "better" is a total order.

    permille: max(used / capacity, cpu), rounded down. minus_headroom: of two that are equally full
    in permille the one with more headroom is first, which for workers of one capacity is exactly
    the emptier one. The ids come last: no tie is left to chance.
    """

    permille: int
    minus_headroom: int
    server_id: str
    worker_id: str

    @property
    def headroom(self) -> int:
        """Consumers that it can still carry."""
        return -self.minus_headroom


class Standing(NamedTuple):
    """A server as the index holds it.

    out: why nothing can be placed on it; None: it is in. workers: those that may take rooms, best
    first (none where it is out). roomiest: the most headroom among them; below zero where all are
    over-full. largest: the capacity of its largest worker, whatever state it is in.
    """

    region: str
    labels: str
    out: str | None
    workers: tuple[Pick, ...]
    roomiest: int
    largest: int

    def undominated(self) -> Iterator[Pick]:
        """Workers than which no other of the server is both no fuller and no smaller."""
        most = -1
        for pick in self.workers:
            if pick.headroom > most:
                most = pick.headroom
                yield pick


class Region:
    """The servers of one region, or those of it that carry some labels."""

    def __init__(self, servers: Iterable[tuple[str, Standing]] = ()) -> None:
        self.out: Counter[str] = Counter()
        self.by_permille: SortedDict = SortedDict()  # permille -> SortedList of Pick
        self.roomiest: SortedList = SortedList()  # (headroom, server_id) of the servers that are in
        self.largest: SortedList = SortedList()  # (capacity, server_id) of all servers
        buckets: dict[int, list[Pick]] = {}
        for server_id, standing in servers:
            self._count(server_id, standing)
            for pick in standing.undominated():
                buckets.setdefault(pick.permille, []).append(pick)
        for permille, picks in buckets.items():
            self.by_permille[permille] = SortedList(picks)

    def take_in(self, server_id: str, standing: Standing) -> None:
        """A server came, or came to stand otherwise."""
        self._count(server_id, standing)
        for pick in standing.undominated():
            bucket = self.by_permille.get(pick.permille)
            if bucket is None:
                bucket = self.by_permille[pick.permille] = SortedList()
            bucket.add(pick)

    def take_out(self, server_id: str, standing: Standing) -> None:
        """A server went, or is about to stand otherwise."""
        self.largest.remove((standing.largest, server_id))
        if standing.out is not None:
            self.out[standing.out] -= 1
            return
        self.roomiest.remove((standing.roomiest, server_id))
        for pick in standing.undominated():
            bucket = self.by_permille[pick.permille]
            bucket.remove(pick)
            if not bucket:
                del self.by_permille[pick.permille]

    def _count(self, server_id: str, standing: Standing) -> None:
        self.largest.add((standing.largest, server_id))
        if standing.out is not None:
            self.out[standing.out] += 1
        else:
            self.roomiest.add((standing.roomiest, server_id))

    def emptiest(self, cost: int) -> Iterator[Pick]:
        """Undominated workers with `cost` of headroom, best first."""
        if not self.roomiest or self.roomiest[-1][0] < cost:
            return  # or all buckets would be walked in vain
        for bucket in self.by_permille.values():
            for pick in bucket:
                if pick.headroom < cost:
                    break  # within a bucket the roomier come first
                yield pick

    def serving(self) -> int:
        """How many servers are up and open, hot ones too."""
        return len(self.roomiest) + self.out[CPU]

    def fitting_from(self, cost: int) -> int:
        """The position in `roomiest` from which on the servers have `cost` of headroom."""
        return int(self.roomiest.bisect_left((cost,)))


class Index:
    """Every server's standing, by region and by label."""

    def __init__(self) -> None:
        self.regions: dict[str, Region] = {}
        self.standings: dict[str, Standing] = {}
        self._carriers: dict[tuple[str, str], set[str]] = {}

    def refresh(self, view: "View", server_id: str) -> None:
        """Look at a server again, after any row of it changed; O(workers of the server)."""
        old = self.standings.get(server_id)
        server = view.servers.get(server_id)
        new = None if server is None else standing_of(view, server)
        if old == new:
            return
        if old is not None:
            region = self.regions[old.region]
            region.take_out(server_id, old)
            if not region.largest:
                del self.regions[old.region]
            del self.standings[server_id]
        if new is not None:
            self.regions.setdefault(new.region, Region()).take_in(server_id, new)
            self.standings[server_id] = new
        before, after = (None if old is None else old.labels, None if new is None else new.labels)
        if before != after:
            self._relabel(server_id, before, after)

    def _relabel(self, server_id: str, before: str | None, after: str | None) -> None:
        for label in orjson.loads(before or "{}").items():
            carriers = self._carriers[label]
            carriers.discard(server_id)
            if not carriers:
                del self._carriers[label]
        for label in orjson.loads(after or "{}").items():
            self._carriers.setdefault(label, set()).add(server_id)

    def carrying(self, labels: dict[str, str]) -> set[str]:
        """The servers that carry all of these labels, at least one; O(carriers of the rarest)."""
        groups = [self._carriers.get(label, set()) for label in labels.items()]
        rarest = min(groups, key=len)
        return rarest.intersection(*groups)

    def among(self, server_ids: Iterable[str]) -> dict[str, Region]:
        """The regions as they would be with these servers alone."""
        members: dict[str, list[tuple[str, Standing]]] = {}
        for server_id in server_ids:
            standing = self.standings[server_id]
            members.setdefault(standing.region, []).append((server_id, standing))
        return {name: Region(servers) for name, servers in members.items()}


def running_workers(view: "View", server_id: str) -> list["Worker"]:
    """The workers of a server that live, by id."""
    rows = (view.workers[server_id, name] for name in view.workers_of.get(server_id, ()))
    return [row for row in rows if row.state == "running"]


def together(workers: list["Worker"]) -> tuple[int, int]:
    """Capacity and cpu permille of some workers as one: the sum, and the mean."""
    cpu_permille = sum(worker.cpu_permille for worker in workers) // max(1, len(workers))
    return sum(worker.capacity for worker in workers), cpu_permille


def standing_of(view: "View", server: "Server") -> Standing:
    """Whether rooms may be placed on a server, and on which of its workers; from the rows."""
    server_id, loads = server.server_id, view.loads
    capacities = [view.workers[server_id, n].capacity for n in view.workers_of.get(server_id, ())]
    running = running_workers(view, server_id)
    if server.places_workers:
        largest = max(capacities, default=0)
        # worker, used, capacity, cpu
        carriers = [
            (row.worker_id, loads.used(server_id, row.worker_id), row.capacity, row.cpu_permille)
            for row in running
        ]
    else:
        largest = sum(capacities)
        whole = (NO_WORKER, loads.used_together(server_id), *together(running))
        carriers = [whole] if running else []
    picks = sorted(
        Pick(max(used * 1000 // capacity, cpu), used - capacity, server_id, worker_id)
        for worker_id, used, capacity, cpu in carriers
        if cpu < view.limits.cpu_permille_max
    )
    out = _why_out(server, bool(running), bool(picks))
    workers = tuple(picks) if out is None else ()
    roomiest = max((pick.headroom for pick in workers), default=0)
    region = server.region or NO_REGION
    return Standing(region, server.labels, out, workers, roomiest, largest)


def _why_out(server: "Server", any_running: bool, any_cool: bool) -> str | None:
    """The first reason, in the order in which decisions filter; None where there is none."""
    if server.liveness != Liveness.UP:
        return server.liveness
    if server.administration != Administration.OPEN:
        return server.administration
    if server.conflicting_with is not None:
        return CONFLICTING
    if not any_running:
        return NO_WORKERS
    return None if any_cool else CPU
