"""A Ladle on paper: just enough answers to run a fleet against before the real service.

It believes what it hears and places in turn, without a journal. `deaf_to` makes it
overlook a type of event and `forgetful` answer every ask with a new home: bugs that the fleet's
comparison has to find.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterable
from typing import Any

from ladle_contracts.commands import CloseRoom, Command, DrainCommand, ReportRooms
from ladle_contracts.envelope import (
    Event,
    Request,
    decode_event,
    decode_request,
    encode_command,
    encode_reply,
)
from ladle_contracts.events import (
    RoomCreated,
    RoomDeleted,
    ServerDeregistered,
    ServerDraining,
    ServerRegistered,
    WorkerStatus,
)
from ladle_contracts.link import Message
from ladle_contracts.requests import Allocate, Extend, Release
from ladle_contracts.topology import Topology
from tests.fixtures.memory_link import MemoryLink


class PaperLadle:
    """Start it on an open link; `close_room`, `report_rooms` send commands as Ladle would."""

    def __init__(
        self, link: MemoryLink, cell: str, *, deaf_to: Iterable[str] = (), forgetful: bool = False
    ) -> None:
        self._link = link
        self.broker = link.broker
        self._cell = cell
        self._topology = Topology(cell)
        self._deaf_to = frozenset(deaf_to)
        self._forgetful = forgetful
        self._turns = itertools.count()
        self._ids = itertools.count(1)
        self.offset = 0
        self.servers: dict[str, dict[str, Any]] = {}
        self.rooms: dict[str, dict[str, Any]] = {}
        self.events: list[Event] = []
        self.refuse_with: str | None = None
        self.silent = False

    async def start(self) -> None:
        await self._link.consume(self._topology.inbox, self._on_events, prefetch=500)
        await self._link.consume(self._topology.requests, self._on_requests, prefetch=500)
        await self._link.consume(self._topology.queries, self._on_requests, prefetch=500)

    # Events

    def _on_events(self, messages: list[Message]) -> None:
        for message in messages:
            event = decode_event(message)
            self.offset += 1
            self.events.append(event)
            if event.type not in self._deaf_to:
                self._fold(event)
        self._link.ack(messages)

    def _fold(self, event: Event) -> None:
        server = self.servers.setdefault(event.server_id, {"liveness": "up", "workers": {}})
        if server.get("incarnation") != event.incarnation:
            self._lose_rooms(event.server_id)
            server.update(incarnation=event.incarnation, open=True, workers={})
        server["liveness"] = "up"
        match event.data:
            case ServerRegistered() as data:
                server["workers"] = {
                    worker.worker_id: {"state": "running", "observed": 0, "cpu": 0}
                    for worker in data.workers
                }
            case ServerDraining():
                server["open"] = False
            case ServerDeregistered():
                server["liveness"] = "lost"
                self._lose_rooms(event.server_id)
            case RoomCreated() as data:
                self._active(data.room_id, event.server_id, data.worker_id, data.allocation_id)
            case RoomDeleted() as data:
                room = self.rooms.get(data.room_id)
                if room is not None and room["server_id"] == event.server_id:
                    del self.rooms[data.room_id]
            case WorkerStatus() as data:
                self._on_status(event.server_id, server, data)

    def _on_status(self, server_id: str, server: dict[str, Any], data: WorkerStatus) -> None:
        for worker in data.workers:
            server["workers"][worker.worker_id] = {
                "state": worker.state,
                "observed": worker.consumers,
                "cpu": worker.cpu_permille,
            }
            if worker.state == "died":
                self._lose_rooms(server_id, worker.worker_id)
        for load in data.rooms or []:
            self._active(load.room_id, server_id, load.worker_id, load.allocation_id)
            self.rooms[load.room_id].update(peers=load.peers, consumers=load.consumers)
        if data.complete:
            listed = {load.room_id for load in data.rooms or []}
            for room_id in self._rooms_of(server_id) - listed:
                if self.rooms[room_id]["room_state"] == "active":
                    del self.rooms[room_id]

    def _active(
        self, room_id: str, server_id: str, worker_id: str | None, allocation_id: str | None
    ) -> None:
        room = self.rooms.setdefault(room_id, {"generation": 1})
        room.update(
            server_id=server_id,
            worker_id=worker_id,
            allocation_id=allocation_id or room.get("allocation_id", f"al-{next(self._ids)}"),
            room_state="active",
        )

    def _rooms_of(self, server_id: str) -> set[str]:
        return {name for name, room in self.rooms.items() if room["server_id"] == server_id}

    def _lose_rooms(self, server_id: str, worker_id: str | None = None) -> None:
        for room_id in self._rooms_of(server_id):
            room = self.rooms[room_id]
            if worker_id in (None, room["worker_id"]) and room["room_state"] == "active":
                room["room_state"] = "stranded"

    # Requests

    def _on_requests(self, messages: list[Message]) -> None:
        for message in messages:
            request = decode_request(message)
            if self.silent or request.reply_to is None:
                continue
            self.offset += request.is_write
            reply = encode_reply(
                self._answer(request),
                reply_to=request.reply_to,
                correlation_id=request.correlation_id,
            )
            self._link.send([reply])
        self._link.ack(messages)

    def _answer(self, request: Request) -> dict[str, Any]:
        body = request.body
        if self.refuse_with is not None and request.is_write:
            return _error(self.refuse_with)
        if isinstance(body, Allocate):
            return self._allocate(body.room_id or "made")
        if isinstance(body, Extend):
            return self._placed(body.room_id, "existing")
        if isinstance(body, Release):
            self.rooms.pop(body.room_id, None)
            named = {"room_id": body.room_id, "allocation_id": body.allocation_id}
            return self._ok(**named, room_state="nowhere")
        if request.operation == "view":
            return self._view()
        rooms = [
            {
                key: value
                for key, value in {"room_id": name, **self.rooms[name]}.items()
                if value is not None
            }
            for name in sorted(self.rooms)
        ]
        after = getattr(body, "after", None)
        later = [room for room in rooms if after is None or room["room_id"] > after]
        # Pages of seven: nobody may take the first page for the whole.
        return self._ok(rooms=later[:7], more=len(later) > 7)

    def _allocate(self, room_id: str) -> dict[str, Any]:
        room = self.rooms.get(room_id)
        known = room is not None and room["room_state"] != "stranded"
        if known and not self._forgetful:
            return self._placed(room_id, "existing")
        places = [
            (server_id, worker_id)
            for server_id, server in sorted(self.servers.items())
            if server["liveness"] == "up" and server["open"]
            for worker_id, worker in sorted(server["workers"].items())
            if worker["state"] == "running"
        ]
        if not places:
            return _error("no-servers")
        server_id, worker_id = places[next(self._turns) % len(places)]
        self.rooms[room_id] = {
            "server_id": server_id,
            "worker_id": worker_id,
            "allocation_id": f"al-{next(self._ids)}",
            "generation": 1 if room is None or self._forgetful else room["generation"] + 1,
            "room_state": "held",
        }
        return self._placed(room_id, "moved" if room else "placed")

    def _placed(self, room_id: str, outcome: str) -> dict[str, Any]:
        room = self.rooms.get(room_id)
        if room is None:
            return _error("unknown-room")
        home = {"server_id": room["server_id"], "worker_id": room["worker_id"]}
        server = {**home, "host": "sfu.example.org", "port": 443, "liveness": "up"}
        return self._ok(
            outcome=outcome,
            room_id=room_id,
            allocation_id=room["allocation_id"],
            generation=room["generation"],
            reserved_peers=2,
            reserved_consumers=4,
            room_state=room["room_state"],
            server=server,
            routers=[{"router": 0, **home}],
        )

    def _view(self) -> dict[str, Any]:
        servers = []
        for server_id, server in sorted(self.servers.items()):
            workers = [
                {
                    "worker_id": worker_id,
                    "state": worker["state"],
                    "capacity": 500,
                    "observed": worker["observed"],
                    "used": worker["observed"],
                    "headroom": 500 - worker["observed"],
                    "cpu_permille": worker["cpu"],
                    "rooms": 0,
                }
                for worker_id, worker in sorted(server["workers"].items())
            ]
            servers.append(
                {
                    "server_id": server_id,
                    "liveness": server["liveness"],
                    "administration": "open",
                    "incarnation": server["incarnation"],
                    "silent_ms": 0,
                    "rooms": len(self._rooms_of(server_id)),
                    "workers": workers,
                }
            )
        totals = dict.fromkeys(("servers", "workers", "rooms", "capacity", "observed", "used"), 0)
        return self._ok(offset=self.offset, servers=servers, totals=totals, largest_room_peers=16)

    def _ok(self, **fields: Any) -> dict[str, Any]:
        return {"status": "ok", "term": 1, "journal_offset": self.offset, **fields}

    # Commands

    async def report_rooms(self, server_id: str) -> None:
        await self._command(server_id, ReportRooms(expires_at="2999-01-01T00:00:00Z"))

    async def close_room(self, server_id: str, room_id: str, **life: Any) -> None:
        command = CloseRoom(
            expires_at="2999-01-01T00:00:00Z",
            incarnation=self.servers[server_id]["incarnation"],
            room_id=room_id,
            reason="test",
            **life,
        )
        await self._command(server_id, command)

    async def drain(self, server_id: str) -> None:
        await self._command(server_id, DrainCommand(expires_at="2999-01-01T00:00:00Z", reason="x"))

    async def _command(self, server_id: str, command: Command) -> None:
        message = encode_command(
            command,
            server_id=server_id,
            command_id=f"cmd-{next(self._ids)}",
            time_ms=1_800_000_000_000,
            cell=self._cell,
        )
        await self._link.publish(message)

    async def until(self, type_: str, count: int = 1) -> None:
        """Wait until that many events of a type have come."""
        await until(lambda: sum(event.type == type_ for event in self.events) >= count)


async def until(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    """Wait for something that the loop's other tasks bring about."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.005)


def _error(code: str) -> dict[str, Any]:
    retryable = code in ("no-capacity", "no-servers", "unavailable")
    error = {"code": code, "retryable": retryable, "message": code, "details": {}}
    return {"status": "error", "error": error}
