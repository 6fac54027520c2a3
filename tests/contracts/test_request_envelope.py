"""Requests and replies: bytes to models, and each way in which they can be wrong."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ladle_contracts.envelope import (
    ContractViolation,
    Reason,
    Request,
    decode_reply,
    decode_request,
    encode_reply,
    encode_request,
    error_code_of,
)
from ladle_contracts.link import Message
from ladle_contracts.requests import (
    OPERATIONS,
    READS,
    WRITES,
    Allocate,
    Drain,
    ErrorCode,
    ErrorReply,
    Lookup,
    ReleaseReply,
    Undrain,
    digest_of_body,
)
from tests.contracts.messages import delivered, request


def refusal(message: Message) -> ContractViolation:
    with pytest.raises(ContractViolation) as refused:
        decode_request(message)
    return refused.value


def test_a_request() -> None:
    body = {"room_id": "standup", "peers": 4, "regions": ["eu-west"], "unknown": {"a": 1.5}}
    decoded = decode_request(request(body=body))
    assert decoded == Request(
        operation="allocate",
        request_id="r-1",
        digest="a623e654909e5167eae5283c6998ab049058c9527d82ed4d99feb69048fd81b1",
        body=Allocate(room_id="standup", peers=4, regions=["eu-west"]),
        user="backend",
        on_behalf_of=None,
        reply_to="amq.rabbitmq.reply-to.abc",
        correlation_id="c-1",
        expiration_ms=15_000,
    )
    assert decoded.is_write


def test_defaults_of_allocate_are_those_of_the_contract() -> None:
    assert decode_request(request(body={})).body.model_dump() == {
        "room_id": None,
        "peers": 2,
        "publishers": None,
        "streams_per_publisher": 2,
        "regions": [],
        "region_mode": "prefer",
        "labels": {},
        "server_id": None,
        "avoid": [],
        "ttl_ms": None,
        "metadata": {},
    }


def test_a_read_needs_no_request_id() -> None:
    decoded = decode_request(request("lookup", {"room_id": "standup"}, headers={}))
    assert (decoded.request_id, decoded.digest, decoded.is_write) == ("", "", False)
    assert decoded.body == Lookup(room_id="standup", min_offset=0)


def test_carries_for_whom_it_is() -> None:
    headers: dict[str, object] = {"request_id": "r-1", "onbehalfof": "tenant-7"}
    assert decode_request(request(headers=headers)).on_behalf_of == "tenant-7"


@pytest.mark.parametrize("operation", ["", "alocate", "allocate.x", "ALLOCATE", "#"])
def test_unknown_operations(operation: str) -> None:
    violation = refusal(request(operation))
    assert violation.reason == Reason.UNKNOWN_OPERATION
    assert error_code_of(violation) is ErrorCode.UNKNOWN_OPERATION


@pytest.mark.parametrize(
    ("message", "reason", "says"),
    [
        (request(headers={}), Reason.BAD_ENVELOPE, "request_id: is missing"),
        (request(headers={"request_id": None}), Reason.BAD_ENVELOPE, "request_id: is missing"),
        (request(headers={"request_id": ""}), Reason.BAD_ID, "request_id: must be"),
        (request(headers={"request_id": 5}), Reason.BAD_ID, "request_id: must be"),
        (request(headers={"request_id": "a/b"}), Reason.BAD_ID, "request_id: must be"),
        (request(headers={"request_id": "x" * 129}), Reason.BAD_ID, "request_id: must be"),
        (
            request(headers={"request_id": "r", "onbehalfof": "a b"}),
            Reason.BAD_ID,
            "onbehalfof: must be",
        ),
        (request(content_type="text/plain"), Reason.BAD_ENVELOPE, "content_type: must be"),
        (request(body=b""), Reason.NOT_JSON, "the body is not JSON"),
        (request(body=[]), Reason.BAD_DATA, "the body must be a JSON object"),
        (request(body=b'{"peers": NaN}'), Reason.BAD_NUMBER, "NaN"),
        (request(body=b"{" + b" " * 256 * 1024 + b"}"), Reason.TOO_LARGE, "the body has 262146"),
    ],
)
def test_broken_requests(message: Message, reason: Reason, says: str) -> None:
    violation = refusal(message)
    assert (violation.reason, violation.detail[: len(says)]) == (reason, says)
    assert error_code_of(violation) is ErrorCode.INVALID_REQUEST


BAD_BODIES: list[tuple[str, dict[str, Any], str]] = [
    ("allocate", {"peers": 0}, "peers: must be >= 1"),
    ("allocate", {"peers": -5}, "peers: must be >= 1"),
    ("allocate", {"peers": 100_001}, "peers: must be <= 100000"),
    ("allocate", {"peers": "4"}, "peers: must be an integer"),
    ("allocate", {"peers": 4.0}, "peers: must be an integer"),
    ("allocate", {"peers": True}, "peers: must be an integer"),
    ("allocate", {"peers": None}, "peers: must be an integer"),
    ("allocate", {"peers": 2, "publishers": 3}, "publishers: must be <= peers, which is 2"),
    ("allocate", {"peers": 0, "publishers": 3}, "peers: must be >= 1"),
    ("allocate", {"publishers": -1}, "publishers: must be >= 0"),
    ("allocate", {"streams_per_publisher": 65}, "streams_per_publisher: must be <= 64"),
    ("allocate", {"room_id": "a b"}, "room_id: must match ^[A-Za-z0-9._:~-]{1,128}$"),
    ("allocate", {"room_id": "é"}, "room_id: must match"),
    ("allocate", {"server_id": "SFU"}, "server_id: must match ^[a-z0-9-]{1,63}$"),
    ("allocate", {"avoid": ["a"] * 17}, "avoid: must have at most 16 entries"),
    ("allocate", {"avoid": "a"}, "avoid: must be a list"),
    ("allocate", {"avoid": ["A"]}, "avoid.0: must match"),
    ("allocate", {"regions": ["eu west"]}, "regions.0: must match"),
    ("allocate", {"region_mode": "any"}, "region_mode: must be 'prefer' or 'require'"),
    ("allocate", {"ttl_ms": 600_001}, "ttl_ms: must be <= 600000"),
    ("allocate", {"ttl_ms": 99}, "ttl_ms: must be >= 100"),
    ("allocate", {"labels": []}, "labels: must be an object"),
    ("allocate", {"labels": {"a b": "x"}}, "labels.a b.[key]: must match"),
    ("allocate", {"labels": {"a\n" + "x" * 900: "x"}}, "labels.a\\nxxx"),
    ("allocate", {"labels": {"gpu": True}}, "labels.gpu: must be a string"),
    ("allocate", {"labels": {"gpu": "a\nb"}}, "labels.gpu: must match"),
    ("allocate", {"labels": {str(n): "x" for n in range(65)}}, "labels: "),
    ("allocate", {"metadata": {"a": 1.5}}, "metadata.a: must be a string, an integer"),
    ("allocate", {"metadata": {"a": 2**53}}, "metadata.a: must be a string, an integer"),
    ("allocate", {"metadata": {"a": {}}}, "metadata.a: must be a string, an integer"),
    ("allocate", {"metadata": {"é": 1}}, "metadata.\\xe9.[key]: must match"),
    ("allocate", {"metadata": {"a": "x" * 2041}}, "metadata: must be at most 2048 bytes"),
    ("allocate", {"metadata": {"a": "é" * 1021}}, "metadata: must be at most 2048 bytes"),
    ("extend", {"room_id": "a"}, "peers: is missing"),
    ("extend", {"room_id": "a", "peers": 4, "publishers": 5}, "publishers: must be <= peers"),
    ("move", {"room_id": "a", "reason": "x"}, "if_generation: is missing"),
    ("move", {"room_id": "a", "reason": "x", "if_generation": 0}, "if_generation: must be >= 1"),
    ("move", {"room_id": "a", "if_generation": 1}, "reason: is missing"),
    ("release", {"room_id": "a"}, "allocation_id: is missing"),
    ("drain", {}, "server_id: is missing"),
    ("undrain", {"server_id": "x" * 64}, "server_id: must match"),
    ("drain", {"server_id": "a", "drain_by_ms": -1}, "drain_by_ms: must be >= 0"),
    ("drain", {"server_id": "a", "reason": "x" * 513}, "reason: must have at most 512 characters"),
    ("lookup", {}, "room_id: is missing"),
    ("view", {"min_offset": -1}, "min_offset: must be >= 0"),
    ("view", {"at_offset": 2**53}, "at_offset: must be <= 9007199254740991"),
    ("rooms", {"limit": 1001}, "limit: must be <= 1000"),
    ("rooms", {"limit": 0}, "limit: must be >= 1"),
    ("rooms", {"state": "gone"}, "state: must be 'nowhere', 'held', "),
    ("decisions", {"after_offset": -1}, "after_offset: must be >= 0"),
    ("history", {"limit": "all"}, "limit: must be an integer"),
    ("explain", {"room_id": "a", "generation": 0}, "generation: must be >= 1"),
]


@pytest.mark.parametrize(("operation", "body", "says"), BAD_BODIES)
def test_errors_name_the_field(operation: str, body: dict[str, Any], says: str) -> None:
    violation = refusal(request(operation, body))
    assert violation.detail[: len(says)] == says
    assert violation.field is not None
    assert violation.detail.startswith(violation.field)
    assert len(violation.detail) < 400


def test_an_id_of_the_wrong_form_has_its_own_reason() -> None:
    assert refusal(request(body={"room_id": "a b"})).reason == Reason.BAD_ID
    assert refusal(request(body={"room_id": 5})).reason == Reason.BAD_DATA
    assert refusal(request(body={"labels": {"a b": "x"}})).reason == Reason.BAD_DATA


@pytest.mark.parametrize(
    "body",
    [
        {"metadata": {"a": "x" * 2040}},
        {"metadata": {"a": 2**53 - 1, "b": True, "c": None, "d": "é"}},
        {"avoid": ["a"] * 16, "peers": 100_000, "publishers": 0, "streams_per_publisher": 0},
        {"labels": {"a/b_c.d-e": ""}, "ttl_ms": 100, "room_id": "A.b_c:d~e-1"},
    ],
)
def test_what_stands_just_within_the_bounds(body: dict[str, Any]) -> None:
    dumped = decode_request(request(body=body)).body.model_dump()
    assert body.items() <= dumped.items()


@given(st.permutations(["peers", "room_id", "labels", "regions"]))
def test_the_digest_does_not_hang_on_the_order_of_fields(order: list[str]) -> None:
    """A retry that another library wrote is the same request, not a conflict."""
    body: dict[str, Any] = {
        "peers": 4,
        "room_id": "standup",
        "labels": {"b": "1", "a": "2"},
        "regions": ["eu", "us"],
    }
    shuffled = {name: body[name] for name in order}
    assert decode_request(request(body=shuffled)).digest == (
        decode_request(request(body=body)).digest
    )


def test_the_digest_is_of_canonical_json() -> None:
    """As any other language would make it of what the caller said."""
    body = {
        "peers": 4,
        "labels": {"zone": "b", "gpu": "é\u2028"},
        "metadata": {"n": 2**53 - 1, "deep": '\x1f"\\\n/', "b": True, "a": None},
    }
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    expected = hashlib.sha256(text.encode()).hexdigest()
    assert digest_of_body(Allocate.model_validate(body)) == expected


def test_the_digest_tells_bodies_apart() -> None:
    bodies: list[dict[str, Any]] = [
        {},
        {"peers": 3},
        {"room_id": "3"},
        {"regions": ["a", "b"]},
        {"regions": ["b", "a"]},
        {"metadata": {"a": 1}},
        {"metadata": {"a": "1"}},
        {"metadata": {"a": True}},
    ]
    digests = {decode_request(request(body=body)).digest for body in bodies}
    assert len(digests) == len(bodies)


def test_a_default_that_is_spelled_out_is_the_same_request() -> None:
    assert digest_of_body(Allocate(peers=2, regions=[])) == digest_of_body(Allocate())


def test_what_is_encoded_is_decoded() -> None:
    outgoing = encode_request(
        Drain(server_id="sfu-eu-1", reason="kernel"),
        request_id="r-1",
        correlation_id="c-1",
        reply_to="amq.rabbitmq.reply-to",
        timeout_ms=15_000,
        cell="eu",
        user_id="backend",
        on_behalf_of="tenant-7",
    )
    assert (outgoing.exchange, outgoing.routing_key) == ("eu.placement.requests", "drain")
    assert (outgoing.persistent, outgoing.mandatory) == (False, True)
    assert outgoing.message_id == "c-1"
    decoded = decode_request(delivered(outgoing))
    assert decoded.body == Drain(server_id="sfu-eu-1", reason="kernel")
    assert (decoded.operation, decoded.request_id) == ("drain", "r-1")
    assert (decoded.user, decoded.on_behalf_of) == ("backend", "tenant-7")
    assert (decoded.reply_to, decoded.correlation_id) == ("amq.rabbitmq.reply-to", "c-1")
    assert decoded.expiration_ms == 15_000


def test_twins_keep_their_operation() -> None:
    outgoing = encode_request(
        Undrain(server_id="a"), request_id="r", correlation_id="c", reply_to="q", timeout_ms=1
    )
    assert (outgoing.routing_key, dict(outgoing.headers)) == ("undrain", {"request_id": "r"})


def test_operations_are_writes_or_reads() -> None:
    assert list(OPERATIONS) == [*WRITES, *READS]
    assert not WRITES.keys() & READS.keys()


PLACED: dict[str, Any] = {
    "status": "ok",
    "outcome": "placed",
    "room_id": "standup",
    "allocation_id": "default-12",
    "generation": 1,
    "term": 7,
    "journal_offset": 1234,
    "held_until": "2026-11-22T09:00:30.000Z",
    "reserved_peers": 4,
    "reserved_consumers": 24,
    "fits": True,
    "room_state": "held",
    "region_fallback": False,
    "server": {
        "server_id": "sfu-eu-1",
        "worker_id": "3",
        "host": "sfu-eu-1.example.org",
        "port": 443,
        "region": "eu-west",
        "liveness": "up",
        "ws_url": "wss://sfu-eu-1.example.org:443/?roomId=standup",
    },
    "routers": [{"router": 0, "server_id": "sfu-eu-1", "worker_id": "3"}],
    "pipes": [],
    "ice_servers": [],
}
REFUSED: dict[str, Any] = {
    "status": "error",
    "error": {
        "code": "no-capacity",
        "retryable": True,
        "retry_after_ms": 2000,
        "message": "no worker has 24 consumers of headroom in eu-west",
        "details": {"servers": 12, "draining": 2, "stale": 1, "full": 9, "largest_room_peers": 3},
    },
}


def test_a_reply_goes_to_the_callers_queue_and_is_never_mandatory() -> None:
    outgoing = encode_reply(PLACED, reply_to="reply.me", correlation_id="c-1", message_id="m-1")
    assert (outgoing.exchange, outgoing.routing_key) == ("", "reply.me")
    assert (outgoing.persistent, outgoing.mandatory) == (False, False)
    assert (outgoing.correlation_id, outgoing.message_id) == ("c-1", "m-1")
    assert json.loads(outgoing.body) == PLACED


def test_the_replies_of_the_contract_are_read_whole() -> None:
    placed = decode_reply("allocate", Message(body=json.dumps(PLACED).encode()))
    assert placed.model_dump(mode="json") == PLACED
    refused = decode_reply("allocate", Message(body=json.dumps(REFUSED).encode()))
    assert isinstance(refused, ErrorReply)
    assert refused.error.code is ErrorCode.NO_CAPACITY
    assert refused.model_dump(mode="json", exclude_none=True) == REFUSED


def test_models_and_maps_encode_alike() -> None:
    reply = ReleaseReply(
        term=1, journal_offset=2, room_id="a", allocation_id="b", room_state="nowhere"
    )
    for form in (reply, reply.model_dump()):
        outgoing = encode_reply(form, reply_to="reply.me", correlation_id=None)
        assert decode_reply("release", Message(body=outgoing.body)) == reply


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"status": "error"}', b'"ok"', b"x"])
def test_a_broken_reply(body: bytes) -> None:
    with pytest.raises(ContractViolation) as refused:
        decode_reply("lookup", Message(body=body))
    assert refused.value.reason in (Reason.BAD_DATA, Reason.NOT_JSON)
