"""What is due when, derived from the view's rows; never stored.

The order is total (time, kind, key), so two views with equal rows do the same things in the same
order, whatever their histories.
"""

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Any

Due = tuple[int, str, Any]
"""(due_ms, kind, key); keys of one kind are of one type."""


class Schedule:
    """A heap with a map beside it: what the map does not confirm is skipped when it surfaces."""

    __slots__ = ("_due_ms", "_heap")

    def __init__(self) -> None:
        self._due_ms: dict[tuple[str, Any], int] = {}
        self._heap: list[Due] = []

    def set(self, kind: str, key: Any, due_ms: int | None) -> None:
        """This is due then, and at no other time; None: never."""
        name = (kind, key)
        before = self._due_ms.get(name)
        if before == due_ms:
            return
        if due_ms is None:
            del self._due_ms[name]
        else:
            self._due_ms[name] = due_ms
            heappush(self._heap, (due_ms, kind, key))
        # What was put off stays in the heap; without this a long-lived server's would pile up.
        if len(self._heap) > 2 * len(self._due_ms) + 64:
            self._heap = [(at_ms, kind, key) for (kind, key), at_ms in self._due_ms.items()]
            heapify(self._heap)

    def next(self) -> Due | None:
        """The first that is due, or None where nothing is."""
        while self._heap:
            due_ms, kind, key = self._heap[0]
            if self._due_ms.get((kind, key)) == due_ms:
                return self._heap[0]
            heappop(self._heap)
        return None

    def until(self, now_ms: int) -> Iterator[Due]:
        """What is due by `now_ms`, in order; the caller puts each off or deletes it meanwhile."""
        while (due := self.next()) is not None and due[0] <= now_ms:
            yield due
