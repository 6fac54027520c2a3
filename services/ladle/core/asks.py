"""What callers ask and operators order: the writing operations, each to one reply."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ladle.core import administration, answer, closings, ownership, room, wish
from ladle.core.answer import Reply
from ladle.core.case import Asked
from ladle.core.decide import Decision, decide
from ladle.core.record import Entry, canonical
from ladle.core.room_table import What
from ladle.core.rows import Request
from ladle.core.step import ImpossibleState, Step
from ladle.core.words import Code, Phase

Body = Mapping[str, Any]


@dataclass(slots=True)
class Ask:
    """One request on its way. `recorded`: its outcome, where the journal is replayed."""

    step: Step
    entry: Entry
    recorded: Mapping[str, Any] | None
    decision: Decision | None = None

    @property
    def body(self) -> Body:
        body: Body = self.entry.payload["body"]
        return body

    @property
    def operation(self) -> str:
        operation: str = self.entry.payload["operation"]
        return operation

    @property
    def user(self) -> str:
        """Who asks, or the one for whom a proxy asks; empty: nobody whom the broker vouches for."""
        origin = self.entry.origin
        user: str = origin.get("on_behalf_of") or origin.get("user") or ""
        return user

    @property
    def room_id(self) -> str:
        """The caller's, or the one that the writer made for a caller who named none."""
        room_id: str = self.body["room_id"] or self.entry.inputs["room_id"]
        return room_id

    def choose(self) -> Decision:
        """The decision in the record, where there is one: a replay never chooses again."""
        if self.recorded is None:
            self.decision = decide(self.step.view, self.entry)
        elif self.recorded.get("decision") is None:
            raise ImpossibleState(f"record {self.entry.offset} has no decision to replay")
        else:
            self.decision = Decision(self.recorded["decision"])
        return self.decision


def request(step: Step, entry: Entry, recorded: Mapping[str, Any] | None) -> dict[str, Any]:
    """Fold one request: {"status", "reason"?, "reply"?, "decision"?}.

    A repetition whose answer is recorded is ignored: the writer answers it from that record.
    """
    view, payload = step.view, entry.payload
    ask = Ask(step, entry, recorded)
    key = (ask.user, payload["operation"], payload["request_id"])
    before = view.requests.get(key)
    if before is not None and before.digest == payload["digest"]:
        return {"status": "ignored", "reason": "repeated", "recorded_at_offset": before.offset}
    if before is not None:
        reply = answer.refused(
            Code.CONFLICT, f"request_id {key[2]} was used for another {key[1]} a short while ago"
        )
        return {"status": "refused", "reason": str(Code.CONFLICT), "reply": reply}
    reply = OPERATIONS[payload["operation"]](ask)
    expires_at_ms = step.now_ms + view.limits.request_ms
    view.put(Request(*key, payload["digest"], step.offset, expires_at_ms))
    outcome: dict[str, Any] = {"status": "applied", "reply": reply}
    if reply["status"] == "error":
        outcome["status"], outcome["reason"] = "refused", reply["error"]["code"]
    if ask.decision is not None:
        outcome["decision"] = dict(ask.decision.record)
    return outcome


# --- rooms ---------------------------------------------------------------------------------------


def allocate(ask: Ask) -> Reply:
    """The room's home: the one that it has, or a new one."""
    step, room_id = ask.step, ask.room_id
    if not room.needs_home(step.view, room_id):
        wished = wish.to_allocate(ask.body, None)
        asked = Asked(wished.peers, wished.publishers, wished.streams, wished.cost, _hold_ms(ask))
        # Who asks for more peers would extend it, by another word.
        asked = asked._replace(may_raise=_may_change(ask))
        case = room.ask(step, room_id, What.ASKED_AGAIN, asked)
        return answer.placed(step.view, room_id, "existing", fits=case.fits)
    decision = ask.choose()
    if decision.error is not None:
        if room.is_unconfirmed(step.view, room_id):
            # Nothing better is known than where it was promised: it may still be there.
            fits = step.view.rooms[room_id].reserved >= decision.wish["cost"]
            return answer.placed(step.view, room_id, "existing", fits=fits)
        return _refusal(decision)
    what = What.MOVED if room_id in step.view.rooms else What.PLACED
    reason = "home-not-heard" if what == What.MOVED else None
    room.ask(step, room_id, what, _wanted(ask, decision, reason))
    return answer.placed(step.view, room_id, what.value, region_fallback=decision.region_fallback)


def extend(ask: Ask) -> Reply:
    """Room for more peers where the room is; the largest number ever asked for stands."""
    step, room_id = ask.step, ask.room_id
    if room_id not in step.view.rooms:
        return _unknown_room(room_id)
    if not _may_change(ask):
        return _not_owner(ask)
    if step.view.rooms[room_id].phase == Phase.STRANDED:
        return _stranded(room_id)
    decision = ask.choose()
    if decision.error is not None:
        return _refusal(decision)
    case = room.ask(step, room_id, What.EXTENDED, _wanted(ask, decision, None))
    fallback = decision.region_fallback
    return answer.placed(step.view, room_id, "existing", fits=case.fits, region_fallback=fallback)


