"""A writer without a broker: folds what it is told, seals it, appends it with the changed rows."""

from typing import Any

from ladle.core.apply import apply
from ladle.core.record import Entry, Kind, Record
from ladle.core.view import View
from ladle.journal.chain import seal
from ladle.journal.store import Batch, Changes, Head, Lease, Store
from ladle.journal.subjects import subjects
from ladle_contracts.events import RoomCreated, RoomDeleted, ServerRegistered, WorkerStatus
from ladle_contracts.requests import Allocate, Move, Release
from tests.journal.making import AT_MS, SALT, head_of

SHAPES = {"allocate": Allocate, "move": Move, "release": Release}
SAID = {
    "server-registered": ServerRegistered,
    "room-created": RoomCreated,
    "room-deleted": RoomDeleted,
    "worker-status": WorkerStatus,
}


class SmallWriter:
    """`tell`, `ask`, `tick`, then `commit`: what was folded since is one batch."""

    def __init__(self, store: Store, mine: Lease, view: View, head: Head) -> None:
        self.store = store
        self.mine = mine
        self.view = view
        self.head = head
        self.now_ms = AT_MS
        self.sequences: dict[str, int] = {}
        self._records: list[Record] = []

    def fold(
        self, kind: Kind, payload: dict[str, Any], origin: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """The outcome of one entry."""
        entry = Entry(
            offset=self.head.offset + 1,
            recorded_at_ms=self.now_ms,
            term=self.mine.term,
            kind=kind,
            origin=origin or {},
            inputs={},
            payload=payload,
        )
        outcome = apply(self.view, entry)
        room_id, server_id = subjects(entry, outcome)
        names = {"room_id": room_id, "server_id": server_id}
        record = seal(entry, outcome, prev_hash=self.head.hash, salt=SALT, **names)
        self._records.append(record)
        self.head = head_of(record)
        return outcome

    def tell(self, kind: str, server_id: str, **data: Any) -> dict[str, Any]:
        """An event of a server, in order."""
        sequence = self.sequences[server_id] = self.sequences.get(server_id, 0) + 1
        payload = {
            "type": kind,
            "id": f"{server_id}-{sequence}",
            "source_server_id": server_id,
            "incarnation": AT_MS,
            "sequence": sequence,
            "time_ms": self.now_ms,
            "data": SAID[kind].model_validate(data).model_dump(mode="json"),
        }
        return self.fold(Kind.EVENT, payload)

    def register(self, server_id: str, workers: int = 2, capacity: int = 500) -> None:
        described = [{"worker_id": str(n), "capacity_consumers": capacity} for n in range(workers)]
        server = {"host": f"{server_id}.example.org", "region": "eu"}
        self.tell("server-registered", server_id, server=server, workers=described)

    def ask(self, operation: str, **body: Any) -> dict[str, Any]:
        """A request; its reply."""
        shaped = SHAPES[operation].model_validate(body).model_dump(mode="json")
        number = self.head.offset + 1
        payload = {
            "operation": operation,
            "request_id": f"request-{number}",
            "digest": "0" * 64,
            "body": shaped,
        }
        outcome = self.fold(Kind.REQUEST, payload, origin={"user": "backend"})
        reply: dict[str, Any] = outcome["reply"]
        return reply

    def tick(self, after_ms: int) -> dict[str, Any]:
        self.now_ms += after_ms
        return self.fold(Kind.TICK, {})

    async def commit(self) -> None:
        changes = Changes(self.view.take_changes())
        records, self._records = self._records, []
        await self.store.append(self.mine, Batch(records, changes))


async def small_writer(store: Store) -> SmallWriter:
    """On an empty journal; has said that it is active and caught up."""
    mine = await store.take_lease("small-writer", await store.lease())
    assert mine is not None
    writer = SmallWriter(store, mine, View(), await store.head())
    writer.fold(Kind.WRITER_ACTIVE, {"holder": "small-writer"})
    writer.fold(Kind.CAUGHT_UP, {})
    return writer
