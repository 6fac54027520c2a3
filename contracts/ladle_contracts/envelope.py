"""Bytes to models and back: every message of the contract, in both directions.

Events of media servers, requests and replies stand here; what Ladle says by itself stands in
own_messages.py and is named here too.

Decoding raises ContractViolation, with a stable reason and a sentence that names the field; what is
decoded can be journaled and replayed as it is. Encoding makes `Outgoing` messages with the
exchange, key and properties that the contract asks for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from ladle_contracts import cloudevents, strict_json
from ladle_contracts.events import EVENT_TYPES, EVENTS, EventData
from ladle_contracts.fields import ID, SERVER_ID, RequestId, ServerId, UserName, Wire
from ladle_contracts.link import Message, Outgoing
from ladle_contracts.own_messages import ReceivedCommand as ReceivedCommand
from ladle_contracts.own_messages import ReceivedOwnEvent as ReceivedOwnEvent
from ladle_contracts.own_messages import decode_command as decode_command
from ladle_contracts.own_messages import decode_own_event as decode_own_event
from ladle_contracts.own_messages import encode_command as encode_command
from ladle_contracts.own_messages import encode_own_event as encode_own_event
from ladle_contracts.requests import (
    OPERATION_NAMES,
    OPERATIONS,
    REPLIES,
    WRITES,
    AnyReply,
    Body,
    ErrorCode,
    ErrorReply,
    digest_of_body,
)
from ladle_contracts.times import to_rfc3339
from ladle_contracts.topology import DEFAULT_CELL, Topology, topology_of
from ladle_contracts.validating import validated
from ladle_contracts.violation import ContractViolation as ContractViolation
from ladle_contracts.violation import Reason as Reason

SOURCE_PREFIX = "/servers/"
REQUEST_ID_HEADER = "request_id"
ON_BEHALF_OF_HEADER = "onbehalfof"
REPLY_BYTES_MAX = 16 * 1024 * 1024
"""Replies come from Ladle, and its views grow with the fleet: 1,000 servers x 8 are 1.3 MB."""

_SERVER_ID: TypeAdapter[str] = TypeAdapter(ServerId)
_REQUEST_ID: TypeAdapter[str] = TypeAdapter(RequestId)
_USER: TypeAdapter[str] = TypeAdapter(UserName)


@dataclass(slots=True)  # not frozen: made for each message, see link.Message
class Event:
    """A media server's event. `user` is whom the broker vouches for; times are Unix ms."""

    type: str
    id: str
    server_id: str
    incarnation: int | None
    sequence: int | None
    time_ms: int | None
    data: EventData
    user: str | None = None
    on_behalf_of: str | None = None


@dataclass(slots=True)  # not frozen: made for each message, see link.Message
class Request:
    """A backend's request. `request_id` may be empty for a read, whose retry is harmless.

    digest: of the body, for writes (see `digest_of_body`); empty for reads.
    """

    operation: str
    request_id: str
    digest: str
    body: Body
    user: str | None = None
    on_behalf_of: str | None = None
    reply_to: str | None = None
    correlation_id: str | None = None
    expiration_ms: int | None = None

    @property
    def is_write(self) -> bool:
        """Is it journaled, and answered by the writer alone?"""
        return self.operation in WRITES


def error_code_of(violation: ContractViolation) -> ErrorCode:
    """The code that answers a request which is refused at the envelope."""
    if violation.reason is Reason.UNKNOWN_OPERATION:
        return ErrorCode.UNKNOWN_OPERATION
    return ErrorCode.INVALID_REQUEST


# Events of media servers


def decode_event(message: Message) -> Event:
    """A message from `media.events`; raises ContractViolation.

    An unknown type raises too (`unknown-type`), with the server's id, as it is only ignored where
    that server is registered.
    """
    attributes, time_ms, data = cloudevents.read(message)
    server_id = _server_of(attributes.source)
    if message.routing_key != f"{attributes.type}.{server_id}":
        raise ContractViolation(
            Reason.SOURCE_MISMATCH,
            "source: source and type must be those of the routing key <type>.<server_id>",
            "source",
            server_id=server_id,
        )
    model = EVENTS.get(attributes.type)
    if model is None:
        raise ContractViolation(
            Reason.UNKNOWN_TYPE, "type: no event of this contract", "type", server_id=server_id
        )
    return Event(
        type=attributes.type,
        id=attributes.id,
        server_id=server_id,
        incarnation=attributes.incarnation,
        sequence=attributes.sequence,
        time_ms=time_ms,
        data=validated(model, data, prefix="data", server_id=server_id),
        user=message.user_id,
        on_behalf_of=attributes.onbehalfof,
    )


