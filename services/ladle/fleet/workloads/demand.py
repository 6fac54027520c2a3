"""What people will do: rooms, who visits them and when. Plain data, no I/O.

Times are milliseconds since the start of the run, on the wall: a workload thinks in the minutes
of real meetings, and `Pace.wall_ms` shortens them by the run's speed-up.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Visit:
    """One peer's stay; `asks`: its arrival makes the backend ask again where the room is."""

    from_ms: int
    until_ms: int
    publishes: bool
    asks: bool = False


@dataclass(frozen=True, slots=True)
class RoomDemand:
    """One room's whole life as people want it, whatever Ladle answers.

    `peers` and `publishers` are what the backend announces when it asks (publishers None: all);
    `callers` ask at the same moment; `grows_to` is announced through `extend` at `grows_at_ms`;
    a room without visits is given back with `release` after `released_after_ms`.
    """

    room_id: str
    asked_at_ms: int
    peers: int
    publishers: int | None
    streams_per_publisher: int
    visits: tuple[Visit, ...]
    callers: int = 1
    connect_ms: int = 40
    grows_at_ms: int = 0
    grows_to: int = 0
    released_after_ms: int = 500

    @property
    def ends_ms(self) -> int:
        return max((visit.until_ms for visit in self.visits), default=self.asked_at_ms)


@dataclass(frozen=True, slots=True)
class Pace:
    """How much, how fast, how long.

    `rate_per_s`: rooms asked for per second of the run; `speed_up`: how many times shorter lives
    are than real ones; `duration_ms`: no room is asked for after it; `prefix` begins each room id.
    """

    rate_per_s: float
    speed_up: float
    duration_ms: int
    prefix: str = "fleet"

    def wall_ms(self, real_ms: float) -> int:
        return round(real_ms / self.speed_up)


class Workload(Protocol):
    """A source of demand. The same generator state gives the same rooms, in order of asking."""

    @property
    def name(self) -> str: ...

    def rooms(self, rng: random.Random, pace: Pace) -> Iterator[RoomDemand]: ...


def demand_of(workload: Workload, seed: int, pace: Pace) -> list[RoomDemand]:
    """The script of a run: depends on nothing but its arguments.

    The generator is the demand's own, so that faults drawn from the same seed do not shift it.
    """
    rng = random.Random(f"{seed}/demand/{workload.name}")
    return sorted(workload.rooms(rng, pace), key=lambda room: (room.asked_at_ms, room.room_id))


def later(room: RoomDemand, by_ms: int) -> RoomDemand:
    """The same demand, shifted: how windows of an endless run follow each other."""
    return replace(
        room,
        asked_at_ms=room.asked_at_ms + by_ms,
        grows_at_ms=room.grows_at_ms + by_ms,
        visits=tuple(
            replace(visit, from_ms=visit.from_ms + by_ms, until_ms=visit.until_ms + by_ms)
            for visit in room.visits
        ),
    )


def arrivals(rng: random.Random, rate_per_s: float, duration_ms: int) -> Iterator[int]:
    """Times of a Poisson process: callers who know nothing of each other."""
    if rate_per_s <= 0:
        return
    at_ms = rng.expovariate(rate_per_s) * 1000
    while at_ms < duration_ms:
        yield int(at_ms)
        at_ms += rng.expovariate(rate_per_s) * 1000


def marks(period_ms: int, duration_ms: int) -> range:
    """The full hours or bells of a run, one period apart, the first half a period in.

    Half, so that a run of one period shows a quiet time, the rush, and what follows it; a run
    shorter than a period has one mark, in its middle.
    """
    step = max(1, period_ms)
    return range(min(step, duration_ms) // 2, max(duration_ms, 0), step)


def lognormal_peers(rng: random.Random, mean: float, sigma: float, lowest: int, most: int) -> int:
    """A size with the given mean; draws outside [lowest, most] are moved to the border."""
    drawn = rng.lognormvariate(math.log(mean) - sigma * sigma / 2, sigma)
    return min(most, max(lowest, round(drawn)))


def connect_ms(rng: random.Random) -> int:
    """From the answer to the first client's join: one or two round trips and a handshake."""
    return rng.randint(20, 80)
