"""Folds one entry into the view, and says what came of it."""

from collections.abc import Callable, Mapping
from typing import Any

from ladle.core import administration, asks, capacity, compact_status, events, liveness, timers
from ladle.core.limits import NAMES
from ladle.core.record import Entry, Kind
from ladle.core.step import Step
from ladle.core.view import View
from ladle.core.words import Code

Outcome = dict[str, Any]


class JournalGap(Exception):
    """The journal skips an offset; folding past it would invent history."""


def apply(view: View, entry: Entry, recorded: Mapping[str, Any] | None = None) -> Outcome:
    """Fold one entry; O(log workers), and O(rooms of one server) for what concerns them all.

    Returns {"status": "applied" | "ignored" | "refused", "reason"?, "reply"?, "decision"?,
    "outbound": [{"what": "event" | "command", "type", "server_id", "data"}]}, JSON of integers,
    strings, booleans and None. recorded: the outcome in the journal, where it is replayed: what
    was decided is read from it. Raises JournalGap, the view unchanged, where an offset is skipped.
    """
    if entry.offset != view.offset + 1:
        raise JournalGap(f"record {entry.offset} after {view.offset}")
    step = Step(view, entry.offset, entry.recorded_at_ms)
    outcome = KINDS[entry.kind](step, entry, recorded)
    for server_id in view.changed_servers():
        administration.review(step, server_id)
    view.settle()
    if "decision" in outcome:
        _review_capacity(step, entry, outcome)
    view.offset, view.recorded_at_ms = entry.offset, entry.recorded_at_ms
    outcome["outbound"] = step.outbound
    return outcome


def _event(step: Step, entry: Entry, recorded: object) -> Outcome:
    return _said(events.event(step, entry.payload))


def _statuses(step: Step, entry: Entry, recorded: object) -> Outcome:
    """Many plain statuses in one record, in the order in which they came."""
    ignored = []
    for position, packed in enumerate(entry.payload["statuses"]):
        reason = events.event(step, compact_status.unpack(packed))
        if reason is not None:
            ignored.append([position, reason])
    outcome: Outcome = {"status": "applied"}
    if ignored:
        outcome["ignored"] = ignored
    return outcome


def _request(step: Step, entry: Entry, recorded: Mapping[str, Any] | None) -> Outcome:
    return asks.request(step, entry, recorded)


def _tick(step: Step, entry: Entry, recorded: object) -> Outcome:
    return _said(timers.tick(step))


def _settings(step: Step, entry: Entry, recorded: object) -> Outcome:
    """Limits as they are from now on; None: the default again."""
    for name in sorted(NAMES & set(entry.payload)):
        step.view.set_state(name, entry.payload[name])
    unknown = sorted(set(entry.payload) - NAMES)
    return {"status": "applied", "unknown": unknown} if unknown else {"status": "applied"}


def _rejected(step: Step, entry: Entry, recorded: object) -> Outcome:
    """Input that broke the contract: it is counted, and changes nothing."""
    return {"status": "refused", "reason": entry.payload["reason"]}


def _nobody_listened(step: Step, entry: Entry, recorded: object) -> Outcome:
    """A writer, or its connection, came up: what piled up is read first, silence counts anew."""
    step.view.set_state(timers.CAUGHT_UP, None)
    liveness.restart_clocks(step)
    return {"status": "applied"}


def _caught_up(step: Step, entry: Entry, recorded: object) -> Outcome:
    """What had piled up is read; what was said meanwhile stands behind it and is not read yet.

    So silence counts from here: a backlog that took long to read, or a marker that a frozen
    process kept from us, would otherwise make servers stale whose words are the next in the queue.
    """
    step.view.set_state(timers.CAUGHT_UP, True)
    liveness.restart_clocks(step)
    return {"status": "applied"}


def _noted(step: Step, entry: Entry, recorded: object) -> Outcome:
    return {"status": "applied"}


def _said(ignored: str | None) -> Outcome:
    return {"status": "applied"} if ignored is None else {"status": "ignored", "reason": ignored}


def _review_capacity(step: Step, entry: Entry, outcome: Outcome) -> None:
    """Who found no place asked for more than is left; one too large for any worker did not."""
    decision = outcome["decision"]
    error = decision.get("error")
    short = error is not None and error["code"] in (Code.NO_CAPACITY, Code.NO_SERVERS)
    room_id = entry.payload["body"]["room_id"] or entry.inputs["room_id"]
    capacity.review(step, room_id, decision["wish"]["cost"] if short else 0)


KINDS: Mapping[str, Callable[[Step, Entry, Mapping[str, Any] | None], Outcome]] = {
    Kind.EVENT: _event,
    Kind.STATUSES: _statuses,
    Kind.REQUEST: _request,
    Kind.TICK: _tick,
    Kind.SETTINGS: _settings,
    Kind.REJECTED: _rejected,
    Kind.WRITER_ACTIVE: _nobody_listened,
    Kind.BUS_UP: _nobody_listened,
    Kind.CAUGHT_UP: _caught_up,
    Kind.CLOCK_STEP: _noted,
    Kind.ERASED: _noted,
    Kind.SNAPSHOT: _noted,
    Kind.ARCHIVED: _noted,
    Kind.LOSS_ACCEPTED: _noted,
}