def encode_event(
    data: EventData,
    *,
    server_id: str,
    event_id: str,
    time_ms: int,
    incarnation: int | None = None,
    sequence: int | None = None,
    cell: str = DEFAULT_CELL,
    message_id: str | None = None,
    user_id: str | None = None,
    on_behalf_of: str | None = None,
) -> Outgoing:
    """A server's event in structured mode. Give each attempt a `message_id` of its own."""
    event_type = EVENT_TYPES[type(data)]
    attributes = {
        "id": event_id,
        "source": f"{SOURCE_PREFIX}{server_id}",
        "type": event_type,
        "subject": getattr(data, "room_id", None),
        "time": to_rfc3339(time_ms),
        "incarnation": incarnation,
        "sequence": sequence,
        "onbehalfof": on_behalf_of,
    }
    return Outgoing(
        exchange=topology_of(cell).media_events,
        routing_key=Topology.event_key(event_type, server_id),
        body=cloudevents.write(attributes, data.model_dump(mode="json", exclude_none=True)),
        content_type=cloudevents.CONTENT_TYPE,
        type=event_type,
        message_id=message_id or event_id,
        user_id=user_id,
        persistent=True,
        mandatory=True,
    )


# Requests of backends, and their answers


def decode_request(message: Message) -> Request:
    """A message from `placement.requests`; the routing key is the operation.

    Raises ContractViolation; `error_code_of` says which code answers it.
    """
    operation = message.routing_key
    model = OPERATIONS.get(operation)
    if model is None:
        raise ContractViolation(
            Reason.UNKNOWN_OPERATION, "operation: the routing key names no operation", "operation"
        )
    if not cloudevents.is_json(message.content_type):
        raise ContractViolation(
            Reason.BAD_ENVELOPE, "content_type: must be application/json", "content_type"
        )
    is_write = operation in WRITES
    request_id = _header(message, REQUEST_ID_HEADER, _REQUEST_ID)
    if request_id is None and is_write:
        raise ContractViolation(
            Reason.BAD_ENVELOPE, "request_id: is missing (a header)", REQUEST_ID_HEADER
        )
    on_behalf_of = _header(message, ON_BEHALF_OF_HEADER, _USER)
    raw = strict_json.loads(message.body, size_max=cloudevents.BODY_BYTES_MAX)
    body = validated(model, raw)
    return Request(
        operation=operation,
        request_id=request_id or "",
        digest=digest_of_body(body) if is_write else "",
        body=body,
        user=message.user_id,
        on_behalf_of=on_behalf_of,
        reply_to=message.reply_to,
        correlation_id=message.correlation_id,
        expiration_ms=message.expiration_ms,
    )


def encode_request(
    body: Body,
    *,
    request_id: str,
    correlation_id: str,
    reply_to: str,
    timeout_ms: int,
    cell: str = DEFAULT_CELL,
    message_id: str | None = None,
    user_id: str | None = None,
    on_behalf_of: str | None = None,
) -> Outgoing:
    """A request that the broker drops after `timeout_ms`, when its caller has left."""
    operation = OPERATION_NAMES[type(body)]
    headers: dict[str, str] = {REQUEST_ID_HEADER: request_id}
    if on_behalf_of is not None:
        headers[ON_BEHALF_OF_HEADER] = on_behalf_of
    return Outgoing(
        exchange=topology_of(cell).placement_requests,
        routing_key=operation,
        body=body.model_dump_json(exclude_none=True).encode(),
        headers=headers,
        type=operation,
        message_id=message_id or correlation_id,
        correlation_id=correlation_id,
        reply_to=reply_to,
        expiration_ms=timeout_ms,
        user_id=user_id,
        mandatory=True,
    )


def encode_reply(
    reply: Wire | Mapping[str, Any],
    *,
    reply_to: str,
    correlation_id: str | None,
    message_id: str | None = None,
) -> Outgoing:
    """An answer; never mandatory, as RabbitMQ before 4.2 returns those to direct reply-to.

    The caller checks `topology.is_reply_address(reply_to)` first.
    """
    if isinstance(reply, Wire):
        body = reply.model_dump_json(exclude_none=True).encode()
    else:
        body = to_json(reply, inf_nan_mode="constants")
    return Outgoing(
        exchange="",
        routing_key=reply_to,
        body=body,
        type="reply",
        message_id=message_id,
        correlation_id=correlation_id,
    )


def decode_reply(operation: str, message: Message) -> AnyReply:
    """The answer to `operation`: its success model, or ErrorReply. Raises ContractViolation."""
    raw = strict_json.loads(message.body, size_max=REPLY_BYTES_MAX)
    is_error = isinstance(raw, dict) and raw.get("status") == "error"
    model: type[AnyReply] = ErrorReply if is_error else REPLIES[operation]
    return validated(model, raw)


# What both need


def _server_of(source: str) -> str:
    server_id = source.removeprefix(SOURCE_PREFIX)
    if server_id == source:
        raise ContractViolation(
            Reason.BAD_ENVELOPE, f"source: must be {SOURCE_PREFIX}<server_id>", "source"
        )
    try:
        return _SERVER_ID.validate_python(server_id)
    except ValidationError:
        raise ContractViolation(
            Reason.BAD_ID, f"source: the server_id must match {SERVER_ID}", "source"
        ) from None


def _header(message: Message, name: str, kind: TypeAdapter[str]) -> str | None:
    value = message.headers.get(name)
    if value is None:
        return None
    try:
        return kind.validate_python(value)
    except ValidationError:
        raise ContractViolation(
            Reason.BAD_ID, f"{name}: must be a string that matches {ID} (a header)", name
        ) from None
