"""What a server said in one life, by sequence: which ones are there, and which are not."""

from bisect import bisect_right
from dataclasses import dataclass, field

RANGES_MAX = 256
"""More holes than this, and the oldest is counted at once: a life stays small whatever comes."""


@dataclass(slots=True)
class StreamLife:
    """Sequences up to `heard_to` are there or were counted; `above` are ranges beyond a hole.

    lost: sequences that nothing stands for. stood_for: those below a complete status, which says
    all that they could say.
    """

    heard_to: int
    above: list[list[int]] = field(default_factory=list)
    lost: int = 0
    stood_for: int = 0

    def hear(self, sequence: int) -> bool:
        """False where it was there before, or was counted."""
        if sequence <= self.heard_to:
            return False
        at = bisect_right(self.above, [sequence, 2**63])
        if at and self.above[at - 1][1] >= sequence:
            return False
        self.above.insert(at, [sequence, sequence])
        self._join(at)
        if len(self.above) > RANGES_MAX:
            self.lost += self.above[0][0] - self.heard_to - 1
            self._take_first()
        return True

    def complete(self, sequence: int) -> None:
        """A complete status with this sequence was heard: holes below it miss nothing."""
        while self.above and self.above[0][0] <= sequence:
            self.stood_for += self.above[0][0] - self.heard_to - 1
            self._take_first()

    @property
    def missing(self) -> int:
        """Sequences that are not there and that no complete status stands for."""
        held = self.heard_to
        holes = 0
        for first, last in self.above:
            holes += first - held - 1
            held = last
        return self.lost + holes

    @property
    def first_hole(self) -> tuple[int, int] | None:
        """The first one that is still open: first and last sequence."""
        return (self.heard_to + 1, self.above[0][0] - 1) if self.above else None

    def _join(self, at: int) -> None:
        """Make one of ranges that touch, around the one that is new."""
        above = self.above
        for left in (at, at - 1):
            if left >= 0 and left + 1 < len(above) and above[left][1] + 1 == above[left + 1][0]:
                above[left][1] = above.pop(left + 1)[1]
        if above and above[0][0] == self.heard_to + 1:
            self._take_first()

    def _take_first(self) -> None:
        self.heard_to = self.above.pop(0)[1]
