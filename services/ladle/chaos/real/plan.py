"""Which fault comes when: drawn from one seed, every kind before any comes again."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What is done, and to whom."""

    KILL = "kill"
    STOP = "stop"
    FREEZE = "freeze"
    RESET = "reset"
    BLACKHOLE = "blackhole"
    RESET_CALLERS = "reset-callers"
    BLACKHOLE_CALLERS = "blackhole-callers"
    BROKER_RESTART = "broker-restart"
    BROKER_KILL = "broker-kill"
    DISK_FULL = "disk-full"
    DATABASE_CUT = "database-cut"


ON_SQLITE = tuple(kind for kind in Kind if kind is not Kind.DATABASE_CUT)
# The disk is the database server's own there; its sessions can be ended instead.
ON_POSTGRES = tuple(kind for kind in Kind if kind is not Kind.DISK_FULL)


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault: after a calm, for a while; kinds without a length take as long as they take."""

    kind: Kind
    calm_s: float
    lasts_s: float


def plan(seed: int, kinds: Sequence[Kind]) -> Iterator[Strike]:
    """The faults of this seed, without an end."""
    chance = random.Random(seed)
    while True:
        for kind in chance.sample(kinds, len(kinds)):
            # Up to twice the lease of three seconds: some freezes end within it, some do not.
            yield Strike(kind, calm_s=chance.uniform(0.5, 3.0), lasts_s=chance.uniform(1.0, 6.0))
