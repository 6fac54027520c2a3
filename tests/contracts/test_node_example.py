"""A reader in another language needs nothing but contracts/: the Node.js example, run for real.

A small responder made of the real decode and encode functions stands where placement stands, so
that each message of the example is checked, and so that it can be told things on demand.
"""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from pydantic import SecretStr

from ladle.broker.declare import declare
from ladle.journal.open import open_store
from ladle.journal.schema import upgrade
from ladle.placement.build import make_link
from ladle.placement.service import PlacementService
from ladle.placement.settings import PlacementSettings
from ladle_contracts.client import PlacementClient
from ladle_contracts.clock import SystemClock
from ladle_contracts.commands import CloseRoom, Command, Register, ReportRooms
from ladle_contracts.envelope import (
    Event,
    Request,
    decode_event,
    decode_request,
    encode_command,
    encode_reply,
)
from ladle_contracts.errors import PlacementError
from ladle_contracts.events import RoomCreated, RoomDeleted, ServerRegistered, WorkerStatus
from ladle_contracts.link import Message, Outgoing
from ladle_contracts.replies import (
    AnyReply,
    ErrorBody,
    ErrorCode,
    ErrorReply,
    HomeRouter,
    HomeServer,
    PlacedReply,
)
from ladle_contracts.requests import Allocate
from ladle_contracts.times import to_rfc3339
from ladle_contracts.topology import Topology, is_reply_address

pytestmark = [pytest.mark.broker, pytest.mark.node, pytest.mark.slow]

EXAMPLE = Path(__file__).parents[2] / "contracts" / "examples" / "node"
SERVER = "node-test"
FAR_MS = 4_000_000_000_000

Lines = list[dict[str, Any]]
Run = Callable[..., Awaitable[Lines]]


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example with its one dependency installed from the lock."""
    if shutil.which("npm") is None:
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail("Node.js and npm are missing")
        pytest.skip("Node.js and npm are missing")
    folder = tmp_path_factory.mktemp("node") / "example"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("node_modules"))
    subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund"],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=120,
    )
    return folder


class Responder:
    """Keeps every event and request of the example; answers and commands as a test says."""

    def __init__(self, channel: AbstractChannel, topology: Topology) -> None:
        self.channel = channel
        self.topology = topology
        self.events: list[Event] = []
        self.requests: list[Request] = []
        self.answers: list[Callable[[Request], AnyReply]] = []
        self.on_created: list[Callable[[Event], Command]] = []

    async def start(self) -> None:
        await self.channel.set_qos(prefetch_count=10)
        inbox = await self.channel.get_queue(self.topology.inbox)
        await inbox.consume(self.on_event)
        requests = await self.channel.get_queue(self.topology.requests)
        await requests.consume(self.on_request)

    async def on_event(self, incoming: AbstractIncomingMessage) -> None:
        event = decode_event(received(incoming))
        self.events.append(event)
        if event.type == "server-registered":
            await self.declare_command_queue(event.server_id)
        if event.type == "room-created":
            for number, make in enumerate(self.on_created):
                await self.publish(
                    encode_command(
                        make(event),
                        server_id=event.server_id,
                        command_id=f"{self.topology.cell}:1:{number}",
                        time_ms=0,
                        cell=self.topology.cell,
                    )
                )
        await incoming.ack()

    async def on_request(self, incoming: AbstractIncomingMessage) -> None:
        request = decode_request(received(incoming))
        self.requests.append(request)
        assert request.reply_to is not None
        assert is_reply_address(request.reply_to)
        answer = self.answers.pop(0)(request)
        await self.publish(
            encode_reply(answer, reply_to=request.reply_to, correlation_id=request.correlation_id)
        )
        await incoming.ack()

    async def declare_command_queue(self, server_id: str) -> None:
        declared = self.topology.command_declarations(server_id)
        (wanted,), (binding,) = declared.queues, declared.bindings
        queue = await self.channel.declare_queue(
            wanted.name, durable=True, arguments=dict(wanted.arguments)
        )
        await queue.bind(binding.exchange, binding.key)

    async def publish(self, outgoing: Outgoing) -> None:
        exchange = (
            await self.channel.get_exchange(outgoing.exchange, ensure=False)
            if outgoing.exchange
            else self.channel.default_exchange
        )
        await exchange.publish(
            aio_pika.Message(
                outgoing.body,
                content_type=outgoing.content_type,
                type=outgoing.type,
                correlation_id=outgoing.correlation_id,
            ),
            outgoing.routing_key,
            mandatory=outgoing.mandatory,
        )


def received(incoming: AbstractIncomingMessage) -> Message:
    return Message(
        body=incoming.body,
        exchange=incoming.exchange or "",
        routing_key=incoming.routing_key or "",
        headers=incoming.headers,
        content_type=incoming.content_type,
        type=incoming.type,
        message_id=incoming.message_id,
        correlation_id=incoming.correlation_id,
        reply_to=incoming.reply_to,
        user_id=incoming.user_id,
    )


@pytest.fixture
async def responder(broker_url: str, cell: str) -> AsyncIterator[Responder]:
    topology = Topology(cell)
    await declare(broker_url, topology)
    connection = await aio_pika.connect(broker_url)
    async with connection:
        channel = await connection.channel()
        responder = Responder(channel, topology)
        await responder.start()
        yield responder
        await channel.queue_delete(topology.command_queue(SERVER))


@pytest.fixture
def run(example: Path, broker_url: str, cell: str) -> Run:
    async def run_example(
        *arguments: str, exit_code: int = 0, said: str = "", **environment: str
    ) -> Lines:
        process = await asyncio.create_subprocess_exec(
            "node",
            "main.mjs",
            "--server",
            SERVER,
            *arguments,
            cwd=example,
            env=os.environ | {"LADLE_AMQP_URL": broker_url, "LADLE_CELL": cell} | environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, err = await asyncio.wait_for(process.communicate(), 60)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == exit_code, err.decode()
        if said:
            # One sentence, and no stack of Node.js.
            assert said in err.decode()
            assert len(err.decode().splitlines()) == 1, err.decode()
        return [json.loads(line) for line in out.splitlines()]

    return run_example


def no_server_yet(request: Request) -> AnyReply:
    return ErrorReply(
        error=ErrorBody(
            code=ErrorCode.NO_SERVERS, retryable=True, retry_after_ms=50, message="none is up"
        )
    )


def no_room(request: Request) -> AnyReply:
    return ErrorReply(
        error=ErrorBody(code=ErrorCode.ROOM_TOO_LARGE, retryable=False, message="too large")
    )


def placed(request: Request) -> AnyReply:
    assert isinstance(request.body, Allocate)
    assert request.body.room_id is not None
    return PlacedReply(
        outcome="placed",
        room_id=request.body.room_id,
        allocation_id="t:9",
        generation=1,
        term=1,
        journal_offset=9,
        held_until="2026-11-22T12:00:30.000Z",
        reserved_peers=request.body.peers,
        reserved_consumers=24,
        room_state="held",
        server=HomeServer(
            server_id=SERVER, worker_id="1", host="h.example.org", port=443, liveness="up"
        ),
        routers=[HomeRouter(router=0, server_id=SERVER, worker_id="1")],
    )


def life_of(events: list[Event]) -> list[str]:
    """The types, once the example's events prove to be one life without a hole."""
    assert {event.server_id for event in events} == {SERVER}
    assert len({event.incarnation for event in events}) == 1
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert len({event.id for event in events}) == len(events)
    return [event.type for event in events]


