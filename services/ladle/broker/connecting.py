"""A connection for one short errand, all of it within a bounded time."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiormq
from aiormq.abc import AbstractConnection
from aiormq.exceptions import AMQPException

from ladle_contracts.amqp_line import setup_trouble
from ladle_contracts.amqp_readable import ReadableFactory
from ladle_contracts.link import LinkDown

TIMEOUT_S = 30.0
"""For the whole errand. A quorum queue takes about 0.1 s to declare, on a busy cluster longer."""


@asynccontextmanager
async def connected(
    url: str, ssl_context: ssl.SSLContext | None = None, timeout_s: float = TIMEOUT_S
) -> AsyncIterator[AbstractConnection]:
    """A connection for as long as the block runs; `ssl_context` serves amqps.

    Raises LinkDown for all that goes wrong on it.
    """
    try:
        async with asyncio.timeout(timeout_s):
            connection = await _opened(url, ssl_context)
            try:
                yield connection
            finally:
                await connection.close()
    except TimeoutError as late:
        raise LinkDown(f"the broker did not answer within {timeout_s:.0f} s") from late
    except (AMQPException, OSError) as error:
        raise LinkDown(f"cannot use the broker: {error}") from error


async def _opened(url: str, ssl_context: ssl.SSLContext | None) -> AbstractConnection:
    try:
        return await aiormq.connect(url, context=ssl_context, transport_factory=ReadableFactory())
    except StopAsyncIteration as end:
        # How aiormq takes an end of the stream in the middle of its greeting, where it is quick.
        said = _trouble(url, end) or "it closed the connection at once"
        raise LinkDown(f"cannot use the broker: {said}") from end
    except (AMQPException, OSError) as error:
        said = _trouble(url, error) or str(error)
        raise LinkDown(f"cannot use the broker: {said}") from error


def _trouble(url: str, error: BaseException) -> str | None:
    return setup_trouble(error, tls=url.startswith("amqps://"))
