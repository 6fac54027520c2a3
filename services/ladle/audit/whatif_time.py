"""Two worlds over time in buckets whose number is bounded: a longer log makes them wider."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from ladle.audit.whatif_figures import Sample

BUCKETS_MAX = 60
WIDTH_MS = 1_000
"""Of a bucket at first; it doubles."""
SAMPLES_PER_BUCKET = 8


@dataclass(slots=True)
class Bucket:
    """Means over time of samples: sums of value x ms. fullest: the highest there, no mean."""

    ms: int = 0
    sums: list[int] = field(default_factory=lambda: [0] * len(Sample._fields))
    fullest: int = 0

    def add(self, ms: int, sample: Sample) -> None:
        """The world was so for `ms`."""
        self.ms += ms
        self.sums = [total + ms * value for total, value in zip(self.sums, sample, strict=True)]
        self.fullest = max(self.fullest, sample.fullest)

    def take(self, other: "Bucket") -> None:
        """The next bucket becomes a part of this one."""
        self.ms += other.ms
        self.sums = [a + b for a, b in zip(self.sums, other.sums, strict=True)]
        self.fullest = max(self.fullest, other.fullest)

    def mean(self) -> Sample:
        """Rounded down; `fullest` is the highest."""
        means = Sample(*(total // max(1, self.ms) for total in self.sums))
        return means._replace(fullest=self.fullest)


Pair = tuple[Bucket, Bucket]


class Buckets:
    """Samples of both worlds at the same moments, each counted until the next."""

    def __init__(self) -> None:
        self.begin_ms: int | None = None
        self.width_ms = WIDTH_MS
        self._pairs: list[Pair] = []
        self._sampled_ms = 0

    def is_due(self, now_ms: int) -> bool:
        """Is it time for a sample: the first, or one a step behind the last?"""
        return self.begin_ms is None or now_ms >= self._sampled_ms + self.step_ms

    @property
    def step_ms(self) -> int:
        return max(WIDTH_MS, self.width_ms // SAMPLES_PER_BUCKET)

    def add(self, now_ms: int, samples: tuple[Sample, Sample]) -> None:
        """Both worlds as they stood until now, since the sample before."""
        if self.begin_ms is None:
            self.begin_ms = self._sampled_ms = now_ms
        begin = self.begin_ms
        while now_ms - begin > BUCKETS_MAX * self.width_ms:
            self._widen()
        at_ms = self._sampled_ms
        while at_ms < now_ms:
            number = (at_ms - begin) // self.width_ms
            end_ms = min(now_ms, begin + (number + 1) * self.width_ms)
            while len(self._pairs) <= number:
                self._pairs.append((Bucket(), Bucket()))
            for bucket, sample in zip(self._pairs[number], samples, strict=True):
                bucket.add(end_ms - at_ms, sample)
            at_ms = end_ms
        self._sampled_ms = max(self._sampled_ms, now_ms)

    def _widen(self) -> None:
        """Two buckets become one."""
        self.width_ms *= 2
        for first, second in zip(self._pairs[::2], self._pairs[1::2], strict=False):
            for mine, other in zip(first, second, strict=True):
                mine.take(other)
        self._pairs = self._pairs[::2]

    def rows(self) -> Iterator[tuple[int, Sample, Sample]]:
        """(begin in Unix ms, what was, what would have been) of each bucket, in order."""
        for number, (was, would) in enumerate(self._pairs):
            yield (self.begin_ms or 0) + number * self.width_ms, was.mean(), would.mean()

    def whole(self) -> tuple[Sample, Sample]:
        """Means over all of the time."""
        was, would = Bucket(), Bucket()
        for first, second in self._pairs:
            was.take(first)
            would.take(second)
        return was.mean(), would.mean()
