"""Hear the broker's stream: read alone, message by message, as the role `auditor` may."""

import asyncio
import ssl
from collections.abc import Callable

from ladle.audit.errors import Unreachable
from ladle.audit.witness import Witness
from ladle.broker.connecting import connected
from ladle.broker.stream import StreamReader
from ladle_contracts.link import LinkError, Message
from ladle_contracts.topology import Topology

LISTEN_S_MAX = 3_600.0

Take = Callable[[int, Message], None]
"""(position in the stream, message): called for one after the other, and none is kept."""


class _NotTaken(Exception):
    """`take` failed with an OSError: a full disk, a closed pipe. It is not the broker's."""

    def __init__(self, error: OSError) -> None:
        self.error = error


def listen(url: str, topology: Topology, ssl_context: ssl.SSLContext | None = None) -> Witness:
    """What the stream of the cell holds now, for a journal; raises Unreachable."""
    witness = Witness(topology)
    hear(url, topology, witness.hear, ssl_context)
    return witness


def hear(
    url: str, topology: Topology, take: Take, ssl_context: ssl.SSLContext | None = None
) -> None:
    """All that the stream of the cell holds now, in order; raises Unreachable, what `take` does."""
    try:
        asyncio.run(_hear(url, topology, take, ssl_context))
    except _NotTaken as failed:
        raise failed.error from None


async def _hear(
    url: str, topology: Topology, take: Take, ssl_context: ssl.SSLContext | None
) -> None:
    try:
        async with connected(url, ssl_context, LISTEN_S_MAX) as connection:
            reader = StreamReader(connection, topology.log)
            async for logged in reader.until_quiet():
                try:
                    take(logged.position, logged.message)
                except OSError as error:
                    raise _NotTaken(error) from error
    except LinkError as error:
        advice = "check LADLE_AMQP_URL (or --source), LADLE_CELL, and who may read the stream"
        raise Unreachable(str(error), advice) from error
