"""Hear the broker's stream, for a witness: read alone, as the role `auditor` may."""

import asyncio
import ssl

from ladle.audit.errors import Unreachable
from ladle.audit.witness import Witness
from ladle.broker.connecting import connected
from ladle.broker.stream import StreamReader
from ladle_contracts.link import LinkError
from ladle_contracts.topology import Topology

LISTEN_S_MAX = 3_600.0


def listen(url: str, topology: Topology, ssl_context: ssl.SSLContext | None = None) -> Witness:
    """What the stream of the cell holds now; raises Unreachable."""
    return asyncio.run(_listen(url, topology, ssl_context))


async def _listen(url: str, topology: Topology, ssl_context: ssl.SSLContext | None) -> Witness:
    witness = Witness(topology)
    try:
        async with connected(url, ssl_context, LISTEN_S_MAX) as connection:
            reader = StreamReader(connection, topology.log)
            async for logged in reader.until_quiet():
                witness.hear(logged.position, logged.message)
    except LinkError as error:
        advice = "check LADLE_AMQP_URL and LADLE_CELL, and that the user may read the stream"
        raise Unreachable(str(error), advice) from error
    return witness
