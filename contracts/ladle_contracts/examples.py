"""One message of every kind, as it looks on the wire: for asyncapi.yaml, the docs and the tests.

Written with the models and the envelope, so that no example can differ from what the code does.
"""

from typing import Any

from ladle_contracts.commands import CloseRoom, Command, DrainCommand, Register, ReportRooms
from ladle_contracts.envelope import (
    encode_command,
    encode_event,
    encode_own_event,
    encode_reply,
    encode_request,
)
from ladle_contracts.events import (
    EventData,
    RoomCreated,
    RoomDeleted,
    RoomLoad,
    ServerDeregistered,
    ServerDescription,
    ServerDraining,
    ServerRegistered,
    WorkerDescription,
    WorkerState,
    WorkerStatus,
)
from ladle_contracts.link import DIRECT_REPLY_TO, Outgoing
from ladle_contracts.replies import (
    DecisionRecord,
    DecisionsReply,
    DrainReply,
    ErrorBody,
    ErrorCode,
    ErrorReply,
    ExplainReply,
    HistoryRecord,
    HistoryReply,
    HomeRouter,
    HomeServer,
    LookupReply,
    PlacedReply,
    ReleaseReply,
    RoomEntry,
    RoomsReply,
    ServerView,
    ViewReply,
    ViewTotals,
    WorkerView,
)
from ladle_contracts.reply_addresses import direct_reply_address
from ladle_contracts.requests import (
    Allocate,
    AnyReply,
    Body,
    DecisionsQuery,
    Drain,
    Explain,
    Extend,
    HistoryQuery,
    Lookup,
    Move,
    Release,
    RoomsQuery,
    Undrain,
    ViewQuery,
)

NOON_MS = 1795348800000
INCARNATION = 1795302000000
SERVER = "sfu-eu-1"
ROOM = "standup"
ALLOCATION = "default-1234"
_EXPIRES_AT = "2026-11-22T12:01:00.000Z"
_HELD_UNTIL = "2026-11-22T12:00:30.000Z"
_REPLY_ADDRESS = direct_reply_address("reply@80154369", 688)
_ORDER = {"term": 7, "journal_offset": 1234}


def _events() -> list[EventData]:
    load = RoomLoad(room_id=ROOM, worker_id="3", peers=4, consumers=24, allocation_id=ALLOCATION)
    state = WorkerState(
        worker_id="3",
        state="running",
        consumers=24,
        producers=8,
        rooms=1,
        cpu_permille=120,
        memory_bytes=73_400_320,
    )
    return [
        ServerRegistered(
            server=ServerDescription(
                host="sfu-eu-1.example.org",
                ws_url_template="wss://{host}:{port}/?roomId={room_id}",
                region="eu-west",
                zone="eu-west-a",
                labels={"hardware": "c7"},
                media_ip="203.0.113.7",
                udp_ports=[40_000, 49_999],
            ),
            workers=[WorkerDescription(worker_id=str(number)) for number in range(4)],
        ),
        RoomCreated(room_id=ROOM, worker_id="3", allocation_id=ALLOCATION, expected_peers=4),
        WorkerStatus(workers=[state], rooms=[load], complete=True),
        RoomDeleted(room_id=ROOM, allocation_id=ALLOCATION, reason="empty"),
        ServerDraining(reason="kernel update", drain_by_ms=NOON_MS + 3_600_000),
        ServerDeregistered(reason="shut down"),
    ]


def _requests() -> list[Body]:
    return [
        Allocate(room_id=ROOM, peers=4, regions=["eu-west"], metadata={"tenant": "acme"}),
        Extend(room_id=ROOM, peers=8),
        Move(room_id=ROOM, if_generation=1, reason="rebalance"),
        Release(room_id=ROOM, allocation_id=ALLOCATION),
        Drain(server_id=SERVER, reason="kernel update", drain_by_ms=NOON_MS + 3_600_000),
        Undrain(server_id=SERVER, reason="updated"),
        Lookup(room_id=ROOM, min_offset=1234),
        ViewQuery(region="eu-west"),
        RoomsQuery(server_id=SERVER, state="active", limit=2),
        DecisionsQuery(after_offset=1233, limit=1),
        HistoryQuery(room_id=ROOM, limit=1),
        Explain(room_id=ROOM),
    ]


