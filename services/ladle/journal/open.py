"""`LADLE_DATABASE_URL` to a store."""

from ladle.journal.sqlite import SqliteStore
from ladle.journal.store import Store, StoreError
from ladle.journal.url import SqliteUrl, parse


def open_store(url: str, *, busy_ms: int = 2_000) -> Store:
    """The store at `url`; `await store.open()` connects.

    busy_ms: for how long a busy or absent database is waited for before StoreBusy; keep it below
    the lease. Raises StoreError, naming LADLE_DATABASE_URL, where the URL is none of Ladle's or
    PostgreSQL's extra is missing.
    """
    target = parse(url)
    if isinstance(target, SqliteUrl):
        return SqliteStore(target, busy_ms=busy_ms)
    try:
        # Late: who keeps to SQLite need not have asyncpg.
        from ladle.journal.postgres import PostgresStore
    except ImportError as error:
        raise StoreError(
            "LADLE_DATABASE_URL names PostgreSQL, which needs an extra: "
            "pip install 'ladle[postgres]'"
        ) from error
    return PostgresStore(target, busy_ms=busy_ms)
