"""How full a worker is: what its rooms need, what they are seen to need, what is on its way.

    used = sum over its rooms of max(seen, reserved)
           + max(0, observed - sum of seen - seen of rooms that ended after the status)
    headroom = capacity - used

All in consumers, integers. A report lags by an interval; `reserved` bridges it, so that a burst of
rooms does not land whole on the worker that was emptiest when it began. The sums are kept as rows
change, so that `used` is O(1), and they are a function of the rows alone: loading the tables and
folding the journal give the same ones.
Source: docs/adr/0001-fading-steps.md.
"""

from dataclasses import dataclass, field
from math import isqrt
from typing import Protocol

from sortedcontainers import SortedList

FADE_STEPS = 8
"""Steps from the whole reservation to none. More would write more rows and win nothing."""

RouterKey = tuple[str, int]
"""room_id, router."""

Life = tuple[int, int]
"""incarnation, sequence."""


class RouterShare(Protocol):
    """What load reads of a router's row: a worker's share of a room.

    cost, seen, reserved: consumers. `reserved` is 0 once the room has settled or is stranded.
    reserved_offset: the record that reserved it last (allocated, raised or adopted).
    fade_at_ms: when the next step of fading is due; None while held and after the last step.
    """

    room_id: str
    router: int
    server_id: str
    worker_id: str | None
    cost: int
    seen: int
    reserved: int
    reserved_offset: int
    fade_step: int
    fade_at_ms: int | None


class WorkerReport(Protocol):
    """What load reads of a worker's row: its last status.

    status_sequence: of the last status that told of it; 0 before one. status_offset: its record.
    lists_rooms: 1 where that status listed rooms, so that `seen` means something.
    """

    server_id: str
    worker_id: str
    capacity: int
    observed: int
    incarnation: int
    status_sequence: int
    status_offset: int
    lists_rooms: int


class EndedShare(Protocol):
    """What load reads of a stamp: what its room was last seen to need, and when it ended.

    seen: 0 unless the room ended there.
    """

    room_id: str
    server_id: str
    worker_id: str | None
    incarnation: int
    sequence: int
    seen: int


def cost(peers: int, publishers: int | None = None, streams: int = 2) -> int:
    """Consumers that `peers` need who each receive `streams` from every publisher but themselves.

    >>> cost(4), cost(10), cost(16), cost(100, publishers=2)
    (24, 180, 480, 396)
    """
    return (peers if publishers is None else publishers) * max(0, peers - 1) * streams


