"""What Ladle tells media servers, each command with the life that it means.

A server acts only where `incarnation` (when given) is its own and `expires_at` has not passed. A
command whose condition stays is issued again, with a new id.
"""

from pydantic import Field

from ladle_contracts.fields import (
    AllocationId,
    KnownIncarnation,
    KnownSequence,
    Rfc3339,
    RoomId,
    Text,
    UnixMs,
    Wire,
)


class Command(Wire):
    """Base of all commands; `incarnation` None: whichever life reads it."""

    incarnation: KnownIncarnation | None = None
    expires_at: Rfc3339


class Register(Command):
    """Who are you (an unknown server spoke), or: you are too old.

    A publisher whose sequence 1 was refused restarts with an incarnation above
    `known_incarnation`; any other is superseded: it stops publishing and says so.
    """

    known_incarnation: KnownIncarnation | None = None
    refused_sequence: KnownSequence | None = None


class ReportRooms(Command):
    """Send a complete status."""


class CloseRoom(Command):
    """Close the room if your own create of it is at or below `created_sequence` (when given)."""

    room_id: RoomId
    allocation_id: AllocationId | None = None
    created_sequence: KnownSequence | None = None
    reason: Text


class DrainCommand(Command):
    """An operator drains you: let rooms end, take none by other ways."""

    reason: Text
    drain_by_ms: UnixMs | None = Field(
        None, description="when you should be empty, Unix ms; nothing happens at that time"
    )


COMMANDS: dict[str, type[Command]] = {
    "register": Register,
    "report-rooms": ReportRooms,
    "close-room": CloseRoom,
    "drain": DrainCommand,
}
COMMAND_TYPES: dict[type[Command], str] = {model: name for name, model in COMMANDS.items()}
