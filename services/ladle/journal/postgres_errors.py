"""What PostgreSQL's and asyncpg's errors mean to a journal."""

import asyncpg

from ladle.journal.store import BadData, StoreBroken, StoreBusy, StoreError


class ConnectionLost(StoreBusy):
    """The connection is gone: what was under way may have happened. Another one may be had."""


# By SQLSTATE or its class; the longer name wins.
_MEANING: dict[str, type[StoreError]] = {
    "08": ConnectionLost,
    "57P01": ConnectionLost,  # terminated by an administrator
    "57P02": ConnectionLost,  # another backend crashed
    "57P03": ConnectionLost,  # starting up or shutting down
    "57P05": ConnectionLost,
    "25P03": ConnectionLost,  # idle in a transaction for too long
    "25P04": ConnectionLost,
    "25006": ConnectionLost,  # read only: a standby; the primary is elsewhere now
    "40": StoreBusy,  # serialisation failure, deadlock
    "55P03": StoreBusy,  # lock not available in time
    "57014": StoreBusy,  # cancelled
    "53": StoreBusy,  # too many connections, out of memory
    "53100": StoreBroken,  # disk full
    "58": StoreBroken,  # I/O error
    "XX001": StoreBroken,  # data corrupted
    "XX002": StoreBroken,
    "22": BadData,
    "23": BadData,
    "54": BadData,  # larger than a limit of the server
}


def translate(error: BaseException) -> StoreError | None:
    """`error` as the store's own; None where it is not about the database or a value for it."""
    if isinstance(error, StoreError):
        return error
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        found = _MEANING.get(state) or _MEANING.get(state[:2]) or StoreError
        return found(f"PostgreSQL: {error} ({state})")
    if isinstance(error, asyncpg.InterfaceError) and "closed" not in str(error):
        return StoreError(f"PostgreSQL: {error}")  # a mistake in the program
    # The others that asyncpg raises: closed while in use, a broken protocol, a stale cache. A new
    # connection helps against all of them.
    lost = asyncpg.InterfaceError | asyncpg.InternalClientError | OSError | TimeoutError | EOFError
    if isinstance(error, lost):
        return ConnectionLost(f"no connection to PostgreSQL: {error or type(error).__name__}")
    return None
