"""What servers and time do to rooms: the stamp gate, what it is as seen from the room, the table.

An event passes three steps: is it history (its server has said something later of the room)? what
is it for the room (its home, a stranger, a life that ended)? and the cell of room_table.py.
A function here returns why the event was ignored, or None where it was applied.
"""

from collections.abc import Iterator

from ladle.core import closings, stamps
from ladle.core.case import Asked, Case, Told
from ladle.core.room_table import CANNOT, TABLE, What
from ladle.core.rows import Router, changed
from ladle.core.step import ImpossibleState, Step
from ladle.core.view import View
from ladle.core.words import Liveness, Phase


def turn(case: Case, what: What) -> Case:
    """One cell of the table: its effects in order, then its phase. Returns the case.

    Raises ImpossibleState where the table says that this cannot happen.
    """
    cell = TABLE[what][case.phase]
    if cell is CANNOT:
        raise ImpossibleState(f"{what} of room {case.room_id}, which is {case.phase}")
    for effect in cell.effects:
        effect(case)
    if case.room is not None:
        if cell.next is not None:
            case.room.phase = cell.next
        # The case ends here: its copy of the row is the row from now on.
        case.step.view.put(case.room)
    # Who was home, is home or speaks: their stamps may have to stay now, or to run out.
    servers = {router.server_id for router in case.routers()}
    servers.update(case.left)
    if case.told is not None:
        servers.add(case.told.server_id)
    for server_id in sorted(servers):
        stamps.keep(case.step, case.room_id, server_id)
    return case


# --- what servers say ----------------------------------------------------------------------------


def created(step: Step, told: Told, room_id: str) -> str | None:
    """A server has made a router for the room."""
    if stamps.is_history(step.view, room_id, told.server_id, told.life):
        return "history"
    _pass_gate(step, told, room_id, then_kept=True)
    return _lives(step, told, room_id)


def listed(step: Step, told: Told, room_id: str) -> str | None:
    """A status names the room: as good as created, and it tells the room's load."""
    view, server_id = step.view, told.server_id
    if stamps.is_history(view, room_id, server_id, told.life):
        return "history"
    stamps.raise_stamp(step, room_id, server_id, told.life)
    if _lives_on(step, told, room_id):
        return None
    if (room_id, server_id) in view.closings:
        _still_lives(step, told, room_id)
        return None
    return _lives(step, told, room_id)


def deleted(step: Step, told: Told, room_id: str) -> str | None:
    """A server has closed its router of the room."""
    view = step.view
    if stamps.is_history(view, room_id, told.server_id, told.life):
        return "history"
    case = Case.of(step, room_id, told=told, reason=told.reason or "deleted")
    router = case.router_of(told.server_id)
    if router is not None and _names_another(router.named_allocation_id, told.allocation_id):
        stamps.raise_stamp(step, room_id, told.server_id, told.life)
        return "another-allocation"
    closing = view.closings.get((room_id, told.server_id))
    _pass_gate(step, told, room_id)
    if router is None:
        return None if closing is not None else ("not-home" if case.room else "nowhere")
    _end_router(case, router)
    return None


def unlisted(step: Step, server_id: str, life: stamps.Life, room_ids: set[str]) -> None:
    """A complete status: what is active here, older than it and not in it, has been deleted."""
    view = step.view
    for room_id, number in sorted(view.routers_on.get(server_id, ())):
        if room_id in room_ids or not view.routers[room_id, number].active:
            continue
        if not stamps.is_history(view, room_id, server_id, life):
            deleted(step, Told(server_id, life, reason="unlisted"), room_id)
    for room_id in sorted(view.closings_on.get(server_id, ())):
        closing = view.closings[room_id, server_id]
        if room_id not in room_ids and (closing.incarnation, closing.sequence) <= life:
            closings.end(step, room_id, server_id)


