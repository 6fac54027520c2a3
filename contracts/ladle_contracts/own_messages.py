"""What Ladle says by itself, bytes to models and back: its own events, and commands to servers.

Both are CloudEvents from `/ladle/<cell>`; a reader of one cell takes nothing from another.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ladle_contracts import cloudevents
from ladle_contracts.commands import COMMAND_TYPES, COMMANDS, Command
from ladle_contracts.fields import SERVER_ID
from ladle_contracts.link import Message, Outgoing
from ladle_contracts.own_events import OWN_EVENTS, OwnEvent
from ladle_contracts.times import to_ms, to_rfc3339
from ladle_contracts.topology import DEFAULT_CELL, Topology, topology_of
from ladle_contracts.validating import validated
from ladle_contracts.violation import ContractViolation, Reason

_OWN_EVENT_ID = re.compile(
    rf"(?P<cell>{SERVER_ID}):(?P<offset>[0-9]{{1,16}}):(?P<index>[0-9]{{1,16}})"
)


@dataclass(frozen=True, slots=True)
class ReceivedCommand:
    """A command as its server reads it."""

    type: str
    id: str
    server_id: str
    expires_at_ms: int
    data: Command


@dataclass(frozen=True, slots=True)
class ReceivedOwnEvent:
    """One of Ladle's own events; `offset` and `index` order them within a cell."""

    type: str
    id: str
    offset: int
    index: int
    time_ms: int | None
    data: OwnEvent


def encode_own_event(
    event_type: str,
    data: OwnEvent | Mapping[str, Any],
    *,
    offset: int,
    index: int,
    time_ms: int,
    cell: str = DEFAULT_CELL,
    message_id: str | None = None,
) -> Outgoing:
    """One of Ladle's own events; its id says which record it follows from.

    Raises ContractViolation where `data` is not that of its type.
    """
    checked = _checked(OWN_EVENTS[event_type], data)
    server_id = getattr(checked, "server_id", None)
    topology = topology_of(cell)
    event_id = f"{cell}:{offset}:{index}"
    attributes = {
        "id": event_id,
        "source": topology.own_source,
        "type": event_type,
        "subject": getattr(checked, "room_id", None) or server_id,
        "time": to_rfc3339(time_ms),
    }
    return Outgoing(
        exchange=topology.placement_events,
        routing_key=Topology.own_event_key(event_type, server_id),
        body=cloudevents.write(attributes, checked.model_dump(mode="json", exclude_none=True)),
        content_type=cloudevents.CONTENT_TYPE,
        type=event_type,
        message_id=message_id or event_id,
        persistent=True,
    )


def decode_own_event(message: Message, *, cell: str = DEFAULT_CELL) -> ReceivedOwnEvent:
    """A message from `placement.events`; `unknown-type` for one of a newer Ladle."""
    attributes, time_ms, data = cloudevents.read(message)
    _check_own_source(attributes.source, cell)
    model = OWN_EVENTS.get(attributes.type)
    if model is None:
        raise ContractViolation(Reason.UNKNOWN_TYPE, "type: no event of this contract", "type")
    offset, index = _place_of(attributes.id, cell)
    return ReceivedOwnEvent(
        type=attributes.type,
        id=attributes.id,
        offset=offset,
        index=index,
        time_ms=time_ms,
        data=validated(model, data, prefix="data"),
    )


def encode_command(
    command: Command,
    *,
    server_id: str,
    command_id: str,
    time_ms: int,
    cell: str = DEFAULT_CELL,
    message_id: str | None = None,
) -> Outgoing:
    """A command; mandatory, so that a missing command queue shows and can be declared."""
    command_type = COMMAND_TYPES[type(command)]
    topology = topology_of(cell)
    attributes = {
        "id": command_id,
        "source": topology.own_source,
        "type": command_type,
        "subject": server_id,
        "time": to_rfc3339(time_ms),
    }
    return Outgoing(
        exchange=topology.media_commands,
        routing_key=Topology.event_key(command_type, server_id),
        body=cloudevents.write(attributes, command.model_dump(mode="json", exclude_none=True)),
        content_type=cloudevents.CONTENT_TYPE,
        type=command_type,
        message_id=message_id or command_id,
        persistent=True,
        mandatory=True,
    )


def decode_command(message: Message, *, cell: str = DEFAULT_CELL) -> ReceivedCommand:
    """A message from a command queue; `unknown-type` for a command of a newer Ladle."""
    attributes, _, data = cloudevents.read(message)
    _check_own_source(attributes.source, cell)
    command_type, _, server_id = message.routing_key.rpartition(".")
    if command_type != attributes.type:
        raise ContractViolation(
            Reason.SOURCE_MISMATCH, "type: must be that of the routing key", "type"
        )
    model = COMMANDS.get(command_type)
    if model is None:
        raise ContractViolation(Reason.UNKNOWN_TYPE, "type: no command of this contract", "type")
    command = validated(model, data, prefix="data")
    try:
        expires_at_ms = to_ms(command.expires_at)
    except ValueError as error:
        raise ContractViolation(
            Reason.BAD_DATA, f"data.expires_at: {error}", "data.expires_at"
        ) from None
    return ReceivedCommand(command_type, attributes.id, server_id, expires_at_ms, command)


def _checked(model: type[OwnEvent], data: OwnEvent | Mapping[str, Any]) -> OwnEvent:
    if isinstance(data, model):
        return data
    return validated(model, data)


def _check_own_source(source: str, cell: str) -> None:
    if source != topology_of(cell).own_source:
        raise ContractViolation(
            Reason.SOURCE_MISMATCH, f"source: must be {topology_of(cell).own_source}", "source"
        )


def _place_of(event_id: str, cell: str) -> tuple[int, int]:
    match = _OWN_EVENT_ID.fullmatch(event_id)
    if match is None or match["cell"] != cell:
        raise ContractViolation(Reason.BAD_ID, "id: must be <cell>:<offset>:<index>", "id")
    return int(match["offset"]), int(match["index"])
