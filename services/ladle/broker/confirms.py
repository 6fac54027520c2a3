"""Publishes that wait for the broker's word, on one life of a confirming channel.

The broker numbers what is published there 1, 2, 3, ... and settles the numbers, often many at
once; a message that reached no queue comes back before its number is settled.
"""

import asyncio
from collections import deque
from dataclasses import dataclass

from ladle_contracts.link import OutcomeUnknown, Outgoing, Refused, Unroutable

_ABOUT_THE_EXCHANGE = (403, 404)


@dataclass(slots=True)
class _Waiting:
    outcome: asyncio.Future[None]
    exchange: str
    returned: str | None = None


_Key = tuple[str | None, str, str]


class Confirms:
    """The numbers that are under way, oldest first."""

    def __init__(self) -> None:
        self._last = 0
        self._waiting: dict[int, _Waiting] = {}
        self._mandatory: dict[_Key, deque[_Waiting]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def outcomes(self) -> list[asyncio.Future[None]]:
        """What is still awaited."""
        return [waiting.outcome for waiting in self._waiting.values()]

    def begin(self, message: Outgoing, message_id: str | None) -> asyncio.Future[None]:
        """Number one message that is being written; the future ends as `Link.publish` says."""
        self._last += 1
        waiting = _Waiting(asyncio.get_running_loop().create_future(), message.exchange)
        self._waiting[self._last] = waiting
        if message.mandatory:
            key = (message_id, message.exchange, message.routing_key)
            self._mandatory.setdefault(key, deque()).append(waiting)
            waiting.outcome.add_done_callback(lambda _: self._forget(key, waiting))
        return waiting.outcome

    def _forget(self, key: _Key, waiting: _Waiting) -> None:
        same = self._mandatory.get(key)
        if same is not None and waiting in same:
            same.remove(waiting)
            if not same:
                del self._mandatory[key]

    def returned(self, message_id: str | None, exchange: str, key: str, why: str) -> None:
        """The broker sent a mandatory message back; its number is settled next."""
        for waiting in self._mandatory.get((message_id, exchange, key), ()):
            if waiting.returned is None:
                waiting.returned = f"{exchange}/{key}: {why}"
                return

    def settled(self, number: int, *, multiple: bool, accepted: bool) -> None:
        """The broker took (`accepted`) or refused one number, or all up to it."""
        if not multiple:
            waiting = self._waiting.pop(number, None)
            if waiting is not None:
                _finish(waiting, accepted)
            return
        while self._waiting:
            oldest = next(iter(self._waiting))
            if oldest > number:
                return
            _finish(self._waiting.pop(oldest), accepted)

    def closed(self, why: str, code: int = 0) -> None:
        """The channel ended: nothing more will be settled on it.

        Where the broker closed it over an exchange, those that were meant for that exchange are
        refused, as is one that was alone; of the others nobody knows whether they were taken.
        """
        waiting, self._waiting = self._waiting, {}
        alone = len(waiting) == 1 and code != 0
        for one in waiting.values():
            if one.outcome.done():
                continue
            named = code in _ABOUT_THE_EXCHANGE and f"'{one.exchange}'" in why
            error = Refused(why) if alone or named else OutcomeUnknown(f"no confirm: {why}")
            one.outcome.set_exception(error)


def _finish(waiting: _Waiting, accepted: bool) -> None:
    if waiting.outcome.done():  # its caller gave up
        return
    if waiting.returned is not None:
        waiting.outcome.set_exception(Unroutable(waiting.returned))
    elif accepted:
        waiting.outcome.set_result(None)
    else:
        waiting.outcome.set_exception(Refused("the broker could not take the message"))
