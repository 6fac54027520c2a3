"""What the placement service counted, read from its /metrics page."""

import asyncio
import re
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable

from ladle.fleet.report import ServiceCounts

CountEvents = Callable[[], Awaitable[ServiceCounts]]
"""Asks how many events the service has applied, recognised and refused since it started."""

_EVENTS = re.compile(
    r'^ladle_events_total\{(?=[^}]*\boutcome="(?P<outcome>[a-z-]+)")[^}]*\} (?P<value>[0-9.e+]+)$',
    re.MULTILINE,
)
_TIMEOUT_S = 5.0
_BYTES_MAX = 4_000_000


async def nothing_counted() -> ServiceCounts:
    """For a service whose counters nobody can read: all zero."""
    return ServiceCounts()


def counts_from_metrics(url: str) -> CountEvents:
    """Read the counters at `url`, http://host:port/metrics.

    Raises OSError where the page cannot be read, ValueError for another scheme than http(s).
    """
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"not the address of a metrics page: {url}")

    async def count() -> ServiceCounts:
        return counts_in(await asyncio.to_thread(_get, url))

    return count


def counts_in(page: str) -> ServiceCounts:
    """The three counts in a page of Prometheus' text format."""
    sums: dict[str, float] = {}
    for found in _EVENTS.finditer(page):
        outcome = found["outcome"]
        sums[outcome] = sums.get(outcome, 0.0) + float(found["value"])
    return ServiceCounts(
        applied=int(sums.get("applied", 0)),
        duplicate=int(sums.get("duplicate", 0)),
        dead=int(sums.get("dead", 0)),
    )


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as page:
        text: str = page.read(_BYTES_MAX).decode()
        return text