def _pass_gate(step: Step, told: Told, room_id: str, *, then_kept: bool = False) -> None:
    """A created or deleted that is news: what should end before it has ended."""
    stamps.raise_stamp(step, room_id, told.server_id, told.life, then_kept=then_kept)
    # A closing is never above the stamp, so what is news to the one is news to the other.
    closings.end(step, room_id, told.server_id)


LIVES_REASONS = {
    What.CREATED: None,
    What.CREATED_AWAY: "created-elsewhere",
    What.CREATED_EXPIRED: "created-after-expiry",
    What.CREATED_RELEASED: "created-after-release",
}


def _lives(step: Step, told: Told, room_id: str) -> str | None:
    """The room is alive where the server says; what that means depends on who is its home."""
    what = _seen_from_room(step.view, told, room_id)
    turn(Case.of(step, room_id, told=told, reason=LIVES_REASONS[what]), what)
    return None


def _seen_from_room(view: View, told: Told, room_id: str) -> What:
    """Is it the home that has the room, or whose claim is it?"""
    if stamps.is_home(view, room_id, told.server_id):
        return What.CREATED
    stamp = stamps.stamp_of(view, room_id, told.server_id)
    if told.allocation_id is not None:
        if told.allocation_id == stamp.released_allocation_id:
            return What.CREATED_RELEASED
        if told.allocation_id == stamp.expired_allocation_id:
            return What.CREATED_EXPIRED
    return What.CREATED_AWAY


def _lives_on(step: Step, told: Told, room_id: str) -> bool:
    """Is it an active room of one router, listed by its home again? Then that is noted.

    The table's cell in one row: a status may list ten thousand rooms, each of them this one. It
    is not stranded: that a server is heard brings home what is active there, before it is folded.
    """
    view = step.view
    router = view.routers.get((room_id, 0))
    if router is None or not router.active or router.server_id != told.server_id:
        return False
    if len(view.home_of[room_id]) > 1 or (room_id, told.server_id) in view.closings:
        return False
    worker_id = told.worker_id or router.worker_id
    named = told.allocation_id or router.named_allocation_id
    note = changed(
        router,
        incarnation=told.life[0],
        worker_id=worker_id,
        named_allocation_id=named,
        seen=told.seen or 0,
        peers_seen=told.peers or 0,
    )
    view.put(note)
    return True


def _still_lives(step: Step, told: Told, room_id: str) -> None:
    """A life that should end is listed. At the home its load counts; it fulfils no new hold."""
    view, server_id = step.view, told.server_id
    case = Case.of(step, room_id, told=told)
    router = case.router_of(server_id)
    if router is None or _is_still_released(view, told, room_id):
        closings.raise_to(step, room_id, server_id, told.life)
    if router is not None and router.active:
        view.put(changed(router, seen=told.seen or 0, peers_seen=told.peers or 0))


def _is_still_released(view: View, told: Told, room_id: str) -> bool:
    """Does the list name the allocation that was given back, and that nobody was told since?

    That its server created the room anew under it may never be heard: a buffer that ran over, or
    records that were lost with it.
    """
    closing = view.closings[room_id, told.server_id]
    is_named = told.allocation_id is not None and told.allocation_id == closing.allocation_id
    return view.limits.rules >= 3 and is_named and closing.reason == closings.RELEASED


def _names_another(named: str | None, told: str | None) -> bool:
    """Do both name an allocation, and not the same?"""
    return named is not None and told is not None and named != told


def _end_router(case: Case, router: Router) -> None:
    """The room ends with its last live router; the others carry it on."""
    others = [row for row in case.routers() if row.active and row.router != router.router]
    if others and router.active:
        view = case.step.view
        stamp = stamps.stamp_of(view, case.room_id, router.server_id)
        view.put(changed(stamp, worker_id=router.worker_id, seen=router.seen))
        view.drop(router)
        stamps.keep(case.step, case.room_id, router.server_id)
        return
    turn(case, What.DELETED)


# --- what happens to servers ---------------------------------------------------------------------


