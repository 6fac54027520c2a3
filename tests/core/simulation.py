"""A small fleet in simulated time: rooms asked for in a burst, peers who come, reports that lag.

Everything goes through `apply`, as it does in a writer.
"""

import heapq
from dataclasses import dataclass, field
from random import Random
from statistics import mean

from ladle.core import load
from ladle.core.rows import Router
from tests.core.cell import START_MS, Cell

JOIN_MS = 30_000
"""Mean time between a room's creation and a peer's joining it."""


@dataclass
class Meeting:
    """A room as it will be: who comes when (ms), and how many of the first ones publish."""

    room_id: str
    asked_ms: int
    hint: int
    publishers: int
    joins_ms: list[int] = field(default_factory=list)

    def consumers(self, now_ms: int | None = None) -> int:
        """What it needs at a time, or in the end."""
        peers = sum(now_ms is None or at <= now_ms for at in self.joins_ms)
        return load.cost(peers, min(peers, self.publishers))


def meetings(seed: int, rooms: int, within_ms: int, *, hint_sigma: float | None) -> list[Meeting]:
    """Sizes as operators' snapshots have them: lognormal, mean 20.3, sigma 0.8, at most 153.

    hint_sigma: how far off the caller's guess of the size is, as the sigma of a lognormal factor;
    None: callers guess nothing and ask for two peers.
    """
    random = Random(seed)
    made = []
    for number in range(rooms):
        size = min(153, max(2, round(random.lognormvariate(2.69, 0.8))))
        hint = 2
        if hint_sigma is not None:
            hint = min(153, max(2, round(size * random.lognormvariate(0, hint_sigma))))
        asked_ms = random.randrange(within_ms)
        publishers = random.choice([1, 1, 2, 3])
        meeting = Meeting(f"room-{number}", asked_ms, hint, publishers)
        created_ms = asked_ms + 1_000
        meeting.joins_ms = [
            created_ms + round(random.expovariate(1 / JOIN_MS)) for _ in range(size)
        ]
        made.append(meeting)
    return made


@dataclass
class Fleet:
    """Servers that report every `interval_ms`, each at a moment of its own."""

    cell: Cell
    meetings: list[Meeting]
    interval_ms: int
    started: set[str] = field(default_factory=set)

    def run(self, until_ms: int, random: Random) -> None:
        """Everything in the order of time."""
        queue: list[tuple[int, int, str, Meeting | str]] = []
        for number, meeting in enumerate(self.meetings):
            heapq.heappush(queue, (meeting.asked_ms, number, "asked", meeting))
            heapq.heappush(queue, (meeting.asked_ms + 1_000, number, "created", meeting))
        for number, server_id in enumerate(sorted(self.cell.view.servers)):
            first_ms = random.randrange(self.interval_ms)
            for at_ms in range(first_ms, until_ms, self.interval_ms):
                heapq.heappush(queue, (at_ms, number, "report", server_id))
        while queue:
            at_ms, _, what, whom = heapq.heappop(queue)
            self.cell.now_ms = START_MS + at_ms
            if isinstance(whom, str):
                self._report(whom, at_ms)
            elif what == "asked":
                self._asked(whom)
            else:
                self._created(whom)

    def home(self, meeting: Meeting) -> Router:
        """Where it is."""
        return self.cell.view.routers[meeting.room_id, 0]

    def _asked(self, meeting: Meeting) -> None:
        publishers = min(meeting.publishers, meeting.hint)
        reply = self.cell.allocate(meeting.room_id, peers=meeting.hint, publishers=publishers)
        assert reply["status"] == "ok", reply

    def _created(self, meeting: Meeting) -> None:
        home = self.home(meeting)
        self.cell.created(meeting.room_id, home.server_id, worker_id=home.worker_id)
        self.started.add(meeting.room_id)

    def _report(self, server_id: str, at_ms: int) -> None:
        workers = dict.fromkeys(self.cell.view.workers_of[server_id], 0)
        rooms: dict[str, dict[str, int | str | None]] = {}
        for meeting in self.meetings:
            if meeting.room_id in self.started and self.home(meeting).server_id == server_id:
                worker_id, seen = self.home(meeting).worker_id or "", meeting.consumers(at_ms)
                workers[worker_id] += seen
                rooms[meeting.room_id] = {"consumers": seen, "worker_id": worker_id}
        self.cell.status(server_id, workers=workers, rooms=rooms, complete=True)

    def worst_to_mean(self) -> float:
        """Of what the servers carry once everybody has come."""
        carried = dict.fromkeys(self.cell.view.servers, 0)
        for meeting in self.meetings:
            carried[self.home(meeting).server_id] += meeting.consumers()
        return max(carried.values()) / mean(carried.values())


def burst(
    seed: int,
    *,
    interval_ms: int,
    hint_sigma: float | None,
    servers: int = 22,
    workers: int = 1,
    rooms: int = 200,
    within_ms: int = 60_000,
    until_ms: int | None = None,
) -> Fleet:
    """The scenario that overran a real cluster: many rooms within a minute, reports that lag."""
    cell = Cell()
    capacities = {str(number): 8_000 // workers for number in range(workers)}
    for number in range(servers):
        cell.register(f"sfu-{number:02}", workers=capacities, status_interval_ms=interval_ms)
    asked = meetings(seed, rooms, within_ms, hint_sigma=hint_sigma)
    simulated = Fleet(cell, asked, interval_ms)
    simulated.run(until_ms or within_ms + 2_000, Random(seed))
    return simulated
