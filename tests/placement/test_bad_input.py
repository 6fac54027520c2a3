"""Every kind of bad input: the answer or the dead letter that it gets, and the service goes on."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ladle.broker.dead_letters import DeadLetter, letters
from ladle.broker.fast import FastLink
from ladle.placement.on_event import MARKER_HEADER
from ladle_contracts.link import DIRECT_REPLY_TO, Message, Outgoing
from ladle_contracts.reply_addresses import direct_reply_address
from ladle_contracts.topology import Topology
from tests.fixtures.service import Running, running_service

pytestmark = pytest.mark.broker

INCARNATION = 1_763_802_000_000


def event(
    data: object,
    *,
    type_: str = "room-created",
    server: str = "sfu-1",
    key: str | None = None,
    body: bytes | None = None,
    headers: dict[str, Any] | None = None,
    content_type: str = "application/cloudevents+json",
    **attributes: Any,
) -> dict[str, Any]:
    """Keyword arguments of a message to `media.events`; attributes override the envelope's."""
    envelope: dict[str, Any] = {
        "specversion": "1.0",
        "id": uuid.uuid4().hex,
        "source": f"/servers/{server}",
        "type": type_,
        "time": "2026-11-22T09:00:00Z",
        "incarnation": INCARNATION,
        "sequence": 2,
        "data": data,
    } | attributes
    envelope = {name: value for name, value in envelope.items() if value is not None}
    return {
        "routing_key": key or f"{type_}.{server}",
        "body": json.dumps(envelope).encode() if body is None else body,
        "headers": headers or {},
        "content_type": content_type,
        "type": type_,
        "persistent": True,
    }


CREATED = {"room_id": "standup", "worker_id": "0"}
REGISTERED = {
    "server": {"host": "sfu-1.example.org"},
    "workers": [{"worker_id": "0"}],
}

BAD_EVENTS: dict[str, tuple[dict[str, Any], str]] = {
    "not JSON": (event(None, body=b"{"), "not-json"),
    "no object": (event(None, body=b"[1]"), "bad-envelope"),
    "a number that is none": (
        event(None, body=b'{"specversion": "1.0", "data": NaN}'),
        "bad-number",
    ),
    "a key twice": (event(None, body=b'{"id": "1", "id": "2"}'), "duplicate-key"),
    "a NUL": (event({"room_id": "a\u0000b"}), "bad-text"),
    "a lone surrogate": (event(None, body=b'{"id": "\\ud800"}'), "bad-text"),
    "a megabyte": (event({"room_id": "x" * 1_000_000}), "too-large"),
    "a missing field": (event({}), "bad-data"),
    "a mistyped field": (event({"room_id": 7}), "bad-data"),
    "a negative number": (event(CREATED | {"expected_peers": -1}), "bad-data"),
    "an absurd number": (event(CREATED | {"expected_peers": 10**15}), "bad-data"),
    "an over-long id": (event({"room_id": "x" * 200}), "bad-id"),
    "an odd id": (event({"room_id": "two words"}), "bad-id"),
    "another server's source": (event(CREATED, key="room-created.sfu-2"), "source-mismatch"),
    "no specversion": (event(CREATED, specversion=None), "bad-envelope"),
    "an incarnation without a sequence": (event(CREATED, sequence=None), "bad-envelope"),
    "an unknown type of an unknown server": (
        event({}, type_="room-painted", server="sfu-9"),
        "unknown-type",
    ),
    "binary mode without a source": (
        event(
            None,
            body=b"{}",
            content_type="application/json",
            headers={
                "cloudEvents_specversion": "1.0",
                "cloudEvents_type": "room-created",
                "cloudEvents_id": "1",
            },
        ),
        "bad-envelope",
    ),
    "binary mode with bad data": (
        event(
            None,
            body=b"{}",
            content_type="application/json",
            headers={
                "ce-specversion": "1.0",
                "ce-type": "room-created",
                "ce-id": "1",
                "ce-source": "/servers/sfu-1",
            },
        ),
        "bad-data",
    ),
}

BAD_REQUESTS: dict[str, tuple[str, bytes, dict[str, Any], str, str]] = {
    "not JSON": ("allocate", b"{", {}, "invalid-request", "JSON"),
    "a missing field": ("move", b'{"room_id": "a"}', {}, "invalid-request", "if_generation"),
    "a mistyped field": ("allocate", b'{"peers": "2"}', {}, "invalid-request", "peers"),
    "a number that is none": ("allocate", b'{"peers": NaN}', {}, "invalid-request", "number"),
    "a negative number": ("allocate", b'{"peers": -2}', {}, "invalid-request", "peers"),
    "an absurd number": ("allocate", b'{"peers": 1e99}', {}, "invalid-request", "peers"),
    "an over-long id": (
        "lookup",
        json.dumps({"room_id": "x" * 200}).encode(),
        {},
        "invalid-request",
        "room_id",
    ),
    "an odd id": ("lookup", b'{"room_id": "two words"}', {}, "invalid-request", "room_id"),
    "a megabyte": (
        "allocate",
        json.dumps({"metadata": {"x": "y" * 1_000_000}}).encode(),
        {},
        "invalid-request",
        "",
    ),
    "an unknown operation": ("paint", b"{}", {}, "unknown-operation", "operation"),
    "no request id": (
        "allocate",
        b"{}",
        {"headers": {}},
        "invalid-request",
        "request_id",
    ),
}


