"""Which deliveries of a channel are settled, and by how few frames.

Two laws: a delivery is settled at most once (a second ack costs the channel), and a frame with
`multiple`, which settles all up to its tag, is used only where all of that is settled by then.
"""

from collections.abc import Iterable


class Settling:
    """The deliveries of one life of a channel; their tags are 1, 2, 3, ... in order."""

    __slots__ = ("_above", "_floor", "_last")

    def __init__(self) -> None:
        self._floor = 0  # every delivery up to it is settled
        self._above: set[int] = set()  # settled ones above it
        self._last = 0

    def delivered(self, tag: int) -> None:
        """A delivery arrived."""
        self._last = tag

    def is_open(self, tag: int) -> bool:
        """Whether the delivery arrived and was not settled."""
        return self._floor < tag <= self._last and tag not in self._above

    def settle(self, tags: Iterable[int]) -> list[tuple[int, bool]]:
        """Settle these; returns the frames to write as (tag, multiple).

        Tags that are not open are skipped.
        """
        wanted = sorted({tag for tag in tags if self.is_open(tag)})
        run, length, frames = 0, 0, []
        for tag in wanted:
            while self._floor + 1 in self._above:
                self._floor += 1
                self._above.discard(self._floor)
            if tag == self._floor + 1:
                self._floor = run = tag
                length += 1
            else:
                self._above.add(tag)
                frames.append((tag, False))
        if run:
            frames.insert(0, (run, length > 1))
        return frames
