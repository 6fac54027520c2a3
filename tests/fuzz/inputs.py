"""Messages as nobody should send them: good ones of each kind, bent in one to three places.

Bent rather than made up: of random bytes hardly one comes past the first check. `Sent` is what
AMQP can carry, so that the same inputs go to the broker in memory and to a real one.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from ladle.placement.on_event import MARKER_HEADER
from ladle_contracts.fields import INT_MAX
from ladle_contracts.link import Outgoing
from ladle_contracts.requests import OPERATIONS
from ladle_contracts.topology import Topology
from tests.placement.writing import LIFE, REPLIES

SEQUENCES_MAX = 60
"""Those that a bent event may carry and be believed; good ones go on above."""

JSON_TYPE = "application/json"
CLOUDEVENTS = "application/cloudevents+json"

_FLOATS = st.floats() | st.sampled_from([1e308, -0.0, 1.5])
_INTS = st.sampled_from([0, -1, 1, 2**31, 2**53 - 1, 2**53, -(2**63), 2**64, 10**400])
_TEXTS = st.text(max_size=6) | st.sampled_from(
    ["", "\x00", "\ud800", "a" * 300, "two words", "../x", "#", "*.*", "é" * 130, "0" * 20]
)
JUNK: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | _INTS | _FLOATS | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=6,
)

_AMQP_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    | st.binary(max_size=8)
    | st.sampled_from([datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)])
    | st.just("x" * 20_000)
)
_NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
AMQP: st.SearchStrategy[Any] = st.recursive(
    _AMQP_LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=6,
)


@dataclass
class Sent:
    """One message to `media.events` or `placement.requests`, with what AMQP can say about it."""

    is_request: bool
    routing_key: str
    body: bytes
    headers: dict[str, Any] = field(default_factory=dict)
    content_type: str | None = JSON_TYPE
    properties: dict[str, Any] = field(default_factory=dict)

    def outgoing(self, topology: Topology) -> Outgoing:
        """For a Link, which carries no more than the contract uses."""
        known = {"type", "message_id", "correlation_id", "reply_to"}
        return Outgoing(
            exchange=topology.placement_requests if self.is_request else topology.media_events,
            routing_key=self.routing_key,
            body=self.body,
            headers=self.headers,
            content_type=self.content_type,  # type: ignore[arg-type]
            **{name: value for name, value in self.properties.items() if name in known},
        )


# What is bent ------------------------------------------------------------------------------------

_SERVER = {"host": "sfu.example.org", "region": "eu", "udp_ports": [40000, 40100]}
_STATE = {
    "worker_id": "0",
    "state": "running",
    "consumers": 12,
    "producers": 3,
    "rooms": 1,
    "cpu_permille": 100,
    "memory_bytes": 1000,
}
_LISTED = {"room_id": "standup", "worker_id": "0", "peers": 3, "consumers": 12}
DATA: dict[str, dict[str, Any]] = {
    "server-registered": {"server": _SERVER, "workers": [{"worker_id": "0"}], "restarted": True},
    "server-draining": {"reason": "update", "drain_by_ms": LIFE},
    "server-deregistered": {"reason": "gone"},
    "room-created": {"room_id": "standup", "worker_id": "0", "expected_peers": 4},
    "room-deleted": {"room_id": "standup", "reason": "over"},
    "worker-status": {"workers": [_STATE], "rooms": [_LISTED], "complete": True},
}
BODIES: dict[str, dict[str, Any]] = {
    "allocate": {"room_id": "standup", "peers": 4, "regions": ["eu"], "metadata": {"a": 1}},
    "extend": {"room_id": "standup", "peers": 9},
    "move": {"room_id": "standup", "if_generation": 1, "reason": "noise", "avoid": ["sfu-1"]},
    "release": {"room_id": "standup", "allocation_id": "default-3"},
    "drain": {"server_id": "sfu-2", "reason": "update"},
    "undrain": {"server_id": "sfu-2"},
    "lookup": {"room_id": "standup", "min_offset": 1},
    "view": {"region": "eu", "at_offset": 2},
    "rooms": {"state": "held", "limit": 10},
    "decisions": {"after_offset": 0, "limit": 5},
    "history": {"server_id": "sfu-1", "limit": 5},
    "explain": {"room_id": "standup", "generation": 1},
}
_ODD: dict[str, list[Any]] = {
    "sequence": [INT_MAX, INT_MAX - 1, 2**40, str(INT_MAX), 1, 0, -1, 2**53, "x", 1.5, True],
    "incarnation": [LIFE - 1, LIFE + 1, 0, 2**53 - 1, 2**53, str(LIFE), 1.0, -1],
    "time": ["", "2026-11-22", "9999-12-31T23:59:60Z", "0000-00-00T00:00:00Z", "now", 7],
    "id": ["", "two words", "x" * 129, "é", 7],
    "source": ["sfu-1", "/servers/", "/servers/SFU", "/servers/sfu-2", "/servers/a.b"],
    "type": ["", "room-painted", "worker-status", "register", "x" * 200],
    "specversion": ["0.3", "", 1.0, None],
    "datacontenttype": ["text/xml", "application/json; charset=latin-1", 7],
    "data_base64": ["e30=", None],
    "onbehalfof": ["gateway", "", "two words"],
}


@st.composite
def _bent(draw: st.DrawFn, good: dict[str, Any]) -> dict[str, Any]:
    """The object with one field gone, replaced, added, or bent further inside."""
    bent = json.loads(json.dumps(good))
    where = bent
    name = draw(st.sampled_from([*where, "more"]))
    while isinstance(where.get(name), dict | list) and draw(st.booleans()):
        inner = where[name][0] if isinstance(where[name], list) and where[name] else where[name]
        if not isinstance(inner, dict) or not inner:
            break
        where, name = inner, draw(st.sampled_from(sorted(inner)))
    if draw(st.booleans()):
        where[name] = draw(st.sampled_from(_ODD[name]) if name in _ODD else JUNK)
    else:
        where.pop(name, None)
    return bent


_BREAKS: list[Callable[[bytes], bytes]] = [
    lambda body: body[: len(body) // 2],
    lambda body: body + b"}",
    lambda body: b"\xff\xfe" + body,
    lambda body: body.replace(b'"', b"'"),
    lambda body: body.decode().encode("utf-16"),
    lambda body: b'{"a": 1, "a": 2}',
    lambda body: b"[" * 50_000,
    lambda body: body[:-1] + b', "x": ' + b'{"x": ' * 40 + b"1" + b"}" * 41,
    lambda body: body[:-1] + b', "x": "' + b"y" * 300_000 + b'"}',
    lambda body: b"",
    lambda body: b"null",
]


_BROKEN = st.sampled_from(_BREAKS) | st.binary(max_size=64).map(lambda junk: lambda _: junk)

_HEADERS = st.dictionaries(
    _NAMES | st.sampled_from([MARKER_HEADER, "ladle-reason", "x-death", "traceparent"]),
    AMQP,
    max_size=3,
)
_WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40)
_PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "type": _WORDS,
        "message_id": _WORDS,
        "priority": st.sampled_from([0, 9, 10, 255]),
        "timestamp": st.sampled_from([0, 2**31, 253_402_300_800, 2**62, 2**64 - 1]),
        "expiration": st.sampled_from(["600000", "4294967295", "-1", "soon", "9" * 30, " 1"]),
        "delivery_mode": st.sampled_from([0, 1, 2, 3, 255]),
        "content_encoding": st.sampled_from(["gzip", "utf-16", ""]),
        "app_id": _WORDS,
    },
)
_CONTENT_TYPES = st.sampled_from(
    [
        *(None, "", ";", "text/plain", JSON_TYPE, "application/xml", CLOUDEVENTS),
        *(f"{CLOUDEVENTS}; charset=utf-16", f"{CLOUDEVENTS}; charset=UTF-8"),
        "application/cloudevents-batch+json",
    ]
)


def _bends(*places: str) -> st.SearchStrategy[set[str]]:
    """Where a message is bent: nowhere, in one place, or in two at once."""
    return st.sets(st.sampled_from(places), max_size=2)


# Events ------------------------------------------------------------------------------------------


@st.composite
def events(draw: st.DrawFn) -> Sent:
    """One to `media.events`, in either mode of CloudEvents."""
    bends = draw(
        _bends("number", "number", "number", "data", "envelope", "key", "headers", "body", "type")
    )
    type_ = draw(st.sampled_from(sorted(DATA)))
    server = draw(st.sampled_from(["sfu-1", "sfu-1", "sfu-1", "sfu-2", "sfu-9"]))
    envelope = good_event(type_, server, draw(st.integers(2, SEQUENCES_MAX)))
    if "number" in bends:
        name = draw(st.sampled_from(["sequence", "sequence", "sequence", "incarnation", "none"]))
        envelope |= {name: draw(st.sampled_from(_ODD.get(name, [1])))}
        if name == "none":
            del envelope["incarnation"], envelope["sequence"]
    if "data" in bends:
        envelope["data"] = draw(_bent(DATA[type_]))
    if "envelope" in bends:
        envelope = draw(_bent(envelope))
    key = f"{type_}.{server}"
    if "key" in bends:
        key = draw(st.sampled_from(["", "x", f"{type_}.sfu-3", "#.*", "a" * 255, "..."]))
    headers = draw(_HEADERS) if "headers" in bends else {}
    body, content_type = envelope, CLOUDEVENTS
    if draw(st.integers(0, 2)) == 0:
        prefix = draw(st.sampled_from(["cloudEvents_", "cloudEvents:", "ce-"]))
        data = envelope.pop("data", None)
        headers = headers | {prefix + name: _amqp(value) for name, value in envelope.items()}
        if "headers" in bends:
            headers[prefix + draw(st.sampled_from(["id", "sequence", "time", "type"]))] = draw(AMQP)
        body, content_type = data if isinstance(data, dict) else {"data": data}, JSON_TYPE
    properties = draw(_PROPERTIES) if "headers" in bends else {}
    return _sent(draw, bends, Sent(False, key, as_json(body), headers, content_type, properties))


def good_event(type_: str, server: str, sequence: int) -> dict[str, Any]:
    """A good event, as its object."""
    return {
        "specversion": "1.0",
        "id": f"{server}-{sequence}",
        "source": f"/servers/{server}",
        "type": type_,
        "time": "2026-11-22T09:00:00Z",
        "incarnation": LIFE,
        "sequence": sequence,
        "data": DATA[type_],
    }


def as_json(value: Any) -> bytes:
    """As Python's own writer has it: NaN and lone surrogates included."""
    return json.dumps(value).encode()


