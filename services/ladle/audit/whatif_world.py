"""The alternative world: its view, its time, and the lives of its rooms.

A room lives there when it lived in what was, wherever its home is: it is created, and it ends, at
the same records. What it loses there alone, its callers ask for again at once.
"""

from collections.abc import Mapping
from typing import Any

from ladle.core import administration, closings, room, stamps, wish
from ladle.core.apply import Outcome, apply
from ladle.core.case import Asked, Case, Told
from ladle.core.decide import choose
from ladle.core.record import Entry, Kind
from ladle.core.room_table import What
from ladle.core.rows import Room, Router
from ladle.core.step import Step
from ladle.core.timers import next_due_ms
from ladle.core.view import View
from ladle.core.words import Liveness, Phase

LIVE = frozenset({Phase.ACTIVE, Phase.ACTIVE_HELD})
LIVING = LIVE | {Phase.STRANDED}
"""A stranded room may go on out of sight: nobody has said that it ended."""

Changes = Mapping[str, Mapping[tuple[Any, ...], Any]]


class World:
    """A view beside `was`, which each record reaches before this one."""

    def __init__(self, was: View, other: Mapping[str, Any]) -> None:
        self.view = View()
        for name in sorted(other):
            self.view.set_state(name, other[name])
        self.left_out = self.asked_again = self.found_nothing = 0
        self._was = was
        self._phases: dict[str, str] = {}  # of the rooms in `was`, before the last record
        self._changes: list[Changes] = []

    def tick_until(self, now_ms: int, was_due_ms: int | None) -> None:
        """What is due here before it is due in what was happens in ticks of its own.

        Whatever is due there as well waits for the recorded tick: so both tick at the same times
        where they are the same. An own tick has no record: it takes the number of the last one.
        """
        view = self.view
        while (due_ms := next_due_ms(view)) is not None and due_ms <= now_ms:
            if was_due_ms is not None and was_due_ms <= due_ms:
                return
            at_ms = max(due_ms, view.recorded_at_ms)
            tick = Entry(view.offset, at_ms, 0, Kind.TICK, {}, {}, {})
            view.offset -= 1
            apply(view, tick)

    def fold(self, entry: Entry) -> Outcome:
        """An entry in the words of this world; what it decides is decided here."""
        return apply(self.view, entry)

    def take_changes(self) -> Changes:
        """Rows that changed here since it was last asked: their last values by table and key."""
        merged: dict[str, dict[tuple[Any, ...], Any]] = {}
        for changes in (*self._changes, self.view.take_changes()):
            for name, rows in changes.items():
                merged.setdefault(name, {}).update(rows)
        self._changes.clear()
        return merged

    def follow(self, was_changes: Changes) -> int:
        """After a record: rooms live and end here as they did in what was. Returns the moves."""
        mine = self.view.take_changes()
        self._changes.append(mine)
        step = Step(self.view, self.view.offset, self.view.recorded_at_ms)
        for changes in (was_changes, mine):
            for room_id in sorted(_rooms_in(changes)):
                self._follow(step, room_id)
        self._obey(step, mine)
        for server_id in self.view.changed_servers():
            administration.review(step, server_id)
        self.view.settle()
        return sum(line["type"] == "room-moved" for line in step.outbound)

    # --- lives -----------------------------------------------------------------------------------

    def _follow(self, step: Step, room_id: str) -> None:
        row = self._was.rooms.get(room_id)
        before, now = self._phases.get(room_id), None if row is None else row.phase
        if row is None or now is None:
            self._phases.pop(room_id, None)
        else:
            self._phases[room_id] = now
        if row is not None and now in LIVE:
            self._lives(step, row, began=before not in LIVING)
        elif before in LIVING and now in (None, Phase.HELD_AGAIN):
            self._ends(step, room_id)

    def _lives(self, step: Step, row: Room, *, began: bool) -> None:
        """The room lives in what was; `row` is it there."""
        mine = self.view.rooms.get(row.room_id)
        if mine is None:
            # Who comes late to a promise that has run out asks again; who was refused does not.
            if began and self._has_expired(row.room_id):
                self._ask_again(step, row, What.PLACED)
            elif began:
                self.left_out += 1
        elif mine.phase == Phase.STRANDED:
            self._ask_again(step, mine, What.MOVED)
        elif mine.phase not in LIVE:
            router = self._router(row.room_id)
            if self._is_there(router):
                self._confirm(step, router)
            else:
                self._ask_again(step, mine, What.MOVED)

    def _ends(self, step: Step, room_id: str) -> None:
        mine = self.view.rooms.get(room_id)
        if mine is None or mine.phase not in LIVING:
            return
        router = self._router(room_id)
        told = self._told(step, router)
        # Above the last status of its home: until the next one that still counts the room.
        life = (told.life[0], told.life[1] + 1)
        stamps.raise_stamp(step, room_id, router.server_id, life)
        room.turn(Case.of(step, room_id, told=told, reason="deleted"), What.DELETED)
        closings.end(step, room_id, router.server_id)

    def _ask_again(self, step: Step, asker: Room, what: What) -> None:
        """As `allocate` would, for a room of the size and the wishes of `asker`."""
        wished = wish.to_move({"avoid": []}, asker, frozenset())
        decision = choose(self.view, wished, f"{asker.room_id}:{step.offset}")
        if decision.error is not None:
            self.found_nothing += 1
            return
        self.asked_again += 1
        size = (asker.peers, asker.publishers, asker.streams, wished.cost)
        hold_ms = self.view.limits.hold_ms
        asked = Asked(*size, hold_ms, asker.wishes, decision, "home-lost")
        room.ask(step, asker.room_id, what, asked)
        self._confirm(step, self._router(asker.room_id))

    def _confirm(self, step: Step, router: Router) -> None:
        """Its home has the room."""
        room.turn(Case.of(step, router.room_id, told=self._told(step, router)), What.CREATED)

    def _obey(self, step: Step, mine: Changes) -> None:
        """A life that ends here alone was on a server that nobody told so: it has ended."""
        for room_id, server_id in sorted({*mine.get("closing", ()), *_closings_of(step)}):
            if (room_id, server_id) not in self._was.closings:
                closings.end(step, room_id, server_id)

    # --- parts -----------------------------------------------------------------------------------

    def _router(self, room_id: str) -> Router:
        return self.view.routers[room_id, self.view.home_of[room_id][0]]

    def _is_there(self, router: Router) -> bool:
        """Can it have made the room: is it heard, and does the worker run?"""
        if self.view.servers[router.server_id].liveness == Liveness.LOST:
            return False
        if router.worker_id is None:
            return True
        worker = self.view.workers.get((router.server_id, router.worker_id))
        return worker is not None and worker.state == "running"

    def _has_expired(self, room_id: str) -> bool:
        """Was the room promised here, and the promise ran out a short while ago?"""
        view = self.view
        return any(
            view.stamps[room_id, server_id].expired_allocation_id is not None
            for server_id in view.stamps_of.get(room_id, ())
        )

    def _told(self, step: Step, router: Router) -> Told:
        """Its home speaks, after all that it has said itself."""
        server = self.view.servers[router.server_id]
        sequence = server.watermark if server.sequenced else step.offset
        return Told(router.server_id, (server.incarnation, sequence))


def _rooms_in(changes: Changes) -> set[str]:
    """Rooms of which a row changed, themselves or a router's."""
    return {key[0] for name in ("room", "router") for key in changes.get(name, ())}


def _closings_of(step: Step) -> set[tuple[str, str]]:
    """What the step itself has told to end."""
    return {
        (line["data"]["room_id"], line["server_id"])
        for line in step.outbound
        if line["type"] == "close-room"
    }
