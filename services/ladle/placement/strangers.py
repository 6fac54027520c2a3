"""Command queues for servers that never registered: a few, for anybody may invent names."""

from collections import OrderedDict

from ladle_contracts.clock import Clock
from ladle_contracts.topology import COMMAND_QUEUE_EXPIRES_MS

STRANGERS_MAX = 100
"""Each costs the broker a queue for a day, and the outbox a connection that its others wait for."""


class Strangers:
    """Whom a queue was declared for within the time after which an unused one is gone."""

    def __init__(self, clock: Clock, most: int = STRANGERS_MAX) -> None:
        self._clock = clock
        self._most = most
        self._since_ms: OrderedDict[str, int] = OrderedDict()

    def admit(self, server_id: str) -> bool:
        """May a queue be declared for this server? One that has been admitted may be again."""
        now_ms = self._clock.monotonic_ms()
        while self._since_ms:
            oldest, since_ms = next(iter(self._since_ms.items()))
            if now_ms - since_ms < COMMAND_QUEUE_EXPIRES_MS:
                break
            del self._since_ms[oldest]
        if server_id not in self._since_ms and len(self._since_ms) >= self._most:
            return False
        self._since_ms[server_id] = now_ms
        self._since_ms.move_to_end(server_id)
        return True
