"""Random walks of a small cell: whatever comes, in whatever order, the invariants hold.

A twin that is loaded from the rows in mid walk goes on in the same way, outcome by outcome.
"""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ladle.chaos.simulated import view_laws
from ladle.core.apply import apply
from ladle.core.record import Entry, Kind
from ladle.core.timers import next_due_ms
from ladle.core.view import View
from tests.core.cell import LIFE, Cell, Outcome, status_data

SERVERS = st.sampled_from(["a", "b", "c"])
ROOMS = st.sampled_from(["r", "s", "t"])
WORKERS = st.sampled_from(["0", "1"])
CONSUMERS = st.integers(0, 60)
SEQUENCES = st.sampled_from([0, 0, 0, 0, -1, -2, 1, 2])
"""Relative to the next one: 0 is in order, below it late or again, above it leaves a hole."""


class Walk(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.cell = Cell()
        self.twin: View | None = None
        self.lives = dict.fromkeys("abc", LIFE)
        self.allocations: list[str] = []
        self.given: set[str] = set()

    @initialize(servers=st.integers(1, 3), calm_ms=st.sampled_from([0, 10_000]))
    def begin(self, servers: int, calm_ms: int) -> None:
        self.cell.fold(Kind.SETTINGS, {"slow_start_ms": calm_ms, "flap_ms": calm_ms})
        for name in "abc"[:servers]:
            self.cell.register(name, workers={"0": 100, "1": 60}, places_workers=name != "c")

    # --- folding ---------------------------------------------------------------------------------

    def follow(self, outcome: Outcome) -> Outcome:
        """The twin folds the same entry, without knowing what came of it."""
        if self.twin is not None:
            entry, _ = self.cell.journal[-1]
            assert apply(self.twin, entry) == outcome
            assert self.twin.digest() == self.cell.view.digest()
        return outcome

    def event(self, kind: str, name: str, data: dict[str, Any], shift: int, life: int = 0) -> None:
        incarnation = self.lives[name] + life
        following = self.cell.sequences.get((name, incarnation), 0) + 1
        sequence = max(1, following + shift)
        self.follow(self.cell.event(kind, name, data, life=incarnation, sequence=sequence))

    # --- what servers say ------------------------------------------------------------------------

    @rule(name=SERVERS, shift=SEQUENCES, restarts=st.booleans(), workers=st.integers(1, 2))
    def register(self, name: str, shift: int, restarts: bool, workers: int) -> None:
        self.lives[name] += int(restarts)
        sizes = [{"worker_id": str(n), "capacity_consumers": 100 - 40 * n} for n in range(workers)]
        server = {"host": "h", "places_workers": name != "c"}
        self.event("server-registered", name, {"server": server, "workers": sizes}, shift)

    @rule(name=SERVERS, room=ROOMS, worker=WORKERS, shift=SEQUENCES, data=st.data())
    def create(self, name: str, room: str, worker: str, shift: int, data: st.DataObject) -> None:
        told = data.draw(st.sampled_from([None, None, *self.allocations[-6:]]))
        body = {"room_id": room, "worker_id": worker, "allocation_id": told}
        self.event("room-created", name, body, shift)

    @rule(room=ROOMS, shift=SEQUENCES, names_it=st.booleans())
    def create_at_home(self, room: str, shift: int, names_it: bool) -> None:
        row = self.cell.view.rooms.get(room)
        if row is None:
            return
        told = row.allocation_id if names_it else None
        body = {"room_id": room, "worker_id": "0", "allocation_id": told}
        self.event("room-created", self.cell.home(room) or "", body, shift)

    @rule(name=SERVERS, room=ROOMS, shift=SEQUENCES, data=st.data())
    def delete(self, name: str, room: str, shift: int, data: st.DataObject) -> None:
        told = data.draw(st.sampled_from([None, None, *self.allocations[-6:]]))
        self.event("room-deleted", name, {"room_id": room, "allocation_id": told}, shift)

    @rule(
        name=SERVERS,
        shift=SEQUENCES,
        loads=st.dictionaries(WORKERS, CONSUMERS),
        rooms=st.none() | st.dictionaries(ROOMS, CONSUMERS),
        complete=st.booleans(),
        died=st.sampled_from([None, None, None, "0", "1"]),
    )
    def status(
        self,
        name: str,
        shift: int,
        loads: dict[str, int],
        rooms: dict[str, int] | None,
        complete: bool,
        died: str | None,
    ) -> None:
        workers: dict[str, Any] = dict(loads)
        if died is not None:
            workers[died] = {"state": "died"}
        body = status_data(workers, rooms, complete=complete and rooms is not None)
        self.event("worker-status", name, body, shift)

    @rule(name=SERVERS, shift=SEQUENCES, leaves=st.booleans())
    def go(self, name: str, shift: int, leaves: bool) -> None:
        self.event("server-deregistered" if leaves else "server-draining", name, {}, shift)

    @rule(name=SERVERS, room=ROOMS)
    def speak_from_a_former_life(self, name: str, room: str) -> None:
        self.event("room-created", name, {"room_id": room}, 0, life=-1)

    @rule(name=SERVERS, room=ROOMS)
    def speak_without_a_sequence(self, name: str, room: str) -> None:
        body = {"room_id": room}
        self.follow(self.cell.event("room-deleted", name, body, life=None, sequence=None))

    # --- what callers ask ------------------------------------------------------------------------

    @rule(room=ROOMS, peers=st.integers(2, 7), ttl_ms=st.sampled_from([None, 1000, 60_000]))
    def allocate(self, room: str, peers: int, ttl_ms: int | None) -> None:
        before = self.used()
        reply = self.ask("allocate", room_id=room, peers=peers, ttl_ms=ttl_ms)
        if reply["status"] == "ok":
            self.allocations.append(reply["allocation_id"])
        if reply.get("outcome") in ("placed", "moved"):
            assert reply["allocation_id"] not in self.given
            self.given.add(reply["allocation_id"])
        self.never_beyond_capacity(before)

    @rule(room=ROOMS, peers=st.integers(2, 9))
    def extend(self, room: str, peers: int) -> None:
        before = self.used()
        self.ask("extend", room_id=room, peers=peers)
        self.never_beyond_capacity(before)

    @rule(room=ROOMS, late=st.sampled_from([0, 0, 1]))
    def move(self, room: str, late: int) -> None:
        row = self.cell.view.rooms.get(room)
        generation = 1 if row is None else max(1, row.generation - late)
        before, home = self.used(), self.cell.home(room)
        reply = self.ask("move", room_id=room, if_generation=generation, reason="why")
        assert reply["status"] == "error" or self.cell.home(room) != home
        self.never_beyond_capacity(before)

    @rule(room=ROOMS)
    def release(self, room: str) -> None:
        row = self.cell.view.rooms.get(room)
        if row is not None:
            self.ask("release", room_id=room, allocation_id=row.allocation_id)

    @rule(name=SERVERS, ends=st.booleans())
    def drain(self, name: str, ends: bool) -> None:
        self.ask("undrain" if ends else "drain", server_id=name)

    def ask(self, operation: str, **body: Any) -> dict[str, Any]:
        reply: dict[str, Any] = self.follow(self.cell.ask(operation, **body))["reply"]
        return reply

    def used(self) -> dict[tuple[str, str], int]:
        """Of each worker; of a server that chooses its workers itself as a whole."""
        view = self.cell.view
        return {
            key: self.cell.used(*key)
            if view.servers[key[0]].places_workers
            else view.loads.used_together(key[0])
            for key in view.workers
        }

    def never_beyond_capacity(self, before: dict[tuple[str, str], int]) -> None:
        """By Ladle's own choice; what servers make by themselves may be more."""
        view = self.cell.view
        for key, now in self.used().items():
            capacity = view.workers[key].capacity
            if not view.servers[key[0]].places_workers:
                rows = [row for row in view.workers.values() if row.server_id == key[0]]
                capacity = sum(row.capacity for row in rows if row.state == "running")
            assert now <= max(capacity, before.get(key, 0)), (key, now)

    # --- time and the writer ---------------------------------------------------------------------

    @rule(wait_ms=st.sampled_from([1000, 5000, 15_000, 60_000, 600_000]))
    def wait(self, wait_ms: int) -> None:
        self.follow(self.cell.wait(wait_ms))
        due = next_due_ms(self.cell.view)
        assert due is None or due > self.cell.now_ms

    @rule()
    def take_over(self) -> None:
        self.follow(self.cell.fold(Kind.WRITER_ACTIVE, {}))
        self.follow(self.cell.fold(Kind.CAUGHT_UP, {}))

    @precondition(lambda self: self.twin is None)
    @rule()
    def load_a_twin(self) -> None:
        view = self.cell.view
        self.twin = View.load(view.dump(), offset=view.offset, recorded_at_ms=view.recorded_at_ms)

    @invariant()
    def invariants_hold(self) -> None:
        view_laws.check(self.cell.view)

    def teardown(self) -> None:
        """Folding the journal again, and the changed rows alone, give the same view."""
        assert self.cell.replay().digest() == self.cell.view.digest()
        assert rebuilt_from_changes(self.cell.journal).digest() == self.cell.view.digest()


def rebuilt_from_changes(journal: list[tuple[Entry, Outcome]]) -> View:
    """The view as a store has it, which gets only the rows that each record changed."""
    view = View()
    tables: dict[str, dict[Any, Any]] = {name: {} for name in view.tables}
    for entry, outcome in journal:
        apply(view, entry, outcome)
        for name, rows in view.take_changes().items():
            for key, values in rows.items():
                if values is None:
                    tables[name].pop(key, None)
                else:
                    tables[name][key] = values
    stored = {name: list(rows.values()) for name, rows in tables.items()}
    return View.load(stored, offset=view.offset, recorded_at_ms=view.recorded_at_ms)


TestWalk = Walk.TestCase
TestWalk.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
