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


LONGEST_S = 6.0
"""Twice the lease of three seconds: some end within it, some do not."""

FROZEN_LONGEST_S = 16.0
"""Beyond the broker's patience with a connection whose other side is silent, too."""


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
            longest_s = FROZEN_LONGEST_S if kind is Kind.FREEZE else LONGEST_S
            calm_s, lasts_s = chance.uniform(0.5, 3.0), chance.uniform(1.0, longest_s)
            yield Strike(kind, calm_s=calm_s, lasts_s=lasts_s)
