"""What Prometheus may read of this service; base units, no label that grows with rooms."""

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.registry import Collector

from ladle.placement.tallies import Counts, Spreads

_LATENCY_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_LAG_S = (0.005, 0.01, 0.05, 0.1, 0.5, 1, 2, 5, 15, 60, 300)
_FOLD_S = (0.00001, 0.00005, 0.0001, 0.0005, 0.001, 0.005, 0.01, 0.1)
_RECORDS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """The service's instruments, on a registry of their own: two can share a process."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._count_messages()
        self._time_what_takes_time()
        self._gauge_the_writer()

    def _counter(self, name: str, about: str, *labels: str) -> Counts:
        return Counts(name, about, labels, self.registry)

    def _histogram(self, name: str, about: str, bounds: tuple[float, ...], *labels: str) -> Spreads:
        return Spreads(name, about, bounds, labels, self.registry)

    def _gauge(self, name: str, about: str) -> Gauge:
        return Gauge(name, about, registry=self.registry)

    def _count_messages(self) -> None:
        self.events = self._counter(
            "ladle_events", "Events by type and outcome.", "type", "outcome"
        )
        self.requests = self._counter(
            "ladle_requests", "Requests by operation and outcome.", "operation", "outcome"
        )
        self.rate_limited = self._counter(
            "ladle_rate_limited", "Requests above their caller's rate, by AMQP user.", "user"
        )
        self.decisions = self._counter(
            "ladle_decisions", "Placement decisions.", "outcome", "policy"
        )
        self.replies_refused = self._counter(
            "ladle_replies_refused", "Requests whose reply address is not allowed."
        )
        self.dead_letters = self._counter(
            "ladle_dead_letters", "Messages refused by Ladle itself.", "reason"
        )
        self.outbox = self._counter(
            "ladle_outbox_messages", "Own events and commands confirmed.", "what"
        )

    def _time_what_takes_time(self) -> None:
        self.event_lag = self._histogram(
            "ladle_event_lag_seconds", "From an event's own time to its record.", _LAG_S
        )
        self.request_seconds = self._histogram(
            "ladle_request_duration_seconds", "From delivery to reply.", _LATENCY_S, "operation"
        )
        self.decision_seconds = self._histogram(
            "ladle_decision_duration_seconds", "Folding one write request.", _FOLD_S
        )
        self.commit_seconds = self._histogram(
            "ladle_commit_duration_seconds", "One batch, append to durable.", _LATENCY_S
        )
        self.batch_records = self._histogram("ladle_batch_records", "Records in a batch.", _RECORDS)

    def _gauge_the_writer(self) -> None:
        self.journal_offset = self._gauge("ladle_journal_offset", "The last committed record.")
        self.writer_active = self._gauge("ladle_writer_active", "1 while this process writes.")
        self.writer_term = self._gauge("ladle_writer_term", "The lease's term.")
        self.outbox_lag = self._gauge(
            "ladle_outbox_lag_records",
            "Committed records whose outbound messages are not all confirmed.",
        )

    def register(self, collector: Collector) -> None:
        """Add a collector that reads the view when Prometheus asks."""
        self.registry.register(collector)
