"""A burst: many rooms at once, before any report can show the first of them.

The scenarios that went wrong elsewhere: 200 rooms on 22 servers in a minute (Scalelite #1048), a
restart with 50 conferences (Jicofo #477), 92 joins in 31 s (Jicofo PR 1298: 58 on one bridge).
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from ladle.fleet.workloads.demand import Pace, RoomDemand, Visit, connect_ms


@dataclass(frozen=True, slots=True)
class Burst:
    """`rooms_count` rooms of `peers` within `window_ms` of the wall (0: in the same instant).

    `callers` ask for each room at once and must get one home; rooms stay to the run's end, so
    that what the burst did can be looked at. `speed_up` and the rate do not matter here.
    """

    rooms_count: int = 200
    peers: int = 2
    window_ms: int = 0
    callers: int = 1
    name: str = "burst"

    def rooms(self, rng: random.Random, pace: Pace) -> Iterator[RoomDemand]:
        for number in range(self.rooms_count):
            at_ms = min(rng.randint(0, self.window_ms), pace.duration_ms)
            # Both sides of a call arrive within the first half second.
            froms = [at_ms, *(at_ms + rng.randint(0, 500) for _ in range(self.peers - 1))]
            yield RoomDemand(
                room_id=f"{pace.prefix}-burst-{number}",
                asked_at_ms=at_ms,
                peers=self.peers,
                publishers=None,
                streams_per_publisher=2,
                visits=tuple(Visit(each, pace.duration_ms + 1_000, True) for each in froms),
                callers=self.callers,
                connect_ms=connect_ms(rng),
            )
