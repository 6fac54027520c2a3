"""Messages as a broker would deliver them."""

import json
from dataclasses import replace
from typing import Any

from ladle_contracts.events import EventData, RoomCreated
from ladle_contracts.link import Message, Outgoing

CLOUDEVENTS = "application/cloudevents+json"

EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "01JD",
    "source": "/servers/sfu-eu-1",
    "type": "room-created",
    "subject": "standup",
    "time": "2026-11-22T09:00:00Z",
    "incarnation": 1763802000000,
    "sequence": 42,
    "data": {"room_id": "standup", "worker_id": "3", "allocation_id": "default-12"},
}
EVENT_TIME_MS = 1795338000000
CREATED: EventData = RoomCreated(room_id="standup", worker_id="3", allocation_id="default-12")


def as_bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def delivered(outgoing: Outgoing, **changes: Any) -> Message:
    """What the broker makes of a published message."""
    message = Message(
        body=outgoing.body,
        exchange=outgoing.exchange,
        routing_key=outgoing.routing_key,
        headers=outgoing.headers,
        content_type=outgoing.content_type,
        type=outgoing.type,
        message_id=outgoing.message_id,
        correlation_id=outgoing.correlation_id,
        reply_to=outgoing.reply_to,
        expiration_ms=outgoing.expiration_ms,
        user_id=outgoing.user_id,
    )
    return replace(message, **changes)


def structured(
    event: object = EVENT, *, key: str = "room-created.sfu-eu-1", **changes: Any
) -> Message:
    """An event in structured mode; `changes` are those of the message."""
    message = Message(body=as_bytes(event), routing_key=key, content_type=CLOUDEVENTS)
    return replace(message, **changes)


def binary(
    prefix: str = "cloudEvents_",
    *,
    attributes: dict[str, object] | None = None,
    data: object = EVENT["data"],
    key: str = "room-created.sfu-eu-1",
    content_type: str | None = "application/json",
) -> Message:
    """The same event in binary mode."""
    if attributes is None:
        attributes = {name: value for name, value in EVENT.items() if name != "data"}
    headers = {f"{prefix}{name}": value for name, value in attributes.items()}
    return Message(body=as_bytes(data), routing_key=key, content_type=content_type, headers=headers)


def request(
    operation: str = "allocate",
    body: object = None,
    *,
    headers: dict[str, object] | None = None,
    **changes: Any,
) -> Message:
    """A request as a backend sends it."""
    message = Message(
        body=as_bytes({} if body is None else body),
        exchange="placement.requests",
        routing_key=operation,
        headers={"request_id": "r-1"} if headers is None else headers,
        content_type="application/json",
        correlation_id="c-1",
        reply_to="amq.rabbitmq.reply-to.abc",
        expiration_ms=15_000,
        user_id="backend",
    )
    return replace(message, **changes)
