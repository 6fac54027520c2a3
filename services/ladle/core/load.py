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

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from math import isqrt
from typing import Protocol

from sortedcontainers import SortedList

FADE_STEPS = 4
"""Steps from the whole reservation to none. More would write more rows and place no better."""

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
    """The most peers whose cost is at most `headroom`, of whom at most `publishers` publish.

    0 where not even one peer fits, which costs nothing: the worker is over-full. Rooms that cost
    nothing whatever their size (no publishers, or no streams) have no largest; 1 stands for them.
    """
    if headroom < 0:
        return 0
    if streams == 0 or publishers == 0:
        return 1
    # The largest n with n(n - 1) <= m is the root of n^2 - n - m = 0, rounded down.
    all_publish = (1 + isqrt(1 + 4 * (headroom // streams))) // 2
    if publishers is None or all_publish < publishers:
        return all_publish
    return headroom // (publishers * streams) + 1


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
    has_row: bool = False
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
        self.has_row = worker is not None
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
        if (stamp.incarnation, stamp.sequence) > self.told:
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

    def _of(self, server_id: str, worker_id: str | None) -> Sums:
        """The sums of one worker; worker_id None: of the server's rooms that name no worker."""
        workers = self._sums.setdefault(server_id, {})
        sums = workers.get(worker_id)
        if sums is None:
            sums = workers[worker_id] = Sums()
        return sums

    def _tidy(self, server_id: str, worker_id: str | None) -> None:
        """Keep no sums of a worker that nothing tells of any more: fleets come and go."""
        workers = self._sums[server_id]
        sums = workers[worker_id]
        if not (sums.has_row or sums.rooms or sums.ended_rooms):
            del workers[worker_id]
            if not workers:
                del self._sums[server_id]

    def used(self, server_id: str, worker_id: str | None) -> int:
        """Consumers in use on one worker; 0 for one that nothing was said about."""
        sums = self._sums.get(server_id, {}).get(worker_id)
        return sums.used() if sums is not None else 0

    def used_together(self, server_id: str) -> int:
        """Consumers in use on a server as a whole: for one whose workers cannot be chosen.

        There a room may be held without a worker and observed on one, so the sums are added
        before the formula and not after it.
        """
        return _together(self._sums.get(server_id, {}).values()).used()

    def used_if(self, old: RouterShare, new: RouterShare, *, together: bool) -> int:
        """Consumers in use if `new` stood in the place of `old`, on its worker or its server.

        Both name the same worker, and `old` is the row that is there. Changes nothing.
        """
        workers = self._sums[old.server_id]
        sums = replace(workers[old.worker_id])
        sums.count(old, -1)
        sums.count(new, +1)
        if not together:
            return sums.used()
        others = [other for name, other in workers.items() if name != old.worker_id]
        return _together([*others, sums]).used()

    def account(self, old: RouterShare | None, new: RouterShare | None) -> None:
        """A router's row changed."""
        if new is not None:
            self._of(new.server_id, new.worker_id).count(new, +1)
            if new.fade_at_ms is not None:
                fading = self._fading.get(new.server_id)
                if fading is None:
                    fading = self._fading[new.server_id] = SortedList()
                fading.add((new.fade_at_ms, new.room_id, new.router))
        if old is not None:
            self._of(old.server_id, old.worker_id).count(old, -1)
            if old.fade_at_ms is not None:
                fading = self._fading[old.server_id]
                fading.remove((old.fade_at_ms, old.room_id, old.router))
                if not fading:
                    del self._fading[old.server_id]
            self._tidy(old.server_id, old.worker_id)

    def account_worker(self, old: WorkerReport | None, new: WorkerReport | None) -> None:
        """A worker's row changed: a status, or a new set of workers."""
        row = new or old
        assert row is not None, "a row that neither was nor is has not changed"
        self._of(row.server_id, row.worker_id).tell(new)
        self._tidy(row.server_id, row.worker_id)

    def account_ended(self, old: EndedShare | None, new: EndedShare | None) -> None:
        """A stamp changed."""
        for row in (old, new):
            if row is not None and row.seen:
                sums = self._of(row.server_id, row.worker_id)
                if row is new:
                    sums.end(row)
                else:
                    sums.forget_end(row)
                self._tidy(row.server_id, row.worker_id)

    def due(self, server_id: str, now_ms: int) -> list[RouterKey]:
        """The routers of a server whose next step of fading is due, oldest first.

        A room comes up once a step, so FADE_STEPS times for each reservation, however many
        records tell of its server.
        """
        fading = self._fading.get(server_id)
        if fading is None or fading[0][0] > now_ms:
            return []
        return [(room, router) for _, room, router in fading.irange(maximum=(now_ms + 1,))]


def _together(workers: Iterable[Sums]) -> Sums:
    total = Sums()
    for sums in workers:
        total.wanted += sums.wanted
        total.seen += sums.seen
        total.ended += sums.ended
        total.reserved_before += sums.reserved_before
        total.reserved_after += sums.reserved_after
        total.observed += sums.observed
        total.lists_rooms = total.lists_rooms and sums.lists_rooms
    return total
