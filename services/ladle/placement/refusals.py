"""How bad input is refused: an answer with a code, or a dead letter with a reason."""

import hashlib
from typing import Any

from ladle.core.record import Kind
from ladle.placement.batch import Arrival
from ladle.placement.callers import Callers, OverLimit
from ladle.placement.identity import WrongIdentity
from ladle.placement.metrics import Metrics
from ladle.placement.replies import error_answer, may_answer, operation_label
from ladle.placement.text import printable
from ladle.placement.writer import Writer
from ladle_contracts.envelope import ContractViolation, error_code_of
from ladle_contracts.link import Message
from ladle_contracts.violation import Reason

WRONG_IDENTITY = "wrong-identity"
"""Of a dead letter, and in the details of an answer: the broker vouches for somebody else."""

OVER_LIMIT = "rate-limited"

Refused = ContractViolation | WrongIdentity | OverLimit
REFUSED = (ContractViolation, WrongIdentity, OverLimit)
"""Why a request is not looked into."""


def reject(message: Message, writer: Writer, reason: str, detail: str) -> None:
    """Journal that input was refused: reason, size and digest, never the body."""
    writer.record(
        Kind.REJECTED,
        origin={
            "exchange": message.exchange,
            "routing_key": printable(message.routing_key),
            "user": printable(message.user_id or ""),
        },
        inputs={},
        payload={
            "reason": reason,
            "detail": printable(detail)[:500],
            "size": len(message.body),
            "digest": hashlib.sha256(message.body).hexdigest(),
        },
    )


def refuse_request(arrival: Arrival, writer: Writer, error: Refused) -> None:
    """Answer what is not looked into, with its code; the journal keeps that it was refused.

    But for what is too much of a caller's: a record each is how it would fill the disk, and behind
    its refusals others would wait for commits.
    """
    message = arrival.message
    if isinstance(error, OverLimit):
        _turn_away(arrival, writer, error_for(error))
        return
    reason, detail = reason_of(error)
    reject(message, writer, reason, detail)
    writer.answer(
        arrival,
        error_for(error),
        operation=operation_label(message),
        offset=writer.scribe.offset,
    )


def refuse_unrecordable(arrival: Arrival, writer: Writer, reason: str, detail: str) -> None:
    """The database refuses what the request would record, or deciding it fails: Ladle's fault.

    The caller is told so, without what the database said; the journal has that.
    """
    message = arrival.message
    if not may_answer(message.reply_to):
        refuse_address(arrival, writer)
        return
    reject(message, writer, reason, detail)
    text = "this request cannot be carried out; nothing was changed"
    writer.answer(
        arrival,
        error_answer("internal", text, details={"reason": reason}),
        operation=operation_label(message),
        offset=writer.scribe.offset,
    )


def reason_of(error: Refused) -> tuple[str, str]:
    """Reason and detail, for the journal and the log."""
    if isinstance(error, ContractViolation):
        return error.reason.value, error.detail
    return WRONG_IDENTITY if isinstance(error, WrongIdentity) else OVER_LIMIT, str(error)


def error_for(error: Refused) -> dict[str, object]:
    """The error reply for input that breaks the contract, or whose caller may not ask so."""
    reason, detail = reason_of(error)
    if isinstance(error, OverLimit):
        return error_answer(
            OVER_LIMIT, printable(detail), retryable=True, retry_after_ms=error.wait_ms
        )
    if isinstance(error, WrongIdentity):
        return error_answer("forbidden", printable(detail), details={"reason": reason})
    details = {"reason": reason}
    if error.field:
        details["field"] = printable(error.field)
    return error_answer(error_code_of(error), printable(detail), details=details)


def _turn_away(arrival: Arrival, writer: Writer, answer: dict[str, Any] | None) -> None:
    """What is too much of a caller's; nobody is told where there is no address."""
    count_over_limit(arrival.message, writer.metrics)
    writer.metrics.requests.inc(operation_label(arrival.message), OVER_LIMIT)
    writer.turn_away(arrival, answer)


def count_over_limit(message: Message, metrics: Metrics) -> None:
    """Under the connection's user, of whom the broker knows a few, and not a proxy's tenant."""
    metrics.rate_limited.inc(printable(message.user_id or ""))


def refuse_address(arrival: Arrival, writer: Writer) -> None:
    """A request that cannot be answered: to the dead letters, nothing is done."""
    message: Message = arrival.message
    reason, detail = address_refusal(message)
    reject(message, writer, reason, detail)
    writer.dead_letter(message, reason, detail)
    writer.metrics.replies_refused.inc()
    writer.metrics.requests.inc(operation_label(message), reason)


def refuse_unanswerable(arrival: Arrival, writer: Writer, callers: Callers) -> None:
    """As `refuse_address`; what is too much of a caller's leaves no record and no dead letter."""
    message = arrival.message
    if callers.may_ask(message, arrival):
        refuse_address(arrival, writer)
        return
    _turn_away(arrival, writer, None)


def address_refusal(message: Message) -> tuple[str, str]:
    """Why this reply address is not answered: reason and detail of the dead letter."""
    reason = "reply-not-allowed" if message.reply_to else "no-reply-to"
    detail = (
        f"reply_to {printable(message.reply_to or '')!r}: replies go to "
        "amq.rabbitmq.reply-to.* and to queues named reply.*"
    )
    return reason, detail


def refuse_event(
    message: Message, writer: Writer, reason: str, detail: str, server_id: str | None
) -> None:
    """To the dead letters with the reason; an unknown type of a known server is only counted."""
    if reason == Reason.UNKNOWN_TYPE and server_id in writer.view.servers:
        writer.batch.acks.append(message)
        writer.metrics.events.inc("unknown", "ignored")
        return
    reject(message, writer, reason, detail)
    writer.dead_letter(message, reason, detail)
    writer.metrics.events.inc("refused", "dead")
