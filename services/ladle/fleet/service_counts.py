"""What the placement service counted, read from its /metrics page."""

import asyncio
import http.client
import logging
import re
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable

from ladle.fleet.report import ServiceCounts

log = logging.getLogger(__name__)

CountEvents = Callable[[], Awaitable[ServiceCounts | None]]
"""Asks how many events the service has applied, recognised and refused since it started.

None where that cannot be read now.
"""

_COUNTER = "ladle_events_total"
_EVENTS = re.compile(
    r'^ladle_events_total\{(?=[^}]*\boutcome="(?P<outcome>[a-z-]+)")[^}]*\} (?P<value>[0-9.e+]+)$',
    re.MULTILINE,
)
_TIMEOUT_S = 5.0
_BYTES_MAX = 4_000_000


async def nothing_counted() -> None:
    """For a service whose counters nobody can read."""


def counts_from_metrics(url: str) -> CountEvents:
    """Read the counters at `url`, http://host:port/metrics.

    A page that cannot be read, or is no placement service's, is a warning that names it and the
    reason. Raises ValueError for another scheme than http(s).
    """
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"not the address of a metrics page: {url}")

    async def count() -> ServiceCounts | None:
        try:
            counts = counts_in(await asyncio.to_thread(_get, url))
        except (OSError, http.client.HTTPException, UnicodeDecodeError) as error:
            log.warning("the service's counts were not read from %s: %s", url, error)
            return None
        if counts is None:
            log.warning("the service's counts were not read: %s has no %s", url, _COUNTER)
        return counts

    return count


def counts_in(page: str) -> ServiceCounts | None:
    """The three counts in a page of Prometheus' text format; None where it is another program's.

    A service that has counted nothing yet has the counter all the same, without values.
    """
    if f"# TYPE {_COUNTER} counter" not in page:
        return None
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
