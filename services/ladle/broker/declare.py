"""Declare the topology on a short-lived connection of its own, and say what is missing or differs.

RabbitMQ refuses (406) to declare what exists with other arguments, and closes the channel for it;
on a working connection that would take consumers along. Here each refusal costs one channel, and
all of them are reported together.
"""

import ssl
from collections.abc import Iterable
from dataclasses import dataclass

from aiormq.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import (
    AMQPError,
    ChannelAccessRefused,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
)

from ladle_contracts.link import LinkDown, Refused
from ladle_contracts.topology import Binding, Declarations, Exchange, Queue, Topology

from .connecting import TIMEOUT_S, connected

MISMATCH_ADVICE = (
    "It exists with other arguments, which RabbitMQ cannot change. Let it run empty and delete it"
    " (`rabbitmqctl delete_queue` or the management page), then declare again; or use another cell."
)
NOT_YET = "is down or inaccessible"
"""What RabbitMQ says of a durable queue whose node has not recovered it yet after a restart."""
ACCESS_ADVICE = "The user may not configure it; declare with a user who may."


class Mismatch(Refused):
    """Something exists with other arguments than it is declared with; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One thing that the broker did not let us declare."""

    name: str
    said: str
    advice: str

    def __str__(self) -> str:
        return f"{self.name}: {self.said}. {self.advice}"


async def declare(
    url: str,
    topology: Topology,
    *,
    ssl_context: ssl.SSLContext | None = None,
    timeout_s: float = TIMEOUT_S,
) -> None:
    """Declare the exchanges, queues and bindings of a cell; what exists as asked is kept.

    `ssl_context` serves amqps. Raises LinkDown where the broker cannot be reached, Mismatch where
    something exists with other arguments, Refused where the user may not; the rest is declared all
    the same.
    """
    await declare_all(url, topology.declarations(), ssl_context=ssl_context, timeout_s=timeout_s)


async def declare_command_queues(
    url: str,
    topology: Topology,
    server_ids: Iterable[str],
    *,
    ssl_context: ssl.SSLContext | None = None,
    timeout_s: float = TIMEOUT_S,
) -> None:
    """Declare the command queues of these servers; raises as `declare`, ValueError for a bad id."""
    parts = [topology.command_declarations(server_id) for server_id in server_ids]
    together = Declarations(
        (),
        tuple(queue for part in parts for queue in part.queues),
        tuple(binding for part in parts for binding in part.bindings),
    )
    await declare_all(url, together, ssl_context=ssl_context, timeout_s=timeout_s)


async def declare_all(
    url: str,
    declarations: Declarations,
    *,
    ssl_context: ssl.SSLContext | None = None,
    timeout_s: float = TIMEOUT_S,
) -> None:
    """Declare what stands in `declarations`, in its order; raises as `declare`."""
    async with connected(url, ssl_context, timeout_s) as connection:
        refusals = await _declare_each(connection, declarations)
    if not refusals:
        return
    told = "\n".join(str(refusal) for refusal in refusals)
    if any(refusal.advice == MISMATCH_ADVICE for refusal in refusals):
        raise Mismatch(told)
    raise Refused(told)


async def missing(
    url: str,
    topology: Topology,
    *,
    ssl_context: ssl.SSLContext | None = None,
    timeout_s: float = TIMEOUT_S,
) -> list[str]:
    """The exchanges and queues of the cell that are not there, as `exchange <name>`.

    AMQP cannot ask for bindings or arguments; `declare` finds those out. Raises LinkDown.
    """
    declarations = topology.declarations()
    async with connected(url, ssl_context, timeout_s) as connection:
        absent = []
        channel: AbstractChannel | None = None
        things: list[Exchange | Queue] = [*declarations.exchanges, *declarations.queues]
        for thing in things:
            if channel is None or channel.is_closed:
                channel = await connection.channel(publisher_confirms=False)
            try:
                await _look_for(channel, thing)
            except ChannelNotFoundEntity:
                absent.append(_name(thing))
        return absent


async def _declare_each(
    connection: AbstractConnection, declarations: Declarations
) -> list[Refusal]:
    refusals: list[Refusal] = []
    channel: AbstractChannel | None = None
    things: list[Exchange | Queue | Binding] = [
        *declarations.exchanges,
        *declarations.queues,
        *declarations.bindings,
    ]
    for thing in things:
        if channel is None or channel.is_closed:
            channel = await connection.channel(publisher_confirms=False)
        try:
            await _declare_one(channel, thing)
        except ChannelPreconditionFailed as error:
            refusals.append(Refusal(_name(thing), _said(error), MISMATCH_ADVICE))
        except ChannelNotFoundEntity as error:
            if NOT_YET in _said(error):
                raise LinkDown(f"the broker is still starting: {_said(error)}") from error
            refusals.append(Refusal(_name(thing), _said(error), ACCESS_ADVICE))
        except ChannelAccessRefused as error:
            refusals.append(Refusal(_name(thing), _said(error), ACCESS_ADVICE))
    return refusals


async def _declare_one(channel: AbstractChannel, thing: Exchange | Queue | Binding) -> None:
    match thing:
        case Exchange():
            await channel.exchange_declare(
                thing.name,
                exchange_type=thing.kind,
                durable=thing.durable,
                arguments=dict(thing.arguments),
            )
        case Queue():
            await channel.queue_declare(
                thing.name, durable=thing.durable, arguments=dict(thing.arguments)
            )
        case Binding():
            await channel.queue_bind(thing.queue, thing.exchange, thing.key)


async def _look_for(channel: AbstractChannel, thing: Exchange | Queue) -> None:
    if isinstance(thing, Exchange):
        await channel.exchange_declare(thing.name, exchange_type=thing.kind, passive=True)
    else:
        await channel.queue_declare(thing.name, passive=True)


def _name(thing: Exchange | Queue | Binding) -> str:
    match thing:
        case Exchange():
            return f"exchange {thing.name}"
        case Queue():
            return f"queue {thing.name}"
        case Binding():
            return f"binding {thing.exchange} -> {thing.queue} ({thing.key})"


def _said(error: AMQPError) -> str:
    return str(error.args[0]) if error.args else str(error)
