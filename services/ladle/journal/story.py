"""What became of a room after it got a home: one sentence for each record that says something.

Ladle's own events tell most of it, but not all: a server may delete a room whose place stays held
for a caller who was sent there, and then Ladle has nothing to announce. So what servers said and
callers asked is read as well, beside a memory of whether the room lives.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ladle.core.record import Kind, Record
from ladle.journal.chain import open_record
from ladle_contracts.times import to_rfc3339

Json = Mapping[str, Any]

LINES_MAX = 40
"""What happened afterwards, at most; of a longer story what callers asked in vain goes first."""

ENDED = {
    "released": "a caller gave it back before server {server} had created it",
    "unlisted": "server {server} left it out of the list of all rooms it has",
    "stranded": "nobody asked for it in time after its server {server} was lost",
    "too-old": "server {server} never lists its rooms, and this one was too old to be still there",
}
"""Why a room that its server did not delete is nowhere, by the code that `room-ended` gives."""

STRANDED = {
    "server-restarted": "server {server} restarted, and the room was lost with its memory",
    "server-deregistered": "server {server} said goodbye while it had the room",
    "worker-died": "its worker on server {server} died",
}
"""Why the home is lost, by the code of `room-stranded`; else the server fell silent."""

WITHOUT_EFFECT = {
    "another-allocation": "it had been created there anew by another caller, so it stays",
    "history": "the server had said something newer of the room before, so nothing changed",
    "older-incarnation": "that was the server before its restart, so nothing changed",
    "nowhere": "it had no home any more, so nothing changed",
    "not-home": "its home is another server, so nothing changed",
}
"""What an ignored word of a server meant; a copy of a word (`duplicate`) tells nothing new."""


@dataclass(frozen=True, slots=True)
class Chapter:
    """A record that says something of the room. events, commands: Ladle's, about this room alone.

    body: `origin`, `payload` and `outcome`, all empty where the content was erased.
    """

    record: Record
    body: Json
    events: tuple[Json, ...] = ()
    commands: tuple[Json, ...] = ()

    @property
    def at(self) -> str:
        """When it was recorded, RFC 3339."""
        return to_rfc3339(self.record.recorded_at_ms)

    @property
    def place(self) -> str:
        return f"record {self.record.offset}, term {self.record.term}"

    @property
    def is_erased(self) -> bool:
        return not self.record.body


def chapter_of(record: Record, room_id: str) -> Chapter:
    """What the record says of the room; ValueError where its content is no record's."""
    if not record.body:  # erased; the chain keeps its place
        return Chapter(record, {"origin": {}, "payload": {}, "outcome": {}})
    entry, outcome = open_record(record)
    said = [line for line in outcome.get("outbound", ()) if line["data"].get("room_id") == room_id]
    return Chapter(
        record,
        {"origin": entry.origin, "payload": entry.payload, "outcome": outcome},
        tuple(line for line in said if line["what"] == "event"),
        tuple(line for line in said if line["what"] == "command"),
    )


def tell(chapters: Iterable[Chapter], home: str | None, *, lives: bool) -> list[str]:
    """The story in order; home: the server that has the room when it begins.

    lives: that server had created the room already, as where a room was found and not placed.
    """
    story = _Story(home, lives)
    lines: list[tuple[bool, str]] = []
    for chapter in chapters:
        matters, sentences = story.read(chapter)
        lines += [(matters, f"{chapter.at}: {said} ({chapter.place}).") for said in sentences]
    return _shortened(lines)


def _shortened(lines: list[tuple[bool, str]]) -> list[str]:
    """At most LINES_MAX: the room's own fate stays before what callers asked meanwhile."""
    left = len(lines) - LINES_MAX
    if left <= 0:
        return [line for _, line in lines]
    minor = [number for number, (matters, _) in enumerate(lines) if not matters]
    major = [number for number, (matters, _) in enumerate(lines) if matters]
    out = set([*minor, *major][:left])
    kept = [line for number, (_, line) in enumerate(lines) if number not in out]
    return [f"Of what happened since, {left} things are left out here.", *kept]


