"""Business meetings and calls: many small, some of a team, a long tail; a rush at the full hour.

Sizes: 50 % of 2, 40 % of 3 to 10, the rest lognormal (operators' snapshots of 95 meetings: mean
20.3, largest 153, sigma 0.8 to 0.85); the shares are a guess. Durations: 60 min booked in 42 %,
nothing else is measured, so the other lengths are a parameter. Source: docs/fleet.md.
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
    marks,
)


@dataclass(frozen=True, slots=True)
class Meetings:
    """Parameters: shares are of 1, durations real minutes."""

    two_share: float = 0.5
    team_share: float = 0.4
    tail_mean_peers: float = 20.3
    tail_sigma: float = 0.82
    tail_peers_max: int = 153
    # With everybody's camera on, 20 peers would need 760 consumers, more than a worker carries;
    # operators saw 0.42 webcams a meeting. Four speak, the others listen.
    tail_publishers_max: int = 4
    booked_min: tuple[int, ...] = (60, 30, 15, 45, 90)
    booked_weights: tuple[int, ...] = (42, 30, 12, 10, 6)
    # Meetings are booked for the hour: this share comes within two minutes of it.
    hour_share: float = 0.4
    hour_spread_min: float = 2.0
    # Nobody comes: the caller gives the room back.
    no_show_share: float = 0.03
    # A page reload or a lost network: the peer leaves and comes back.
    reload_share: float = 0.1
    # A backend that remembers nothing asks at each join; this one remembers two times of three.
    asks_share: float = 0.33
    # More people than were announced; the backend then asks for more room.
    grows_share: float = 0.1
    name: str = "meetings"

    def rooms(self, rng: random.Random, pace: Pace) -> Iterator[RoomDemand]:
        for number, at_ms in enumerate(self._starts(rng, pace)):
            yield self._room(rng, pace, f"{pace.prefix}-meeting-{number}", at_ms)

    def _starts(self, rng: random.Random, pace: Pace) -> list[int]:
        calm = arrivals(rng, pace.rate_per_s * (1 - self.hour_share), pace.duration_ms)
        starts = list(calm)
        hour_ms = pace.wall_ms(60 * MINUTE_MS)
        rush = round(pace.rate_per_s * self.hour_share * min(hour_ms, pace.duration_ms) / 1000)
        spread_ms = pace.wall_ms(self.hour_spread_min * MINUTE_MS)
        for mark in marks(hour_ms, pace.duration_ms):
            near = (mark + rng.randint(-spread_ms, spread_ms) for _ in range(rush))
            starts += [min(max(0, at_ms), pace.duration_ms) for at_ms in near]
        return sorted(starts)

    def _size(self, rng: random.Random) -> tuple[int, int]:
        """Peers and how many of them publish."""
        draw = rng.random()
        if draw < self.two_share:
            return 2, 2
        if draw < self.two_share + self.team_share:
            peers = rng.randint(3, 10)
            return peers, peers
        mean, most = self.tail_mean_peers, self.tail_peers_max
        return lognormal_peers(rng, mean, self.tail_sigma, 11, most), self.tail_publishers_max

    def _room(self, rng: random.Random, pace: Pace, room_id: str, at_ms: int) -> RoomDemand:
        peers, publishers = self._size(rng)
        booked_min = rng.choices(self.booked_min, self.booked_weights)[0]
        life_ms = booked_min * MINUTE_MS * rng.uniform(0.85, 1.1)
        visits = self._visits(rng, pace, at_ms, peers, publishers, life_ms)
        grows = peers > 2 and rng.random() < self.grows_share
        announced = max(2, peers - peers // 3) if grows else peers
        empty = rng.random() < self.no_show_share
        return RoomDemand(
            room_id=room_id,
            asked_at_ms=at_ms,
            peers=announced,
            publishers=min(publishers, announced) if publishers < peers else None,
            streams_per_publisher=2,
            visits=() if empty else visits,
            connect_ms=connect_ms(rng),
            grows_at_ms=at_ms + pace.wall_ms(life_ms / 4) if grows and not empty else 0,
            grows_to=peers if grows and not empty else 0,
        )

    def _visits(
        self,
        rng: random.Random,
        pace: Pace,
        at_ms: int,
        peers: int,
        publishers: int,
        life_ms: float,
    ) -> tuple[Visit, ...]:
        visits = []
        for number in range(peers):
            # The first comes at once; the others within the first minutes.
            late_ms = min(life_ms / 3, rng.expovariate(1 / MINUTE_MS)) if number else 0.0
            # One in five leaves before the end, at any time of the second half.
            stay_ms = life_ms if rng.random() > 0.2 else life_ms * rng.uniform(0.5, 1.0)
            publishes = number < publishers
            asks = number > 0 and rng.random() < self.asks_share
            from_ms, until_ms = at_ms + pace.wall_ms(late_ms), at_ms + pace.wall_ms(stay_ms)
            if number and rng.random() < self.reload_share:
                cut_ms = from_ms + round((until_ms - from_ms) * rng.random())
                back_ms = min(until_ms, cut_ms + pace.wall_ms(5_000))
                visits += [
                    Visit(from_ms, cut_ms, publishes, asks),
                    Visit(back_ms, until_ms, publishes, asks=True),
                ]
            else:
                visits.append(Visit(from_ms, until_ms, publishes, asks))
        return tuple(visits)
