"""Lives of rooms that should end: their servers are told so, again and again, until they have."""

from ladle.core import stamps
from ladle.core.rows import Closing, Router, changed
from ladle.core.stamps import Life
from ladle.core.step import Step
from ladle.core.words import Liveness

RELEASED = "released"
RELEASED_BEFORE = "released-before"
"""The reason where the room was asked for again while its released life had not ended."""


def close(
    step: Step, room_id: str, server_id: str, life: Life, allocation_id: str | None, reason: str
) -> None:
    """End the copy of the room on this server whose create is at or below `life`."""
    view = step.view
    tell_at_ms = None if view.servers[server_id].liveness == Liveness.LOST else step.now_ms
    view.put(
        Closing(room_id, server_id, life[0], life[1], allocation_id, reason, 0, tell_at_ms),
    )
    stamps.keep(step, room_id, server_id)
    if tell_at_ms is not None:
        issue(step, room_id, server_id)


def close_router(step: Step, router: Router, allocation_id: str, reason: str) -> None:
    """End the life of a router that its server has created; one that it has not needs no end."""
    if not router.active:
        return
    stamp = stamps.stamp_of(step.view, router.room_id, router.server_id)
    # A list may have confirmed the life after its create: all up to there is the life meant.
    life = max((router.incarnation, router.created_sequence), (stamp.incarnation, stamp.sequence))
    named = router.named_allocation_id or allocation_id
    close(step, router.room_id, router.server_id, life, named, reason)


def issue(step: Step, room_id: str, server_id: str) -> None:
    """Tell the server, and note when to tell it again."""
    closing = step.view.closings[room_id, server_id]
    tries = closing.tries + 1
    next_at_ms = step.now_ms + step.pause_ms(tries)
    step.view.put(changed(closing, tries=tries, next_at_ms=next_at_ms))
    step.tell(
        "close-room",
        server_id,
        incarnation=closing.incarnation,
        room_id=room_id,
        allocation_id=closing.allocation_id,
        created_sequence=closing.sequence,
        reason=closing.reason,
    )


def promised_again(step: Step, room_id: str) -> None:
    """Somebody was told the released room once more: who lives there since may have been sent."""
    view = step.view
    numbers = view.home_of.get(room_id, ())
    for server_id in sorted({view.routers[room_id, number].server_id for number in numbers}):
        closing = view.closings.get((room_id, server_id))
        if closing is not None and closing.reason == RELEASED:
            view.put(changed(closing, reason=RELEASED_BEFORE))


def raise_to(step: Step, room_id: str, server_id: str, life: Life) -> None:
    """The copy that is being closed still lives at `life`: its create may be as late as that."""
    closing = step.view.closings[room_id, server_id]
    step.view.put(changed(closing, incarnation=life[0], sequence=life[1]))


def end(step: Step, room_id: str, server_id: str) -> None:
    """The life has ended, or the server has begun another one."""
    closing = step.view.closings.get((room_id, server_id))
    if closing is not None:
        step.view.drop(closing)
        stamps.keep(step, room_id, server_id)


def end_all(step: Step, server_id: str) -> None:
    """The server restarted: none of its old rooms is left."""
    for room_id in sorted(step.view.closings_on.get(server_id, ())):
        end(step, room_id, server_id)


def pause_all(step: Step, server_id: str) -> None:
    """The server is lost: nobody hears what it is told."""
    for room_id in sorted(step.view.closings_on.get(server_id, ())):
        closing = step.view.closings[room_id, server_id]
        step.view.put(changed(closing, next_at_ms=None))


def resume_all(step: Step, server_id: str) -> None:
    """The server is back with rooms that have moved on: say so, and tell it."""
    view = step.view
    for room_id in sorted(view.closings_on.get(server_id, ())):
        view.put(changed(view.closings[room_id, server_id], tries=0))
        home = view.routers.get((room_id, 0))
        if home is not None and home.server_id != server_id:
            step.say(
                "room-conflict",
                room_id=room_id,
                server_id=server_id,
                home_server_id=home.server_id,
                reason="server-returned",
            )
        issue(step, room_id, server_id)