@dataclass(slots=True)
class Caller:
    """Publishes anything and waits for a reply to it, as no proper client would."""

    running: Running
    link: Any
    waiting: dict[str, "asyncio.Future[dict[str, Any]]"] = field(default_factory=dict)

    def on_messages(self, messages: list[Message]) -> None:
        for message in messages:
            found = self.waiting.get(message.correlation_id or "")
            if found is not None:
                found.set_result(json.loads(message.body))

    async def ask(self, operation: str, body: bytes, **options: Any) -> dict[str, Any]:
        correlation_id = uuid.uuid4().hex
        future = asyncio.get_running_loop().create_future()
        self.waiting[correlation_id] = future
        properties: dict[str, Any] = {
            "headers": {"request_id": correlation_id},
            "reply_to": DIRECT_REPLY_TO,
            "mandatory": True,
        } | options
        await self.link.publish(
            Outgoing(
                exchange=Topology(self.running.cell).placement_requests,
                routing_key=operation,
                body=body,
                correlation_id=correlation_id,
                **properties,
            )
        )
        async with asyncio.timeout(10):
            return dict(await future)

    async def tell(self, **message: Any) -> None:
        await self.link.publish(
            Outgoing(exchange=Topology(self.running.cell).media_events, **message)
        )


@pytest.fixture
async def caller(service: Running) -> AsyncIterator[Caller]:
    async with service.link() as link:
        made = Caller(service, link)
        await link.listen_for_replies(made.on_messages)
        yield made


async def dead(running: Running, count: int) -> list[DeadLetter]:
    """The dead letters, once there are `count`; a quorum queue's counts lag."""
    topology = Topology(running.cell)
    found: list[DeadLetter] = []
    async with asyncio.timeout(15):
        while len(found) < count:
            found = await letters(running.settings.url, topology)
            await asyncio.sleep(0.05)
    return found


async def still_works(caller: Caller) -> None:
    """The next good event and request are taken as if nothing had been."""
    await caller.tell(**event(REGISTERED, type_="server-registered", sequence=1))
    async with asyncio.timeout(10):
        while (await caller.ask("allocate", b'{"room_id": "standup"}'))["status"] != "ok":
            await asyncio.sleep(0.05)


async def test_bad_events_become_dead_letters_with_their_reason(caller: Caller) -> None:
    for message, _ in BAD_EVENTS.values():
        await caller.tell(**message)
    found = await dead(caller.running, len(BAD_EVENTS))
    assert [letter.reason for letter in found] == [reason for _, reason in BAD_EVENTS.values()]
    assert all(letter.detail for letter in found), "a reason without a sentence helps nobody"
    for (message, _), letter in zip(BAD_EVENTS.values(), found, strict=True):
        assert letter.body == message["body"], "nothing is lost"
        assert letter.routing_key == message["routing_key"]
    await still_works(caller)
    async with caller.running.client() as client:
        history = await client.history(limit=1000)
    rejected = [record for record in history.records if record.kind == "rejected"]
    assert len(rejected) == len(BAD_EVENTS)
    journal = json.dumps([record.model_dump(mode="json") for record in rejected])
    assert "xxxxx" not in journal, "the journal keeps the digest of refused input, not the input"


@pytest.mark.parametrize("name", BAD_REQUESTS)
async def test_a_bad_request_is_answered_with_its_code(name: str, caller: Caller) -> None:
    operation, body, options, code, named = BAD_REQUESTS[name]
    reply = await caller.ask(operation, body, **options)
    assert reply["status"] == "error"
    assert reply["error"]["code"] == code
    assert named in reply["error"]["message"], "the sentence names the field"
    assert reply["error"]["retryable"] is False
    await still_works(caller)