async def test_a_whole_life(responder: Responder, run: Run) -> None:
    responder.answers = [no_server_yet, placed]
    lines = await run("--room", "standup", "--peers", "4")

    assert [line.get("did") for line in lines] == [
        "registered",
        "allocated",
        "created",
        "deregistered",
    ]
    reply = lines[1]["reply"]
    assert (reply["outcome"], reply["allocation_id"]) == ("placed", "t:9")

    first, second = responder.requests
    assert first.body == second.body == Allocate(room_id="standup", peers=4, server_id=SERVER)
    # A refusal was answered: asking again is another request, not a retry of the same.
    assert first.request_id != second.request_id
    assert first.correlation_id != second.correlation_id

    assert life_of(responder.events) == [
        "server-registered",
        "worker-status",
        "room-created",
        "worker-status",
        "room-deleted",
        "server-draining",
        "server-deregistered",
    ]
    registered, before, created, after, deleted = (event.data for event in responder.events[:5])
    assert isinstance(registered, ServerRegistered)
    assert registered.server.region == "eu-west"
    assert [worker.worker_id for worker in registered.workers] == ["0", "1"]
    assert created == RoomCreated(
        room_id="standup", worker_id="1", allocation_id="t:9", expected_peers=4
    )
    assert deleted == RoomDeleted(room_id="standup", allocation_id="t:9", reason="empty")
    assert isinstance(before, WorkerStatus)
    assert isinstance(after, WorkerStatus)
    assert (before.complete, before.rooms, after.complete) == (True, [], True)
    assert after.rooms is not None
    assert [(room.room_id, room.consumers) for room in after.rooms] == [("standup", 24)]
    assert [worker.consumers for worker in after.workers] == [0, 24]


