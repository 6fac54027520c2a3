"""A standby's view where the journal under it is exchanged."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ladle.core.record import Kind
from ladle.journal.store import Batch, Changes, Head, Store
from ladle.placement.follower import Follower
from tests.core.cell import Cell
from tests.fixtures.manual_clock import ManualClock
from tests.journal.making import fresh_store, head_of, record_after, writer_of


class Restored:
    """The store of one process, whose database may be exchanged for another."""

    def __init__(self, store: Store) -> None:
        self.now = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self.now, name)


async def write(store: Store, cell: Cell, *room_ids: str) -> None:
    """One record a room, as a writer leaves them."""
    mine, head = await writer_of(store), await store.head()
    for room_id in room_ids:
        cell.allocate(room_id)
    records = []
    for entry, outcome in cell.journal[head.offset :]:
        records.append(
            record_after(
                head,
                kind=entry.kind,
                payload=entry.payload,
                outcome=outcome,
            )
        )
        head = head_of(records[-1])
    await store.append(mine, Batch(records, Changes(cell.view.take_changes())))


def a_cell() -> Cell:
    cell = Cell()
    cell.register("sfu-1")
    return cell


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[tuple[Store, Store]]:
    """Of one cell that went one way, and of the same that went another."""
    made = [await fresh_store(f"sqlite:///{tmp_path}/{name}.db") for name in ("was", "is")]
    yield made[0], made[1]
    for store in made:
        await store.close()


@pytest.mark.parametrize("then", [("b",), ("b", "c"), ("b", "c", "d", "e")])
async def test_a_restored_backup_sends_it_back_to_the_tables(
    stores: tuple[Store, Store], then: tuple[str, ...]
) -> None:
    """Whether what was written since is less than it has seen, as much, or more."""
    was, after = stores
    await write(was, a_cell(), "a", "lost")
    store = Restored(was)
    follower = Follower(store, ManualClock())  # type: ignore[arg-type]
    await follower._look()
    await follower._look()
    assert follower.view is not None
    assert set(follower.view.rooms) == {"a", "lost"}
    await write(after, a_cell(), *then)
    store.now = after
    for _ in range(2):
        await follower._look()
    assert follower.view is not None
    assert set(follower.view.rooms) == set(then)
    head: Head = await after.head()
    assert follower.offset == head.offset
    records = await after.records(0, 100)
    assert records[-1].kind == Kind.REQUEST
