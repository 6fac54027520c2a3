"""`recorded_at_ms`: monotonic within a term, and never far from UTC without saying so."""

from dataclasses import dataclass

from ladle_contracts.clock import Clock

SLEW_PERMILLE = 100
"""At most a tenth faster or slower than the monotonic clock: timers stay recognisable."""

STEP_MS = 10_000
"""A distance from UTC that is a step of the wall clock and not drift."""


@dataclass(frozen=True, slots=True)
class ClockStep:
    """The wall clock jumped against the monotonic one; both in Unix ms."""

    recorded_ms: int
    utc_ms: int


class Timekeeper:
    """Gives each record its time.

    The recorded clock starts at UTC, or at the journal's last record where that is later (the
    clock was set back between two terms), then advances with the monotonic clock and is slewed
    towards UTC. A stepped wall clock therefore expires nothing and wakes nobody.
    """

    def __init__(self, clock: Clock, *, not_before_ms: int) -> None:
        self._clock = clock
        self._mono_ms = clock.monotonic_ms()
        self._now_ms = max(clock.unix_ms(), not_before_ms)
        self._distance_ms = clock.unix_ms() - self._now_ms
        self._step: ClockStep | None = None

    def now_ms(self) -> int:
        """The time for a record that is written now; never less than the one before."""
        mono_ms = self._clock.monotonic_ms()
        elapsed_ms = max(0, mono_ms - self._mono_ms)
        self._mono_ms = mono_ms
        utc_ms = self._clock.unix_ms()
        ahead_ms = utc_ms - (self._now_ms + elapsed_ms)
        if abs(ahead_ms - self._distance_ms) > STEP_MS:
            self._step = ClockStep(self._now_ms + elapsed_ms, utc_ms)
        slew_max_ms = elapsed_ms * SLEW_PERMILLE // 1000
        slew_ms = max(-slew_max_ms, min(slew_max_ms, ahead_ms))
        self._now_ms += elapsed_ms + slew_ms
        self._distance_ms = utc_ms - self._now_ms
        return self._now_ms

    def take_step(self) -> ClockStep | None:
        """The step seen since the last call, once, to be journaled."""
        step, self._step = self._step, None
        return step
