"""A small fleet in simulated time: rooms asked for in a burst, peers who come, reports that lag.

It drives decisions, load and fading by the rows that the rules of rooms and workers would write,
so that what is measured is placing alone.
"""

import heapq
from dataclasses import dataclass, field
from random import Random
from statistics import mean

from ladle.core import load
from ladle.core.rows import changed
from ladle.core.view import View
from tests.core.placing import allocate, fleet, hold

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

    view: View
    meetings: list[Meeting]
    interval_ms: int

    def run(self, until_ms: int, random: Random) -> None:
        """Everything in the order of time."""
        queue: list[tuple[int, int, str, object]] = []
        for number, meeting in enumerate(self.meetings):
            heapq.heappush(queue, (meeting.asked_ms, number, "asked", meeting))
            heapq.heappush(queue, (meeting.asked_ms + 1_000, number, "created", meeting))
        for number, server_id in enumerate(sorted(self.view.servers)):
            first_ms = random.randrange(self.interval_ms)
            for at_ms in range(first_ms, until_ms, self.interval_ms):
                heapq.heappush(queue, (at_ms, number, "report", server_id))
        while queue:
            now_ms, _, what, whom = heapq.heappop(queue)
            self.view.offset += 1
            if isinstance(whom, Meeting):
                self._asked(whom) if what == "asked" else self._created(whom, now_ms)
            else:
                self._report(str(whom), now_ms)
            self.view.settle()

    def _asked(self, meeting: Meeting) -> None:
        publishers = min(meeting.publishers, meeting.hint)
        decision = allocate(
            self.view, room_id=meeting.room_id, peers=meeting.hint, publishers=publishers
        )
        assert decision.error is None, decision.error
        hold(self.view, meeting.room_id, decision)

    def _created(self, meeting: Meeting, now_ms: int) -> None:
        router = self.view.routers[meeting.room_id, 0]
        due_ms = now_ms + load.step_ms(self.view.limits.settle_ms)
        self.view.put(changed(router, active=1, fade_at_ms=due_ms))

    def _report(self, server_id: str, now_ms: int) -> None:
        view = self.view
        observed = dict.fromkeys(view.workers_of[server_id], 0)
        for meeting in self.meetings:
            router = view.routers.get((meeting.room_id, 0))
            if router is not None and router.server_id == server_id and router.active:
                seen = meeting.consumers(now_ms)
                observed[router.worker_id or ""] += seen
                view.put(changed(router, seen=seen))
        for worker_id, consumers in observed.items():
            worker = view.workers[server_id, worker_id]
            told = {"status_sequence": view.offset, "status_offset": view.offset}
            view.put(changed(worker, observed=consumers, **told))
        load.fade(view, server_id, now_ms)

    def worst_to_mean(self) -> float:
        """Of what the servers carry once everybody has come."""
        carried = dict.fromkeys(self.view.servers, 0)
        for meeting in self.meetings:
            carried[self.view.routers[meeting.room_id, 0].server_id] += meeting.consumers()
        return max(carried.values()) / mean(carried.values())


def burst(
    seed: int,
    *,
    interval_ms: int,
    hint_sigma: float | None,
    servers: int = 22,
    workers: int = 4,
    rooms: int = 200,
    within_ms: int = 60_000,
    policy: str = "least-loaded",
    until_ms: int | None = None,
) -> Fleet:
    """The scenario that overran a real cluster: many rooms within a minute, reports that lag."""
    names = [f"sfu-{number:02}" for number in range(servers)]
    view = fleet(*names, workers=workers, capacity=8_000 // workers)
    view.set_state("policy", policy)
    asked = meetings(seed, rooms, within_ms, hint_sigma=hint_sigma)
    simulated = Fleet(view, asked, interval_ms)
    simulated.run(until_ms or within_ms + 2_000, Random(seed))
    return simulated
