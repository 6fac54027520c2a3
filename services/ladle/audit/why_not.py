"""Why a room did not go to some server: the decision made again, with only that server in view."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from ladle.audit.export_rows import Moment
from ladle.audit.replay import Replay
from ladle.audit.source import Source
from ladle.audit.verify import Progress
from ladle.core.decide import choose, seed_of, wish_of
from ladle.core.explanation import why_not as sentences
from ladle.core.record import Kind, Record
from ladle.core.view import View
from ladle.journal.chain import Opened, open_record

CHOOSING = ("allocate", "move")
"""Operations that look for a home; an extension stays on the one that there is."""


class NoDecision(Exception):
    """No record decides about the room, or none with the generation asked for."""


class NoServer(Exception):
    """The server was not registered then. servers: those that were, ascending."""

    def __init__(self, servers: list[str], offset: int) -> None:
        super().__init__(f"no such server before record {offset}")
        self.servers = servers
        self.offset = offset


@dataclass(frozen=True, slots=True)
class WhyNot:
    """offset, recorded_at_ms: of the record. decision: recorded; pinned: to the server alone."""

    offset: int
    recorded_at_ms: int
    decision: Mapping[str, Any]
    pinned: Mapping[str, Any]
    lines: list[str]


def why_not(
    source: Source,
    room_id: str,
    server_id: str,
    *,
    generation: int | None = None,
    progress: Progress = lambda records, share: None,
) -> WhyNot:
    """Of the last decision about the room, or of the one that made a generation of it.

    Raises NoDecision, NoServer, and SourceError as the replay does.
    """
    offset = _last_decision(source, room_id, generation)
    before = Moment(offset=offset - 1)
    replay = Replay(source, progress, near=before)
    replay.to(before)
    opened = replay.peek()
    assert opened is not None, "the record was there a moment ago"
    decision = opened.outcome["decision"]
    if server_id not in replay.view.servers:
        raise NoServer(sorted(replay.view.servers), offset)
    pinned = _pinned(replay.view, opened, server_id)
    return WhyNot(
        offset,
        opened.entry.recorded_at_ms,
        decision,
        pinned,
        sentences(decision, pinned, server_id),
    )


def _pinned(view: View, opened: Opened, server_id: str) -> Mapping[str, Any]:
    entry = opened.entry
    wished = wish_of(view, entry)._replace(server_id=server_id)
    return choose(view, wished, seed_of(entry), entry.payload["operation"]).record


def _last_decision(source: Source, room_id: str, generation: int | None) -> int:
    """The offset of the record; what cannot be read is the replay's to tell."""
    needle, found = orjson.dumps(room_id), None
    for page in source.pages():
        for item in page:
            if not isinstance(item, Record) or item.kind != Kind.REQUEST or needle not in item.body:
                continue
            if _decides(open_record(item), room_id, generation):
                found = item.offset
    if found is None:
        raise NoDecision
    return found


def _decides(opened: Opened, room_id: str, generation: int | None) -> bool:
    entry, outcome = opened.entry, opened.outcome
    if entry.payload["operation"] not in CHOOSING or "decision" not in outcome:
        return False
    if room_id != (entry.payload["body"].get("room_id") or entry.inputs.get("room_id")):
        return False
    return generation in (None, outcome["reply"].get("generation"))
