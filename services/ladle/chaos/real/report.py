"""What a run of chaos came to, in the words in which such runs are reported."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ladle.chaos.real.check import Findings


@dataclass(frozen=True, slots=True)
class Struck:
    """A fault that happened, and for how long nobody was answered around it."""

    kind: str
    unavailable_s: float


@dataclass(frozen=True, slots=True)
class ChaosReport:
    """Allocations by their end, the faults, and every law that did not hold."""

    seed: int
    database: str
    processes: int
    seconds: float
    attempted: int
    acknowledged: int
    failed: int
    findings: Findings
    faults: Sequence[Struck]
    trouble: Sequence[str]
    """What went wrong beside the allocations: a process, a fleet that differs from the view."""

    @property
    def violations(self) -> tuple[str, ...]:
        return (*self.findings.violations, *self.trouble)

    def as_json(self) -> dict[str, Any]:
        silences = [fault.unavailable_s for fault in self.faults]
        return {
            "seed": self.seed,
            "database": self.database,
            "processes": self.processes,
            "seconds": round(self.seconds, 1),
            "attempted": self.attempted,
            "acknowledged": self.acknowledged,
            "failed": self.failed,
            "lost": len(self.findings.lost),
            "duplicated": len(self.findings.duplicated),
            "recovered": self.findings.recovered,
            "unexpected": len(self.findings.unexpected) + len(self.trouble),
            "faults": len(self.faults),
            "faults_by_kind": dict(sorted(Counter(fault.kind for fault in self.faults).items())),
            "unavailable_s": {
                "p50": round(nearest_rank(silences, 50), 2),
                "max": round(max(silences, default=0.0), 2),
            },
            "violations": list(self.violations),
        }


def nearest_rank(values: Sequence[float], percent: int) -> float:
    """The percentile that is one of the values; 0 of none."""
    ordered = sorted(values)
    return ordered[max(1, -(-len(ordered) * percent // 100)) - 1] if ordered else 0.0
