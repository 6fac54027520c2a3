"""What is journaled of a message is what pydantic dumps, type by type."""

from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from ladle.placement.plain import _is_flat, plain
from ladle_contracts.envelope import decode_event, decode_request
from ladle_contracts.events import EVENTS, RoomCreated, WorkerStatus
from ladle_contracts.examples import examples
from ladle_contracts.link import Message
from ladle_contracts.requests import WRITES, Allocate


def received() -> Iterator[BaseModel]:
    """The models of every event and every writing request among the contract's examples."""
    for outgoing in examples().values():
        message = Message(
            outgoing.body,
            routing_key=outgoing.routing_key,
            headers=outgoing.headers,
            content_type=outgoing.content_type,
        )
        if outgoing.type in EVENTS:
            yield decode_event(message).data
        elif outgoing.routing_key in WRITES:
            yield decode_request(message).body


MODELS = list(received())


def same(one: object, other: object) -> bool:
    """Equal, and of the same types all the way down: True is not 1."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def test_no_message_is_left_out() -> None:
    assert {type(model) for model in MODELS} == {*EVENTS.values(), *WRITES.values()}


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_plain_is_what_pydantic_dumps(model: BaseModel) -> None:
    assert same(plain(model), model.model_dump(mode="json"))


def test_a_body_full_of_values() -> None:
    body = Allocate(
        room_id="a",
        peers=3,
        publishers=1,
        regions=["eu", "us"],
        labels={"gpu": "yes"},
        avoid=["sfu-1"],
        metadata={"a": 1, "b": True, "c": None, "d": "text"},
    )
    assert same(plain(body), body.model_dump(mode="json"))


def test_the_frequent_ones_go_the_quick_way_and_nested_ones_do_not() -> None:
    assert _is_flat(Allocate)
    assert _is_flat(RoomCreated)
    assert not _is_flat(WorkerStatus)
