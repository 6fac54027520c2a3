"""The script of what goes wrong: as repeatable as the demand, and drawn apart from it."""

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from ladle.fleet.options import Faults


class FaultKind(StrEnum):
    """What happens to a server."""

    CRASH = "crash"
    WORKER_DEATH = "worker-death"
    DEPLOY = "deploy"
    PARTITION = "partition"


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One event of the script. The numbers choose among what runs at that moment, modulo."""

    at_ms: int
    kind: FaultKind
    server: int
    worker: int


def faults_of(faults: Faults, seed: int) -> Iterator[Fault]:
    """All faults in order of time, without an end; nothing where all are switched off."""
    means_s = {
        FaultKind.CRASH: faults.crash_every_s,
        FaultKind.WORKER_DEATH: faults.worker_death_every_s,
        FaultKind.DEPLOY: faults.deploy_every_s,
        FaultKind.PARTITION: faults.partition_every_s,
    }
    return heapq.merge(*(_one(kind, mean_s, seed) for kind, mean_s in means_s.items() if mean_s))


def _one(kind: FaultKind, mean_s: float, seed: int) -> Iterator[Fault]:
    # A generator for each kind: switching one on does not move the others.
    rng = random.Random(f"{seed}/faults/{kind}")
    at_ms = 0.0
    while True:
        at_ms += rng.expovariate(1 / mean_s) * 1000
        yield Fault(int(at_ms), kind, rng.randrange(2**16), rng.randrange(2**16))
