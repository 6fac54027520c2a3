"""A recorded run without a broker: some minutes in the life of a small fleet, from a seed.

The core folds what a random fleet and its callers say; the records are sealed as the writer seals
them. Everything happens in it that the rules know: bursts, duplicates, late and lost events,
restarts, drains, moves, holds that run out, copies of a room, servers that fall silent.
"""

from collections.abc import Iterator
from random import Random
from typing import Any

from ladle.audit.source import Claim, Item, Rows
from ladle.core.record import FIRST_PREV_HASH, Entry, Kind, Record
from ladle.core.timers import next_due_ms
from ladle.core.view import View
from ladle.journal.chain import seal
from ladle.journal.snapshots import Anchor
from ladle.journal.store import Head, OutboxCursor, Snapshot
from ladle.journal.subjects import subjects
from tests.core.cell import LIFE, Cell, Outcome

SERVERS = ("eu-1", "eu-2", "eu-3", "us-1")
ROOMS = tuple(f"room-{number}" for number in range(24))


class Life:
    """The fleet's and the callers' doings, drawn one after another."""

    def __init__(self, seed: int, policy: str = "least-loaded") -> None:
        self.random = Random(seed)
        self.cell = Cell(policy=policy, stamp_ms=60_000, strand_ms=30_000)
        self.lives = dict.fromkeys(SERVERS, LIFE)
        self.missing: dict[str, list[int]] = {name: [] for name in SERVERS}
        for name in SERVERS:
            self.register(name)

    def run(self, steps: int) -> None:
        doings = [
            *[self.allocate] * 6,
            *[self.create] * 5,
            *[self.status] * 5,
            *[self.delete] * 2,
            self.complete,
            self.extend,
            self.move,
            self.release,
            self.administer,
            self.restart,
            self.repeat,
            self.created_elsewhere,
            self.late,
            self.late,
            self.rejected,
        ]
        for _ in range(steps):
            self.cell.now_ms += self.random.choice([1, 20, 150, 900])
            self.tick_where_due()
            self.random.choice(doings)()

    def tick_where_due(self) -> None:
        due = next_due_ms(self.cell.view)
        if due is not None and due <= self.cell.now_ms:
            self.cell.fold(Kind.TICK, {})

    # --- servers ---------------------------------------------------------------------------------

    def register(self, name: str, **more: Any) -> None:
        self.cell.register(
            name,
            workers={"0": 200, "1": 200},
            life=self.lives[name],
            region=name[:2],
            host=f"{name}.example.org",
            status_interval_ms=2_000,
            **more,
        )

    def event(self, kind: str, name: str, data: dict[str, Any]) -> None:
        """Mostly in order; now and then late, or with a hole before it."""
        known = self.cell.sequences.get((name, self.lives[name]), 0)
        sequence = max(1, known + self.random.choice([1] * 12 + [0, -1, 3]))
        self.missing[name] += range(known + 1, sequence)
        self.cell.event(kind, name, data, life=self.lives[name], sequence=sequence)

    def status(self) -> None:
        self._status(complete=False)

    def complete(self) -> None:
        self._status(complete=True)

    def _status(self, *, complete: bool) -> None:
        name = self.random.choice(SERVERS)
        rooms = {
            room_id: {"consumers": self.random.randrange(60), "worker_id": router.worker_id or "0"}
            for (room_id, _), router in sorted(self.cell.view.routers.items())
            if router.server_id == name and router.active and self.random.random() < 0.9
        }
        workers = {
            worker: {
                "consumers": self.random.randrange(150),
                "cpu_permille": self.random.choice([100, 400, 849, 850, 870]),
            }
            for worker in "01"
        }
        self.cell.status(
            name, workers=workers, rooms=rooms, complete=complete, life=self.lives[name]
        )

    def restart(self) -> None:
        if self.random.random() < 0.3:
            name = self.random.choice(SERVERS)
            self.lives[name] += 1_000
            self.missing[name].clear()
            self.register(name, restarted=True)

    def administer(self) -> None:
        name = self.random.choice(SERVERS)
        what = self.random.choice(["drain", "undrain", "undrain", "server-draining"])
        if what == "server-draining":
            self.event(what, name, {})
            self.register(name)
        else:
            self.cell.ask(what, server_id=name)

    def repeat(self) -> None:
        """An event comes twice, as RabbitMQ may deliver it."""
        events = [entry for entry, _ in self.cell.journal[-40:] if entry.kind is Kind.EVENT]
        if events:
            self.cell.fold(Kind.EVENT, self.random.choice(events).payload)

    def rejected(self) -> None:
        self.cell.fold(Kind.REJECTED, {"reason": "malformed", "size": 7, "digest": "0" * 64})

    # --- rooms -----------------------------------------------------------------------------------

    def allocate(self) -> None:
        self.cell.ask(
            "allocate",
            room_id=self.random.choice(ROOMS),
            peers=self.random.choice([2, 3, 4, 6]),
            regions=self.random.choice([[], [], ["eu"], ["us", "eu"]]),
            avoid=self.random.choice([[], [], ["eu-1"]]),
        )

    def create(self) -> None:
        held = [room for room in sorted(self.cell.view.rooms) if self.cell.phase(room) == "held"]
        if held:
            room = self.random.choice(held)
            row = self.cell.view.routers[room, 0]
            self.event("room-created", row.server_id, self._created(room, row.worker_id))

    def created_elsewhere(self) -> None:
        name = self.random.choice(SERVERS)
        self.event("room-created", name, self._created(self.random.choice(ROOMS), "0"))

    def late(self) -> None:
        """What was skipped before arrives after all, when the server has said more since."""
        name = self.random.choice(SERVERS)
        at_home = sorted(key[0] for key in self.cell.view.routers_on.get(name, ()))
        if self.missing[name] and at_home:
            sequence = self.missing[name].pop()
            data = {"room_id": self.random.choice(at_home)}
            self.cell.event("room-deleted", name, data, life=self.lives[name], sequence=sequence)

    def _created(self, room: str, worker_id: str | None) -> dict[str, Any]:
        row = self.cell.view.rooms.get(room)
        named = row.allocation_id if row is not None and self.random.random() < 0.7 else None
        return {"room_id": room, "worker_id": worker_id, "allocation_id": named}

    def delete(self) -> None:
        if self.cell.view.routers:
            room, number = self.random.choice(sorted(self.cell.view.routers))
            server_id = self.cell.view.routers[room, number].server_id
            self.event("room-deleted", server_id, {"room_id": room})

    def extend(self) -> None:
        self._about("extend", peers=self.random.choice([3, 6, 9]))

    def move(self) -> None:
        self._about("move", "generation", "if_generation", reason="test")

    def release(self) -> None:
        self._about("release", "allocation_id", "allocation_id")

    def _about(self, operation: str, column: str = "", field: str = "", **body: Any) -> None:
        if self.cell.view.rooms:
            room = self.random.choice(sorted(self.cell.view.rooms))
            if column:
                body[field] = getattr(self.cell.view.rooms[room], column)
            self.cell.ask(operation, room_id=room, **body)


