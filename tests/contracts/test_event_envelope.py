"""Events: bytes to models in both content modes, and each way in which they can be wrong."""

from datetime import UTC, datetime
from typing import Any

import pytest

from ladle_contracts.envelope import (
    ContractViolation,
    Event,
    Reason,
    decode_event,
    encode_event,
)
from ladle_contracts.events import (
    RoomDeleted,
    ServerDeregistered,
    ServerDescription,
    ServerDraining,
    ServerRegistered,
    WorkerDescription,
    WorkerStatus,
)
from ladle_contracts.link import Message
from tests.contracts.messages import (
    CLOUDEVENTS,
    CREATED,
    EVENT,
    EVENT_TIME_MS,
    binary,
    delivered,
    structured,
)

EXPECTED = Event(
    type="room-created",
    id="01JD",
    server_id="sfu-eu-1",
    incarnation=1763802000000,
    sequence=42,
    time_ms=EVENT_TIME_MS,
    data=CREATED,
)


def without(*names: str, **changes: object) -> dict[str, Any]:
    """The event with attributes left out or changed."""
    return {k: v for k, v in (EVENT | changes).items() if k not in names}


def with_data(**data: object) -> dict[str, Any]:
    return EVENT | {"data": EVENT["data"] | data}


def refusal(message: Message) -> ContractViolation:
    with pytest.raises(ContractViolation) as refused:
        decode_event(message)
    return refused.value


@pytest.mark.parametrize(
    "content_type", [CLOUDEVENTS, f"{CLOUDEVENTS}; charset=utf-8", "Application/CloudEvents+JSON"]
)
def test_structured_mode(content_type: str) -> None:
    assert decode_event(structured(content_type=content_type)) == EXPECTED


@pytest.mark.parametrize("prefix", ["cloudEvents_", "cloudEvents:", "ce-"])
@pytest.mark.parametrize("content_type", ["application/json", "application/x+json", None])
def test_binary_mode(prefix: str, content_type: str | None) -> None:
    assert decode_event(binary(prefix, content_type=content_type)) == EXPECTED


def test_binary_mode_reads_numbers_as_text_and_amqp_timestamps() -> None:
    attributes = without("data", incarnation="1763802000000", sequence="42")
    for time in (datetime(2026, 11, 22, 9, tzinfo=UTC), datetime(2026, 11, 22, 9)):  # noqa: DTZ001
        assert decode_event(binary(attributes=attributes | {"time": time})) == EXPECTED


def test_two_prefixes_that_agree_are_one_event() -> None:
    both = {**binary("ce-").headers, **binary("cloudEvents:").headers, "traceparent": "00-1-2"}
    assert decode_event(structured(EVENT["data"], content_type=None, headers=both)) == EXPECTED


def test_carries_who_sent_it_and_for_whom() -> None:
    event = decode_event(structured(without(onbehalfof="tenant-7"), user_id="gateway"))
    assert (event.user, event.on_behalf_of) == ("gateway", "tenant-7")


def test_without_incarnation_sequence_and_time() -> None:
    event = decode_event(structured(without("incarnation", "sequence", "time", "subject")))
    assert (event.incarnation, event.sequence, event.time_ms) == (None, None, None)


def test_ignores_what_it_does_not_know() -> None:
    event = without(traceparent="00-1-2-01", dataschema="x") | {
        "data": EVENT["data"] | {"colour": [1.5, {"a": None}]}
    }
    assert decode_event(structured(event)) == EXPECTED


