"""How often each caller may ask: a token bucket apiece, so that a greedy one starves itself."""

from ladle_contracts.clock import Clock

CALLERS_MAX = 10_000
"""Who is counted by itself; those above share one bucket, so that memory stays bounded."""

OTHERS = "\0others"
"""The key of that bucket: no user of the broker has such a name."""


class CallerLimits:
    """Buckets that hold `burst` requests and get `per_s` back a second; `per_s` 0: no limit.

    A bucket is one number, the moment at which it will be full again. One that is full is not kept,
    for that is what a new one is; so the memory is that of the callers of the last moments.
    """

    def __init__(
        self, clock: Clock, *, per_s: int, burst: int, callers_max: int = CALLERS_MAX
    ) -> None:
        self._clock = clock
        self._each_us = 1_000_000 // per_s if per_s else 0
        self._debt_us_max = (burst - 1) * self._each_us
        self._callers_max = callers_max
        self._full_at_us: dict[str, int] = {}  # who asked last stands last

    def __len__(self) -> int:
        """How many buckets are kept."""
        return len(self._full_at_us)

    def wait_ms(self, user: str, came_ms: int | None = None) -> int:
        """Count one request of this caller and return 0; or how long it must wait, uncounted.

        came_ms: when it came, on this clock; now where it is not told. What waits behind others of
        the same caller must not become less too much by that.
        """
        if not self._each_us:
            return 0
        now_us = self._clock.monotonic_ms() * 1_000
        waited_us = 0 if came_ms is None else now_us - came_ms * 1_000
        now_us -= waited_us
        key = self._key(user, now_us)
        full_at_us = max(self._full_at_us.pop(key, now_us), now_us)
        over_us = full_at_us - now_us - self._debt_us_max
        if over_us <= 0:
            full_at_us += self._each_us
        self._full_at_us[key] = full_at_us
        if over_us <= 0:
            return 0
        return max(1, -(-(over_us - waited_us) // 1_000))

    def _key(self, user: str, now_us: int) -> str:
        if user in self._full_at_us:
            return user
        # No bucket takes longer to fill than from empty, so the first here are full the first, but
        # for that time; each is dropped once.
        while self._full_at_us:
            oldest = next(iter(self._full_at_us))
            if self._full_at_us[oldest] > now_us:
                break
            del self._full_at_us[oldest]
        return user if len(self._full_at_us) < self._callers_max else OTHERS
