"""The way of a media server's event: which life speaks, has it been heard, what does it say."""

from collections.abc import Mapping
from typing import Any

from ladle.core import administration, fading, liveness, received, registration, room, status
from ladle.core.case import Told
from ladle.core.rows import EventSeen, Server, changed
from ladle.core.stamps import Life
from ladle.core.step import Step

Payload = Mapping[str, Any]
REGISTERED = "server-registered"


def event(step: Step, payload: Payload) -> str | None:
    """Fold one event. Returns why it was ignored, or None where it was applied."""
    view, server_id = step.view, payload["source_server_id"]
    kind = payload["type"]
    sequenced = payload["incarnation"] is not None and payload["sequence"] is not None
    if received.is_duplicate_event(view, payload, step.offset):
        return "duplicate"
    if not sequenced:
        expires_at_ms = step.now_ms + view.limits.event_id_ms
        view.put(EventSeen(received.event_key(payload), expires_at_ms))
    known = view.servers.get(server_id)
    if known is None and kind != REGISTERED:
        registration.ask(step, server_id, incarnation=payload["incarnation"])
        return "unknown-server"
    life = _life_of(step, payload, known)
    if known is not None and life[0] < known.incarnation:
        return _reject(step, known, life, sequenced)
    if known is None or life[0] > known.incarnation:
        registration.begin(step, server_id, life[0], sequenced)
        if kind != REGISTERED:
            # What it is now may be otherwise than what its former life was.
            registration.ask(step, server_id, incarnation=life[0])
    elif known.sequenced and not sequenced:
        _hear(step, known)
        return "sequence-missing"
    return _take(step, view.servers[server_id], life, payload)


def _take(step: Step, server: Server, life: Life, payload: Payload) -> str | None:
    """An event of the present life, heard for the first time."""
    view, server_id = step.view, server.server_id
    if server.sequenced:
        server = received.receive(server, life[1], step.now_ms, view.limits.hole_ms)
    goodbye = server.deregistered_sequence
    if goodbye is not None and life[1] <= goodbye:
        view.put(server)
        return "after-goodbye"
    # A goodbye is no sign of life: it must not bring home what it then strands.
    if payload["type"] == "server-deregistered":
        view.put(server)
    else:
        _hear(step, server)
    ignored = _say(step, server_id, life, payload)
    # After it was said what is seen: towards that the reservations fade.
    fading.fade(step, server_id)
    return ignored


def _say(step: Step, server_id: str, life: Life, payload: Payload) -> str | None:
    """What it says, by its type."""
    data = payload["data"]
    match payload["type"]:
        case "server-registered":
            return registration.register(step, server_id, life[1], data)
        case "server-draining":
            return administration.drain_by_server(step, server_id, life[1], data)
        case "server-deregistered":
            return _leave(step, server_id, life[1])
        case "room-created":
            told = Told(
                server_id,
                life,
                data["worker_id"],
                data["allocation_id"],
                peers=data["expected_peers"],
            )
            return room.created(step, told, data["room_id"])
        case "room-deleted":
            told = Told(
                server_id, life, None, data["allocation_id"], reason=data["reason"] or "deleted"
            )
            return room.deleted(step, told, data["room_id"])
        case "worker-status":
            return status.status(step, server_id, life, data)
    return "unknown-type"


def _leave(step: Step, server_id: str, sequence: int) -> str | None:
    """It goes, and says so: lost at once, whatever is heard of it below this sequence."""
    server = step.view.servers[server_id]
    if sequence <= server.admin_sequence:
        return "older-administration"
    step.view.put(changed(server, admin_sequence=sequence, deregistered_sequence=sequence))
    liveness.turn(step, server_id, liveness.What.LEFT, "deregistered")
    return None


def _hear(step: Step, server: Server) -> None:
    liveness.heard(step, server)
    liveness.others_speak(step, server)


def _life_of(step: Step, payload: Payload, known: Server | None) -> Life:
    """incarnation and sequence, made up where the event has none: see the contract."""
    incarnation, sequence = payload["incarnation"], payload["sequence"]
    if incarnation is None:
        sequence = None
        begins = payload["type"] == REGISTERED and (known is None or payload["data"]["restarted"])
        before = 0 if known is None else known.incarnation
        incarnation = max(step.now_ms, before + 1) if begins else before
    return (incarnation, step.offset if sequence is None else sequence)


def _reject(step: Step, known: Server, life: Life, sequenced: bool) -> str:
    """A life that has been succeeded speaks: it is told by whom, and what of it was refused."""
    asked = registration.ask(
        step,
        known.server_id,
        # A publisher that begins with a clock behind its former life's must hear of it to go on.
        at_once=sequenced and life[1] == 1,
        incarnation=life[0],
        known_incarnation=known.incarnation,
        refused_sequence=life[1] if sequenced else None,
    )
    if asked:
        step.say(
            "server-rejected",
            server_id=known.server_id,
            incarnation=life[0],
            reason="older-incarnation",
        )
    return "older-incarnation"
