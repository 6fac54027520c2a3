"""What Prometheus may read of this service; base units, no label that grows with rooms."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.registry import Collector

_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The service's instruments, on a registry of their own: two can share a process."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        r = self.registry
        self.events = Counter(
            "ladle_events", "Events by type and outcome.", ["type", "outcome"], registry=r
        )
        self.event_lag = Histogram(
            "ladle_event_lag_seconds",
            "From an event's own time to its record.",
            registry=r,
            buckets=(0.005, 0.01, 0.05, 0.1, 0.5, 1, 2, 5, 15, 60, 300),
        )
        self.requests = Counter(
            "ladle_requests",
            "Requests by operation and outcome.",
            ["operation", "outcome"],
            registry=r,
        )
        self.request_seconds = Histogram(
            "ladle_request_duration_seconds",
            "From delivery to reply.",
            ["operation"],
            registry=r,
            buckets=_FAST,
        )
        self.decisions = Counter(
            "ladle_decisions",
            "Placement decisions by outcome and policy.",
            ["outcome", "policy"],
            registry=r,
        )
        self.decision_seconds = Histogram(
            "ladle_decision_duration_seconds",
            "Folding one write request.",
            registry=r,
            buckets=(0.00001, 0.00005, 0.0001, 0.0005, 0.001, 0.005, 0.01, 0.1),
        )
        self.commit_seconds = Histogram(
            "ladle_commit_duration_seconds",
            "One batch, append to durable.",
            registry=r,
            buckets=_FAST,
        )
        self.batch_records = Histogram(
            "ladle_batch_records",
            "Records in a batch.",
            registry=r,
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
        )
        self.journal_offset = Gauge(
            "ladle_journal_offset", "The last committed record.", registry=r
        )
        self.writer_active = Gauge(
            "ladle_writer_active", "1 while this process writes.", registry=r
        )
        self.writer_term = Gauge("ladle_writer_term", "The lease's term.", registry=r)
        self.replies_refused = Counter(
            "ladle_replies_refused", "Requests whose reply address is not allowed.", registry=r
        )
        self.dead_letters = Counter(
            "ladle_dead_letters", "Messages refused by Ladle itself.", ["reason"], registry=r
        )
        self.outbox = Counter(
            "ladle_outbox_messages", "Own events and commands confirmed.", ["what"], registry=r
        )
        self.outbox_lag = Gauge(
            "ladle_outbox_lag_records",
            "Committed records whose outbound messages are not all confirmed.",
            registry=r,
        )

    def register(self, collector: Collector) -> None:
        """Add a collector that reads the view when Prometheus asks."""
        self.registry.register(collector)
