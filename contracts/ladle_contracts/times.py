"""RFC 3339 on the wire, integer Unix milliseconds inside."""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_RFC3339 = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)


def to_ms(text: str) -> int:
    """RFC 3339 to Unix ms, rounded down; raises ValueError (also before 1970)."""
    if _RFC3339.fullmatch(text) is None:
        raise ValueError("must be an RFC 3339 time such as 2026-11-22T09:00:00Z")
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError as error:
        raise ValueError(f"must be an RFC 3339 time: {error}") from None
    return of_datetime(moment)


def of_datetime(moment: datetime) -> int:
    """A moment (UTC where it has no zone) to Unix ms, rounded down; ValueError before 1970."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    unix_ms = (moment - _EPOCH) // _MS
    if unix_ms < 0:
        raise ValueError("must not be before 1970")
    return unix_ms


def to_rfc3339(unix_ms: int) -> str:
    """Unix ms to RFC 3339, UTC, with milliseconds; ValueError outside the years 1970 to 9999."""
    return f"{_second(unix_ms // 1000)}.{unix_ms % 1000:03d}Z"


@lru_cache(maxsize=1024)
def _second(unix_s: int) -> str:
    """Formatting costs ten times the rest of a message; many are of the same few seconds."""
    if unix_s < 0:
        raise ValueError("must not be before 1970")
    try:
        moment = _EPOCH + timedelta(seconds=unix_s)
    except OverflowError:
        raise ValueError("must not be after the year 9999") from None
    return moment.strftime("%Y-%m-%dT%H:%M:%S")
