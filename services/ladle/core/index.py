"""Where there is room: per region, workers by how full they are and servers by what they can carry.

A server is out with one reason, or in with its undominated workers: a worker is dominated where
another one of its server is no fuller and no smaller, so choosing among the rest is choosing among
all. Nothing here has a slot number or an order that comes from history: what a region holds is a
function of the rows, however they came about.
Source: docs/adr/0003-index-by-permille.md.
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import orjson
from sortedcontainers import SortedDict, SortedList

from ladle.core.damping import DAMPED, is_damped
from ladle.core.slow_start import STEPS, step_of
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

    permille: max(used / capacity, cpu), rounded down, where used counts more than it is on a server
    in slow start. minus_headroom: of two that are equally full
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
    first (none where it is out). undominated: those of them than which no other one is both no
    fuller and no smaller. roomiest: the most headroom among them; below zero where all are
    over-full. largest: the capacity of its largest worker, whatever state it is in. step: of its
    slow start, whether that counts now or not.
    """

    region: str
    labels: str
    out: str | None
    workers: tuple[Pick, ...]
    undominated: tuple[Pick, ...]
    roomiest: int
    largest: int
    step: int

    @property
    def serves(self) -> bool:
        """Is it up and open? Hot ones too."""
        return self.out is None or self.out == CPU


class Region:
    """The servers of one region, or those of it that carry some labels."""

    def __init__(self, servers: Iterable[tuple[str, Standing]] = ()) -> None:
        self.out: Counter[str] = Counter()
        # Sorted once and not server by server: a wish with labels waits for it.
        picks: dict[int, list[Pick]] = {}
        roomiest: list[tuple[int, str]] = []
        largest: list[tuple[int, str]] = []
        for server_id, standing in servers:
            largest.append((standing.largest, server_id))
            if standing.out is not None:
                self.out[standing.out] += 1
                continue
            roomiest.append((standing.roomiest, server_id))
            for pick in standing.undominated:
                picks.setdefault(pick.permille, []).append(pick)
        # permille -> its picks, ascending. Plain lists: most hold a few, and come and go.
        self.by_permille = SortedDict({at: sorted(bucket) for at, bucket in picks.items()})
        self.roomiest = SortedList(roomiest)  # (headroom, server_id) of the servers that are in
        self.largest = SortedList(largest)  # (capacity, server_id) of all servers

    def change(self, server_id: str, old: Standing | None, new: Standing | None) -> None:
        """A server comes (no old), goes (no new) or stands otherwise; only what differs moves."""
        before = old.undominated if old is not None else ()
        after = new.undominated if new is not None else ()
        for pick in before:
            if pick not in after:
                self._remove(pick)
        for pick in after:
            if pick not in before:
                self._add(pick)
        _swap(self.roomiest, _rung(server_id, old), _rung(server_id, new))
        _swap(
            self.largest,
            None if old is None else (old.largest, server_id),
            None if new is None else (new.largest, server_id),
        )
        if old is not None and old.out is not None:
            self.out[old.out] -= 1
        if new is not None and new.out is not None:
            self.out[new.out] += 1

    def _add(self, pick: Pick) -> None:
        bucket = self.by_permille.get(pick.permille)
        if bucket is None:
            self.by_permille[pick.permille] = [pick]
        else:
            insort(bucket, pick)

    def _remove(self, pick: Pick) -> None:
        bucket = self.by_permille[pick.permille]
        if len(bucket) == 1:
            del self.by_permille[pick.permille]
        else:
            del bucket[bisect_left(bucket, pick)]

    def emptiest(self, cost: int, avoid: frozenset[str] = frozenset()) -> Iterator[Pick]:
        """The best worker with `cost` of headroom of each server not avoided, best first."""
        if not self.roomiest or self.roomiest[-1][0] < cost:
            return  # or all buckets would be walked in vain
        told: set[str] = set()
        for permille in self.by_permille:
            for pick in self.by_permille[permille]:
                if pick.minus_headroom > -cost:
                    break  # within a bucket the roomier come first
                if pick.server_id not in told and pick.server_id not in avoid:
                    told.add(pick.server_id)
                    yield pick

    def serving(self) -> int:
        """How many servers are up and open, hot ones too."""
        return len(self.roomiest) + self.out.get(CPU, 0)

    def fitting_from(self, cost: int) -> int:
        """The position in `roomiest` from which on the servers have `cost` of headroom."""
        return int(self.roomiest.bisect_left((cost,)))


