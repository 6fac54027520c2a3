"""Why a room is where it is: the record that gave it its home, and what became of it since.

A record names one room at most in its columns. What a tick or a server's status did to a room is
found in the outcomes of the ticks and of the home's records. What they say, story.py tells.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from ladle.core import explanation as sentences
from ladle.core.record import Kind, Record
from ladle.core.rows import COLUMNS
from ladle.journal.store import Key, Values
from ladle.journal.story import Chapter, Json, chapter_of, tell

PAGE = 500
SCAN_MAX = 20_000
"""Records looked at for each question: an explanation may end early, it never takes long."""

GIVES_HOME = ("room-allocated", "room-moved")


class Told(Protocol):
    """The part of a store that an explanation reads; the audit has it of any log."""

    async def history(
        self,
        *,
        after_offset: int,
        limit: int,
        room_id: str | None = None,
        server_id: str | None = None,
        kinds: Sequence[str] = (),
    ) -> list[Record]: ...

    async def record(self, offset: int) -> Record | None: ...

    async def row(self, table: str, key: Key) -> Values | None: ...


@dataclass(frozen=True, slots=True)
class Explanation:
    """generation: None where no home was ever found. record: of the decision or the adoption."""

    generation: int | None
    record: Record
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Home:
    """Where the room got a home: the record, and the event that says which."""

    chapter: Chapter
    event: Json

    @property
    def generation(self) -> int:
        generation: int = self.event["data"]["generation"]
        return generation


@dataclass(frozen=True, slots=True)
class Present:
    """The home that the room has: its generation, and the record that made its allocation."""

    generation: int
    offset: int


async def explanation(
    store: Told, room_id: str, *, generation: int | None = None
) -> Explanation | None:
    """The last home of the room, or that of a generation, in sentences; None for an unknown one.

    A room that was only ever refused is explained by its last refusal.
    """
    present = await _present(store, room_id)
    # A name that is used every day has a history longer than is looked at: the home that it has
    # is told from its own record on, and never an older one in its place.
    since = present.offset - 1 if present and generation in (None, present.generation) else 0
    chapters = [chapter_of(r, room_id) async for r in _history(store, since, room_id=room_id)]
    homes = _homes(chapters) or _homes(await _adoption(store, room_id, present))
    if generation is None and not homes:
        return _refusal(chapters, room_id)
    wanted = [home for home in homes if generation in (None, home.generation)]
    if not wanted:
        return None
    home = wanted[-1]
    until = next((h.chapter.record.offset for h in homes[homes.index(home) + 1 :]), None)
    lines = [*_beginning(home, room_id)]
    lines += await _afterwards(store, room_id, home, chapters, until)
    return Explanation(home.generation, home.chapter.record, tuple(lines))


async def _history(store: Told, after: int, **wanted: Any) -> AsyncIterator[Record]:
    for _ in range(SCAN_MAX // PAGE):
        records = await store.history(after_offset=after, limit=PAGE, **wanted)
        for record in records:
            yield record
        if len(records) < PAGE:
            return
        after = records[-1].offset


def _homes(chapters: list[Chapter]) -> list[Home]:
    """Every home that the chapters gave the room, in order.

    A `room-active` of a generation that nobody had allocated is an adoption.
    """
    homes: list[Home] = []
    for chapter in chapters:
        for event in chapter.events:
            kind, generation = event["type"], event["data"].get("generation")
            known = bool(homes) and homes[-1].generation == generation
            if kind in GIVES_HOME or (kind == "room-active" and not known):
                homes.append(Home(chapter, event))
    return homes


async def _present(store: Told, room_id: str) -> Present | None:
    """The room as it is now; None where it is nowhere. Its allocation id names its record."""
    row = await store.row("room", (room_id,))
    if row is None:
        return None
    room = dict(zip(COLUMNS["room"], row, strict=True))
    offset = room["allocation_id"].split(":")[-2:-1]
    known = bool(offset) and offset[0].isdigit()
    return Present(room["generation"], int(offset[0])) if known else None


async def _adoption(store: Told, room_id: str, present: Present | None) -> list[Chapter]:
    """A status listed a room that nobody had placed: only the room itself says in which record."""
    record = await store.record(present.offset) if present else None
    return [] if record is None else [chapter_of(record, room_id)]


def _refusal(chapters: list[Chapter], room_id: str) -> Explanation | None:
    for chapter in reversed(chapters):
        if "decision" in chapter.body["outcome"]:
            lines = (_asked(chapter), *_decided(chapter, room_id))
            return Explanation(None, chapter.record, lines)
    return None


def _beginning(home: Home, room_id: str) -> list[str]:
    """How the room came to this home."""
    chapter, data = home.chapter, home.event["data"]
    if "decision" in chapter.body["outcome"]:
        return [_asked(chapter), *_decided(chapter, room_id)]
    server = data.get("server_id", "a server")
    return [
        f"{chapter.at}: server {server} said that room {room_id} lives there, which nobody had "
        f"decided; that server became its home, generation {home.generation} ({chapter.place})."
    ]


def _asked(chapter: Chapter) -> str:
    payload, origin = chapter.body["payload"], chapter.body["origin"]
    who = origin.get("on_behalf_of") or origin.get("user") or "somebody"
    return (
        f"{chapter.at}: {who} asked to {payload['operation']} it, request "
        f"{payload['request_id']} ({chapter.place})."
    )


def _decided(chapter: Chapter, room_id: str) -> list[str]:
    return sentences.explain(chapter.body["outcome"]["decision"], room_id)


async def _afterwards(
    store: Told, room_id: str, home: Home, chapters: list[Chapter], until: int | None
) -> list[str]:
    """What became of it, from this home to the next: one line a record that says something."""
    born = home.chapter.record.offset
    server_id = home.event["data"].get("server_id")
    found = {
        c.record.offset: c
        for c in chapters
        if c.record.offset > born and (until is None or c.record.offset <= until)
    }
    # Ticks and the home's own records name no room in their columns.
    wanted: list[dict[str, Any]] = [{"kinds": (Kind.TICK.value,)}]
    if server_id is not None:
        wanted.append({"server_id": server_id})
    for each in wanted:
        found |= await _naming(store, room_id, born, until, **each)
    # A status among many brings home what was given up with its server; looked for only there.
    for lost in [c for c in found.values() if _says(c, "room-stranded")]:
        after = lost.record.offset
        later = min((offset for offset in found if offset > after), default=until)
        found |= await _naming(store, room_id, after, later, kinds=(Kind.STATUSES.value,))
    placed = home.event["type"] in GIVES_HOME
    return tell([found[offset] for offset in sorted(found)], server_id, lives=not placed)


async def _naming(
    store: Told, room_id: str, after: int, until: int | None, **wanted: Any
) -> dict[int, Chapter]:
    """Of the wanted records those whose bytes name the room; only those are opened."""
    needle = orjson.dumps(room_id)
    found: dict[int, Chapter] = {}
    async for record in _history(store, after, **wanted):
        if until is not None and record.offset > until:
            break
        if needle in record.body:
            found[record.offset] = chapter_of(record, room_id)
    return found


def _says(chapter: Chapter, kind: str) -> bool:
    return any(event["type"] == kind for event in chapter.events)