def _sent(draw: st.DrawFn, bends: set[str], message: Sent) -> Sent:
    """The message, with what is broken of its bytes and of what they are said to be."""
    if "body" in bends:
        message.body = draw(_BROKEN)(message.body)
    if "type" in bends:
        message.content_type = draw(_CONTENT_TYPES)
    return message


def _amqp(value: Any) -> Any:
    """As a header could carry it."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)[:200]
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return value if isinstance(value, int | float | None) else json.dumps(value)


# Requests ----------------------------------------------------------------------------------------

ADDRESSES = ["", "reply.", "reply.nobody", "reply.a b", "placement.inbox", "placement.inbox|x"]
ADDRESSES += [
    "amq.rabbitmq.reply-to",
    "amq.rabbitmq.reply-to.x.y",
    "amq.gen-1",
    "reply." + "x" * 99,
]


@st.composite
def requests(draw: st.DrawFn, reply_to: str = REPLIES) -> Sent:
    """One to `placement.requests`."""
    bends = draw(_bends("data", "data", "key", "headers", "id", "reply", "body", "type"))
    operation = draw(st.sampled_from(sorted(OPERATIONS)))
    body = draw(_bent(BODIES[operation])) if "data" in bends else BODIES[operation]
    headers = draw(_HEADERS) if "headers" in bends else {}
    headers["request_id"] = f"request-{draw(st.integers(1, 8))}"
    if "id" in bends:
        odd = st.sampled_from(["", "two words", "x" * 200, 7, None, {"a": 1}, b"\xff"])
        headers[draw(st.sampled_from(["request_id", "onbehalfof"]))] = draw(odd | AMQP)
    properties = draw(_PROPERTIES) if "headers" in bends else {}
    properties |= {"reply_to": reply_to, "correlation_id": "asked"}
    if "reply" in bends:
        properties["reply_to"] = draw(st.sampled_from(ADDRESSES))
        properties["correlation_id"] = draw(_WORDS)
    if "reply" in bends and draw(st.booleans()):
        del properties[draw(st.sampled_from(["reply_to", "correlation_id"]))]
    key = operation
    if "key" in bends:
        key = draw(st.sampled_from(["paint", "", "allocate.more", "ALLOCATE"]))
    return _sent(draw, bends, Sent(True, key, as_json(body), headers, JSON_TYPE, properties))


def messages(reply_to: str = REPLIES) -> st.SearchStrategy[Sent]:
    """Any of them."""
    return events() | requests(reply_to)