def _home() -> dict[str, Any]:
    return {
        "room_id": ROOM,
        "allocation_id": ALLOCATION,
        "generation": 1,
        "held_until": _HELD_UNTIL,
        "reserved_peers": 4,
        "reserved_consumers": 24,
        "room_state": "held",
        "server": HomeServer(
            server_id=SERVER,
            worker_id="3",
            host="sfu-eu-1.example.org",
            port=443,
            region="eu-west",
            liveness="up",
            ws_url="wss://sfu-eu-1.example.org:443/?roomId=standup",
        ),
        "routers": [HomeRouter(router=0, server_id=SERVER, worker_id="3")],
    }


def _decision() -> DecisionRecord:
    return DecisionRecord(
        offset=1234,
        recorded_at="2026-11-22T12:00:00.000Z",
        operation="allocate",
        request_id="req-1",
        room_id=ROOM,
        outcome="placed",
        server_id=SERVER,
        worker_id="3",
        decision={"policy": "least-loaded", "policy_version": 1},
    )


def _view() -> ViewReply:
    worker = WorkerView(
        worker_id="3",
        state="running",
        capacity=500,
        observed=24,
        used=24,
        headroom=476,
        cpu_permille=120,
        rooms=1,
    )
    server = ServerView(
        server_id=SERVER,
        liveness="up",
        administration="open",
        region="eu-west",
        incarnation=INCARNATION,
        silent_ms=1200,
        rooms=1,
        workers=[worker],
    )
    totals = ViewTotals(servers=1, workers=1, rooms=1, capacity=500, observed=24, used=24)
    return ViewReply(offset=1234, servers=[server], totals=totals, largest_room_peers=15, **_ORDER)


def _replies() -> dict[str, AnyReply]:
    entry = RoomEntry(
        room_id=ROOM,
        room_state="active",
        server_id=SERVER,
        worker_id="3",
        allocation_id=ALLOCATION,
        generation=1,
        peers=4,
        consumers=24,
        reserved_consumers=24,
    )
    record = HistoryRecord(
        offset=1235,
        recorded_at="2026-11-22T12:00:02.000Z",
        term=7,
        kind="event",
        what="room-created",
        status="applied",
        room_id=ROOM,
        server_id=SERVER,
    )
    moved = _home() | {"generation": 2, "allocation_id": "default-1301"}
    return {
        "allocate": PlacedReply(outcome="placed", **_home(), **_ORDER),
        "extend": PlacedReply(outcome="existing", **_home() | {"reserved_peers": 8}, **_ORDER),
        "move": PlacedReply(outcome="moved", **moved, **_ORDER),
        "release": ReleaseReply(
            room_id=ROOM, allocation_id=ALLOCATION, room_state="nowhere", **_ORDER
        ),
        "drain": DrainReply(server_id=SERVER, administration="draining", rooms=1, **_ORDER),
        "undrain": DrainReply(server_id=SERVER, administration="open", rooms=1, **_ORDER),
        "lookup": LookupReply(**_home(), **_ORDER),
        "view": _view(),
        "rooms": RoomsReply(rooms=[entry], **_ORDER),
        "decisions": DecisionsReply(decisions=[_decision()], next_offset=1234, **_ORDER),
        "history": HistoryReply(records=[record], next_offset=1235, more=True, **_ORDER),
        "explain": ExplainReply(
            room_id=ROOM,
            generation=1,
            lines=["sfu-eu-1/3 was the least loaded of 4 workers that fit"],
            decided=_decision(),
            **_ORDER,
        ),
        "error": _refusal(),
    }


