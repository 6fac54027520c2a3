"""The recorded clock: monotonic, slewed, never stepped."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from ladle.placement.timekeeper import STEP_MS, Timekeeper


@dataclass
class TwoClocks:
    mono: int = 1_000
    utc: int = 1_800_000_000_000

    def monotonic_ms(self) -> int:
        return self.mono

    def unix_ms(self) -> int:
        return self.utc

    async def sleep(self, duration_ms: int) -> None:
        raise AssertionError("the timekeeper never waits")

    def pass_ms(self, ms: int) -> None:
        self.mono += ms
        self.utc += ms


def test_it_starts_at_utc_and_follows_it() -> None:
    clock = TwoClocks()
    keeper = Timekeeper(clock, not_before_ms=0)
    clock.pass_ms(250)
    assert keeper.now_ms() == 1_800_000_000_250
    assert keeper.take_step() is None


def test_it_never_starts_before_the_last_record() -> None:
    clock = TwoClocks()
    keeper = Timekeeper(clock, not_before_ms=clock.utc + 5_000)
    clock.pass_ms(100)
    # Ahead of UTC, so it goes a tenth slower until UTC has come up.
    assert keeper.now_ms() == 1_800_000_000_000 + 5_000 + 90


def test_a_step_of_an_hour_moves_no_timer_and_is_reported_once() -> None:
    for step_ms in (3_600_000, -3_600_000):
        clock = TwoClocks()
        keeper = Timekeeper(clock, not_before_ms=0)
        before = keeper.now_ms()
        clock.pass_ms(1_000)
        clock.utc += step_ms
        after = keeper.now_ms()
        assert 900 <= after - before <= 1_100
        step = keeper.take_step()
        assert step is not None
        assert step.utc_ms == clock.utc
        clock.pass_ms(1_000)
        keeper.now_ms()
        assert keeper.take_step() is None


@given(
    st.lists(st.tuples(st.integers(0, 100_000), st.integers(-5_000_000, 5_000_000)), max_size=50)
)
def test_no_wall_clock_makes_it_go_back_or_race(moves: list[tuple[int, int]]) -> None:
    """Each record's time is at least the one before and within a tenth of what elapsed."""
    clock = TwoClocks()
    keeper = Timekeeper(clock, not_before_ms=0)
    last = keeper.now_ms()
    for elapsed, wall in moves:
        clock.mono += elapsed
        clock.utc += wall
        now = keeper.now_ms()
        assert elapsed * 9 // 10 - 1 <= now - last <= elapsed * 11 // 10
        last = now


def test_small_drift_is_no_step() -> None:
    clock = TwoClocks()
    keeper = Timekeeper(clock, not_before_ms=0)
    for _ in range(20):
        clock.pass_ms(60_000)
        clock.utc += STEP_MS // 2
        keeper.now_ms()
        assert keeper.take_step() is None
