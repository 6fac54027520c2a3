"""A client from the environment, and its errors as exit codes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeVar

from ladle.commands.advice import (
    OFFSET_ADVICE,
    RIGHTS_ADVICE,
    SERVICE_ADVICE,
    WAIT_ADVICE,
    broker_advice,
)
from ladle.commands.output import NO, UNREACHABLE, USAGE, fail, many
from ladle_contracts.client import PlacementClient
from ladle_contracts.errors import OutcomeUnknownError, PlacementError, ServiceAbsent, Unreachable
from ladle_contracts.link import LinkError
from ladle_contracts.settings import ClientSettings
from ladle_contracts.tls import TlsFileError

R = TypeVar("R")

RETRY_CODES = ("unavailable", "rate-limited", "internal")
"""Codes that say nothing of the room or server that was asked for."""

REFUSED_ADVICE = {
    "no-servers": "see which servers there are: `ladle view`",
    "no-capacity": "see where room is left: `ladle view`",
    "room-too-large": "ask for fewer --peers or --publishers, or run workers that carry more",
    "region-unavailable": "name other regions, or leave --require-region out",
    "unknown-room": "list rooms with `ladle rooms`, or ask for a home: `ladle allocate`",
    "unknown-server": "list servers with `ladle view`",
    "not-owner": "ask as the user who allocated it, or as one of LADLE_OPERATORS",
    "stale-generation": "see its home now: `ladle lookup`",
    "forbidden": RIGHTS_ADVICE,
    "conflict": "leave --request-id out, or ask exactly what was asked with it before",
    "unknown-operation": "run a service of this program's version: `ladle --version`",
    "invalid-request": "change what it names; `ladle COMMAND --help` has an example",
}


@contextlib.asynccontextmanager
async def client_for() -> AsyncIterator[PlacementClient]:
    """A connected client, closed at the end."""
    settings = ClientSettings()
    async with PlacementClient.connect(
        settings.url,
        ssl_context=settings.ssl_context(),
        cell=settings.cell,
        timeout_ms=settings.request_timeout_ms,
    ) as client:
        yield client


def ask(question: Callable[[PlacementClient], Awaitable[R]]) -> R:
    """The answer to one question; leaves with what `asked` makes of its errors."""

    async def run() -> R:
        async with client_for() as client:
            return await question(client)

    with asked():
        return asyncio.run(run())


@contextlib.contextmanager
def asked() -> Iterator[None]:
    """Errors as exit codes: a refusal is 1 (the answer is no), no answer is 3."""
    try:
        yield
    except PlacementError as error:
        code, advice = _meaning(error)
        fail(code, f"{error}{_counts(error)}", advice, error=error_fields(error))
    except TlsFileError:
        raise  # A setting, and no broker: `command` says so.
    except TimeoutError as error:
        # The broker was there: what did not answer is the service.
        fail(UNREACHABLE, str(error) or "no answer in time", SERVICE_ADVICE)
    except (LinkError, OSError) as error:
        fail(UNREACHABLE, str(error), broker_advice(error))


def _meaning(error: PlacementError) -> tuple[int, str]:
    """(exit code, advice) for what a client's call ended with."""
    match error:
        case Unreachable():
            return UNREACHABLE, broker_advice(error)
        case ServiceAbsent():
            return UNREACHABLE, SERVICE_ADVICE
        case OutcomeUnknownError():
            return UNREACHABLE, _unknown_advice(error)
    if error.code in RETRY_CODES:
        beyond = error.message.startswith("the journal ends at")
        return UNREACHABLE, OFFSET_ADVICE if beyond else WAIT_ADVICE
    code = USAGE if error.code == "invalid-request" else NO
    return code, REFUSED_ADVICE.get(str(error.code), "")


def _unknown_advice(error: PlacementError) -> str:
    if not error.request_id:
        return SERVICE_ADVICE
    return (
        "it may have been carried out: ask again with "
        f"--request-id {error.request_id}, which does nothing twice; `ladle doctor`"
    )


def _counts(error: PlacementError) -> str:
    """What the servers fell to, where the refusal counts them: ` (of 3 servers: 2 full, ...)`."""
    details = dict(error.details)
    servers, largest = details.pop("servers", None), details.pop("largest_room_peers", None)
    if not isinstance(servers, int):
        return ""
    said = [f"{count} {reason}" for reason, count in details.items() if isinstance(count, int)]
    if largest:
        said.append(f"the largest room that fits has {many(largest, 'peer')}")
    return f" (of {many(servers, 'server')}: {', '.join(said)})" if said else ""


def error_fields(error: PlacementError) -> dict[str, Any]:
    """The refusal as it stood on the wire; the client's own errors in the same form."""
    fields: dict[str, Any] = {
        "code": str(error.code),
        "retryable": error.retryable,
        "message": error.message,
    }
    if error.retry_after_ms is not None:
        fields["retry_after_ms"] = error.retry_after_ms
    if error.request_id:
        fields["request_id"] = error.request_id
    if error.details:
        fields["details"] = dict(error.details)
    return fields
