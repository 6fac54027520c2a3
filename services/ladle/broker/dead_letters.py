"""Dead letters: what was refused, as it was, with the reason; to look at and to give back.

AMQP cannot look into a queue without taking from it. Looking takes messages without an ack and lets
them fall back; the queue's delivery limit is set so high that looking never uses it up.
"""

import hashlib
import ssl
from collections.abc import AsyncIterator, Container, Mapping
from dataclasses import dataclass, field
from typing import cast

from aiormq import spec
from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage
from aiormq.exceptions import ChannelNotFoundEntity, DeliveryError
from pamqp.common import FieldTable

from ladle_contracts.events import EVENTS
from ladle_contracts.link import HeaderValue, Message, Outgoing, Refused
from ladle_contracts.topology import Topology

from .connecting import TIMEOUT_S, connected

REASON_HEADER = "ladle-reason"
DETAIL_HEADER = "ladle-detail"
EXCHANGE_HEADER = "ladle-exchange"
DETAIL_CHARACTERS_MAX = 1_000
DELIVERY_LIMIT_REASON = "delivery-limit"

HEADER_BYTES_MAX = 16_384
"""Of the sender's headers: they travel in one frame, which with ours added must not be too long."""

_SHORT_BYTES_MAX = 255

_ADDED = ("ladle-", "x-death", "x-first-death", "x-last-death", "x-delivery-count", "x-acquired")
_KEPT_TYPES = (str, int, float, bool, bytes, type(None))


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One refused message. `id` is a digest of what it is: equal letters have the same."""

    id: str
    reason: str
    detail: str
    exchange: str
    routing_key: str
    type: str | None
    message_id: str | None
    content_type: str | None
    headers: Mapping[str, object]
    body: bytes


@dataclass(slots=True)
class Requeued:
    """What became of a requeue: how many were given back, and why some were not, by id."""

    done: int = 0
    refused: dict[str, str] = field(default_factory=dict)


def dead_letter(message: Message, topology: Topology, reason: str, detail: str) -> Outgoing:
    """The copy of a refused message for `placement.dead`; to be published with a confirm.

    The sender's name is not kept: RabbitMQ lets nobody write another user's. What AMQP could not
    carry again is cut: bytes that are no text have grown when they were read as text.
    """
    return Outgoing(
        exchange=topology.placement_dead,
        routing_key=_cut(message.routing_key),
        body=message.body,
        headers=_kept(message.headers)
        | {
            REASON_HEADER: reason,
            DETAIL_HEADER: detail[:DETAIL_CHARACTERS_MAX],
            EXCHANGE_HEADER: message.exchange,
        },
        content_type=_cut(message.content_type or "application/octet-stream"),
        type=message.type and _cut(message.type),
        message_id=message.message_id and _cut(message.message_id),
        correlation_id=message.correlation_id and _cut(message.correlation_id),
        persistent=True,
        mandatory=True,
    )


def _cut(text: str) -> str:
    """As much of the text as a short string holds."""
    return text.encode("utf-8", "replace")[:_SHORT_BYTES_MAX].decode("utf-8", "ignore")


def _kept(headers: Mapping[str, object]) -> dict[str, HeaderValue]:
    """The sender's headers that can be sent again, the first of them while there is room."""
    kept: dict[str, HeaderValue] = {}
    room = HEADER_BYTES_MAX
    for name, value in headers.items():
        if not isinstance(value, _KEPT_TYPES) or name.startswith(_ADDED):
            continue
        room -= len(name.encode("utf-8", "replace")) + 16
        if isinstance(value, str):
            room -= len(value.encode("utf-8", "replace"))
        elif isinstance(value, bytes):
            room -= len(value)
        if room < 0:
            break
        kept[name] = value
    return kept


async def letters(
    url: str,
    topology: Topology,
    *,
    limit: int = 100,
    reason: str | None = None,
    ssl_context: ssl.SSLContext | None = None,
    timeout_s: float = TIMEOUT_S,
) -> list[DeadLetter]:
    """The oldest dead letters, of one reason where it is named; they stay where they are.

    `ssl_context` serves amqps. Raises LinkDown, and Refused where the cell was not declared.
    """
    found: list[DeadLetter] = []
    async with connected(url, ssl_context, timeout_s) as connection:
        async for _, _, letter in _taken(connection, topology):
            if reason in (None, letter.reason):
                found.append(letter)
            if len(found) >= limit:
                break
    return found


