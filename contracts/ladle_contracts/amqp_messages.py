"""A Link's messages and RabbitMQ's: properties and headers there and back."""

import aiormq
from aiormq.abc import DeliveredMessage

from .link import Message, Outgoing

_PERSISTENT, _TRANSIENT = 2, 1


def properties_of(message: Outgoing) -> "aiormq.spec.Basic.Properties":
    """The AMQP properties of a message; an expiration is a string of milliseconds on the wire."""
    expiration = message.expiration_ms
    return aiormq.spec.Basic.Properties(
        content_type=message.content_type,
        headers=dict(message.headers) or None,
        delivery_mode=_PERSISTENT if message.persistent else _TRANSIENT,
        correlation_id=message.correlation_id,
        reply_to=message.reply_to,
        expiration=None if expiration is None else str(expiration),
        message_id=message.message_id,
        message_type=message.type,
        user_id=message.user_id,
    )


def message_of(delivered: DeliveredMessage, queue: str, epoch: int) -> Message:
    """A delivery as Link's users see it. An expiration that is not a number is left out:
    RabbitMQ refuses such a message, so only a broken broker could send one."""
    properties = delivered.header.properties
    delivery = delivered.delivery
    return Message(
        body=delivered.body,
        queue=queue,
        exchange=delivered.exchange or "",
        routing_key=delivered.routing_key or "",
        headers=properties.headers or {},
        content_type=properties.content_type,
        type=properties.message_type,
        message_id=properties.message_id,
        correlation_id=properties.correlation_id,
        reply_to=properties.reply_to,
        expiration_ms=_milliseconds(properties.expiration),
        user_id=properties.user_id,
        redelivered=bool(getattr(delivery, "redelivered", False)),
        epoch=epoch,
        tag=delivered.delivery_tag or 0,
    )


def _milliseconds(expiration: str | None) -> int | None:
    return int(expiration) if expiration and expiration.isascii() and expiration.isdigit() else None