async def test_a_reply_address_that_is_not_allowed_gets_nothing(caller: Caller) -> None:
    """The service may write to any queue; whom it answers is no caller's choice."""
    topology = Topology(caller.running.cell)
    for address in (topology.inbox, f"{topology.inbox}|x", "amq.gen-secret", "reply."):
        await caller.link.publish(
            Outgoing(
                exchange=topology.placement_requests,
                routing_key="allocate",
                body=b'{"room_id": "standup"}',
                headers={"request_id": uuid.uuid4().hex},
                reply_to=address,
                correlation_id="1",
            )
        )
    found = await dead(caller.running, 4)
    assert {letter.reason for letter in found} == {"reply-not-allowed"}
    assert caller.running.count("ladle_replies_refused_total") == 4
    assert (await caller.ask("lookup", b'{"room_id": "standup"}'))["error"]["code"] == (
        "unknown-room"
    ), "nothing was done for them"


async def test_a_made_up_direct_address_costs_nobody_an_answer(caller: Caller) -> None:
    """RabbitMQ 3.10 closes the connection of whoever publishes to one."""
    topology = Topology(caller.running.cell)
    bogus = [f"{DIRECT_REPLY_TO}.bogus.a", f"{DIRECT_REPLY_TO}.Z2FyYmFnZQ==.a2V5"]
    nowhere = direct_reply_address("reply@1234", 7)
    for number, address in enumerate([*bogus, nowhere] * 3):
        await caller.link.publish(
            Outgoing(
                exchange=topology.placement_requests,
                routing_key=("allocate", "lookup")[number % 2],
                body=b'{"room_id": "standup"}',
                headers={"request_id": uuid.uuid4().hex},
                reply_to=address,
                correlation_id="1",
            )
        )
        reply = await caller.ask("lookup", b'{"room_id": "other"}')
        assert reply["error"]["code"] == "unknown-room"
    found = await dead(caller.running, 6)
    assert {letter.reason for letter in found} == {"reply-not-allowed"}
    await still_works(caller)
    term = caller.running.service.term
    assert term is not None
    kinds = {record.kind for record in await term.writer.store.records(0, 1000)}
    assert "bus-up" not in kinds, "the connection was never lost"


@pytest.mark.parametrize("link", ["fast", "plain"])
async def test_a_correlation_id_that_is_no_text_is_no_reason_not_to_answer(
    link: str, broker_url: str, cell: str, tmp_path: Path
) -> None:
    """Read as text it grew beyond what AMQP carries, and the answer was dropped."""
    odd = (b"\xff" * 255).decode(errors="surrogateescape")
    # The plain link's library cannot carry it: it answers all the same, as long and in its place.
    expected = odd if link == "fast" else "?" * 255
    got: list[Message] = []
    caller = FastLink(broker_url)
    database = f"sqlite:///{tmp_path}/ladle.db"
    async with running_service(broker_url, cell, database, link=link) as running:
        await caller.open()
        try:
            await caller.listen_for_replies(got.extend)
            for operation, body in (("allocate", b"{}"), ("lookup", b"not JSON")):
                await caller.publish(
                    Outgoing(
                        running.service.topology.placement_requests,
                        operation,
                        body,
                        headers={"request_id": "r-1"},
                        correlation_id=odd,
                        reply_to=DIRECT_REPLY_TO,
                    )
                )
            await running.until(lambda: len(got) == 2, "both answers")
        finally:
            await caller.close()
    assert [message.correlation_id for message in got] == [expected] * 2


async def test_a_request_that_cannot_be_answered_is_a_dead_letter(caller: Caller) -> None:
    topology = Topology(caller.running.cell)
    await caller.link.publish(
        Outgoing(exchange=topology.placement_requests, routing_key="allocate", body=b"{}")
    )
    (letter,) = await dead(caller.running, 1)
    assert letter.reason == "no-reply-to"


async def test_an_unknown_type_of_a_registered_server_is_counted_and_ignored(
    caller: Caller,
) -> None:
    await still_works(caller)
    await caller.tell(**event({}, type_="room-painted"))
    await caller.running.until(
        lambda: caller.running.count("ladle_events_total", type="unknown", outcome="ignored") == 1,
        "the unknown type",
    )
    assert await letters(caller.running.settings.url, Topology(caller.running.cell)) == []


async def test_an_unknown_server_is_told_to_register_and_nothing_is_adopted(
    caller: Caller,
) -> None:
    heard: list[Message] = []
    await caller.tell(**event(CREATED, server="sfu-7", sequence=1))
    topology = Topology(caller.running.cell)
    async with asyncio.timeout(10):
        while True:
            try:
                await caller.link.consume(
                    topology.command_queue("sfu-7"), heard.extend, prefetch=10
                )
                break
            except Exception:
                await asyncio.sleep(0.1)
        while not heard:
            await asyncio.sleep(0.02)
    assert heard[0].type == "register"
    reply = await caller.ask("lookup", b'{"room_id": "standup"}')
    assert reply["error"]["code"] == "unknown-room"


