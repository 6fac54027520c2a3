"""Counters and histograms that cost a message nothing to speak of.

prometheus_client's own take a lock for each number that they change, two to four microseconds a
message in all, a tenth of what a message may cost. Here one thread counts, the event loop's, in
plain integers; Prometheus' families are made of them when somebody asks.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector


class Count:
    """One counter: a name with its labels' values."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def inc(self, by: int = 1) -> None:
        """Count `by` more."""
        self.value += by


class Counts(Collector):
    """The counters of one name; without labels there is one, from the start."""

    def __init__(
        self, name: str, about: str, labels: Sequence[str], registry: CollectorRegistry
    ) -> None:
        self._name, self._about, self._labels = name, about, labels
        self._of: dict[tuple[str, ...], Count] = {}
        if not labels:
            self.of()
        registry.register(self)

    def of(self, *values: str) -> Count:
        """The counter with these labels' values, in the order of the labels."""
        found = self._of.get(values)
        if found is None:
            found = self._of[values] = Count()
        return found

    def inc(self, *values: str) -> None:
        """Count one more."""
        self.of(*values).inc()

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(self._name, self._about, labels=self._labels)
        for values, count in list(self._of.items()):
            family.add_metric(values, count.value)
        yield family


class Spread:
    """One histogram; `bounds` ascend, and a value equal to a bound counts below it."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value, in the histogram's unit."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value


class Spreads(Collector):
    """The histograms of one name; without labels there is one, from the start."""

    def __init__(
        self,
        name: str,
        about: str,
        bounds: Sequence[float],
        labels: Sequence[str],
        registry: CollectorRegistry,
    ) -> None:
        self._name, self._about, self._bounds, self._labels = name, about, bounds, labels
        self._said = [*(str(float(bound)) for bound in bounds), "+Inf"]
        self._of: dict[tuple[str, ...], Spread] = {}
        if not labels:
            self.of()
        registry.register(self)

    def of(self, *values: str) -> Spread:
        """The histogram with these labels' values, in the order of the labels."""
        found = self._of.get(values)
        if found is None:
            found = self._of[values] = Spread(self._bounds)
        return found

    def observe(self, value: float, *values: str) -> None:
        """Count one value, in the histogram's unit."""
        self.of(*values).observe(value)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        family = HistogramMetricFamily(self._name, self._about, labels=self._labels)
        for values, spread in list(self._of.items()):
            buckets = list(zip(self._said, accumulate(spread.counts), strict=True))
            family.add_metric(values, buckets, spread.total)
        yield family
