"""Whatever arrives is decoded or refused with a reason; and what is decoded can be kept."""

import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ladle_contracts.envelope import (
    ContractViolation,
    decode_event,
    decode_request,
    encode_event,
)
from ladle_contracts.events import RoomLoad, WorkerState, WorkerStatus
from ladle_contracts.link import Message
from ladle_contracts.requests import OPERATIONS
from tests.contracts.messages import CLOUDEVENTS, EVENT, binary, delivered, request, structured

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
AMQP_VALUES = VALUES | st.binary() | st.datetimes() | st.just(datetime(9999, 12, 31, tzinfo=UTC))
IDS = st.from_regex(r"[A-Za-z0-9._:~-]{1,128}", fullmatch=True)
COUNTS = st.integers(0, 10_000_000)


def survives(decode: Any, message: Message) -> None:
    """Decoded or refused; an exception of another kind would end the consumer."""
    try:
        decoded = decode(message)
    except ContractViolation as violation:
        violation.detail.encode()
        return
    kept = (decoded.data if hasattr(decoded, "data") else decoded.body).model_dump()
    text = json.dumps(kept, allow_nan=False)
    assert "\\u0000" not in text.replace("\\\\", "")
    assert json.loads(text) == kept


@given(st.sampled_from(sorted(EVENT)), VALUES)
def test_an_event_with_any_one_attribute(name: str, value: Any) -> None:
    survives(decode_event, structured(json.dumps(EVENT | {name: value}).encode()))


@given(st.sampled_from(["id", "source", "type", "time", "sequence", "incarnation"]), AMQP_VALUES)
def test_a_binary_event_with_any_one_header(name: str, value: Any) -> None:
    attributes = {key: kept for key, kept in EVENT.items() if key != "data"} | {name: value}
    survives(decode_event, binary(attributes=attributes))


@given(st.dictionaries(st.sampled_from(["ce-id", "cloudEvents_id", "ce-", "x"]), AMQP_VALUES))
def test_a_message_with_any_headers(headers: dict[str, Any]) -> None:
    for content_type in (None, CLOUDEVENTS, "application/json", ";", "text/plain; charset"):
        survives(decode_event, Message(body=b"{}", headers=headers, content_type=content_type))


@given(st.sampled_from(sorted(OPERATIONS)), st.data())
def test_a_request_with_any_fields(operation: str, data: st.DataObject) -> None:
    fields = st.sampled_from([*OPERATIONS[operation].model_fields, "other"])
    body = data.draw(st.dictionaries(fields, VALUES, max_size=4))
    survives(decode_request, request(operation, json.dumps(body).encode()))


@given(st.dictionaries(st.sampled_from(["request_id", "onbehalfof", "x"]), AMQP_VALUES))
def test_a_request_with_any_headers(headers: dict[str, Any]) -> None:
    survives(decode_request, request(headers=headers))


@given(st.lists(IDS, unique=True, max_size=4), st.lists(IDS, unique=True, max_size=4), COUNTS)
def test_a_status_is_read_as_it_was_written(
    workers: list[str], rooms: list[str], count: int
) -> None:
    """Load that changed on the way would place rooms where there is none."""
    status = WorkerStatus(
        workers=[
            WorkerState(
                worker_id=worker_id,
                state="running",
                consumers=count,
                producers=count,
                rooms=count,
                cpu_permille=count % 1001,
                memory_bytes=count,
            )
            for worker_id in workers
        ],
        rooms=[
            RoomLoad(room_id=room_id, worker_id="0", peers=count % 100_001, consumers=count)
            for room_id in rooms
        ],
        complete=True,
    )
    outgoing = encode_event(status, server_id="a", event_id="e", time_ms=count)
    assert decode_event(delivered(outgoing)).data == status
