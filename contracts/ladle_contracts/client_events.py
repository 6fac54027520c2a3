"""Ladle's own events, as a subscriber reads them."""

import asyncio
import logging
from collections.abc import Collection, Sequence
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from .envelope import ContractViolation
from .link import Consumer, Link, Message
from .own_events import OWN_EVENTS
from .own_messages import ReceivedOwnEvent, decode_own_event

log = logging.getLogger(__name__)

PREFETCH = 200


def _keys(types: Collection[str]) -> list[str]:
    """The routing keys of these types of events; of all where none is named."""
    return [f"{each}.*" for each in sorted(types)] or ["#"]


ALL_KEYS = (*_keys(()), *_keys(OWN_EVENTS))
"""All by which any subscription is bound."""


@runtime_checkable
class Declares(Protocol):
    """What a link offers beyond Link to those who bring queues of their own."""

    async def declare_reply_queue(self, queue: str) -> None: ...

    async def declare_subscription(
        self,
        queue: str,
        exchange: str,
        keys: Sequence[str],
        *,
        keep: bool = False,
        without: Sequence[str] = (),
    ) -> None: ...


class OwnEvents:
    """An async iterator, and a context manager that subscribes on entry.

    An event is acked when the next one is asked for: who stops in the middle of one gets it again
    (where the subscription is kept). Ends when it or its client is closed.
    """

    def __init__(
        self,
        link: Link,
        cell: str,
        queue: str,
        exchange: str,
        types: Collection[str] = (),
        *,
        keep: bool,
    ) -> None:
        self._link = link
        self._cell = cell
        self._queue = queue
        self._exchange = exchange
        self._types = frozenset(types)
        self._keep = keep
        self._arrived: asyncio.Queue[Message | None] = asyncio.Queue()
        self._consumer: Consumer | None = None
        self._open: Message | None = None
        self._closed = False
        self.skipped = 0

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def start(self) -> None:
        """Subscribe. Raises LinkDown, Refused (no right to the queue or the exchange)."""
        if self._consumer is None:
            if not isinstance(self._link, Declares):
                raise TypeError(f"{type(self._link).__name__} cannot declare subscriptions")
            keys = _keys(self._types)
            await self._link.declare_subscription(
                self._queue,
                self._exchange,
                keys,
                keep=self._keep,
                # A queue that was kept may be bound by what its reader wanted before.
                without=[key for key in ALL_KEYS if key not in keys] if self._keep else (),
            )
            self._consumer = await self._link.consume(self._queue, self._take, prefetch=PREFETCH)

    async def __anext__(self) -> ReceivedOwnEvent:
        await self.start()
        while not self._closed:
            self._settle()
            message = await self._arrived.get()
            if message is None:
                break
            self._open = message
            if not self._is_wanted(message):
                continue
            try:
                return decode_own_event(message, cell=self._cell)
            except ContractViolation as violation:
                # Of a newer Ladle, as a rule: what this program does not know it leaves out.
                self.skipped += 1
                log.info("an event was left out: %s", violation)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Stop; the event in hand was not read to its end and is given back, as are later ones."""
        if not self._closed:
            self._closed = True
            if self._consumer is not None:
                await self._consumer.cancel()
            self._give_back()
            self._arrived.put_nowait(None)

    def _is_wanted(self, message: Message) -> bool:
        """Not what a kept queue gathered of other types, or by bindings that we do not know."""
        return not self._types or message.routing_key.partition(".")[0] in self._types

    def _give_back(self) -> None:
        # A cancelled consumer keeps what was delivered: the next one would not see it.
        kept = [] if self._open is None else [self._open]
        self._open = None
        while not self._arrived.empty():
            if (message := self._arrived.get_nowait()) is not None:
                kept.append(message)
        if kept:
            self._link.nack(kept, requeue=True)

    def _take(self, messages: list[Message]) -> None:
        for message in messages:
            self._arrived.put_nowait(message)

    def _settle(self) -> None:
        message, self._open = self._open, None
        if message is not None:
            self._link.ack([message])
