"""What a room weighs, taken from the worker that had it and given to the one that would.

A room weighs what its server lists for it. One that is not listed yet weighs its part, by cost, of
what its worker observes beyond those that are, and no more than its cost; one that is so new that
its worker's last status cannot know it weighs its cost.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from ladle.core.rows import Router
from ladle.core.view import View

PERMILLE_MAX = 1000

Pair = tuple[str, str | None]
Json = Mapping[str, Any]


class Shares:
    """Reads both views behind the record in what was. `begin` with each record."""

    def __init__(self, was: View, would: View) -> None:
        self._was, self._would = was, would
        self._beyond: dict[Pair, tuple[int, int]] = {}
        # What a consumer costs in CPU: the mean of all that was reported so far.
        self._cpu_permille = self._consumers = 0

    def begin(self) -> None:
        self._beyond.clear()

    def of(self, router: Router) -> int:
        """Consumers of a room in what was, on this router."""
        if not router.active:
            return 0
        if router.seen:
            return router.seen
        worker = self._was.workers.get((router.server_id, router.worker_id or ""))
        if worker is not None and router.reserved_offset > worker.status_offset:
            return router.cost
        beyond, cost = self._beyond_listed(router.server_id, router.worker_id)
        return min(router.cost, beyond * router.cost // cost) if cost else 0

    def _beyond_listed(self, server_id: str, worker_id: str | None) -> tuple[int, int]:
        """Consumers of a worker that no listed room has, and the cost of those not listed."""
        pair = (server_id, worker_id)
        found = self._beyond.get(pair)
        if found is None:
            worker = self._was.workers.get((server_id, worker_id or ""))
            observed, told = (0, 0) if worker is None else (worker.observed, worker.status_offset)
            seen = cost = 0
            for key in self._was.routers_on.get(server_id, ()):
                router = self._was.routers[key]
                if router.worker_id == worker_id and router.active:
                    seen += router.seen
                    is_known = not router.seen and router.reserved_offset <= told
                    cost += router.cost if is_known else 0
            found = self._beyond[pair] = (max(0, observed - seen), cost)
        return found

    def packed(self, packed: list[Any]) -> list[Any]:
        """A plain status as the journal keeps it, see core/compact_status.py."""
        server_id, incarnation, sequence, workers = packed
        moved = self._moved(server_id, [worker[0] for worker in workers])
        told = []
        for worker_id, runs, consumers, producers, rooms, cpu_permille, memory in workers:
            consumers, cpu_permille = self._adjusted(consumers, cpu_permille, moved.get(worker_id))
            told.append([worker_id, runs, consumers, producers, rooms, cpu_permille, memory])
        return [server_id, incarnation, sequence, told]

    def workers(self, server_id: str, said: list[Json]) -> list[Json]:
        """The workers of a status."""
        moved = self._moved(server_id, [worker["worker_id"] for worker in said])
        told: list[Json] = []
        for worker in said:
            consumers, cpu_permille = self._adjusted(
                worker["consumers"], worker["cpu_permille"], moved.get(worker["worker_id"])
            )
            told.append({**worker, "consumers": consumers, "cpu_permille": cpu_permille})
        return told

    def guests(self, server_id: str, at_home: Collection[str]) -> list[Json]:
        """Rooms that live here in this world; not those that were `at_home` here in what was."""
        listed: list[Json] = []
        for key in sorted(self._would.routers_on.get(server_id, ())):
            mine, there = self._would.routers[key], self._was.routers.get(key)
            if mine.active and key[0] not in at_home:
                listed.append(
                    {
                        "room_id": key[0],
                        "worker_id": mine.worker_id or "",
                        "peers": 0 if there is None else there.peers_seen,
                        "consumers": 0 if there is None else self.of(there),
                        "allocation_id": None,
                    }
                )
        return listed

    def _moved(self, server_id: str, workers: list[str]) -> dict[str | None, int]:
        """By worker: consumers of rooms that would be there, less those that would not."""
        moved: Counter[str | None] = Counter()
        for key in self._was.routers_on.get(server_id, ()):
            theirs = self._was.routers[key]
            if not _same_place(theirs, self._would.routers.get(key)):
                moved[theirs.worker_id] -= self.of(theirs)
        for key in self._would.routers_on.get(server_id, ()):
            mine, there = self._would.routers[key], self._was.routers.get(key)
            if mine.active and there is not None and not _same_place(mine, there):
                # Of a server that chooses its workers itself, the first stands for all.
                moved[mine.worker_id or (workers[0] if workers else None)] += self.of(there)
        return moved

    def _adjusted(self, consumers: int, cpu_permille: int, moved: int | None) -> tuple[int, int]:
        self._consumers += consumers
        self._cpu_permille += cpu_permille
        if not moved:
            return consumers, cpu_permille
        adjusted = max(0, consumers + moved)
        cpu = (adjusted - consumers) * self._cpu_permille // max(1, self._consumers)
        bounded = max(0, min(max(PERMILLE_MAX, cpu_permille), cpu_permille + cpu))
        return adjusted, bounded


def _same_place(here: Router, there: Router | None) -> bool:
    """The same worker, or one that its server has not named yet."""
    if there is None or here.server_id != there.server_id:
        return False
    return here.worker_id == there.worker_id or None in (here.worker_id, there.worker_id)
