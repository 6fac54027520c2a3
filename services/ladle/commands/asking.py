"""A client from the environment, and its errors as exit codes."""

import contextlib
from collections.abc import AsyncIterator, Iterator

from pydantic import ValidationError

from ladle.commands.output import NO, UNREACHABLE, USAGE, fail, settings_errors
from ladle_contracts.client import PlacementClient
from ladle_contracts.errors import OutcomeUnknownError, PlacementError, ServiceAbsent, Unreachable
from ladle_contracts.link import LinkError
from ladle_contracts.settings import ClientSettings

ADVICE = "check LADLE_AMQP_URL, and that the placement service runs: `ladle doctor`"

RETRY_CODES = ("unavailable", "rate-limited", "internal")
"""Codes that say nothing of the room or server that was asked for."""


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


@contextlib.contextmanager
def asked() -> Iterator[None]:
    """Errors as exit codes: a refusal is 1 (the answer is no), no answer is 3."""
    try:
        yield
    except PlacementError as error:
        code = error.code or ""
        if code == "invalid-request":
            fail(USAGE, str(error))
        if isinstance(error, ServiceAbsent | Unreachable | OutcomeUnknownError):
            fail(UNREACHABLE, str(error), ADVICE)
        fail(UNREACHABLE if code in RETRY_CODES else NO, str(error))
    except (LinkError, TimeoutError, OSError) as error:
        fail(
            UNREACHABLE,
            str(error) or "no answer in time",
            ADVICE,
        )
    except ValidationError as error:
        fail(USAGE, settings_errors(error), "docs/configuration.md lists every variable")