BAD_ATTRIBUTES: list[tuple[dict[str, Any], Reason, str]] = [
    (without("specversion"), Reason.BAD_ENVELOPE, "specversion: is missing"),
    (without(specversion="0.3"), Reason.BAD_ENVELOPE, "specversion: must be '1.0'"),
    (without("id"), Reason.BAD_ENVELOPE, "id: is missing"),
    (without(id=""), Reason.BAD_ID, "id: must match"),
    (without(id="a b"), Reason.BAD_ID, "id: must match"),
    (without(id="x" * 129), Reason.BAD_ID, "id: must match"),
    (without(id=7), Reason.BAD_ENVELOPE, "id: must be a string"),
    (without("source"), Reason.BAD_ENVELOPE, "source: is missing"),
    (without(source="sfu-eu-1"), Reason.BAD_ENVELOPE, "source: must be /servers/<server_id>"),
    (without(source="/servers/SFU"), Reason.BAD_ID, "source: the server_id must match"),
    (without(source="/servers/" + "x" * 64), Reason.BAD_ID, "source: the server_id must match"),
    (without(source="/servers/sfu-eu-2"), Reason.SOURCE_MISMATCH, "source: source and type"),
    (without(type="room-deleted"), Reason.SOURCE_MISMATCH, "source: source and type"),
    (without("type"), Reason.BAD_ENVELOPE, "type: is missing"),
    (without("sequence"), Reason.BAD_ENVELOPE, "sequence: incarnation and sequence"),
    (without("incarnation"), Reason.BAD_ENVELOPE, "sequence: incarnation and sequence"),
    (without(sequence=0), Reason.BAD_ENVELOPE, "sequence: must be >= 1"),
    (without(sequence=True), Reason.BAD_ENVELOPE, "sequence: must be an integer"),
    (without(sequence=4.5), Reason.BAD_ENVELOPE, "sequence: must be an integer"),
    (without(sequence="4.5"), Reason.BAD_ENVELOPE, "sequence: must be an integer"),
    (without(sequence="٤"), Reason.BAD_ENVELOPE, "sequence: must be an integer"),
    (without(sequence="1" * 17), Reason.BAD_ENVELOPE, "sequence: must be an integer"),
    (without(incarnation=2**53), Reason.BAD_ENVELOPE, "incarnation: must be <= 9007199254740991"),
    (without(incarnation=-1), Reason.BAD_ENVELOPE, "incarnation: must be >= 1"),
    (without(time="yesterday"), Reason.BAD_ENVELOPE, "time: must be an RFC 3339 time"),
    (without(time=5), Reason.BAD_ENVELOPE, "time: must be a string"),
    (without(onbehalfof="a b"), Reason.BAD_ENVELOPE, "onbehalfof: must match"),
]


@pytest.mark.parametrize(("event", "reason", "says"), BAD_ATTRIBUTES)
def test_bad_attributes_in_structured_mode(
    event: dict[str, Any], reason: Reason, says: str
) -> None:
    violation = refusal(structured(event))
    assert (violation.reason, violation.detail[: len(says)]) == (reason, says)
    assert violation.field == says.split(":")[0]


@pytest.mark.parametrize(("event", "reason", "says"), BAD_ATTRIBUTES)
def test_bad_attributes_in_binary_mode(event: dict[str, Any], reason: Reason, says: str) -> None:
    attributes = {name: value for name, value in event.items() if name != "data"}
    violation = refusal(binary(attributes=attributes))
    assert (violation.reason, violation.detail[: len(says)]) == (reason, says)


@pytest.mark.parametrize(
    ("message", "reason", "says"),
    [
        (structured([EVENT]), Reason.BAD_ENVELOPE, "must be a JSON object"),
        (structured(b"no json"), Reason.NOT_JSON, "not JSON"),
        (structured(b'{"id": "1", "id": "2"}'), Reason.DUPLICATE_KEY, "twice"),
        (structured(without(data_base64="eA==")), Reason.BAD_ENVELOPE, "data_base64"),
        (structured(without(datacontenttype="text/xml")), Reason.BAD_ENVELOPE, "datacontenttype"),
        (structured(without(datacontenttype=1)), Reason.BAD_ENVELOPE, "datacontenttype"),
        (structured(content_type=None), Reason.BAD_ENVELOPE, "content_type"),
        (structured(content_type="application/json"), Reason.BAD_ENVELOPE, "content_type"),
        (
            structured(content_type=f"{CLOUDEVENTS}; charset=latin-1"),
            Reason.BAD_ENVELOPE,
            "content_type",
        ),
        (
            structured([EVENT], content_type="application/cloudevents-batch+json"),
            Reason.BAD_ENVELOPE,
            "one event a message",
        ),
        (binary(content_type="text/plain"), Reason.BAD_ENVELOPE, "the data must be JSON"),
        (
            binary(content_type="application/json; charset=utf-16"),
            Reason.BAD_ENVELOPE,
            "the data must be JSON",
        ),
        (binary(data=b"\xff"), Reason.NOT_JSON, "not UTF-8"),
        (binary(data=b'{"room_id": "\\u0000"}'), Reason.BAD_TEXT, "NUL"),
        (binary(data=[1]), Reason.BAD_DATA, "data: must be a JSON object"),
        (
            binary(attributes=without("data", time=datetime(1960, 1, 1, tzinfo=UTC))),
            Reason.BAD_ENVELOPE,
            "time: must not be before 1970",
        ),
        (binary(attributes=without("data", id=b"\xff")), Reason.BAD_ENVELOPE, "id: must be a str"),
    ],
)
def test_broken_envelopes(message: Message, reason: Reason, says: str) -> None:
    violation = refusal(message)
    assert violation.reason == reason
    assert says in violation.detail


def test_two_prefixes_that_disagree() -> None:
    headers = dict(binary("ce-").headers) | {"cloudEvents_id": "another"}
    violation = refusal(structured(EVENT["data"], content_type=None, headers=headers))
    assert (violation.reason, violation.field) == (Reason.BAD_ENVELOPE, "id")