def lose_rooms(step: Step, server_id: str, reason: str) -> None:
    """The server is lost; its life may go on out of sight, so its routers stay as they are."""
    for case, router in _on(step, server_id, reason):
        if router.active and not _carried_on(case, server_id):
            turn(case, What.LOST)


def bring_rooms_home(step: Step, server_id: str) -> None:
    """The server is heard again in the same life: what nobody moved is home again."""
    for case, router in _on(step, server_id, "server-returned"):
        if router.active and case.phase == Phase.STRANDED:
            turn(case, What.RETURNED)


def lose_life(
    step: Step, server_id: str, life: stamps.Life, reason: str, worker_id: str | None = None
) -> None:
    """The server, or one worker of it, runs no room any more that it ran before `life`."""
    for case, router in _on(step, server_id, reason, worker_id):
        if worker_id is not None and router.worker_id != worker_id:
            continue
        # A late word of a worker's death says nothing of what was heard of since.
        if not router.active or stamps.is_history(step.view, case.room_id, server_id, life):
            continue
        stamps.raise_stamp(step, case.room_id, server_id, life)
        if _carried_on(case, server_id):
            step.view.drop(router)
            stamps.keep(step, case.room_id, server_id)
        else:
            turn(case, What.GONE)


def _on(
    step: Step, server_id: str, reason: str, worker_id: str | None = None
) -> Iterator[tuple[Case, Router]]:
    """A case for each router on the server, in order."""
    view, told = step.view, Told(server_id, (0, 0), worker_id)
    for key in sorted(view.routers_on.get(server_id, ())):
        yield Case.of(step, key[0], told=told, reason=reason), view.routers[key]


def _carried_on(case: Case, server_id: str) -> bool:
    """Does the room live on another server that is heard?"""
    servers = case.step.view.servers
    return any(
        router.active
        and router.server_id != server_id
        and servers[router.server_id].liveness != Liveness.LOST
        for router in case.routers()
    )


# --- what time does ------------------------------------------------------------------------------


def hold_runs_out(step: Step, room_id: str) -> None:
    """The caller did not come, or came and the room lives anyway."""
    turn(Case.of(step, room_id, reason="hold-ran-out"), What.HOLD_OUT)


def room_runs_out(step: Step, room_id: str) -> None:
    """Stranded for too long, or too old on a server that never lists its rooms."""
    case = Case.of(step, room_id)
    if case.phase == Phase.STRANDED:
        case.reason = "stranded"
        turn(case, What.STRANDED_OUT)
        return
    server_id = case.routers()[0].server_id
    if step.view.servers[server_id].lists_rooms:
        # It has begun to list them, which says more than an age does.
        step.view.put(changed(case.home, ends_at_ms=None))
        return
    case.told, case.reason = Told(server_id, (0, 0)), "too-old"
    turn(case, What.AGED)


# --- what callers ask ----------------------------------------------------------------------------


def needs_home(view: View, room_id: str) -> bool:
    """Is a home to be chosen: nowhere, stranded, or a mere promise on a server not heard of?"""
    room = view.rooms.get(room_id)
    if room is None or room.phase == Phase.STRANDED:
        return True
    return is_unconfirmed(view, room_id) and any(
        view.servers[view.routers[room_id, number].server_id].liveness != Liveness.UP
        for number in view.home_of[room_id]
    )


def is_unconfirmed(view: View, room_id: str) -> bool:
    """Does it have a home that has not made it yet?"""
    room = view.rooms.get(room_id)
    return room is not None and room.phase in (Phase.HELD, Phase.HELD_AGAIN)


def ask(step: Step, room_id: str, what: What, asked: Asked) -> Case:
    """A caller's request, as the table has it."""
    if what is What.ASKED_AGAIN and step.view.limits.rules >= 3:
        closings.promised_again(step, room_id)
    return turn(Case.of(step, room_id, asked=asked, reason=asked.reason), what)
