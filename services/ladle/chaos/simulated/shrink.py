"""A failing run made smaller: fewer kinds of faults and fewer steps that break the same law.

Every purpose draws from a stream of its own, so that what is left out changes little of the rest.
"""

from collections.abc import Callable, Sequence

from ladle.chaos.simulated.simulation import Outcome

RUNS_MAX = 60

Again = Callable[[int, Sequence[str]], Outcome]
"""Runs the same seed with so many steps and only these kinds."""


class _Tries:
    def __init__(self, failed: Outcome, again: Again) -> None:
        self.smallest = failed
        self._again = again
        self._left = RUNS_MAX

    def smaller(self, steps: int, faults: Sequence[str]) -> bool:
        """Does it still break that law? Then it is the smallest that is known."""
        if self._left == 0:
            return False
        self._left -= 1
        tried = self._again(steps, faults)
        before, now = self.smallest.violation, tried.violation
        if before is None or now is None or before[0] != now[0]:
            return False
        self.smallest = tried
        return True


def shrink(failed: Outcome, again: Again) -> Outcome:
    """The smallest failing run that was found; `failed` itself where nothing can be left out."""
    tries = _Tries(failed, again)
    if failed.broke_at < failed.steps:
        tries.smaller(failed.broke_at, failed.faults)
    for fault in failed.faults:
        tries.smaller(
            tries.smallest.steps, [each for each in tries.smallest.faults if each != fault]
        )
    cut = tries.smallest.steps // 2
    while cut:
        steps = tries.smallest.steps - cut
        if steps < 1 or not tries.smaller(steps, tries.smallest.faults):
            cut //= 2
    return tries.smallest