def move(ask: Ask) -> Reply:
    """Another home, on another server, if the room is still where the caller thinks it is."""
    step, room_id = ask.step, ask.room_id
    known = step.view.rooms.get(room_id)
    if known is None:
        return _unknown_room(room_id)
    if not _may_change(ask):
        return _not_owner(ask)
    if known.generation != ask.body["if_generation"]:
        return answer.refused(
            Code.STALE_GENERATION,
            f"room {room_id} is at generation {known.generation} by now",
            details={"generation": known.generation},
        )
    decision = ask.choose()
    if decision.error is not None:
        return _refusal(decision)
    room.ask(step, room_id, What.MOVED, _wanted(ask, decision, ask.body["reason"]))
    return answer.placed(step.view, room_id, "moved", region_fallback=decision.region_fallback)


def release(ask: Ask) -> Reply:
    """The caller needs the room no more: a hold ends, a live room is closed."""
    step, room_id = ask.step, ask.room_id
    known = step.view.rooms.get(room_id)
    if known is None:
        return _unknown_room(room_id)
    if not _may_change(ask):
        return _not_owner(ask)
    if known.allocation_id != ask.body["allocation_id"]:
        return answer.refused(
            Code.STALE_GENERATION,
            f"room {room_id} has another allocation by now, of generation {known.generation}",
            details={"generation": known.generation},
        )
    room.ask(step, room_id, What.RELEASED, Asked(0, 0, 0, 0, 0, reason=closings.RELEASED))
    left = step.view.rooms.get(room_id)
    return {
        "status": "ok",
        "room_id": room_id,
        "allocation_id": known.allocation_id,
        "room_state": str(Phase.NOWHERE if left is None else left.phase),
    }


# --- servers -------------------------------------------------------------------------------------


def drain(ask: Ask) -> Reply:
    """Nothing new on this server until undrain."""
    server_id = ask.body["server_id"]
    if server_id not in ask.step.view.servers:
        return _unknown_server(server_id)
    administration.drain_by_operator(ask.step, server_id, ask.body)
    return _administration(ask, server_id)


def undrain(ask: Ask) -> Reply:
    """New rooms again, unless the server itself drains."""
    server_id = ask.body["server_id"]
    if server_id not in ask.step.view.servers:
        return _unknown_server(server_id)
    administration.undrain_by_operator(ask.step, server_id)
    return _administration(ask, server_id)


OPERATIONS: Mapping[str, Callable[[Ask], Reply]] = {
    "allocate": allocate,
    "extend": extend,
    "move": move,
    "release": release,
    "drain": drain,
    "undrain": undrain,
}


# --- parts ---------------------------------------------------------------------------------------


def _hold_ms(ask: Ask) -> int:
    """How long the caller is promised what it is answered."""
    limits = ask.step.view.limits
    return min(ask.body.get("ttl_ms") or limits.hold_ms, limits.hold_ms_max)


def _wanted(ask: Ask, decision: Decision, reason: str | None) -> Asked:
    """What a home was found for."""
    said = decision.wish
    return Asked(
        said["peers"],
        said["publishers"],
        said["streams"],
        said["cost"],
        _hold_ms(ask),
        _wishes(ask),
        decision,
        reason,
    )


def _wishes(ask: Ask) -> str:
    """What a later move keeps to: not the pin, and not what was to be avoided just then."""
    body, names = ask.body, ("regions", "region_mode", "labels")
    kept = {name: body[name] for name in names if body.get(name) not in (None, [], {}, "prefer")}
    kept.update(ownership.owner_to_note(ask.step.view.limits, ask.user))
    return canonical(kept).decode() if kept else "{}"


def _administration(ask: Ask, server_id: str) -> Reply:
    view = ask.step.view
    rooms = {key[0] for key in view.routers_on.get(server_id, ())}
    return {
        "status": "ok",
        "server_id": server_id,
        "administration": str(administration.administration_of(view, view.servers[server_id])),
        "rooms": len(rooms),
    }


def _refusal(decision: Decision) -> Reply:
    return {"status": "error", "error": dict(decision.error or {})}


def _may_change(ask: Ask) -> bool:
    view = ask.step.view
    return ownership.may_change(view.limits, view.rooms[ask.room_id], ask.user)


def _not_owner(ask: Ask) -> Reply:
    """Whose it is instead is not said: a name is half of what it takes to be somebody."""
    who = f"user {ask.user}" if ask.user else "who is nobody to the broker"
    return answer.refused(
        Code.NOT_OWNER,
        f"room {ask.room_id} was allocated by another user: {who} may not {ask.operation} it",
    )


def _unknown_room(room_id: str) -> Reply:
    return answer.refused(Code.UNKNOWN_ROOM, f"room {room_id} has no home")


def _unknown_server(server_id: str) -> Reply:
    return answer.refused(Code.UNKNOWN_SERVER, f"no server {server_id} has registered")


def _stranded(room_id: str) -> Reply:
    return answer.refused(
        Code.UNAVAILABLE,
        f"the server of room {room_id} is not heard; allocate gives it another home",
        retry_after_ms=1000,
    )