def sealed(journal: list[tuple[Entry, Outcome]], salt_seed: int = 1) -> list[Record]:
    """The records of a journal, chained."""
    salts = Random(salt_seed)
    records: list[Record] = []
    before = FIRST_PREV_HASH
    for entry, outcome in journal:
        room_id, server_id = subjects(entry, outcome)
        record = seal(
            entry,
            outcome,
            prev_hash=before,
            salt=salts.randbytes(16),
            room_id=room_id,
            server_id=server_id,
        )
        records.append(record)
        before = record.hash
    return records


def head_of(records: list[Record]) -> Head:
    last = records[-1]
    return Head(last.offset, last.hash, last.recorded_at_ms)


def rows_of(view: View, records: list[Record]) -> Rows:
    """The view's tables as a database beside these records shows them."""
    head = head_of(records)
    return Rows(Snapshot(head, view.dump(), OutboxCursor(head.offset, 0)), head.offset)


class Held:
    """A source in memory."""

    name = "a list"

    def __init__(
        self, items: list[Item], rows: Rows | None = None, claim: Claim | None = None
    ) -> None:
        self._items = items
        self._rows = rows
        self._claim = claim or Claim()

    def claim(self) -> Claim:
        return self._claim

    def rows(self) -> Rows | None:
        return self._rows

    def pages(self, after_offset: int = 0) -> Iterator[list[Item]]:
        items = [
            item
            for item in self._items
            if not after_offset or not isinstance(item, Record) or item.offset > after_offset
        ]
        for start in range(0, len(items), 100):
            yield items[start : start + 100]

    def snapshots(self) -> list[Anchor]:
        return []

    def hold(self, anchor: Anchor) -> None:
        raise LookupError(anchor)

    def view_of(self, anchor: Anchor) -> View:
        raise LookupError(anchor)

    def share_read(self, offset: int) -> float | None:
        return None

    def close(self) -> None:
        """Nothing is open."""
