"""The smallest Ladle that can answer: real decoding and encoding, scripted answers."""

from collections import deque
from collections.abc import Callable
from typing import Any

from ladle_contracts.envelope import Request, decode_request, encode_reply
from ladle_contracts.link import Link, Message
from ladle_contracts.replies import ErrorBody, ErrorCode, ErrorReply, PlacedReply
from ladle_contracts.requests import Allocate, Body
from ladle_contracts.topology import Topology, is_reply_address

Answer = dict[str, Any] | PlacedReply | ErrorReply | None
HOME: dict[str, Any] = {
    "status": "ok",
    "term": 7,
    "journal_offset": 1234,
    "room_id": "standup",
    "allocation_id": "al-1",
    "generation": 1,
    "reserved_peers": 4,
    "reserved_consumers": 24,
    "room_state": "held",
    "server": {"server_id": "sfu-1", "worker_id": "3", "host": "h", "port": 443, "liveness": "up"},
    "routers": [{"router": 0, "server_id": "sfu-1", "worker_id": "3"}],
}
RECORD = {"status": "ok", "term": 7, "journal_offset": 1234}
PAGE = {**RECORD, "next_offset": 5, "more": True}
ANSWERS: dict[str, dict[str, Any]] = {
    "allocate": {**HOME, "outcome": "placed"},
    "extend": {**HOME, "outcome": "existing", "fits": False},
    "move": {**HOME, "outcome": "moved", "generation": 2},
    "release": {
        **RECORD,
        "room_id": "standup",
        "allocation_id": "al-1",
        "room_state": "nowhere",
    },
    "drain": {**RECORD, "server_id": "sfu-1", "administration": "draining", "rooms": 3},
    "undrain": {**RECORD, "server_id": "sfu-1", "administration": "open", "rooms": 3},
    "lookup": HOME,
    "view": {
        **RECORD,
        "offset": 1234,
        "servers": [],
        "totals": dict.fromkeys(["servers", "workers", "rooms", "capacity", "observed", "used"], 0),
        "largest_room_peers": 0,
    },
    "rooms": {**RECORD, "rooms": [], "more": False},
    "decisions": {**PAGE, "decisions": []},
    "history": {**PAGE, "records": []},
    "explain": {**RECORD, "room_id": "standup", "generation": 1, "lines": ["because"]},
}


def refusal(
    code: ErrorCode,
    *,
    retryable: bool = False,
    after_ms: int | None = None,
    offset: int | None = None,
) -> ErrorReply:
    body = ErrorBody(
        code=code, retryable=retryable, retry_after_ms=after_ms, message="no", details={"full": 9}
    )
    return ErrorReply(error=body, term=7, journal_offset=offset)


class Responder:
    """Answers from `script` (None: the answer is lost), then with ANSWERS; echoes the room's id."""

    def __init__(self, link: Link, cell: str = "default") -> None:
        self.link = link
        self.topology = Topology(cell)
        self.requests: list[Request] = []
        self.script: deque[Answer] = deque()
        self.held: list[tuple[Request, Answer]] | None = None
        self.recorded: dict[str, Answer] = {}
        self.on_request: Callable[[Request], None] = lambda _: None

    async def start(self) -> None:
        for queue in (self.topology.requests, self.topology.queries):
            await self.link.consume(queue, self.take, prefetch=1_000)

    def take(self, messages: list[Message]) -> None:
        for message in messages:
            request = decode_request(message)
            self.requests.append(request)
            self.on_request(request)
            answer = self._answer(request)
            if self.held is not None:
                self.held.append((request, answer))
            else:
                self.say(request, answer)
        self.link.ack(messages)

    def _answer(self, request: Request) -> Answer:
        """A write's answer is the recorded one where its id was seen, as with Ladle."""
        if request.is_write and request.request_id in self.recorded:
            return self.recorded[request.request_id]
        scripted: list[Answer] = [self.script.popleft()] if self.script else []
        answer = (scripted[0] if scripted else None) or self._usual(request)
        is_recorded = not isinstance(answer, ErrorReply) or answer.journal_offset is not None
        if request.is_write and is_recorded:
            self.recorded[request.request_id] = answer
        return None if scripted == [None] else answer

    def _usual(self, request: Request) -> dict[str, Any]:
        answer = dict(ANSWERS[request.operation])
        if "room_id" in answer:
            answer["room_id"] = getattr(request.body, "room_id", None) or "made-up"
        return answer

    def say(self, request: Request, answer: Answer) -> None:
        if answer is not None:
            assert request.reply_to is not None
            assert is_reply_address(request.reply_to)
            reply = encode_reply(
                answer, reply_to=request.reply_to, correlation_id=request.correlation_id
            )
            self.link.send([reply])

    def release(self) -> None:
        """Say what was held, the last first."""
        held, self.held = self.held or [], None
        for request, answer in reversed(held):
            self.say(request, answer)

    @property
    def ids(self) -> list[str]:
        return [request.request_id for request in self.requests]

    @property
    def bodies(self) -> list[Body]:
        return [request.body for request in self.requests]

    @property
    def allocations(self) -> list[Allocate]:
        return [body for body in self.bodies if isinstance(body, Allocate)]
