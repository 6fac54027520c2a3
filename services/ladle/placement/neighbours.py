"""What stands around the writer: who folds messages into it, and who works after its commits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from ladle.journal.store import OutboxCursor
from ladle_contracts.link import Message

if TYPE_CHECKING:
    from ladle.placement.batch import Arrival, Committed
    from ladle.placement.writer import Writer


class Handler(Protocol):
    """Folds one message into the writer's open batch. Raises nothing for bad input."""

    def __call__(self, arrival: Arrival, writer: Writer) -> None: ...

    def refuse(self, arrival: Arrival, writer: Writer, reason: str, detail: str) -> None:
        """Fold instead that the message cannot be taken, and tell whoever sent it."""
        ...


class Aftermath(Protocol):
    """What the service does once a batch is durable, besides replies and acks."""

    def dead_letter(self, message: Message, reason: str, detail: str) -> None: ...

    def publish(self, committed: Iterable[Committed]) -> None: ...

    def cursor(self) -> OutboxCursor | None: ...

    def recall(self, message: Message, offset: int, operation: str) -> None: ...

    def welcome(self, server_id: str) -> None: ...
