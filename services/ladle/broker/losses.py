"""How a lost connection shows in aio-pika and aiormq, in one place."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

from ladle_contracts.amqp_line import LOSSES, cancelled_by_a_loss, setup_trouble
from ladle_contracts.link import LinkDown, LinkError

log = logging.getLogger(__name__)


@asynccontextmanager
async def as_link_down(what: str, *, greeting_tls: bool = False) -> AsyncIterator[None]:
    """Turn what a lost connection raises into LinkDown, its cancellations included.

    greeting_tls: inside, a connection over TLS is set up, and its end says something of that.
    """
    try:
        yield
    except LinkError:
        raise
    except (*LOSSES, ValueError) as error:  # ValueError: a channel number that is still closing
        said = setup_trouble(error, tls=greeting_tls)
        raise LinkDown(f"{what}: {said or repr(error)}") from error
    except asyncio.CancelledError as error:
        if cancelled_by_a_loss():
            said = setup_trouble(error, tls=greeting_tls)
            raise LinkDown(f"{what}: {said or 'the connection was lost'}") from error
        raise


async def whatever_happens(ending: Awaitable[object], timeout_s: float) -> None:
    """Wait for an end that a lost connection may spoil, or hold up for ever."""
    try:
        async with asyncio.timeout(timeout_s):
            await ending
    except (*LOSSES, ExceptionGroup) as error:
        log.debug("while closing: %r", error)
    except asyncio.CancelledError:
        if not cancelled_by_a_loss():
            raise
