"""What a benchmark leaves on the broker: nothing."""

import asyncio
import uuid
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import aiormq

from ladle.broker.declare import declare, declare_command_queues
from ladle_contracts.topology import Topology

T = TypeVar("T")


def _run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


@contextmanager
def declared_cell(amqp_url: str, cell: str, servers: tuple[str, ...] = ()) -> Iterator[str]:
    """A cell of its own, declared, and deleted afterwards with the command queues of `servers`."""
    topology = Topology(cell)
    _run(declare(amqp_url, topology))
    if servers:
        _run(declare_command_queues(amqp_url, topology, servers))
    try:
        yield cell
    finally:
        _run(_delete(amqp_url, topology, servers))


async def _delete(amqp_url: str, topology: Topology, servers: tuple[str, ...]) -> None:
    connection = await aiormq.connect(amqp_url)
    try:
        channel = await connection.channel()
        parts = topology.declarations()
        for queue in parts.queues:
            await channel.queue_delete(queue.name)
        for server_id in servers:
            await channel.queue_delete(topology.command_queue(server_id))
        for exchange in parts.exchanges:
            await channel.exchange_delete(exchange.name)
    finally:
        await connection.close()


@contextmanager
def declared_queue(amqp_url: str, name: str, *, quorum: bool = False) -> Iterator[str]:
    """A durable queue for a yardstick, deleted afterwards."""
    kind = "quorum" if quorum else "classic"

    async def change(*, delete: bool) -> None:
        connection = await aiormq.connect(amqp_url)
        try:
            channel = await connection.channel()
            if delete:
                await channel.queue_delete(name)
            else:
                await channel.queue_declare(name, durable=True, arguments={"x-queue-type": kind})
        finally:
            await connection.close()

    _run(change(delete=False))
    try:
        yield name
    finally:
        _run(change(delete=True))


def bench_name() -> str:
    """A name that no other run has."""
    return f"bench-{uuid.uuid4().hex[:8]}"