def largest_room(headroom: int, publishers: int | None = None, streams: int = 2) -> int:
    """The most peers whose cost is at most `headroom`; 0 where not even one person fits.

    Rooms that cost nothing (no publishers, or no streams) have no largest: 0 headroom carries any
    number, so the answer is what the publishers alone would be, at least 1.
    """
    if headroom < 0:
        return 0
    if publishers is None:
        # The largest n with n(n - 1) <= m is the root of n^2 - n - m = 0, rounded down.
        return (1 + isqrt(1 + 4 * (headroom // streams))) // 2 if streams else 1
    per_peer = publishers * streams
    return headroom // per_peer + 1 if per_peer else max(1, publishers)


def reserved_at(step: int, cost: int, seen: int) -> int:
    """What stays reserved for a room after `step` of FADE_STEPS: from cost towards seen.

    Rounded up: a reservation may be a consumer too large for a moment, never too small.
    After the last step nothing is reserved and the room counts as what it is seen to need.
    """
    left = FADE_STEPS - step
    if left <= 0:
        return 0
    return seen + -(-(cost - seen) * left // FADE_STEPS) if cost > seen else cost


def step_ms(settle_ms: int) -> int:
    """How long one step of fading takes."""
    return max(1, settle_ms // FADE_STEPS)


def faded(step: int, fade_at_ms: int, now_ms: int, settle_ms: int) -> tuple[int, int | None]:
    """The step that a room has reached at `now_ms`, and when its next one is due.

    Several steps at once where nothing was heard about the server for long.
    """
    width = step_ms(settle_ms)
    passed = 1 + (now_ms - fade_at_ms) // width
    if step + passed >= FADE_STEPS:
        return FADE_STEPS, None
    return step + passed, fade_at_ms + passed * width


@dataclass(slots=True)
class Sums:
    """One worker's running sums; see the module's formula.

    wanted: sum of max(seen, reserved). seen: sum of seen. ended: seen of `ended_rooms`.
    reserved_before, reserved_after: sums of reserved, by whether the last status could know.
    ended_rooms: (incarnation, sequence, room_id, seen) of rooms that ended after the status.
    """

    wanted: int = 0
    seen: int = 0
    ended: int = 0
    reserved_before: int = 0
    reserved_after: int = 0
    rooms: int = 0
    observed: int = 0
    lists_rooms: bool = True
    told: Life = (0, 0)
    told_offset: int = 0
    ended_rooms: SortedList = field(default_factory=SortedList)

    def used(self) -> int:
        """Consumers that this worker's rooms need or may need."""
        if self.lists_rooms:
            return self.wanted + max(0, self.observed - self.seen - self.ended)
        # Nothing says which room needs what: rooms that the status could know are in `observed`,
        # as far as their peers have come, and rooms after it are not.
        return max(self.observed, self.reserved_before) + self.reserved_after

    def count(self, router: RouterShare, sign: int) -> None:
        """Take a router in (+1) or out (-1)."""
        self.rooms += sign
        self.wanted += sign * max(router.seen, router.reserved)
        self.seen += sign * router.seen
        if router.reserved_offset <= self.told_offset:
            self.reserved_before += sign * router.reserved
        else:
            self.reserved_after += sign * router.reserved

    def tell(self, worker: WorkerReport | None) -> None:
        """A status moved the worker on (None: the worker is gone, its rooms may not be yet)."""
        if worker is None:
            self.observed = 0
            return
        self.observed = worker.observed
        self.lists_rooms = bool(worker.lists_rooms)
        self.told = (worker.incarnation, worker.status_sequence)
        if worker.status_offset > self.told_offset:
            # No router's reservation is of a later record than this one.
            self.told_offset = worker.status_offset
            self.reserved_before += self.reserved_after
            self.reserved_after = 0
        while self.ended_rooms and self.ended_rooms[0][:2] <= self.told:
            self.ended -= self.ended_rooms.pop(0)[3]

    def end(self, stamp: EndedShare) -> None:
        """A room ended: until a later status, `observed` still holds what it needed."""
        if stamp.seen and (stamp.incarnation, stamp.sequence) > self.told:
            line = (stamp.incarnation, stamp.sequence, stamp.room_id, stamp.seen)
            self.ended_rooms.add(line)
            self.ended += stamp.seen

    def forget_end(self, stamp: EndedShare) -> None:
        """The stamp changed or went; what it told of may have been passed by a status already."""
        line = (stamp.incarnation, stamp.sequence, stamp.room_id, stamp.seen)
        if line in self.ended_rooms:
            self.ended_rooms.remove(line)
            self.ended -= stamp.seen


class Load:
    """The sums of every worker, and the rooms that are still fading.

    The view calls the `account` functions with a row as it was and as it is (None: there was or
    is none), in any order within a record. O(log rooms of that worker) each.
    """

    def __init__(self) -> None:
        self._sums: dict[str, dict[str | None, Sums]] = {}
        self._fading: dict[str, SortedList] = {}

    def of(self, server_id: str, worker_id: str | None) -> Sums:
        """The sums of one worker; worker_id None: of the server's rooms that name no worker."""
        return self._sums.setdefault(server_id, {}).setdefault(worker_id, Sums())

    def used(self, server_id: str, worker_id: str | None) -> int:
        """Consumers in use on one worker; 0 for one that nothing was said about."""
        sums = self._sums.get(server_id, {}).get(worker_id)
        return sums.used() if sums is not None else 0

    def used_together(self, server_id: str) -> int:
        """Consumers in use on a server as a whole: for one whose workers cannot be chosen.

        There a room may be held without a worker and observed on one, so the sums are added
        before the formula and not after it.
        """
        total = Sums()
        for sums in self._sums.get(server_id, {}).values():
            total.wanted += sums.wanted
            total.seen += sums.seen
            total.ended += sums.ended
            total.reserved_before += sums.reserved_before
            total.reserved_after += sums.reserved_after
            total.observed += sums.observed
            total.lists_rooms = total.lists_rooms and sums.lists_rooms
        return total.used()

    def account(self, old: RouterShare | None, new: RouterShare | None) -> None:
        """A router's row changed."""
        if old is not None:
            self.of(old.server_id, old.worker_id).count(old, -1)
            if old.fade_at_ms is not None:
                self._fading[old.server_id].remove((old.fade_at_ms, old.room_id, old.router))
        if new is not None:
            self.of(new.server_id, new.worker_id).count(new, +1)
            if new.fade_at_ms is not None:
                line = (new.fade_at_ms, new.room_id, new.router)
                self._fading.setdefault(new.server_id, SortedList()).add(line)

    def account_worker(self, old: WorkerReport | None, new: WorkerReport | None) -> None:
        """A worker's row changed: a status, or a new set of workers."""
        row = new if new is not None else old
        if row is not None:
            self.of(row.server_id, row.worker_id).tell(new)

    def account_ended(self, old: EndedShare | None, new: EndedShare | None) -> None:
        """A stamp changed."""
        if old is not None:
            self.of(old.server_id, old.worker_id).forget_end(old)
        if new is not None:
            self.of(new.server_id, new.worker_id).end(new)

    def due(self, server_id: str, now_ms: int) -> list[RouterKey]:
        """The routers of a server whose next step of fading is due, oldest first.

        Each room comes up at most FADE_STEPS times in its life, whatever else happens.
        """
        fading = self._fading.get(server_id)
        if not fading:
            return []
        return [line[1:] for line in fading.irange(maximum=(now_ms, "\U0010ffff", 0))]
