"""Webinars: two speakers, a large audience that trickles in, and more of it than was booked.

Audience: lognormal with the sigma of operators' snapshots (0.85) around a mean of 60; the mean is
a guess. Two speakers of two streams cost 4 consumers a listener, so 120 peers are what one worker
of 500 carries; larger ones need pipes between routers. Source: docs/fleet.md.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from ladle.fleet.workloads.demand import (
    MINUTE_MS,
    Pace,
    RoomDemand,
    Visit,
    arrivals,
    connect_ms,
    lognormal_peers,
)


@dataclass(frozen=True, slots=True)
class Webinar:
    """Parameters: times are real minutes."""

    speakers: int = 2
    mean_peers: float = 60.0
    sigma: float = 0.85
    peers_max: int = 120
    # What is booked, as a share of who comes: the backend announces the rest as they arrive.
    booked_share: float = 0.7
    length_min: float = 60.0
    # The audience arrives from five minutes before the start to ten after it.
    arrive_min: float = 15.0
    asks_share: float = 0.2
    # A webinar is some twenty meetings' worth of consumers; the rate is of rooms.
    rate_share: float = 0.05
    name: str = "webinar"

    def rooms(self, rng: random.Random, pace: Pace) -> Iterator[RoomDemand]:
        starts = list(arrivals(rng, pace.rate_per_s * self.rate_share, pace.duration_ms))
        for number, at_ms in enumerate(starts or [0]):
            yield self._room(rng, pace, f"{pace.prefix}-webinar-{number}", at_ms)

    def _room(self, rng: random.Random, pace: Pace, room_id: str, at_ms: int) -> RoomDemand:
        least = self.speakers + 1
        peers = lognormal_peers(rng, self.mean_peers, self.sigma, least, self.peers_max)
        ends_ms = at_ms + pace.wall_ms(self.length_min * MINUTE_MS)
        visits = [Visit(at_ms, ends_ms, publishes=True) for _ in range(self.speakers)]
        for _ in range(peers - self.speakers):
            from_ms = at_ms + pace.wall_ms(rng.random() * self.arrive_min * MINUTE_MS)
            # The audience thins out over the last half hour.
            until_ms = max(from_ms, ends_ms - pace.wall_ms(rng.random() ** 2 * 30 * MINUTE_MS))
            asks = rng.random() < self.asks_share
            visits.append(Visit(from_ms, until_ms, publishes=False, asks=asks))
        booked = max(least, round(peers * self.booked_share))
        grows = booked < peers
        return RoomDemand(
            room_id=room_id,
            asked_at_ms=at_ms,
            peers=booked,
            publishers=self.speakers,
            streams_per_publisher=2,
            visits=tuple(visits),
            connect_ms=connect_ms(rng),
            grows_at_ms=at_ms + pace.wall_ms(self.arrive_min * MINUTE_MS / 2) if grows else 0,
            grows_to=peers if grows else 0,
        )
