"""One record from outside the service, under a term of its own.

Who appends must hold the lease. A command takes it for a moment; a writer that is active stands
down and takes it back by itself. Source: docs/adr/0030-erase-under-a-term-of-its-own.md.
"""

import os
import uuid
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ladle.core.apply import apply
from ladle.core.record import Entry, Kind, Record
from ladle.core.view import View
from ladle.journal.chain import seal
from ladle.journal.fold import loaded
from ladle.journal.store import Batch, Changes, Head, Lease, Store, StoreBusy, StoreError
from ladle_contracts.clock import Clock

SALT_BYTES = 16
TRIES_MAX = 200
TRY_AGAIN_MS = 10
"""A busy writer beats with every batch, and the lease can be taken between two beats only."""


def holder_name(what: str) -> str:
    """A name for the lease row that no other process has."""
    return f"{what}-{uuid.uuid4().hex}"


async def take_term(store: Store, clock: Clock, holder: str) -> Lease:
    """The next term, whoever holds this one. Raises StoreBusy."""
    for _ in range(TRIES_MAX):
        lease = await store.take_lease(holder, await store.lease())
        if lease is not None:
            return lease
        await clock.sleep(TRY_AGAIN_MS)
    raise StoreBusy("the lease could not be taken: its holder beats too fast")


def batch_of(
    view: View, head: Head, lease: Lease, clock: Clock, kind: Kind, payload: Mapping[str, Any]
) -> Batch:
    """The batch that appends one record to `head`; `view` is the one there, and folds it."""
    entry = Entry(
        offset=head.offset + 1,
        recorded_at_ms=max(head.recorded_at_ms, clock.unix_ms()),
        term=lease.term,
        kind=kind,
        origin={},
        inputs={},
        payload=payload,
    )
    outcome = apply(view, entry)
    record = seal(entry, outcome, prev_hash=head.hash, salt=os.urandom(SALT_BYTES))
    return Batch([record], Changes(view.take_changes()))


async def append_alone(
    store: Store, clock: Clock, holder: str, kind: Kind, payload: Mapping[str, Any]
) -> Record:
    """Append one record that changes nothing in the view; the record. Raises StoreError."""
    lease = await take_term(store, clock, holder)
    try:
        snapshot = await store.load()
        batch = batch_of(loaded(snapshot), snapshot.head, lease, clock, kind, payload)
        await store.append(lease, batch)
        return batch.records[0]
    finally:
        with suppress(StoreError):
            await store.give_up(lease)