class Index:
    """Every server's standing, by region and by label.

    Slow start counts only while at least half of the servers that serve are past it: who is new
    among new ones is like the others, and the few that are not could not carry all.
    """

    def __init__(self, *, of_damped: bool = False) -> None:
        """of_damped: it holds only servers that another one has out as damped, and has them in."""
        self._of_damped = of_damped
        self.regions: dict[str, Region] = {}
        self.standings: dict[str, Standing] = {}
        self.starting: set[str] = set()  # servers that serve, in slow start
        self.slow_start_counts = True
        self._serving = 0
        self._carriers: dict[tuple[str, str], set[str]] = {}

    def look_again(self, view: "View", due: Mapping[str, Collection[str | None]]) -> None:
        """Look at these servers again, at these workers of them: see `refresh`.

        Where slow start begins or ceases to count, also at all that are in it.
        """
        for server_id, workers in due.items():
            self.refresh(view, server_id, workers)
        counts = 2 * len(self.starting) <= self._serving
        if counts != self.slow_start_counts:
            self.slow_start_counts = counts
            for server_id in sorted(self.starting):
                self.refresh(view, server_id, (None,))

    def refresh(self, view: "View", server_id: str, workers: Collection[str | None]) -> None:
        """Look at a server again, after rows of it changed; O(workers of the server).

        workers: those whose load changed; None among them: all of the server may have.
        """
        old = self.standings.get(server_id)
        server = view.servers.get(server_id)
        if server is None:
            new = None
        elif old is None or None in workers or not server.places_workers:
            new = self._standing_of(view, server)
        else:
            new = _with_loads(view, old, server_id, workers, self._weight(old.step))
        if old == new:
            return
        self._count(server_id, old, new)
        if old is not None and new is not None and old.region == new.region:
            self.regions[old.region].change(server_id, old, new)
        else:
            self._leave(server_id, old)
            if new is not None:
                self.regions.setdefault(new.region, Region()).change(server_id, None, new)
        if new is not None:
            self.standings[server_id] = new
        else:
            del self.standings[server_id]
        before = None if old is None else old.labels
        after = None if new is None else new.labels
        if before != after:
            self._relabel(server_id, before, after)

    def share_permille(self, server_id: str) -> int | None:
        """Of a server in slow start that counts: the part of a whole share that it gets now."""
        if server_id not in self.starting or not self.slow_start_counts:
            return None
        return self.standings[server_id].step * 1000 // STEPS

    def _standing_of(self, view: "View", server: "Server") -> Standing | None:
        server_id = server.server_id
        if self._of_damped and not is_damped(view, server_id):
            return None
        weight = self._weight(step_of(view, server_id))
        return standing_of(view, server, weight, of_damped=self._of_damped)

    def _weight(self, step: int) -> int:
        return step if self.slow_start_counts else STEPS

    def _count(self, server_id: str, old: Standing | None, new: Standing | None) -> None:
        """How many serve, and which of them are in slow start."""
        if old is not None and old.serves:
            self._serving -= 1
            self.starting.discard(server_id)
        if new is not None and new.serves:
            self._serving += 1
            if new.step < STEPS:
                self.starting.add(server_id)

    def _leave(self, server_id: str, old: Standing | None) -> None:
        if old is not None:
            region = self.regions[old.region]
            region.change(server_id, old, None)
            # Or what there is would depend on what there was.
            if not region.largest:
                del self.regions[old.region]

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
    return [row for row in _workers(view, server_id) if row.state == "running"]


def together(workers: list["Worker"]) -> tuple[int, int]:
    """Capacity and cpu permille of some workers as one: the sum, and the mean."""
    cpu_permille = sum(worker.cpu_permille for worker in workers) // max(1, len(workers))
    return sum(worker.capacity for worker in workers), cpu_permille


