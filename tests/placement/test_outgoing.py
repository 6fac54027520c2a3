"""Own events on the wire are what the contract's own encoder writes."""

import json

import pytest

from ladle.core.step import Step
from ladle.core.view import View
from ladle.placement.batch import Committed
from ladle.placement.outgoing import COMMAND_LIFE_MS, encode_outbound
from ladle_contracts.envelope import decode_command, decode_own_event, encode_own_event
from ladle_contracts.link import Message, Outgoing
from ladle_contracts.own_events import OWN_EVENTS

AT_MS = 1_800_000_000_123
FIELDS = {
    "room_id": "standup",
    "server_id": "sfu-1",
    "worker_id": None,
    "generation": 2,
    "allocation_id": "eu-7",
    "incarnation": 5,
    "reason": "silence",
}


def received(message: Outgoing) -> Message:
    return Message(
        body=message.body,
        exchange=message.exchange,
        routing_key=message.routing_key,
        content_type=message.content_type,
    )


@pytest.mark.parametrize("kind", OWN_EVENTS)
def test_the_quick_encoder_writes_what_the_contract_does(kind: str) -> None:
    data = {name: FIELDS[name] for name in OWN_EVENTS[kind].model_fields if name in FIELDS}
    step = Step(View(), 42, AT_MS)
    step.say(kind, **data)
    (outbound,) = step.outbound
    quick = encode_outbound(Committed(42, AT_MS, [outbound]), 1, outbound, "eu", behind_ms=0)
    slow = encode_own_event(kind, data, offset=42, index=1, time_ms=AT_MS, cell="eu")
    assert json.loads(quick.body) == json.loads(slow.body)
    for name in ("exchange", "routing_key", "type", "message_id", "content_type", "persistent"):
        assert getattr(quick, name) == getattr(slow, name)
    assert decode_own_event(received(quick), cell="eu").offset == 42


@pytest.mark.parametrize(("behind_ms", "more_ms"), [(-3_600_000, 0), (0, 0), (5, 5)])
def test_a_command_says_when_it_is_too_late(behind_ms: int, more_ms: int) -> None:
    """By its record's time, as the wall clock has it where that is ahead: servers have no other."""
    data = {"incarnation": 5, "room_id": "standup", "reason": "moved"}
    outbound = {"what": "command", "type": "close-room", "server_id": "sfu-1", "data": data}
    message = encode_outbound(
        Committed(42, AT_MS, [outbound]), 0, outbound, "eu", behind_ms=behind_ms
    )
    command = decode_command(received(message), cell="eu")
    assert command.id == "eu:42:0"
    assert command.expires_at_ms == AT_MS + more_ms + COMMAND_LIFE_MS
    assert message.mandatory, "a missing command queue must show"
