"""What Ladle says by itself: own events and commands, there and back."""

import json
from dataclasses import replace

import pytest

from ladle_contracts.commands import (
    COMMANDS,
    CloseRoom,
    Command,
    DrainCommand,
    Register,
    ReportRooms,
)
from ladle_contracts.envelope import (
    ContractViolation,
    Reason,
    ReceivedCommand,
    ReceivedOwnEvent,
    decode_command,
    decode_own_event,
    encode_command,
    encode_own_event,
)
from ladle_contracts.link import Message
from ladle_contracts.own_events import OWN_EVENTS, CapacityLow, RoomAllocated, ServerUp
from tests.contracts.messages import CLOUDEVENTS, EVENT_TIME_MS, delivered

EXPIRES_AT = "2026-11-22T09:01:00.000Z"
COMMAND_EXAMPLES: list[Command] = [
    Register(expires_at=EXPIRES_AT, known_incarnation=5, refused_sequence=1),
    ReportRooms(expires_at=EXPIRES_AT, incarnation=5),
    CloseRoom(
        expires_at=EXPIRES_AT, incarnation=5, room_id="a", created_sequence=3, reason="moved"
    ),
    DrainCommand(expires_at=EXPIRES_AT, incarnation=5, reason="kernel"),
]


def changed(message: Message, **attributes: object) -> Message:
    """The message with attributes of its event changed."""
    return replace(message, body=json.dumps(json.loads(message.body) | attributes).encode())


def refusal(
    message: Message, decode: object = decode_own_event, cell: str = "eu"
) -> ContractViolation:
    assert callable(decode)
    with pytest.raises(ContractViolation) as refused:
        decode(message, cell=cell)
    return refused.value


def own_event() -> Message:
    data = {"room_id": "standup", "server_id": "sfu-eu-1", "generation": 1, "reason": None}
    return delivered(
        encode_own_event(
            "room-allocated", data, offset=12, index=1, time_ms=EVENT_TIME_MS, cell="eu"
        )
    )


def command(cell: str = "eu") -> Message:
    return delivered(
        encode_command(
            COMMAND_EXAMPLES[2], server_id="sfu-eu-1", command_id="c-1", time_ms=0, cell=cell
        )
    )


def test_an_own_event_there_and_back() -> None:
    message = own_event()
    assert (message.exchange, message.routing_key) == (
        "eu.placement.events",
        "room-allocated.sfu-eu-1",
    )
    assert json.loads(message.body) == {
        "specversion": "1.0",
        "id": "eu:12:1",
        "source": "/ladle/eu",
        "type": "room-allocated",
        "subject": "standup",
        "time": "2026-11-22T09:00:00.000Z",
        "data": {"room_id": "standup", "server_id": "sfu-eu-1", "generation": 1},
    }
    assert decode_own_event(message, cell="eu") == ReceivedOwnEvent(
        type="room-allocated",
        id="eu:12:1",
        offset=12,
        index=1,
        time_ms=EVENT_TIME_MS,
        data=RoomAllocated(room_id="standup", server_id="sfu-eu-1", generation=1),
    )


def test_an_own_event_of_no_server_has_a_dash_in_its_key() -> None:
    low = CapacityLow(region="eu-west", largest_room_peers=3)
    outgoing = encode_own_event("capacity-low", low, offset=1, index=0, time_ms=0, message_id="m")
    assert (outgoing.routing_key, outgoing.message_id) == ("capacity-low.-", "m")
    assert (outgoing.persistent, outgoing.mandatory) == (True, False)
    assert decode_own_event(delivered(outgoing)).data == low


def test_an_own_event_of_a_server_has_the_server_as_subject() -> None:
    up = ServerUp(server_id="sfu-eu-1")
    outgoing = encode_own_event("server-up", up, offset=1, index=0, time_ms=0)
    assert json.loads(outgoing.body)["subject"] == "sfu-eu-1"


def test_an_own_event_is_checked_before_it_leaves() -> None:
    with pytest.raises(ContractViolation) as refused:
        encode_own_event("server-up", {}, offset=1, index=0, time_ms=0)
    assert refused.value.detail == "server_id: is missing"


@pytest.mark.parametrize("event_type", OWN_EVENTS)
def test_every_own_event_has_a_reason_if_it_wants(event_type: str) -> None:
    data = {"room_id": "a", "server_id": "b", "reason": "because"}
    outgoing = encode_own_event(event_type, data, offset=1, index=0, time_ms=0)
    decoded = decode_own_event(delivered(outgoing))
    assert (decoded.type, decoded.data.reason) == (event_type, "because")


def test_own_events_that_are_not() -> None:
    message = own_event()
    assert refusal(message, cell="us").reason == Reason.SOURCE_MISMATCH
    assert refusal(changed(message, type="room-sold")).reason == Reason.UNKNOWN_TYPE
    for event_id in ("eu:12", "us:12:1", "eu:x:1", "eu:12:1:2"):
        violation = refusal(changed(message, id=event_id))
        assert (violation.reason, violation.field) == (Reason.BAD_ID, "id")
    assert refusal(changed(message, data={})).field == "data.room_id"


@pytest.mark.parametrize("sent", COMMAND_EXAMPLES)
def test_a_command_there_and_back(sent: Command) -> None:
    outgoing = encode_command(sent, server_id="sfu-eu-1", command_id="c-1", time_ms=0, cell="eu")
    assert outgoing.exchange == "eu.media.commands"
    assert (outgoing.persistent, outgoing.mandatory) == (True, True)
    assert outgoing.message_id == "c-1"
    assert outgoing.type is not None
    assert type(sent) is COMMANDS[outgoing.type]
    assert outgoing.routing_key == f"{outgoing.type}.sfu-eu-1"
    assert decode_command(delivered(outgoing), cell="eu") == ReceivedCommand(
        type=outgoing.type,
        id="c-1",
        server_id="sfu-eu-1",
        expires_at_ms=EVENT_TIME_MS + 60_000,
        data=sent,
    )


def test_commands_that_are_not() -> None:
    message = command()
    assert refusal(message, decode_command, cell="us").reason == Reason.SOURCE_MISMATCH
    elsewhere = replace(message, routing_key="drain.sfu-eu-1")
    assert refusal(elsewhere, decode_command).reason == Reason.SOURCE_MISMATCH
    newer = replace(changed(message, type="dance"), routing_key="dance.sfu-eu-1")
    assert refusal(newer, decode_command).reason == Reason.UNKNOWN_TYPE
    data = {"room_id": "a", "reason": "moved"}
    never = changed(message, data=data | {"expires_at": "2026-13-22T09:00:00Z"})
    assert refusal(never, decode_command).field == "data.expires_at"
    vague = changed(message, data=data | {"expires_at": "soon"})
    assert refusal(vague, decode_command).detail.startswith("data.expires_at: must match")


def test_the_default_cell_is_the_default() -> None:
    assert decode_command(command("default")).data == COMMAND_EXAMPLES[2]
    assert command("default").content_type == CLOUDEVENTS
