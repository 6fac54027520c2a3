"""A journal as long as wanted, of a fleet that stays as it is: rooms come and go.

Made by the rules themselves and sealed as the writer seals, without a broker, so that its length
alone differs between two measurements.
"""

import os
from collections.abc import Mapping
from typing import Any

from ladle.core.apply import apply
from ladle.core.record import FIRST_PREV_HASH, Entry, Kind, Record
from ladle.core.timers import next_due_ms
from ladle.core.view import View
from ladle.journal.chain import seal
from ladle.journal.snapshots import capture, keep
from ladle.journal.store import Batch, Changes, Lease, Store
from ladle.journal.subjects import subjects
from ladle.lab.synthetic import INCARNATION, QUIET_INTERVAL_MS, registration, server_ids, status
from ladle_contracts.events import EVENT_TYPES, EventData, RoomCreated, RoomDeleted
from ladle_contracts.requests import Allocate, digest_of_body

SERVERS, WORKERS = 20, 4
ROOMS = 200
"""That live at a time."""
BETWEEN_MS = 20
REMEMBERED_MS = 20_000
"""Of requests and stamps: the view is as large as it gets after a thousand records."""
START_MS = INCARNATION + 60_000
BATCH = 500


class LongJournal:
    """Appends under its own lease. snapshot_every: records between two snapshots."""

    def __init__(self, store: Store, lease: Lease, snapshot_every: int) -> None:
        self.length = 0
        self._store, self._lease = store, lease
        self._every = snapshot_every
        self._view = View()
        self._records: list[Record] = []
        self._hash = FIRST_PREV_HASH
        self._sequences = dict.fromkeys(server_ids(SERVERS), 0)
        self._rooms: list[tuple[str, str]] = []
        self._coming: tuple[str, RoomCreated] | None = None
        self._room = 0

    async def grow(self, length: int) -> None:
        """Until so many records are committed."""
        while self.length < length:
            if not self.length:
                remembered = {"request_ms": REMEMBERED_MS, "stamp_ms": REMEMBERED_MS}
                self._fold(Kind.SETTINGS, remembered)
            elif not self._view.state("caught-up"):
                self._fold(Kind.CAUGHT_UP, {})
            elif self.length % self._every == 0:
                await self._snapshot()
            else:
                self._step()
            if len(self._records) >= BATCH:
                await self._commit()
        await self._commit()

    async def _commit(self) -> None:
        if self._records:
            changes = Changes(self._view.take_changes())
            await self._store.append(self._lease, Batch(list(self._records), changes))
            self._records.clear()

    async def _snapshot(self) -> None:
        await self._commit()
        made = await capture(self._store)
        await keep(self._store, made)
        self._fold(Kind.SNAPSHOT, made.payload)

    def _step(self) -> None:
        """The next thing that happens: a server registers, a room comes or goes, a status."""
        due_ms, unknown = next_due_ms(self._view), SERVERS - len(self._view.servers)
        if due_ms is not None and due_ms <= self._now_ms:
            self._fold(Kind.TICK, {})
        elif unknown:
            server_id = server_ids(SERVERS)[-unknown]
            self._say(server_id, registration(server_id, WORKERS, interval_ms=QUIET_INTERVAL_MS))
        elif self._coming is not None:
            (server_id, created), self._coming = self._coming, None
            self._say(server_id, created)
            self._rooms.append((created.room_id, server_id))
        elif self.length % 10 == 0:
            self._say(server_ids(SERVERS)[self.length // 10 % SERVERS], status(WORKERS, 40))
        elif len(self._rooms) > ROOMS:
            room_id, server_id = self._rooms.pop(0)
            self._say(server_id, RoomDeleted(room_id=room_id))
        else:
            self._allocate()

    def _allocate(self) -> None:
        self._room += 1
        room_id = f"room-{self._room}"
        body = Allocate(room_id=room_id, peers=2 + self._room % 4)
        payload = {
            "operation": "allocate",
            "request_id": f"request-{self._room}",
            "digest": digest_of_body(body),
            "body": body.model_dump(mode="json"),
        }
        reply = self._fold(Kind.REQUEST, payload, origin={"user": "bench"})["reply"]
        server = reply["server"]
        created = RoomCreated(room_id=room_id, worker_id=server["worker_id"])
        self._coming = (server["server_id"], created)

    def _say(self, server_id: str, data: EventData) -> None:
        self._sequences[server_id] += 1
        sequence = self._sequences[server_id]
        payload = {
            "type": EVENT_TYPES[type(data)],
            "id": f"{server_id}-{sequence}",
            "source_server_id": server_id,
            "incarnation": INCARNATION,
            "sequence": sequence,
            "time_ms": self._now_ms,
            "data": data.model_dump(mode="json"),
        }
        self._fold(Kind.EVENT, payload)

    @property
    def _now_ms(self) -> int:
        return START_MS + self.length * BETWEEN_MS

    def _fold(
        self, kind: Kind, payload: Mapping[str, Any], *, origin: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        entry = Entry(
            self.length + 1, self._now_ms, self._lease.term, kind, origin or {}, {}, payload
        )
        outcome = apply(self._view, entry)
        room_id, server_id = subjects(entry, outcome)
        record = seal(
            entry,
            outcome,
            prev_hash=self._hash,
            salt=os.urandom(16),
            room_id=room_id,
            server_id=server_id,
        )
        self._records.append(record)
        self.length, self._hash = entry.offset, record.hash
        return outcome
