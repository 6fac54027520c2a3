"""What SQLite's errors mean to a journal."""

import sqlite3

from ladle.journal.store import BadData, StoreBroken, StoreBusy, StoreError

_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_BROKEN = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
}
_DATA = {sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG}


def translate(error: BaseException) -> StoreError | None:
    """`error` as the store's own; None where it is not about the database or a value for it."""
    if isinstance(error, StoreError):
        return error
    if isinstance(error, OverflowError | UnicodeEncodeError):
        return BadData(f"a value that SQLite cannot hold: {error}")
    if not isinstance(error, sqlite3.Error):
        return None
    # The low byte is the primary code; the rest says which kind of it.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _BUSY:
        return StoreBusy(f"another process keeps the database locked: {error}")
    if code in _BROKEN:
        return StoreBroken(f"SQLite cannot write: {error}")
    if code in _DATA or "binding" in str(error):
        return BadData(str(error))
    return StoreError(str(error))