async def test_an_older_incarnation_is_ignored_and_told_what_is_known(caller: Caller) -> None:
    await still_works(caller)
    heard: list[Message] = []
    topology = Topology(caller.running.cell)
    async with asyncio.timeout(10):
        while True:
            try:
                await caller.link.consume(
                    topology.command_queue("sfu-1"), heard.extend, prefetch=10
                )
                break
            except Exception:
                await caller.tell(
                    **event({"room_id": "old"}, incarnation=INCARNATION - 1, sequence=1)
                )
                await asyncio.sleep(0.1)
        await caller.tell(**event({"room_id": "old"}, incarnation=INCARNATION - 1, sequence=2))
        while not any(message.type == "register" for message in heard):
            await asyncio.sleep(0.02)
    told = json.loads(next(m for m in heard if m.type == "register").body)["data"]
    assert told["known_incarnation"] == INCARNATION
    assert (await caller.ask("lookup", b'{"room_id": "old"}'))["status"] == "error"


async def test_the_same_request_id_with_another_body_is_a_conflict(caller: Caller) -> None:
    await still_works(caller)
    options = {"headers": {"request_id": "twice"}}
    first = await caller.ask("allocate", b'{"room_id": "a"}', **options)
    again = await caller.ask("allocate", b'{ "room_id" : "a" }', **options)
    assert again == first, "the same body, however it is written, gets the same answer"
    other = await caller.ask("allocate", b'{"room_id": "b"}', **options)
    assert other["error"]["code"] == "conflict"


@pytest.mark.parametrize("value", ["mine", 7, None, True])
async def test_an_event_that_says_it_is_the_writers_marker_is_an_event(
    caller: Caller, value: object
) -> None:
    """A header that any server can write must not have its event acked unseen."""
    await caller.tell(**event(REGISTERED, type_="server-registered", sequence=1))
    await caller.tell(**event(CREATED, headers={MARKER_HEADER: value}))
    while (await caller.ask("lookup", b'{"room_id": "standup"}'))["status"] != "ok":
        await asyncio.sleep(0.05)
    await caller.tell(**event(None, body=b"{}", headers={MARKER_HEADER: value}))
    (letter,) = await dead(caller.running, 1)
    assert letter.reason == "bad-envelope"


async def test_an_incarnation_from_the_far_future_shuts_nobody_out(caller: Caller) -> None:
    """No later start could be above it: the server's id would be of no use for ever."""
    for life in (2**53 - 1, time.time_ns() // 1_000_000 + 2 * 86_400_000):
        for type_, data in (("server-registered", REGISTERED), ("room-created", CREATED)):
            await caller.tell(**event(data, type_=type_, sequence=1, incarnation=life))
    found = await dead(caller.running, 4)
    assert {letter.reason for letter in found} == {"incarnation-ahead"}
    assert all(letter.detail.startswith("incarnation: ") for letter in found)
    await still_works(caller)
    await caller.tell(**event(CREATED, sequence=3, incarnation=2**53 - 1))
    await dead(caller.running, 5)
    await caller.tell(**event(CREATED | {"room_id": "later"}, sequence=9))
    while (await caller.ask("lookup", b'{"room_id": "later"}'))["status"] != "ok":
        await asyncio.sleep(0.05)


async def test_a_wrong_identity_is_a_dead_letter(broker_url: str, cell: str, tmp_path: Any) -> None:
    """With `require_user_id`, what the broker does not vouch for is not believed."""
    database = f"sqlite:///{tmp_path}/ladle.db"
    async with (
        running_service(broker_url, cell, database, require_user_id=True) as running,
        running.link() as link,
    ):
        caller = Caller(running, link)
        await caller.tell(**event(REGISTERED, type_="server-registered", sequence=1))
        await caller.tell(
            **event(REGISTERED, type_="server-registered", sequence=1),
            user_id=link.user,
        )
        found = await dead(running, 2)
        assert {letter.reason for letter in found} == {"wrong-identity"}
        async with running.client() as client:
            assert (await client.view()).servers == []


async def test_with_a_mapping_a_user_may_speak_for_its_server(
    broker_url: str, cell: str, tmp_path: Any
) -> None:
    database = f"sqlite:///{tmp_path}/ladle.db"
    async with (
        running_service(
            broker_url, cell, database, require_user_id=True, server_users="guest=sfu-1"
        ) as running,
        running.link() as link,
    ):
        if link.user != "guest":
            pytest.skip("the broker's user is not guest")
        caller = Caller(running, link)
        await caller.tell(
            **event(REGISTERED, type_="server-registered", sequence=1), user_id="guest"
        )
        async with running.client() as client:
            await running.until(
                lambda: bool(running.service.term and running.service.term.writer.view.servers),
                "the registration",
            )
            assert [s.server_id for s in (await client.view()).servers] == ["sfu-1"]
