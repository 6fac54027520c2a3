"""How messages ended: counted by the service, and seen from outside."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from ladle.core.record import Kind, Record
from ladle.placement.metrics import Metrics
from ladle_contracts.requests import ErrorCode

ADDRESS_REASONS = {"reply-not-allowed", "no-reply-to"}
WAYS_OF_AN_EVENT = {"applied", "ignored", "duplicate", "dead"}


@dataclass(frozen=True)
class Ends:
    """Each message is in exactly one count."""

    events: Counter[str]
    """By outcome."""
    answered: int
    unanswerable: int

    @classmethod
    def of(cls, metrics: Metrics) -> "Ends":
        """Those that the service counted since it began."""
        events: Counter[str] = Counter()
        for labels, outcome, value in _samples(metrics, "ladle_events", "outcome"):
            assert outcome in WAYS_OF_AN_EVENT, labels
            events[outcome] += value
        requests: Counter[str] = Counter()
        for _, outcome, value in _samples(metrics, "ladle_requests", "outcome"):
            requests[outcome] += value
        unanswerable = sum(requests[reason] for reason in ADDRESS_REASONS)
        return cls(events, requests.total() - unanswerable, unanswerable)

    @property
    def total(self) -> int:
        return self.events.total() + self.answered + self.unanswerable

    @property
    def dead_letters(self) -> int:
        return self.events["dead"] + self.unanswerable


def _samples(metrics: Metrics, family: str, label: str) -> Iterable[tuple[Any, str, int]]:
    for found in metrics.registry.collect():
        if found.name == family:
            for sample in found.samples:
                yield sample.labels, sample.labels[label], int(sample.value)


def check_reply(body: bytes) -> None:
    """An answer says ok, or a code and a sentence."""
    reply = orjson.loads(body)
    if reply["status"] == "ok":
        return
    assert reply["status"] == "error"
    assert reply["error"]["code"] in set(ErrorCode)
    assert reply["error"]["code"] != "internal", reply
    assert reply["error"]["message"]


def check_dead_letter(headers: Mapping[str, object]) -> None:
    """A dead letter says why, as a word and as a sentence."""
    assert headers["ladle-reason"] not in ("", "internal", "bad-data-of-the-database"), headers
    assert headers["ladle-detail"], headers


def check_records(records: Iterable[Record]) -> None:
    """What is recorded was applied, or says why not."""
    for record in records:
        outcome = orjson.loads(record.body)["outcome"]
        if record.kind == Kind.EVENT:
            assert outcome["status"] == "applied" or outcome["reason"], outcome
        if record.kind == Kind.REJECTED:
            assert outcome["reason"], outcome
