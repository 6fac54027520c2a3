"""Records and batches for the tests of the stores."""

from typing import Any

from ladle.core.record import Entry, Kind, Record
from ladle.journal.chain import seal
from ladle.journal.open import open_store
from ladle.journal.schema import upgrade
from ladle.journal.store import Batch, Changes, Head, Lease, OutboxCursor, Store, Values

SALT = bytes(range(16))
AT_MS = 1_763_802_000_000


async def fresh_store(url: str, *, busy_ms: int = 2_000) -> Store:
    """An open store on the database at `url`, brought up to date; the caller closes it."""
    await upgrade(url)
    store = open_store(url, busy_ms=busy_ms)
    await store.open()
    return store


async def writer_of(store: Store, holder: str = "writer-1") -> Lease:
    """The next term, taken."""
    mine = await store.take_lease(holder, await store.lease())
    assert mine is not None
    return mine


def record_after(head: Head, *, term: int = 1, payload: dict[str, Any] | None = None, **about: Any):
    """The next record, of kind tick unless `about` says otherwise."""
    entry = Entry(
        offset=head.offset + 1,
        recorded_at_ms=AT_MS + head.offset,
        term=term,
        kind=about.pop("kind", Kind.TICK),
        origin={},
        inputs={},
        payload=payload or {},
    )
    outcome = about.pop("outcome", {"status": "applied"})
    return seal(entry, outcome, prev_hash=head.hash, salt=SALT, **about)


def head_of(record: Record) -> Head:
    return Head(record.offset, record.hash, record.recorded_at_ms)


def records_after(head: Head, count: int, *, term: int = 1, **about: Any) -> list[Record]:
    """A chain of `count` records."""
    made: list[Record] = []
    for number in range(count):
        record = record_after(head, term=term, payload={"number": number}, **about)
        made.append(record)
        head = head_of(record)
    return made


def batch_after(
    head: Head,
    count: int = 1,
    *,
    term: int = 1,
    settings: dict[str, str] | None = None,
    outbox: OutboxCursor | None = None,
    **about: Any,
) -> Batch:
    """A batch of `count` records that puts these rows of table `setting`."""
    rows: dict[tuple[Any, ...], Values | None] = {
        (name,): (name, value) for name, value in (settings or {}).items()
    }
    changes = Changes({"setting": rows} if rows else {})
    return Batch(records_after(head, count, term=term, **about), changes, outbox)
