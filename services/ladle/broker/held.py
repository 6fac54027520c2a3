"""Replies that wait for the publishing connection to come back, while the other one consumes.

A reset breaks both connections, and the one that consumes may be back first: what it brings is
answered and acked, so an answer that is dropped then would never be given again.
"""

from collections import deque
from collections.abc import Iterable

from ladle_contracts.link import Outgoing


class Held:
    """Messages in order, `bytes_max` of bodies at most: the oldest go first, for they are late."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._messages: deque[Outgoing] = deque()

    def __bool__(self) -> bool:
        return bool(self._messages)

    def add(self, messages: Iterable[Outgoing]) -> int:
        """Hold these; how many had to be dropped for it."""
        dropped = 0
        for message in messages:
            self._messages.append(message)
            self._bytes += len(message.body)
        while self._bytes > self._bytes_max:
            self._bytes -= len(self._messages.popleft().body)
            dropped += 1
        return dropped

    def take(self) -> list[Outgoing]:
        """All of them, in order; none is held any more."""
        messages = list(self._messages)
        self._messages.clear()
        self._bytes = 0
        return messages
