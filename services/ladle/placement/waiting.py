"""Plain statuses that wait for company: many share one record, or the journal would be theirs."""

from collections.abc import Iterator

from ladle.core.compact_status import Packed
from ladle.core.view import View
from ladle.placement.batch import Arrival

StatusKey = tuple[str, int, int]
"""server_id, incarnation, sequence."""


class WaitingStatuses:
    """Statuses that are neither folded nor durable yet, in the order in which they came."""

    def __init__(self) -> None:
        self._statuses: dict[StatusKey, tuple[Arrival, Packed]] = {}
        self._copies: list[Arrival] = []
        self._since_ms = 0

    def __bool__(self) -> bool:
        return bool(self._statuses)

    def __contains__(self, key: StatusKey) -> bool:
        return key in self._statuses

    def __len__(self) -> int:
        return len(self._statuses)

    def __iter__(self) -> Iterator[Arrival]:
        """The deliveries: the statuses', then those of their copies."""
        yield from (arrival for arrival, _ in self._statuses.values())
        yield from self._copies

    def add(self, arrival: Arrival, key: StatusKey, status: Packed, now_ms: int) -> None:
        """Let a status wait from now on."""
        if not self._statuses:
            self._since_ms = now_ms
        self._statuses[key] = (arrival, status)

    def add_copy(self, arrival: Arrival) -> None:
        """Another delivery of one that waits: acked no earlier than that one is durable."""
        self._copies.append(arrival)

    def break_a_silence(self, view: View, now_ms: int) -> bool:
        """Would a server be called silent now whose status waits here?"""
        names = {server_id for server_id, _, _ in self._statuses}
        due = [view.servers[name].silence_due_ms for name in names if name in view.servers]
        return any(due_ms is not None and due_ms <= now_ms for due_ms in due)

    def waited_ms(self, now_ms: int) -> int:
        """How long the first one has waited; meaningless where none does."""
        return now_ms - self._since_ms

    def packed(self) -> list[Packed]:
        """The statuses as they go into the record."""
        return [status for _, status in self._statuses.values()]

    def clear(self) -> None:
        """None waits any more."""
        self._statuses.clear()
        self._copies.clear()
