"""Interleaved rounds and their medians: what a noisy machine lets one say."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

GENERATOR_SHARE_MAX = 0.8
"""Where the generator takes more of a core than this, it is the bottleneck, and CPU decides."""

CPU_S_MIN = 0.005
"""Half of the tick in which Linux accounts for a process."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one contestant. per_s: messages a second. cpu_s: by process, in all."""

    per_s: float
    messages: int
    seconds: float
    cpu_s: Mapping[str, float]
    p50_ms: float = 0.0
    p99_ms: float = 0.0

    def cpu_us_per_message(self, process: str) -> float:
        """Never 0: a run that is too short for the kernel's clock took less than its tick."""
        return 1e6 * max(self.cpu_s.get(process, 0.0), CPU_S_MIN) / self.messages

    @property
    def generator_share(self) -> float:
        return self.cpu_s.get("generator", 0.0) / self.seconds


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of a report. `ratio` is value / yardstick, the median over rounds."""

    name: str
    value: float
    unit: str
    yardstick: float | None
    ratio: float | None
    rounds: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def interleave(
    contestants: Mapping[str, Callable[[], Sample]],
    rounds: int,
    progress: Callable[[str], None],
) -> dict[str, list[Sample]]:
    """Each round runs every contestant once, in an order that turns, after one round unheard."""
    names = list(contestants)
    samples: dict[str, list[Sample]] = {name: [] for name in names}
    for number in range(-1, rounds):
        turned = names[number % len(names) :] + names[: number % len(names)]
        for name in turned:
            sample = contestants[name]()
            label = "warm-up" if number < 0 else f"round {number + 1}/{rounds}"
            progress(f"{label}: {name} {sample.per_s:,.0f}/s")
            if number >= 0:
                samples[name].append(sample)
    return samples


def throughput(
    name: str, ours: Sequence[Sample], yardstick: Sequence[Sample], process: str
) -> list[Figure]:
    """Messages a second and CPU a message, each against the yardstick of the same round.

    `process`: the one that serves, in the CPU accounts of both.
    """
    rounds = len(ours)
    speed = median(a.per_s / b.per_s for a, b in zip(ours, yardstick, strict=True))
    cpu = median(
        b.cpu_us_per_message(process) / a.cpu_us_per_message(process)
        for a, b in zip(ours, yardstick, strict=True)
    )
    share = median(sample.generator_share for sample in ours)
    figures = [
        Figure(
            f"{name}.rate",
            median(sample.per_s for sample in ours),
            "1/s",
            median(sample.per_s for sample in yardstick),
            speed,
            rounds,
        ),
        Figure(
            f"{name}.cpu",
            median(sample.cpu_us_per_message(process) for sample in ours),
            "us/message",
            median(sample.cpu_us_per_message(process) for sample in yardstick),
            cpu,
            rounds,
        ),
        Figure(f"{name}.generator_share", share, "core", None, None, rounds),
    ]
    counted = cpu if share > GENERATOR_SHARE_MAX else speed
    figures.append(Figure(f"{name}.counted_ratio", counted, "x", 1.0, counted, rounds))
    return figures


def latency(name: str, ours: Sequence[Sample], yardstick: Sequence[Sample]) -> list[Figure]:
    """p50 and p99, each the median over rounds, against the yardstick's."""
    figures = []
    for which in ("p50_ms", "p99_ms"):
        mine = [float(getattr(sample, which)) for sample in ours]
        theirs = [float(getattr(sample, which)) for sample in yardstick]
        figures.append(
            Figure(
                f"{name}.{which.removesuffix('_ms')}",
                median(mine),
                "ms",
                median(theirs),
                median(a / b for a, b in zip(mine, theirs, strict=True)),
                len(mine),
            )
        )
    return figures
