"""What a run came to: the counts, the latencies, and whether the view matched the fleet."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ladle.fleet.compare import Comparison


@dataclass(slots=True)
class Allocations:
    """Asks by their end; `attempted` is the sum of the five others once nothing is under way."""

    attempted: int = 0
    placed: int = 0
    existing: int = 0
    moved: int = 0
    refused: int = 0
    errors: int = 0

    @property
    def answered(self) -> int:
        return self.placed + self.existing + self.moved + self.refused + self.errors


@dataclass(frozen=True, slots=True)
class ServiceCounts:
    """What the placement service counted of the fleet's events; from /metrics or the history."""

    applied: int = 0
    duplicate: int = 0
    dead: int = 0

    def since(self, before: "ServiceCounts") -> "ServiceCounts":
        """What came after `before`; all of it where the service began to count anew meanwhile."""
        if self.applied < before.applied or self.duplicate < before.duplicate:
            return self
        return ServiceCounts(
            applied=self.applied - before.applied,
            duplicate=self.duplicate - before.duplicate,
            dead=max(0, self.dead - before.dead),
        )


@dataclass(frozen=True, slots=True)
class Incidents:
    """What the run did to its servers, and what its people went through for it."""

    crashes: int = 0
    worker_deaths: int = 0
    deploys: int = 0
    partitions: int = 0
    rooms_lost: int = 0
    rooms_closed_as_told: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """The end of a run. Latencies are milliseconds from request to answer, as callers saw them."""

    allocations: Allocations
    latency_p50_ms: float
    latency_p99_ms: float
    events_published: int
    service: ServiceCounts
    comparison: Comparison
    incidents: Incidents = field(default_factory=Incidents)
    refusals: Mapping[str, int] = field(default_factory=dict)
    """How often each code refused an ask."""
    broken_promises: tuple[str, ...] = ()
    """Sentences about rooms that callers were told at two homes in one generation."""

    @property
    def view_matches_fleet(self) -> bool:
        return self.comparison.matches and not self.broken_promises

    def sentences(self) -> list[str]:
        """Why the view does not match; empty where it does."""
        return [*self.comparison.sentences(), *self.broken_promises]

    def as_json(self) -> dict[str, Any]:
        """The object that `--json` prints; `differences` stands in it only where there are some."""
        report: dict[str, Any] = {
            "allocations": asdict(self.allocations),
            "latency_ms": {"p50": self.latency_p50_ms, "p99": self.latency_p99_ms},
            "events": {"published": self.events_published, **asdict(self.service)},
            "journal_offset": self.comparison.offset,
            "view_matches_fleet": self.view_matches_fleet,
        }
        if not self.view_matches_fleet:
            report["differences"] = [
                *(difference.as_json() for difference in self.comparison.differences),
                *({"kind": "broken-promise", "sentence": it} for it in self.broken_promises),
            ]
        return report


def percentile(values: Sequence[float], permille: int) -> float:
    """The nearest-rank percentile, 0.0 of nothing; `permille` 500 is the median."""
    if not values:
        return 0.0
    ordered = sorted(values)
    rank = max(1, -(-len(ordered) * permille // 1000))
    return round(ordered[rank - 1], 3)