async def letter(
    url: str,
    topology: Topology,
    letter_id: str,
    *,
    ssl_context: ssl.SSLContext | None = None,
    timeout_s: float = TIMEOUT_S,
) -> DeadLetter | None:
    """The dead letter with this id, if there is one. Raises as `letters`."""
    async with connected(url, ssl_context, timeout_s) as connection:
        async for _, _, found in _taken(connection, topology):
            if found.id == letter_id:
                return found
    return None


async def requeue(
    url: str,
    topology: Topology,
    ids: Container[str] | None = None,
    *,
    reason: str | None = None,
    ssl_context: ssl.SSLContext | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Requeued:
    """Publish dead letters again where they came from, then drop them here.

    All of them, or those with these ids, or of this reason. One that cannot be routed stays. A
    failure between the two steps leaves a copy, which the event's id absorbs. They carry the name
    of the user who requeues: with `require_user_id` that must be one that may speak for others.
    Raises as `letters`.
    """
    outcome = Requeued()
    async with connected(url, ssl_context, timeout_s) as connection:
        publishing = await connection.channel(on_return_raises=True)
        # All are taken before the first is given back: one that is refused again at once would be
        # met behind the others, given back again, and so on.
        wanted = [
            (channel, tag, found)
            async for channel, tag, found in _taken(connection, topology)
            if (ids is None or found.id in ids) and reason in (None, found.reason)
        ]
        for channel, tag, found in wanted:
            try:
                await _publish_again(publishing, found)
            except (DeliveryError, ChannelNotFoundEntity) as error:
                outcome.refused[found.id] = str(error)
                if publishing.is_closed:
                    publishing = await connection.channel(on_return_raises=True)
            else:
                await channel.basic_ack(tag)
                outcome.done += 1
    return outcome


async def _taken(
    connection: AbstractConnection, topology: Topology
) -> AsyncIterator[tuple[AbstractChannel, int, DeadLetter]]:
    """Take the letters one by one, oldest first; those not acked fall back in the end."""
    channel = await connection.channel(publisher_confirms=False)
    try:
        await channel.queue_declare(topology.dead_letters, passive=True)
    except ChannelNotFoundEntity as error:
        raise Refused(f"the cell {topology.cell} has no dead letters: declare it first") from error
    # It ends: what falls back does so only once this channel is closed.
    while True:
        got = await channel.basic_get(topology.dead_letters)
        if isinstance(got.delivery, spec.Basic.GetEmpty):
            return
        yield channel, got.delivery_tag or 0, _read(got, topology)


def _read(got: DeliveredMessage, topology: Topology) -> DeadLetter:
    properties = got.header.properties
    headers = cast(Mapping[str, object], properties.headers or {})
    reason = str(headers.get(REASON_HEADER, DELIVERY_LIMIT_REASON))
    key = got.routing_key or ""
    parts = (reason, key, properties.message_id or "")
    digest = hashlib.sha256("\0".join(parts).encode() + b"\0" + got.body)
    return DeadLetter(
        id=digest.hexdigest()[:12],
        reason=reason,
        detail=str(headers.get(DETAIL_HEADER, "delivered too often without an answer")),
        exchange=_origin(headers, key, topology),
        routing_key=key,
        type=properties.message_type,
        message_id=properties.message_id,
        content_type=properties.content_type,
        headers={name: headers[name] for name in headers if not name.startswith(_ADDED)},
        body=got.body,
    )


def _origin(headers: Mapping[str, object], key: str, topology: Topology) -> str:
    """The exchange that a letter was published to; where nothing says it, by its key."""
    noted = headers.get(EXCHANGE_HEADER)
    if isinstance(noted, str):
        return noted
    deaths = headers.get("x-death")
    if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict):
        return str(deaths[0].get("exchange", topology.media_events))
    if key.partition(".")[0] in EVENTS:
        return topology.media_events
    return topology.placement_requests


async def _publish_again(channel: AbstractChannel, found: DeadLetter) -> None:
    await channel.basic_publish(
        found.body,
        exchange=found.exchange,
        routing_key=found.routing_key,
        properties=spec.Basic.Properties(
            content_type=found.content_type,
            headers=cast(FieldTable, dict(found.headers)) or None,
            delivery_mode=2,
            message_id=found.message_id,
            message_type=found.type,
        ),
        mandatory=True,
    )
