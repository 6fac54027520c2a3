"""What has arrived and is not folded yet: bounded, and no caller waits in it for nothing.

Ten thousand callers may wake up at once. The broker hands over so many requests as may wait here
(`LADLE_REQUESTS_PREFETCH`); what the store does not get to in time is refused with a time to come
again, before its caller gives up or asks a second time, and makes room for those behind it. So a
caller hears within about two of these times, whatever the store does, and the burst ends. Who has
less time than that, as one who asks again, waits half of it at the most.
"""

import heapq
import itertools
import logging
import time
from collections import deque
from collections.abc import Iterable

import orjson

from ladle.placement.batch import Arrival
from ladle.placement.metrics import Metrics
from ladle.placement.neighbours import Handler
from ladle.placement.replies import error_answer, may_answer, operation_label, reply_to
from ladle_contracts.link import Link, Message

log = logging.getLogger("ladle.writer")

RETRY_FIRST_MS = 1_000
RETRY_STEP_MS = 2
RETRY_STEPS = 2_000
"""One after the other: refused at one moment, they must not come back at one moment."""

BYTES_MAX = 64_000_000
"""Of the bodies of requests that wait; a usual one has some hundred bytes."""


def arrivals(
    messages: Iterable[Message], handler: Handler, now_ms: int, *, requests: bool
) -> list[Arrival]:
    """What came together; `requests`: whoever can be answered can be told to come again."""
    now = time.perf_counter()
    return [
        Arrival(message, handler, now, now_ms, requests and may_answer(message.reply_to))
        for message in messages
    ]


class Backlog:
    """A queue of arrivals, in order; it knows which requests wait and how long."""

    def __init__(self, wait_ms: int, *, bytes_max: int = BYTES_MAX) -> None:
        self._wait_ms = wait_ms
        self._bytes_max = bytes_max
        self._arrivals: deque[Arrival] = deque()
        self._early: list[tuple[int, int, Arrival]] = []
        self._early_waiting: set[Arrival] = set()
        self._gone: set[Arrival] = set()
        self._numbers = itertools.count()
        self._overflow: list[Arrival] = []
        self._requests = 0
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._arrivals) - len(self._gone)

    def extend(self, arrivals: Iterable[Arrival]) -> None:
        """Behind all others; what is too much in bytes waits for nothing but its refusal."""
        for arrival in arrivals:
            size = len(arrival.message.body)
            if arrival.may_refuse and self._bytes + size > self._bytes_max:
                self._overflow.append(arrival)
            else:
                self._arrivals.append(arrival)
                self._enter(arrival)

    def put_back(self, arrivals: list[Arrival]) -> None:
        """Before all others, in this order: they were taken, and that is undone."""
        self._arrivals.extendleft(reversed(arrivals))
        for arrival in arrivals:
            self._enter(arrival)

    def popleft(self) -> Arrival:
        """The first one."""
        self._skip_gone()
        arrival = self._arrivals.popleft()
        self._early_waiting.discard(arrival)
        self._count(arrival, -1)
        return arrival

    def _enter(self, arrival: Arrival) -> None:
        self._count(arrival, 1)
        # What a caller has left is known here by what it had when it asked: half of it is for the
        # way, the commit and the answer.
        own_ms = arrival.message.expiration_ms
        if arrival.may_refuse and own_ms is not None and own_ms // 2 < self._wait_ms:
            due_ms = arrival.arrived_ms + own_ms // 2
            heapq.heappush(self._early, (due_ms, next(self._numbers), arrival))
            self._early_waiting.add(arrival)

    def _skip_gone(self) -> None:
        while self._arrivals and self._arrivals[0] in self._gone:
            self._gone.discard(self._arrivals.popleft())

    def _count(self, arrival: Arrival, by: int) -> None:
        if arrival.may_refuse:
            self._requests += by
            self._bytes += by * len(arrival.message.body)

    def take_late(self, now_ms: int) -> list[Arrival]:
        """The requests that have waited too long, or are too much; the others keep their order."""
        late, self._overflow = self._overflow, []
        late += self._take_early(now_ms)
        kept: list[Arrival] = []
        while self._requests and self._is_late(self._arrivals[0], now_ms):
            arrival = self.popleft()
            (late if arrival.may_refuse else kept).append(arrival)
            self._skip_gone()
        self.put_back(kept)
        return late

    def _take_early(self, now_ms: int) -> list[Arrival]:
        """Those whose callers have less time than all others, from wherever they stand."""
        late = []
        while self._early and self._early[0][0] < now_ms:
            _, _, arrival = heapq.heappop(self._early)
            if arrival in self._early_waiting:  # and was not folded meanwhile
                self._early_waiting.discard(arrival)
                self._gone.add(arrival)
                self._count(arrival, -1)
                late.append(arrival)
        self._skip_gone()
        return late

    def _is_late(self, arrival: Arrival, now_ms: int) -> bool:
        return now_ms - arrival.arrived_ms > self._wait_ms


def refuse(late: list[Arrival], link: Link, metrics: Metrics) -> None:
    """Answer `unavailable` and ack: nothing was done, and nothing is journaled.

    Without an offset, by which a caller would take it for the recorded answer.
    """
    if not late:
        return
    link.send([reply_to(arrival.message, _later(place)) for place, arrival in enumerate(late)])
    link.ack([arrival.message for arrival in late])
    for arrival in late:
        metrics.requests.inc(operation_label(arrival.message), "unavailable")
    log.warning("too much at once: refused %d requests, to come again later", len(late))


def _later(place: int) -> bytes:
    return orjson.dumps(
        error_answer(
            "unavailable",
            "more is asked at once than can be answered in time; nothing was done: ask again later",
            retryable=True,
            retry_after_ms=RETRY_FIRST_MS + RETRY_STEP_MS * (place % RETRY_STEPS),
        )
    )