def _refusal() -> ErrorReply:
    counts = {"servers": 12, "draining": 2, "stale": 1, "full": 9, "largest_room_peers": 3}
    return ErrorReply(
        error=ErrorBody(
            code=ErrorCode.NO_CAPACITY,
            retryable=True,
            retry_after_ms=2000,
            message="no worker has 24 consumers of headroom in eu-west",
            details=counts,
        ),
        **_ORDER,
    )


def _commands() -> list[Command]:
    life = {"incarnation": INCARNATION, "expires_at": _EXPIRES_AT}
    return [
        Register(expires_at=_EXPIRES_AT, known_incarnation=INCARNATION + 5000, refused_sequence=1),
        ReportRooms.model_validate(life),
        CloseRoom.model_validate(
            life
            | {
                "room_id": ROOM,
                "allocation_id": ALLOCATION,
                "created_sequence": 2,
                "reason": "moved",
            }
        ),
        DrainCommand.model_validate(
            life | {"reason": "kernel update", "drain_by_ms": NOON_MS + 3_600_000}
        ),
    ]


def _own_events() -> dict[str, dict[str, Any]]:
    room: dict[str, Any] = {
        "room_id": ROOM,
        "server_id": SERVER,
        "worker_id": "3",
        "generation": 1,
        "allocation_id": ALLOCATION,
    }
    server: dict[str, Any] = {"server_id": SERVER, "incarnation": INCARNATION}
    moved = {"generation": 2, "from_server_id": "sfu-eu-2", "reason": "rebalance"}
    conflict = {"server_id": "sfu-eu-2", "home_server_id": SERVER, "reason": "created outside home"}
    return {
        "room-allocated": room,
        "room-active": room,
        "room-ended": room | {"reason": "deleted"},
        "allocation-expired": room | {"reason": "not created within 30000 ms"},
        "room-stranded": room | {"reason": "server-lost"},
        "room-moved": room | moved,
        "room-conflict": {"room_id": ROOM} | conflict,
        "server-up": server,
        "server-stale": server | {"reason": "silent for 15000 ms"},
        "server-lost": server | {"reason": "silent for 60000 ms"},
        "server-rejected": server | {"reason": "older incarnation"},
        "server-drained": server,
        "capacity-low": {"region": "eu-west", "largest_room_peers": 3, "reason": "no-capacity"},
    }


def examples() -> dict[str, Outgoing]:
    """A published message of every kind by name: `event.room-created`, `reply.error`, ..."""
    made: dict[str, Outgoing] = {}
    for number, data in enumerate(_events(), start=1):
        event = encode_event(
            data,
            server_id=SERVER,
            event_id=f"01JD{number:02}",
            time_ms=NOON_MS + number * 1000,
            incarnation=INCARNATION,
            sequence=number,
            user_id=SERVER,
        )
        made[f"event.{event.type}"] = event
    for number, body in enumerate(_requests(), start=1):
        request = encode_request(
            body,
            request_id=f"req-{number}",
            correlation_id=f"call-{number}",
            reply_to=DIRECT_REPLY_TO,
            timeout_ms=15_000,
            user_id="backend",
        )
        made[f"request.{request.routing_key}"] = request
    for operation, reply in _replies().items():
        made[f"reply.{operation}"] = encode_reply(
            reply, reply_to=_REPLY_ADDRESS, correlation_id="call-1"
        )
    for number, command in enumerate(_commands(), start=1):
        told = encode_command(
            command, server_id=SERVER, command_id=f"default:1234:{number}", time_ms=NOON_MS
        )
        made[f"command.{told.type}"] = told
    for event_type, own in _own_events().items():
        made[f"own-event.{event_type}"] = encode_own_event(
            event_type, own, offset=1234, index=0, time_ms=NOON_MS
        )
    return made
