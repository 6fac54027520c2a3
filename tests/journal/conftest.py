"""Each test that takes `store` runs on SQLite and on PostgreSQL."""

from collections.abc import AsyncIterator

import pytest

from ladle.journal.open import open_store
from ladle.journal.store import Store
from tests.journal.making import fresh_store


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    """An open, empty store; locks are waited for a short time only."""
    opened = await fresh_store(database_url, busy_ms=400)
    yield opened
    await opened.close()


@pytest.fixture
async def other(store: Store, database_url: str) -> AsyncIterator[Store]:
    """Another process's store on the same database."""
    opened = open_store(database_url, busy_ms=400)
    await opened.open()
    yield opened
    await opened.close()
