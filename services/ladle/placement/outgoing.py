"""From what a record sends to the message on the wire: an own event or a command."""

from collections.abc import Mapping
from typing import Any

from ladle.placement.batch import Committed
from ladle_contracts.commands import COMMANDS
from ladle_contracts.envelope import encode_command, encode_own_event
from ladle_contracts.link import Outgoing
from ladle_contracts.times import to_rfc3339

COMMAND_LIFE_MS = 60_000
"""A command that was not read by then is issued again if it is still needed."""


def encode_outbound(
    item: Committed, index: int, outbound: Mapping[str, Any], cell: str
) -> Outgoing:
    """The message; its id is `<cell>:<offset>:<index>`, the same each time it is published."""
    if outbound["what"] == "event":
        return encode_own_event(
            outbound["type"],
            outbound["data"],
            offset=item.offset,
            index=index,
            time_ms=item.recorded_at_ms,
            cell=cell,
        )
    expires_at = to_rfc3339(item.recorded_at_ms + COMMAND_LIFE_MS)
    command = COMMANDS[outbound["type"]].model_validate(
        {"expires_at": expires_at, **outbound["data"]}
    )
    return encode_command(
        command,
        server_id=outbound["server_id"],
        command_id=f"{cell}:{item.offset}:{index}",
        time_ms=item.recorded_at_ms,
        cell=cell,
    )
