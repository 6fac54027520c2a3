"""What many seeds came to."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ladle.chaos.simulated.simulation import STEPS, Outcome


@dataclass(frozen=True, slots=True)
class Broken:
    """One seed that broke a law, as small as it could be made. `command` repeats it."""

    seed: int
    law: str
    what: str
    command: str

    @classmethod
    def of(cls, smallest: Outcome) -> "Broken":
        law, what = smallest.violation or ("", "")
        return cls(smallest.seed, law, what, command_of(smallest))


def command_of(outcome: Outcome) -> str:
    """The one command that runs it again."""
    steps = "" if outcome.steps == STEPS else f" --steps {outcome.steps}"
    kinds = ",".join(outcome.faults) or "none"
    return f"ladle chaos --simulated --first {outcome.seed} --seeds 1{steps} --only {kinds}"


class SimulationReport:
    """Sums over seeds; `add` them in any order."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.seeds = 0
        self.simulated_ms = 0
        self.faults: Counter[str] = Counter()
        self.crashes: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.broken: list[Broken] = []

    def add(self, outcome: Outcome) -> None:
        """Count one seed."""
        self.seeds += 1
        self.simulated_ms += outcome.simulated_ms
        self.faults.update(outcome.struck)
        for name, count in outcome.tally.items():
            if isinstance(count, int):
                self.counts[name] += count
        self.crashes.update(outcome.tally["crashes"])

    def found(self, smallest: Sequence[Outcome]) -> None:
        """Note the runs that broke a law, in the order of their seeds."""
        self.broken = [Broken.of(each) for each in sorted(smallest, key=lambda each: each.seed)]

    def as_json(self) -> Mapping[str, Any]:
        """For `--json`; hours of simulated time, integers else."""
        return {
            "first": self.first,
            "seeds": self.seeds,
            "simulated_hours": round(self.simulated_ms / 3_600_000, 2),
            "faults": self.faults.total(),
            "faults_by_kind": dict(sorted(self.faults.items())),
            "crashes_by_step": dict(sorted(self.crashes.items())),
            **dict(sorted(self.counts.items())),
            "violations": [
                {"seed": each.seed, "law": each.law, "what": each.what, "command": each.command}
                for each in self.broken
            ],
        }
