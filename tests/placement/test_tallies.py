"""What we count is what prometheus_client would have counted, sample by sample."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.samples import Sample

from ladle.placement.tallies import Counts, Spreads

BOUNDS = (0.001, 0.25, 1, 10)
LABELS = st.tuples(st.sampled_from(["allocate", "move"]), st.sampled_from(["created", "ok"]))
VALUES = st.one_of(st.sampled_from(BOUNDS), st.floats(0, 100))


def samples(registry: CollectorRegistry) -> list[Sample]:
    """All samples but the times at which prometheus_client began to count."""
    return sorted(
        (
            sample
            for family in registry.collect()
            for sample in family.samples
            if not sample.name.endswith("_created")
        ),
        key=lambda sample: (sample.name, sorted(sample.labels.items())),
    )


@given(st.lists(LABELS))
def test_counters_with_labels(counted):
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    mine = Counts("asked", "Asked.", ("operation", "outcome"), ours)
    model = Counter("asked", "Asked.", ("operation", "outcome"), registry=theirs)
    for labels in counted:
        mine.inc(*labels)
        model.labels(*labels).inc()
    assert samples(ours) == samples(theirs)


def test_a_counter_without_labels_is_there_before_it_counts():
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    mine = Counts("refused", "Refused.", (), ours)
    model = Counter("refused", "Refused.", registry=theirs)
    assert samples(ours) == samples(theirs)
    mine.of().inc(3)
    model.inc(3)
    assert samples(ours) == samples(theirs)


@given(st.lists(st.tuples(VALUES, st.sampled_from(["allocate", "move"]))))
def test_histograms_with_labels(observed):
    """A value on a bound is in the bucket that the bound ends."""
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    mine = Spreads("took", "Took.", BOUNDS, ("operation",), ours)
    model = Histogram("took", "Took.", ("operation",), registry=theirs, buckets=BOUNDS)
    for value, operation in observed:
        mine.observe(value, operation)
        model.labels(operation).observe(value)
    assert samples(ours) == samples(theirs)


def test_a_histogram_without_labels_is_there_before_it_counts():
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    mine = Spreads("lag", "Lag.", BOUNDS, (), ours)
    model = Histogram("lag", "Lag.", registry=theirs, buckets=BOUNDS)
    assert samples(ours) == samples(theirs)
    mine.observe(0.5)
    model.observe(0.5)
    assert samples(ours) == samples(theirs)
