"""From what a record sends to the message on the wire: an own event or a command."""

from collections.abc import Mapping
from typing import Any

import orjson

from ladle.placement.batch import Committed
from ladle_contracts import cloudevents
from ladle_contracts.commands import COMMANDS
from ladle_contracts.envelope import encode_command
from ladle_contracts.link import Outgoing
from ladle_contracts.times import to_rfc3339
from ladle_contracts.topology import Topology, topology_of

COMMAND_LIFE_MS = 60_000
"""A command that was not read by then is issued again if it is still needed."""


def encode_outbound(
    item: Committed, index: int, outbound: Mapping[str, Any], cell: str, *, behind_ms: int
) -> Outgoing:
    """The message; its id is `<cell>:<offset>:<index>`, the same each time it is published.

    behind_ms: by how much the journal's time is behind the wall clock, as it is for hours in a term
    that began on a clock which was set forward since: by that alone, servers would take each
    command for one that has expired.
    """
    message_id = f"{cell}:{item.offset}:{index}"
    if outbound["what"] == "event":
        return _own_event(item, outbound, topology_of(cell), message_id)
    expires_at = to_rfc3339(item.recorded_at_ms + max(0, behind_ms) + COMMAND_LIFE_MS)
    command = COMMANDS[outbound["type"]].model_validate(
        {"expires_at": expires_at, **outbound["data"]}
    )
    return encode_command(
        command,
        server_id=outbound["server_id"],
        command_id=message_id,
        time_ms=item.recorded_at_ms,
        cell=cell,
    )


def _own_event(
    item: Committed, outbound: Mapping[str, Any], topology: Topology, message_id: str
) -> Outgoing:
    """As `envelope.encode_own_event` writes it, at a tenth of the time: one follows each answer.

    The data are the core's own, without what is None, and need no second look; a test holds the
    two equal.
    """
    kind, data = outbound["type"], outbound["data"]
    server_id = data.get("server_id")
    event: dict[str, Any] = {
        "specversion": cloudevents.SPEC_VERSION,
        "id": message_id,
        "source": topology.own_source,
        "type": kind,
    }
    subject = data.get("room_id") or server_id
    if subject is not None:
        event["subject"] = subject
    event["time"] = to_rfc3339(item.recorded_at_ms)
    event["data"] = data
    return Outgoing(
        exchange=topology.placement_events,
        routing_key=topology.own_event_key(kind, server_id),
        body=orjson.dumps(event),
        content_type=cloudevents.CONTENT_TYPE,
        type=kind,
        message_id=message_id,
        persistent=True,
    )
