"""What one transaction carries, and what may happen only after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ladle.core.record import Kind, Record
from ladle_contracts.link import Message, Outgoing

if TYPE_CHECKING:
    from ladle.placement.neighbours import Handler


Note = tuple[Kind, Mapping[str, Any]]
"""What the process itself learnt, as a kind of record and its payload."""


@dataclass(frozen=True, slots=True)
class WriterLimits:
    """How much one batch takes, and how long statuses wait for company."""

    batch_records_max: int = 512
    statuses_wait_ms: int = 1_000
    statuses_max: int = 500
    requests_wait_ms: int = 4_000


@dataclass(slots=True, eq=False)
class Arrival:
    """A delivery with the handler of its queue; `received` is `time.perf_counter()`.

    arrived_ms: on the writer's clock. may_refuse: somebody waits for an answer, and may be told to
    come again. counted: it was held against its caller's rate, and folded; a second time, where its
    batch was undone, it is not.
    """

    message: Message
    handler: Handler
    received: float
    arrived_ms: int = 0
    may_refuse: bool = False
    counted: bool = False


@dataclass(slots=True)
class Answer:
    """A reply that waits for the commit; `offset` is its record's, or the view's, or None."""

    arrival: Arrival
    answer: Mapping[str, Any]
    offset: int | None
    term: int
    operation: str
    outcome: str


@dataclass(slots=True)
class Recalled:
    """A redelivered request: it gets the answer recorded at `offset`."""

    message: Message
    offset: int
    operation: str


@dataclass(slots=True)
class DeadLetter:
    """A message for `placement.dead`; acked once the broker has confirmed the copy."""

    message: Message
    reason: str
    detail: str


@dataclass(slots=True)
class Committed:
    """Outbound messages of one record, for the outbox."""

    offset: int
    recorded_at_ms: int
    outbound: list[Mapping[str, Any]]


@dataclass(slots=True)
class OpenBatch:
    """The batch that is being folded; `arrivals` and `notes` are all it took, for a rewind."""

    arrivals: list[Arrival] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    rows: dict[str, dict[tuple[Any, ...], tuple[Any, ...] | None]] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)
    recalled: list[Recalled] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    acks: list[Message] = field(default_factory=list)
    committed: list[Committed] = field(default_factory=list)
    after: list[Callable[[], None]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.arrivals or self.records)


@dataclass(slots=True)
class Sent:
    """Replies and acks of a committed batch, joined so that the link writes them at once."""

    replies: list[Outgoing] = field(default_factory=list)
    acks: list[Message] = field(default_factory=list)
