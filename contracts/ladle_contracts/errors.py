"""What a client's call may end with. Every error has the fields of the wire's error object."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from .replies import ErrorCode, ErrorReply


class PlacementError(Exception):
    """A request did not succeed.

    code: one of ErrorCode's values, or the client's own (`service-absent`, `timed-out`,
    `outcome-unknown`, `unreachable`, `bad-reply`). retryable: whether the same question may be
    answered otherwise later. retry_after_ms: how long Ladle suggests to wait. details: numbers
    that explain the code, such as how many servers fell to which reason.
    """

    code: ClassVar[str] = ""
    request_id: str = ""
    """The id to ask again with, where the request got one."""

    def __init__(
        self,
        message: str,
        *,
        retryable: bool = False,
        retry_after_ms: int | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.retryable = retryable
        self.retry_after_ms = retry_after_ms
        self.details: Mapping[str, Any] = MappingProxyType(dict(details or {}))

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


# Ladle's refusals


class InvalidRequest(PlacementError):
    """The body or the envelope breaks the contract; the message names the field."""

    code = ErrorCode.INVALID_REQUEST


class UnknownOperation(PlacementError):
    """Ladle has no such operation: it is older than this client."""

    code = ErrorCode.UNKNOWN_OPERATION


class NoServers(PlacementError):
    """No server that may be used is up."""

    code = ErrorCode.NO_SERVERS


class NoCapacity(PlacementError):
    """No worker has the headroom now; `details` says which servers fell to which reason."""

    code = ErrorCode.NO_CAPACITY


class RoomTooLarge(PlacementError):
    """No worker could carry the room even when empty."""

    code = ErrorCode.ROOM_TOO_LARGE


class RegionUnavailable(PlacementError):
    """`region_mode` is require, and the listed regions cannot serve."""

    code = ErrorCode.REGION_UNAVAILABLE


class UnknownRoom(PlacementError):
    """The room has no home."""

    code = ErrorCode.UNKNOWN_ROOM


class UnknownServer(PlacementError):
    """No server of that id was ever registered."""

    code = ErrorCode.UNKNOWN_SERVER


class StaleGeneration(PlacementError):
    """The room has moved since: `if_generation` is not its present one."""

    code = ErrorCode.STALE_GENERATION


class Conflict(PlacementError):
    """The request contradicts an earlier one, e.g. the same request_id with another body."""

    code = ErrorCode.CONFLICT


class Forbidden(PlacementError):
    """This caller may not do that."""

    code = ErrorCode.FORBIDDEN


class NotOwner(PlacementError):
    """Another caller allocated the room, and this cell leaves a room to who allocated it."""

    code = ErrorCode.NOT_OWNER


class RateLimited(PlacementError):
    """Too many requests of this caller."""

    code = ErrorCode.RATE_LIMITED


class Unavailable(PlacementError):
    """No process can answer at the moment, e.g. while a writer takes over."""

    code = ErrorCode.UNAVAILABLE


class Internal(PlacementError):
    """A fault in Ladle; nothing was changed."""

    code = ErrorCode.INTERNAL


# The client's own


class ServiceAbsent(PlacementError):
    """Nothing takes requests on this broker and cell: no queue is bound. Nothing was done."""

    code = "service-absent"


class Unreachable(PlacementError):
    """There was no connection to the broker until the time was out. Nothing was done."""

    code = "unreachable"


class OutcomeUnknownError(PlacementError):
    """The request may or may not have been carried out.

    To find out, ask again with the same `request_id`: what was done is not done twice.
    """

    code = "outcome-unknown"


class RequestTimedOut(OutcomeUnknownError, TimeoutError):
    """No answer came in time; the request may still have been carried out."""

    code = "timed-out"


class BadReply(OutcomeUnknownError):
    """The answer breaks the contract; a newer Ladle, or not Ladle at all."""

    code = "bad-reply"


ERRORS: dict[ErrorCode, type[PlacementError]] = {
    ErrorCode(kind.code): kind
    for kind in (
        InvalidRequest,
        UnknownOperation,
        NoServers,
        NoCapacity,
        RoomTooLarge,
        RegionUnavailable,
        UnknownRoom,
        UnknownServer,
        StaleGeneration,
        Conflict,
        Forbidden,
        NotOwner,
        RateLimited,
        Unavailable,
        Internal,
    )
}


def error_of(reply: ErrorReply) -> PlacementError:
    """The exception for an answered error."""
    error = reply.error
    return ERRORS[error.code](
        error.message,
        retryable=error.retryable,
        retry_after_ms=error.retry_after_ms,
        details=error.details,
    )