class _Story:
    """Where the room is, as far as the records before have told."""

    def __init__(self, home: str | None, lives: bool) -> None:
        self._home = home
        self._lives = lives
        self._lived = lives

    def read(self, chapter: Chapter) -> tuple[bool, list[str]]:
        """(does it matter for where the room is, what to say of it)."""
        if chapter.is_erased:
            return True, ["what was recorded here was erased at somebody's wish"]
        said = [self._announced(event, chapter) for event in chapter.events]
        if said:
            return True, said
        kind = chapter.body["payload"].get("type")
        if kind == "room-deleted":
            return self._deleted(chapter)
        if kind == "room-created":
            return self._created(chapter)
        if chapter.record.kind == Kind.REQUEST:
            return _asked(chapter)
        return False, []

    # --- what Ladle announced --------------------------------------------------------------------

    def _announced(self, event: Json, chapter: Chapter) -> str:
        kind, data = event["type"], event["data"]
        server = data.get("server_id") or self._home or "that nobody named"
        told = _TOLD.get(kind)
        return kind if told is None else told(self, data, server, chapter)

    def _placed(self, data: Json, server: str, chapter: Chapter) -> str:
        self._home, self._lives, self._lived = server, False, False
        return f"it was placed on server {server}, generation {data.get('generation')}"

    def _moved(self, data: Json, server: str, chapter: Chapter) -> str:
        before = data.get("from_server_id")
        self._home, self._lives, self._lived = server, False, False
        said = f"it moved to server {server}, generation {data.get('generation')}"
        if before:
            said += f", away from server {before}"
        if chapter.body["payload"].get("operation") == "move":
            said += f", because {_who(chapter)} asked for it"
        if data.get("reason") == "home-not-heard":
            return f"{said}: a caller asked for it, and its home was not heard of any more"
        if str(data.get("reason", "")).startswith("created-"):
            return f"{said}: the room was created there, and its home did not have it"
        return said + _because(data.get("reason"))

    def _active(self, data: Json, server: str, chapter: Chapter) -> str:
        self._home, self._lives, self._lived = server, True, True
        if chapter.body["payload"].get("type") == "room-created":
            return f"server {server} created it"
        if data.get("reason") == "server-returned":
            return f"server {server} was heard again, and has the room still"
        return f"server {server} confirmed that it has the room"

    def _ended(self, data: Json, server: str, chapter: Chapter) -> str:
        self._lives = False
        payload, reason = chapter.body["payload"], data.get("reason")
        if payload.get("type") == "room-deleted":
            why = _because(payload["data"].get("reason"))
            return f"server {server} deleted it{why}; it ended, and has no home any more"
        if payload.get("operation") == "release":
            who = _who(chapter)
            had = "had it no longer" if self._lived else "had not created it"
            return f"{who} released it; server {server} {had}: it ended, and has no home any more"
        known = ENDED.get(str(reason))
        why = _because(reason) if known is None else ": " + known.format(server=server)
        return f"it ended, and has no home any more{why}"

    def _expired(self, data: Json, server: str, chapter: Chapter) -> str:
        # A list that lacks the room, or its age, ends a life without naming the room.
        gone = f"server {server} had it no longer, " if self._lives else ""
        back = " back" if self._lived else ""
        self._lives = False
        return (
            f"{gone}nobody had come{back} to server {server} in time, so its hold ran out; it "
            "ended, and has no home any more"
        )

    def _stranded(self, data: Json, server: str, chapter: Chapter) -> str:
        self._lives = False
        reason = str(data.get("reason"))
        known = STRANDED.get(reason, "its server {server} is not heard of any more")
        return f"{known.format(server=server)}; it waits for somebody to ask for it (stranded)"

    def _conflict(self, data: Json, server: str, chapter: Chapter) -> str:
        home = data.get("home_server_id")
        stays = f"its home stays server {home}" if home else "it has no home"
        return f"server {server} created a copy of it, which it was told to close; {stays}"

    # --- what servers said, without anything for Ladle to announce -------------------------------

    def _deleted(self, chapter: Chapter) -> tuple[bool, list[str]]:
        payload, outcome = chapter.body["payload"], chapter.body["outcome"]
        server, why = payload["source_server_id"], _because(payload["data"].get("reason"))
        if outcome.get("status") != "applied":
            return _ignored(f"server {server} said that it deleted it{why}", outcome)
        if server != self._home:
            return True, [f"server {server} deleted its copy of it{why}"]
        if not self._lives:
            return False, [
                f"server {server} said that it deleted it{why}, which it was not known to have"
            ]
        self._lives = False
        return True, [
            f"server {server} deleted it{why}; its place there is still held, because a caller "
            "was sent there not long before"
        ]

    def _created(self, chapter: Chapter) -> tuple[bool, list[str]]:
        payload, outcome = chapter.body["payload"], chapter.body["outcome"]
        server = payload["source_server_id"]
        if outcome.get("status") != "applied":
            return _ignored(f"server {server} said that it created it", outcome)
        if chapter.commands:
            return True, [
                f"server {server} created it, though a caller had given it back; it was told to "
                "close it"
            ]
        self._lives = self._lived = True
        return True, [f"server {server} created it again"]


_TOLD = {
    "room-allocated": _Story._placed,
    "room-active": _Story._active,
    "room-ended": _Story._ended,
    "allocation-expired": _Story._expired,
    "room-stranded": _Story._stranded,
    "room-moved": _Story._moved,
    "room-conflict": _Story._conflict,
}


def _asked(chapter: Chapter) -> tuple[bool, list[str]]:
    """A request that gave the room no other home says what it was answered."""
    reply = chapter.body["outcome"].get("reply")
    if reply is None:
        return False, []
    operation, who = chapter.body["payload"]["operation"], _who(chapter)
    answer = reply.get("outcome") or reply.get("error", {}).get("code") or reply["status"]
    if operation == "release" and chapter.commands:
        closing = ", ".join(sorted({line["server_id"] for line in chapter.commands}))
        return True, [f"{who} released it, so server {closing} was told to close it"]
    again = " again" if operation == "allocate" else ""
    return False, [f"{who} asked to {operation} it{again}, answered {answer}"]


def _ignored(said: str, outcome: Json) -> tuple[bool, list[str]]:
    reason = str(outcome.get("reason"))
    if reason == "duplicate":
        return False, []
    meant = WITHOUT_EFFECT.get(reason, f"which changed nothing ({reason})")
    return False, [f"{said}: {meant}"]


def _who(chapter: Chapter) -> str:
    """Who asked; `somebody` where the broker vouched for nobody."""
    origin = chapter.body["origin"]
    return str(origin.get("on_behalf_of") or origin.get("user") or "somebody")


def _because(reason: Any) -> str:
    """What a person or a server gave as its reason, if anything."""
    return f", for this reason: {reason}" if reason else ""
