"""The way of a server's events to the broker: one line, in order, each confirmed.

Several may be under way at once. When one fails, the line becomes careful: it sends one at a time,
from the failed one on, until all that was under way then is settled. A later event is never called
settled before an earlier one.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from enum import Enum, StrEnum

from .clock import Clock
from .link import Link, LinkDown, Outgoing

log = logging.getLogger(__name__)

RETRY_FIRST_MS = 100
RETRY_LAST_MS = 10_000


class Fate(StrEnum):
    """How an event ended: at the broker, or left out for a complete status that says it too."""

    CONFIRMED = "confirmed"
    REPLACED = "replaced"


Settled = asyncio.Future[Fate]


class _State(Enum):
    WAITING = 1
    UNDER_WAY = 2
    RESTING = 3
    CONFIRMED = 4


def _future() -> "asyncio.Future[Fate]":
    return asyncio.get_running_loop().create_future()


@dataclass(eq=False, slots=True)
class Item:
    """One event in the line. `lasting`: it says what no status says, so it is never replaced."""

    message: Outgoing
    number: int
    made_at_ms: int
    lasting: bool
    is_status: bool
    settled: "asyncio.Future[Fate]" = field(default_factory=_future)
    attempts: int = 0
    state: _State = _State.WAITING


class Pipeline:
    """The line. `run` it in a task; `wake` it when the link is up."""

    def __init__(
        self, link: Link, clock: Clock, *, in_flight_max: int, new_id: Callable[[], str]
    ) -> None:
        self._link = link
        self._clock = clock
        self._in_flight_max = in_flight_max
        self._new_id = new_id
        self._items: deque[Item] = deque()
        self._tasks: dict[asyncio.Task[None], None] = {}  # in the order of their start
        self._wake = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._numbers = 0
        self._careful_until = 0
        self.confirmed = 0
        self.retried = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def has_unsent_status(self) -> bool:
        """Whether a status waits already: a second one would say the same, later."""
        return any(item.is_status and item.state is not _State.UNDER_WAY for item in self._items)

    def oldest_replaceable_age_ms(self) -> int:
        """Age of the oldest event that a complete status could stand for; 0 without any."""
        made = [item.made_at_ms for item in self._items if not item.lasting]
        return self._clock.monotonic_ms() - made[0] if made else 0

    def add(self, message: Outgoing, *, lasting: bool = False, is_status: bool = False) -> Item:
        """Put an event at the end of the line."""
        self._numbers += 1
        item = Item(message, self._numbers, self._clock.monotonic_ms(), lasting, is_status)
        self._items.append(item)
        self._empty.clear()
        self.wake()
        return item

    def wake(self) -> None:
        self._wake.set()

    def drop_replaceable(self) -> int:
        """Leave out what a complete status will say; what is under way stays. Returns how many."""
        kept = [item for item in self._items if item.lasting or item.state is _State.UNDER_WAY]
        return self._leave_out(kept)

    def drop_all(self) -> int:
        """Leave out everything, also what is under way: its life has ended."""
        return self._leave_out([])

    def _leave_out(self, kept: list[Item]) -> int:
        staying = set(map(id, kept))
        dropped = [item for item in self._items if id(item) not in staying]
        self._items = deque(kept)
        for item in dropped:
            if not item.settled.done():
                item.settled.set_result(Fate.REPLACED)
        self._settle_head()
        self.wake()
        return len(dropped)

    def fail(self, error: Exception) -> None:
        """End the line; who waits for an event gets `error`."""
        items, self._items = self._items, deque()
        for item in items:
            if not item.settled.done():
                item.settled.set_exception(error)
                item.settled.exception()  # Seen: nobody is obliged to wait for an event.
        self._empty.set()

    async def flush(self) -> None:
        """Wait until nothing is left in the line."""
        await self._empty.wait()

    async def run(self) -> None:
        """Send, until cancelled."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                self._send_what_may_go()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _send_what_may_go(self) -> None:
        if not self._link.is_up or not self._items:
            return
        careful = self._items[0].number <= self._careful_until
        limit = 1 if careful else self._in_flight_max
        under_way = sum(item.state is _State.UNDER_WAY for item in self._items)
        for item in self._items:
            if under_way >= limit or item.state is _State.RESTING:
                return
            if item.state is _State.WAITING:
                item.state = _State.UNDER_WAY
                under_way += 1
                self._start(self._attempt(item))

    def _start(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)

    async def _attempt(self, item: Item) -> None:
        item.attempts += 1
        # A new message id each time: RabbitMQ's returns are matched by it. The event id and the
        # sequence stay, by which Ladle knows a second copy.
        message = replace(item.message, message_id=self._new_id())
        try:
            await self._link.publish(message)
        except Exception as error:
            await self._failed(item, error)
        else:
            item.state = _State.CONFIRMED
            self.confirmed += 1
            self._settle_head()
        self.wake()

    async def _failed(self, item: Item, error: Exception) -> None:
        self.retried += 1
        self._careful_until = max(
            [self._careful_until, item.number]
            + [other.number for other in self._items if other.state is _State.UNDER_WAY]
        )
        log.info("%s will be sent again: %s", item.message.routing_key, error)
        if isinstance(error, LinkDown):
            item.state = _State.WAITING
            return
        item.state = _State.RESTING
        pause_ms = RETRY_FIRST_MS * 2 ** min(item.attempts - 1, 10)
        await self._clock.sleep(min(pause_ms, RETRY_LAST_MS))
        item.state = _State.WAITING

    def _settle_head(self) -> None:
        while self._items and self._items[0].state is _State.CONFIRMED:
            settled = self._items.popleft().settled
            if not settled.done():
                settled.set_result(Fate.CONFIRMED)
        if not self._items:
            self._empty.set()
