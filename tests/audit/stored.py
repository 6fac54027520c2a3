"""A recorded run in a database, as a writer leaves it."""

import shutil
from pathlib import Path

from ladle.core.record import Record
from ladle.core.view import View
from ladle.journal.open import open_store
from ladle.journal.schema import upgrade
from ladle.journal.store import Batch, Changes


async def write_database(url: str, view: View, records: list[Record]) -> None:
    """An upgraded database at `url` with these records and the rows of `view`."""
    await upgrade(url)
    store = open_store(url)
    await store.open()
    try:
        mine = await store.take_lease("test", await store.lease())
        assert mine is not None
        await store.append(mine, Batch(records, Changes(view.take_changes())))
    finally:
        await store.close()


def copy_of(database: Path, folder: Path) -> Path:
    """Another file with the same content; its writer has closed it."""
    copy = folder / "ladle.db"
    shutil.copyfile(database, copy)
    return copy
