"""School classes: the teacher opens the room early, the class comes in with the bell.

Classes of 16 as in the report of 30 classes on 10 bridges that all landed on one (Jicofo #1300):
between the teacher's ask and the bell a room looks nearly empty, and whoever trusts what it sees
puts the next class beside it. Source: docs/fleet.md.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from ladle.fleet.workloads.demand import (
    MINUTE_MS,
    Pace,
    RoomDemand,
    Visit,
    connect_ms,
    marks,
)


@dataclass(frozen=True, slots=True)
class Classes:
    """Parameters: times are real minutes."""

    peers: int = 16
    # Teaching sites show few cameras: the teacher and three who speak. 16 would cost 480.
    publishers: int = 4
    early_min: float = 5.0
    # How long the class needs to come in after the bell.
    bell_min: float = 2.0
    period_min: float = 60.0
    lesson_min: float = 45.0
    # Pupils' devices do not know the server: each second join asks the backend.
    asks_share: float = 0.5
    name: str = "classes"

    def rooms(self, rng: random.Random, pace: Pace) -> Iterator[RoomDemand]:
        period_ms = pace.wall_ms(self.period_min * MINUTE_MS)
        each_bell = max(1, round(pace.rate_per_s * min(period_ms, pace.duration_ms) / 1000))
        for lesson, bell_ms in enumerate(marks(period_ms, pace.duration_ms)):
            for number in range(each_bell):
                yield self._room(rng, pace, f"{pace.prefix}-class-{lesson}-{number}", bell_ms)

    def _room(self, rng: random.Random, pace: Pace, room_id: str, bell_ms: int) -> RoomDemand:
        early_ms = pace.wall_ms(self.early_min * MINUTE_MS * rng.uniform(0.2, 1.0))
        asked_at_ms = max(0, bell_ms - early_ms)
        ends_ms = bell_ms + pace.wall_ms(self.lesson_min * MINUTE_MS * rng.uniform(0.95, 1.05))
        spread_ms = pace.wall_ms(self.bell_min * MINUTE_MS)
        teacher = Visit(asked_at_ms, ends_ms, publishes=True)
        pupils = []
        for number in range(1, self.peers):
            from_ms = bell_ms + rng.randint(0, spread_ms)
            publishes = number < self.publishers
            asks = rng.random() < self.asks_share
            # A class leaves together, within a real minute.
            gone_ms = max(from_ms, ends_ms - rng.randint(0, pace.wall_ms(MINUTE_MS)))
            pupils.append(Visit(from_ms, gone_ms, publishes, asks))
        return RoomDemand(
            room_id=room_id,
            asked_at_ms=asked_at_ms,
            peers=self.peers,
            publishers=self.publishers if self.publishers < self.peers else None,
            streams_per_publisher=2,
            visits=(teacher, *pupils),
            connect_ms=connect_ms(rng),
        )