async def test_commands_of_this_life_are_obeyed_and_no_others(
    responder: Responder, run: Run
) -> None:
    soon, past = to_rfc3339(FAR_MS), to_rfc3339(1)
    responder.answers = [placed]
    responder.on_created = [
        lambda event: CloseRoom(
            incarnation=1, expires_at=soon, room_id="standup", reason="another life"
        ),
        lambda event: CloseRoom(
            incarnation=event.incarnation, expires_at=past, room_id="standup", reason="too late"
        ),
        lambda event: CloseRoom(
            incarnation=event.incarnation,
            expires_at=soon,
            room_id="standup",
            created_sequence=(event.sequence or 0) - 1,
            reason="an earlier create",
        ),
        lambda event: ReportRooms(incarnation=event.incarnation, expires_at=soon),
        lambda event: CloseRoom(
            incarnation=event.incarnation,
            expires_at=soon,
            room_id="standup",
            created_sequence=event.sequence,
            reason="moved",
        ),
    ]
    lines = await run("--linger-ms", "1500")

    assert [line["command"] for line in lines if "command" in line] == [
        "close-room",
        "report-rooms",
        "close-room",
    ]
    life_of(responder.events)
    deleted = [event.data for event in responder.events if event.type == "room-deleted"]
    assert deleted == [RoomDeleted(room_id="standup", allocation_id="t:9", reason="moved")]
    reported = [event.data for event in responder.events if event.type == "worker-status"]
    assert len(reported) == 3


async def test_a_life_that_is_too_old_begins_another(responder: Responder, run: Run) -> None:
    known = FAR_MS + 5
    responder.answers = [placed]
    responder.on_created = [
        lambda event: Register(
            incarnation=event.incarnation,
            expires_at=to_rfc3339(FAR_MS),
            known_incarnation=known,
            refused_sequence=1,
        )
    ]
    await run("--linger-ms", "1000")

    again = [event for event in responder.events if event.incarnation == known + 1]
    assert life_of(again)[:2] == ["server-registered", "worker-status"]
    status = again[1].data
    assert isinstance(status, WorkerStatus)
    assert status.rooms is not None
    assert [room.room_id for room in status.rooms] == ["standup"]


async def test_a_final_refusal_ends_the_example(responder: Responder, run: Run) -> None:
    responder.answers = [no_room]
    lines = await run(exit_code=1, said="failed: room-too-large: too large")
    assert [line["did"] for line in lines] == ["registered"]
    assert len(responder.requests) == 1
    assert life_of(responder.events)[-1] == "server-deregistered", "nobody waits for it"


async def test_a_room_that_lives_elsewhere_is_not_made_here(responder: Responder, run: Run) -> None:
    def elsewhere(request: Request) -> AnyReply:
        reply = placed(request)
        assert isinstance(reply, PlacedReply)
        server = reply.server.model_copy(update={"server_id": "other"})
        return reply.model_copy(update={"outcome": "existing", "server": server})

    responder.answers = [elsewhere]
    await run(exit_code=1, said="failed: room standup is on other already: name another --room")
    assert "room-created" not in life_of(responder.events)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"LADLE_AMQP_URL": "amqp://u:secret@localhost:9/"}, "failed: no broker at LADLE_AMQP_URL"),
        ({"LADLE_CELL": "nobodys"}, "start the placement service of this LADLE_CELL first"),
    ],
)
async def test_what_is_missing_is_said(run: Run, environment: dict[str, str], said: str) -> None:
    await run(exit_code=1, said=said, **environment)


async def test_options_that_are_none_are_usage(run: Run) -> None:
    await run("--peers", "many", exit_code=2, said="usage: --peers: a whole number")
    await run("--nonsense", exit_code=2, said="usage: Unknown option '--nonsense'")


async def test_against_the_real_service(
    run: Run, broker_url: str, cell: str, tmp_path: Path
) -> None:
    """The responder's answers are no invention: placement says and hears the same."""
    settings = PlacementSettings(
        amqp_url=SecretStr(broker_url),
        cell=cell,
        database_url=SecretStr(f"sqlite+aiosqlite:///{tmp_path}/ladle.db"),
        http=False,
    )
    await upgrade(settings.database)
    service = PlacementService(
        settings,
        store=open_store(settings.database),
        make_link=lambda: make_link(settings),
        clock=SystemClock(),
    )
    stop = asyncio.Event()
    running = asyncio.create_task(service.run(stop))
    try:
        async with PlacementClient.connect(broker_url, cell=cell) as client:
            await until_it_answers(client)
            lines = await run("--room", "standup", "--peers", "4")
            history = await client.history(room_id="standup")
    finally:
        stop.set()
        await asyncio.wait_for(running, 30)
    reply = PlacedReply.model_validate(lines[1]["reply"])
    assert (reply.outcome, reply.server.server_id) == ("placed", SERVER)
    assert (reply.reserved_peers, reply.reserved_consumers) == (4, 24)
    said = [(record.what, record.status) for record in history.records]
    assert said == [
        ("allocate", "applied"),
        ("room-created", "applied"),
        ("room-deleted", "applied"),
    ]


async def until_it_answers(client: PlacementClient) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                await client.view()
            except PlacementError:
                await asyncio.sleep(0.1)
            else:
                return
