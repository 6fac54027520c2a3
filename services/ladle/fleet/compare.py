"""Where Ladle's view differs from what really runs, in sentences and as JSON.

A hold is a promise and a stranded room a memory: neither has to run, so only rooms that Ladle
calls active are looked for on the servers, while every room that runs has to be active there.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from ladle.fleet.seen import RoomSeen, Seen, ServerSeen
from ladle.fleet.truth import RoomTruth, ServerTruth, Truth


class Kind(StrEnum):
    """What differs."""

    SERVER_UNKNOWN = "server-unknown"
    SERVER_NOT_UP = "server-not-up"
    SERVER_NOT_GONE = "server-not-gone"
    INCARNATION = "incarnation"
    WORKER_STATE = "worker-state"
    OBSERVED = "observed"
    ROOM_MISSING = "room-missing"
    ROOM_EXTRA = "room-extra"
    ROOM_ELSEWHERE = "room-elsewhere"
    ROOM_TWICE = "room-twice"
    ROOM_LOAD = "room-load"


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that the fleet and the view do not agree on; the values are as text."""

    kind: Kind
    server_id: str | None
    room_id: str | None
    fleet: str
    view: str
    sentence: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result at one offset; equal where there is no difference."""

    offset: int
    servers: int
    rooms: int
    differences: tuple[Difference, ...]

    @property
    def matches(self) -> bool:
        return not self.differences

    def sentences(self) -> list[str]:
        return [difference.sentence for difference in self.differences]

    def as_json(self) -> dict[str, Any]:
        return {
            "offset": self.offset,
            "servers": self.servers,
            "rooms": self.rooms,
            "matches": self.matches,
            "differences": [difference.as_json() for difference in self.differences],
        }


def compare(truth: Truth, seen: Seen) -> Comparison:
    """Hold the view against the fleet.

    Servers, workers and rooms that the fleet never had are looked at only where they belong to
    its servers: the cell may hold other media servers too.
    """
    differences = [*_servers(truth, seen), *_rooms(truth, seen)]
    return Comparison(seen.offset, len(truth.servers), len(truth.rooms), tuple(differences))


def _servers(truth: Truth, seen: Seen) -> Iterator[Difference]:
    for server_id, server in sorted(truth.servers.items()):
        known = seen.servers.get(server_id)
        if known is None:
            if server.running:
                sentence = f"{server_id} runs, and Ladle does not know it"
                kind = Kind.SERVER_UNKNOWN
                yield Difference(kind, server_id, None, "running", "unknown", sentence)
        elif server.running:
            yield from _running(server, known)
        elif known.liveness == "up":
            sentence = f"{server_id} does not run, and Ladle still calls it up"
            yield Difference(Kind.SERVER_NOT_GONE, server_id, None, "down", "up", sentence)


def _running(server: ServerTruth, known: ServerSeen) -> Iterator[Difference]:
    name = server.server_id
    if known.liveness != "up":
        sentence = f"{name} runs, and Ladle calls it {known.liveness}"
        yield Difference(Kind.SERVER_NOT_UP, name, None, "running", known.liveness, sentence)
    if known.incarnation != server.incarnation:
        life, last = str(server.incarnation), str(known.incarnation)
        sentence = f"{name} is in incarnation {life}, and Ladle knows {last}"
        yield Difference(Kind.INCARNATION, name, None, life, last, sentence)
    yield from _workers(server, known)


def _workers(server: ServerTruth, known: ServerSeen) -> Iterator[Difference]:
    name = server.server_id
    for worker_id, worker in sorted(server.workers.items()):
        heard = known.workers.get(worker_id)
        state = "running" if worker.running else "died"
        said = "unknown" if heard is None else "running" if heard.running else "died"
        if state != said:
            sentence = f"worker {worker_id} of {name} is {state}, and Ladle has it as {said}"
            yield Difference(Kind.WORKER_STATE, name, None, state, said, sentence)
        elif heard is not None and worker.running and heard.observed != worker.consumers:
            real, observed = str(worker.consumers), str(heard.observed)
            sentence = f"worker {worker_id} of {name} has {real} consumers, Ladle saw {observed}"
            yield Difference(Kind.OBSERVED, name, None, real, observed, sentence)


def _rooms(truth: Truth, seen: Seen) -> Iterator[Difference]:
    for room_id, lives in truth.rooms.items():
        if len(lives) > 1:
            places = " and ".join(_place(life) for life in lives)
            sentence = f"room {room_id} runs twice: on {places}"
            yield Difference(Kind.ROOM_TWICE, None, room_id, places, "", sentence)
        yield from _home(room_id, lives, seen.rooms.get(room_id))
    for room_id, room in sorted(seen.rooms.items()):
        ours = room.server_id in truth.servers
        if ours and room.is_active and room_id not in truth.rooms:
            place = _place(room)
            sentence = f"room {room_id} does not run, and Ladle has it active on {place}"
            yield Difference(Kind.ROOM_EXTRA, room.server_id, room_id, "", place, sentence)


def _home(
    room_id: str, lives: tuple[RoomTruth, ...], known: RoomSeen | None
) -> Iterator[Difference]:
    """A room that runs has to be active where (one of) its lives is."""
    server_id, place = lives[0].server_id, _place(lives[0])
    if known is None or not known.is_active:
        said = "nowhere" if known is None else known.state
        sentence = f"room {room_id} runs on {place}, and Ladle has it as {said}"
        yield Difference(Kind.ROOM_MISSING, server_id, room_id, place, said, sentence)
        return
    home = _place(known)
    life = next((life for life in lives if _place(life) == home), None)
    if life is None:
        sentence = f"room {room_id} runs on {place}, and Ladle has it on {home}"
        yield Difference(Kind.ROOM_ELSEWHERE, server_id, room_id, place, home, sentence)
    elif life.consumers != known.consumers:
        real, reported = str(life.consumers), str(known.consumers)
        sentence = f"room {room_id} on {home} has {real} consumers, Ladle saw {reported}"
        yield Difference(Kind.ROOM_LOAD, server_id, room_id, real, reported, sentence)


def _place(room: RoomTruth | RoomSeen) -> str:
    return f"{room.server_id}/{room.worker_id}"
