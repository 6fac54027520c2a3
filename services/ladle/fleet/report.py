"""What a run came to: the counts, the latencies, and whether the view matched the fleet."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
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


COUNTED = tuple(each.name for each in fields(ServiceCounts))


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
    service: ServiceCounts | None
    """None where they were not read: nobody knows what a zero would claim to know."""
    comparison: Comparison | None
    """None where the view was not read; `view_not_read` then says why."""
    incidents: Incidents = field(default_factory=Incidents)
    refusals: Mapping[str, int] = field(default_factory=dict)
    """How often each code refused an ask."""
    broken_promises: tuple[str, ...] = ()
    """Sentences about rooms that callers were told at two homes in one generation."""
    view_not_read: str = ""

    @property
    def view_matches_fleet(self) -> bool:
        """False also where the view was not read."""
        read = self.comparison is not None and self.comparison.matches
        return read and not self.broken_promises

    def sentences(self) -> list[str]:
        """Why the view does not match, or was not read; empty where it does match."""
        if self.comparison is None:
            return [f"the view was not read: {self.view_not_read}", *self.broken_promises]
        return [*self.comparison.sentences(), *self.broken_promises]

    def as_json(self) -> dict[str, Any]:
        """The object that `--json` prints; null stands for what was not read.

        `differences` stands in it only where there are some; `view_matches_fleet` is null where
        the view was not read and nothing else is wrong.
        """
        read = self.comparison
        counts = dict.fromkeys(COUNTED) if self.service is None else asdict(self.service)
        report: dict[str, Any] = {
            "allocations": asdict(self.allocations),
            "latency_ms": {"p50": self.latency_p50_ms, "p99": self.latency_p99_ms},
            "events": {"published": self.events_published, **counts},
            "journal_offset": None if read is None else read.offset,
            "view_matches_fleet": self.view_matches_fleet,
        }
        differences = [
            *(difference.as_json() for difference in (read.differences if read else ())),
            *({"kind": "broken-promise", "sentence": it} for it in self.broken_promises),
        ]
        if differences:
            report["differences"] = differences
        elif read is None:
            report["view_matches_fleet"] = None
        return report


def percentile(values: Sequence[float], permille: int) -> float:
    """The nearest-rank percentile, 0.0 of nothing; `permille` 500 is the median."""
    if not values:
        return 0.0
    ordered = sorted(values)
    rank = max(1, -(-len(ordered) * permille // 1000))
    return round(ordered[rank - 1], 3)
