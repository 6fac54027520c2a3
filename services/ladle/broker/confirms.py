"""Publishes that wait for the broker's word, on one life of a confirming channel.

The broker numbers what is published there 1, 2, 3, ... and settles the numbers, often many at
once; a message that reached no queue comes back before its number is settled.
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence

from ladle_contracts.link import LinkError, OutcomeUnknown, Outgoing, Refused, Unroutable

_ABOUT_THE_EXCHANGE = (403, 404)


class Awaited:
    """Messages that were written one after the other, and the broker's word on each.

    One future for all of them: a future and an entry for each cost more than writing it.
    """

    __slots__ = ("_above", "_errors", "_floor", "_messages", "done", "first", "last")

    def __init__(self, first: int, messages: Sequence[Outgoing]) -> None:
        self.first = first
        self.last = first + len(messages) - 1
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._messages = messages
        self._floor = first - 1  # every number up to it is settled
        self._above: set[int] = set()  # settled ones above it
        self._errors: dict[int, LinkError] = {}

    @property
    def is_over(self) -> bool:
        """Whether every number is settled."""
        return self._floor >= self.last

    def is_open(self, number: int) -> bool:
        """Whether the number is one of these and the broker has not settled it."""
        return self._floor < number <= self.last and number not in self._above

    def open_numbers(self) -> Iterator[int]:
        """What is not settled, oldest first."""
        numbers = range(self._floor + 1, self.last + 1)
        return (number for number in numbers if number not in self._above)

    def message(self, number: int) -> Outgoing:
        """What was written under this number."""
        return self._messages[number - self.first]

    def settle(self, number: int, *, multiple: bool) -> None:
        """One number, or all up to it, are settled."""
        if multiple:
            self._floor = max(self._floor, min(number, self.last))
        elif self.is_open(number):
            self._above.add(number)
        while self._above and self._floor + 1 in self._above:
            self._floor += 1
            self._above.discard(self._floor)

    def fail(self, number: int, error: LinkError) -> None:
        """What the broker said of this number, or could not say any more."""
        self._errors[number] = error

    def end(self) -> None:
        """Wake who waits, if somebody still does."""
        if not self.done.done():
            self.done.set_result(None)

    def outcomes(self, unsettled: LinkError) -> list[LinkError | None]:
        """One entry a message, in order: None where the broker has it; `unsettled` where it has
        not said so."""
        if self.is_over and not self._errors:
            return [None] * len(self._messages)
        return [
            unsettled if self.is_open(number) else self._errors.get(number)
            for number in range(self.first, self.last + 1)
        ]


_Key = tuple[str | None, str, str]


def _key(message: Outgoing) -> _Key:
    """What a message that comes back is known by."""
    return message.message_id, message.exchange, message.routing_key


class Confirms:
    """The numbers that are under way, in the groups in which they were written."""

    def __init__(self) -> None:
        self._last = 0
        self._groups: list[Awaited] = []
        self._mandatory: dict[_Key, deque[tuple[Awaited, int]]] = {}
        self._returned: dict[int, str] = {}

    def __len__(self) -> int:
        return sum(1 for group in self._groups for _ in group.open_numbers())

    def under_way(self) -> list[Awaited]:
        """The groups that are still awaited."""
        return list(self._groups)

    def begin(self, messages: Sequence[Outgoing]) -> Awaited:
        """Number messages, at least one, as they were written; do not change them meanwhile."""
        group = Awaited(self._last + 1, messages)
        self._last = group.last
        self._groups.append(group)
        for number, message in enumerate(messages, group.first):
            if message.mandatory:
                self._mandatory.setdefault(_key(message), deque()).append((group, number))
        return group

    def returned(self, message_id: str | None, exchange: str, key: str, why: str) -> None:
        """The broker sent a mandatory message back; its number is settled next."""
        for group, number in self._mandatory.get((message_id, exchange, key), ()):
            if group.is_open(number) and number not in self._returned:
                self._returned[number] = f"{exchange}/{key}: {why}"
                return

    def settled(self, number: int, *, multiple: bool, accepted: bool) -> None:
        """The broker took (`accepted`) or refused one number, or all up to it."""
        for group in list(self._groups):
            if group.first > number:
                return
            if not multiple and group.last < number:
                continue
            if self._returned or not accepted:
                self._note(group, number, multiple=multiple, accepted=accepted)
            group.settle(number, multiple=multiple)
            if group.is_over:
                self._end(group)

    def _note(self, group: Awaited, number: int, *, multiple: bool, accepted: bool) -> None:
        for settled in list(group.open_numbers()):
            if settled != number and not (multiple and settled < number):
                continue
            why = self._returned.pop(settled, None)
            if why is not None:
                group.fail(settled, Unroutable(why))
            elif not accepted:
                group.fail(settled, Refused("the broker could not take the message"))

    def _end(self, group: Awaited) -> None:
        self._groups.remove(group)
        for number in range(group.first, group.last + 1):
            message = group.message(number)
            if message.mandatory:
                self._forget(_key(message), group, number)
        group.end()

    def _forget(self, key: _Key, group: Awaited, number: int) -> None:
        same = self._mandatory[key]
        same.remove((group, number))
        if not same:
            del self._mandatory[key]

    def closed(self, why: str, code: int = 0) -> None:
        """The channel ended: nothing more will be settled on it.

        Where the broker closed it over an exchange, those that were meant for that exchange are
        refused, as is one that was alone; of the others nobody knows whether they were taken.
        """
        alone = len(self) == 1 and code != 0
        for group in list(self._groups):
            for number in list(group.open_numbers()):
                exchange = group.message(number).exchange
                named = code in _ABOUT_THE_EXCHANGE and f"'{exchange}'" in why
                refused = alone or named
                group.fail(
                    number, Refused(why) if refused else OutcomeUnknown(f"no confirm: {why}")
                )
            group.settle(group.last, multiple=True)
            self._end(group)