@pytest.mark.parametrize("key", ["room-created.sfu-eu-2", "room-created", "", "x.sfu-eu-1", "#"])
def test_source_must_name_the_server_in_the_routing_key(key: str) -> None:
    violation = refusal(structured(key=key))
    assert violation.reason == Reason.SOURCE_MISMATCH
    assert violation.server_id == "sfu-eu-1"


def test_an_unknown_type_says_from_which_server() -> None:
    violation = refusal(structured(without(type="room.paused"), key="room.paused.sfu-eu-1"))
    assert (violation.reason, violation.server_id) == (Reason.UNKNOWN_TYPE, "sfu-eu-1")


@pytest.mark.parametrize(
    ("event", "reason", "says"),
    [
        (without("data"), Reason.BAD_DATA, "data: must be a JSON object"),
        (without(data={}), Reason.BAD_DATA, "data.room_id: is missing"),
        (with_data(room_id="a b"), Reason.BAD_ID, "data.room_id: must match"),
        (with_data(room_id="x" * 129), Reason.BAD_ID, "data.room_id: must match"),
        (with_data(room_id=""), Reason.BAD_ID, "data.room_id: must match"),
        (with_data(room_id=5), Reason.BAD_DATA, "data.room_id: must be a string"),
        (with_data(room_id="room\n"), Reason.BAD_ID, "data.room_id: must match"),
        (with_data(expected_peers=-1), Reason.BAD_DATA, "data.expected_peers: must be >= 1"),
        (with_data(expected_peers=10**9), Reason.BAD_DATA, "data.expected_peers: must be <="),
        (with_data(room_id=None, worker_id=1), Reason.BAD_DATA, "data.room_id: must be a string"),
    ],
)
def test_bad_data(event: dict[str, Any], reason: Reason, says: str) -> None:
    violation = refusal(structured(event))
    assert (violation.reason, violation.detail[: len(says)]) == (reason, says)
    assert violation.server_id == "sfu-eu-1"
    assert violation.field == says.split(":")[0]


def test_says_how_many_more_things_are_wrong() -> None:
    assert refusal(structured(without(data={"worker_id": 1, "allocation_id": 2}))).detail == (
        "data.room_id: is missing (and 2 more)"
    )


def padded(event: dict[str, Any], key: str, size: int) -> Message:
    message = structured(event, key=key)
    return structured(message.body + b" " * (size - len(message.body)), key=key)


STATUS = without(type="worker-status", data={"workers": []})


@pytest.mark.parametrize(
    ("event", "key", "size_max"),
    [
        (EVENT, "room-created.sfu-eu-1", 256 * 1024),
        (STATUS, "worker-status.sfu-eu-1", 4 * 1024 * 1024),
    ],
)
def test_bodies_are_bounded(event: dict[str, Any], key: str, size_max: int) -> None:
    assert decode_event(padded(event, key, size_max)).server_id == "sfu-eu-1"
    assert refusal(padded(event, key, size_max + 1)).reason == Reason.TOO_LARGE


@pytest.mark.parametrize(
    ("data", "event_type"),
    [
        (CREATED, "room-created"),
        (RoomDeleted(room_id="standup", reason="empty"), "room-deleted"),
        (WorkerStatus(workers=[], rooms=[], complete=True), "worker-status"),
        (ServerDraining(), "server-draining"),
        (ServerDeregistered(reason="bye"), "server-deregistered"),
        (
            ServerRegistered(
                server=ServerDescription(host="a.example.org"),
                workers=[WorkerDescription(worker_id="0")],
            ),
            "server-registered",
        ),
    ],
)
def test_what_is_encoded_is_decoded(data: Any, event_type: str) -> None:
    outgoing = encode_event(
        data,
        server_id="sfu-eu-1",
        event_id="e-1",
        time_ms=EVENT_TIME_MS,
        incarnation=5,
        sequence=1,
        cell="eu",
        message_id="m-1",
        user_id="sfu-eu-1",
        on_behalf_of="tenant-7",
    )
    assert (outgoing.exchange, outgoing.routing_key) == (
        "eu.media.events",
        f"{event_type}.sfu-eu-1",
    )
    assert (outgoing.persistent, outgoing.mandatory) == (True, True)
    assert (outgoing.type, outgoing.message_id) == (event_type, "m-1")
    assert decode_event(delivered(outgoing)) == Event(
        type=event_type,
        id="e-1",
        server_id="sfu-eu-1",
        incarnation=5,
        sequence=1,
        time_ms=EVENT_TIME_MS,
        data=data,
        user="sfu-eu-1",
        on_behalf_of="tenant-7",
    )


def test_the_first_attempt_has_the_events_id() -> None:
    outgoing = encode_event(CREATED, server_id="a", event_id="e-1", time_ms=0)
    assert (outgoing.exchange, outgoing.message_id) == ("media.events", "e-1")
    assert decode_event(delivered(outgoing)).sequence is None