def standing_of(
    view: "View", server: "Server", weight: int, *, of_damped: bool = False
) -> Standing | None:
    """Whether rooms may be placed on a server, and on which of its workers; from the rows.

    weight: of STEPS, in slow start. of_damped: as if it were not damped; None where it is out for
    another reason.
    """
    step = step_of(view, server.server_id)
    rows = _workers(view, server.server_id)
    capacities = [row.capacity for row in rows]
    largest = max(capacities, default=0) if server.places_workers else sum(capacities)
    region, labels = server.region or NO_REGION, server.labels
    running = [row for row in rows if row.state == "running"]
    out = _why_out(view, server, running)
    if of_damped:
        if out != DAMPED:
            return None
        out = None
    if out is not None:
        return Standing(region, labels, out, (), (), 0, largest, step)
    if server.places_workers:
        picks = _picks(view, running, weight)
    else:
        picks = _pick_together(view, server.server_id, running, weight)
    return _serving(region, labels, picks, largest, step)


def _with_loads(
    view: "View",
    old: Standing,
    server_id: str,
    workers: Collection[str | None],
    weight: int,
) -> Standing:
    """What `standing_of` would say, where only the loads of these workers changed.

    Most changes are of one worker, and what can be chosen of the others is as it was.
    """
    if not old.serves:
        return old
    rows = [view.workers.get((server_id, worker_id or NO_WORKER)) for worker_id in workers]
    running = [row for row in rows if row is not None and row.state == "running"]
    picks = [pick for pick in old.workers if pick.worker_id not in workers]
    picks += _picks(view, running, weight)
    return _serving(old.region, old.labels, picks, old.largest, old.step)


def _serving(region: str, labels: str, picks: list[Pick], largest: int, step: int) -> Standing:
    """The standing of a server that is up and open; without a pick all its workers are hot."""
    if not picks:
        return Standing(region, labels, CPU, (), (), 0, largest, step)
    picks.sort()
    best = _undominated(picks)
    return Standing(region, labels, None, tuple(picks), best, best[-1].headroom, largest, step)


def _picks(view: "View", running: list["Worker"], weight: int) -> list[Pick]:
    """What could be chosen of these workers: those that are not hot."""
    used, cpu_max = view.loads.used, view.limits.cpu_permille_max
    return [
        _pick(
            row.server_id,
            row.worker_id,
            used(row.server_id, row.worker_id),
            row.capacity,
            row.cpu_permille,
            weight,
        )
        for row in running
        if row.cpu_permille < cpu_max
    ]


def _pick_together(
    view: "View", server_id: str, running: list["Worker"], weight: int = STEPS
) -> list[Pick]:
    """The whole server, unless it is hot: for one that chooses its workers itself."""
    capacity, cpu_permille = together(running)
    if cpu_permille >= view.limits.cpu_permille_max:
        return []
    used = view.loads.used_together(server_id)
    return [_pick(server_id, NO_WORKER, used, capacity, cpu_permille, weight)]


def _pick(
    server_id: str, worker_id: str, used: int, capacity: int, cpu_permille: int, weight: int
) -> Pick:
    """weight: of STEPS, how much of what it could carry counts."""
    permille = max(used * 1000 * STEPS // (capacity * weight), cpu_permille)
    return Pick(permille, used - capacity, server_id, worker_id)


def _undominated(picks: list[Pick]) -> tuple[Pick, ...]:
    """Of picks in their order, those that are roomier than all before them; at least one.

    The last one is the roomiest. An over-full server keeps its best, which fits nothing.
    """
    best, roomiest = [picks[0]], picks[0].minus_headroom
    for pick in picks:
        if pick.minus_headroom < roomiest:
            best.append(pick)
            roomiest = pick.minus_headroom
    return tuple(best)


def _workers(view: "View", server_id: str) -> list["Worker"]:
    workers = view.workers
    return [workers[server_id, name] for name in view.workers_of.get(server_id, ())]


def _rung(server_id: str, standing: Standing | None) -> tuple[int, str] | None:
    if standing is None or standing.out is not None:
        return None
    return standing.roomiest, server_id


def _swap(lines: SortedList, old: tuple[int, str] | None, new: tuple[int, str] | None) -> None:
    if old != new:
        if old is not None:
            lines.remove(old)
        if new is not None:
            lines.add(new)


def _why_out(view: "View", server: "Server", running: list["Worker"]) -> str | None:
    """The first reason of the server itself, in the order in which decisions filter."""
    if server.liveness != Liveness.UP:
        return server.liveness
    if server.administration != Administration.OPEN:
        return server.administration
    if server.conflicting_with is not None:
        return CONFLICTING
    if not running:
        return NO_WORKERS
    return DAMPED if is_damped(view, server.server_id) else None
