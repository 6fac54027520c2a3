"""The effects that the room table names. Each does one thing to the room of a case.

They run in the order of their cell, before the room takes the cell's phase. `told` is what a
server says, `asked` what a caller asks; a cell names only effects whose half is there.
"""

from ladle.core import closings, stamps
from ladle.core.case import Case
from ladle.core.decide import Placement, fits
from ladle.core.load import cost, step_ms
from ladle.core.rows import Room, Router, changed
from ladle.core.step import ImpossibleState

# --- homes ---------------------------------------------------------------------------------------


def place(case: Case) -> None:
    """A new room at the chosen home, with a new allocation."""
    asked, step = case.wanted, case.step
    generation = stamps.last_generation(step.view, case.room_id) + 1
    case.room = Room(case.room_id, generation=generation)
    _allocate(case, step.new_allocation_id())
    _reserve_for(case.room, asked.peers, asked.publishers, asked.streams, asked.cost)
    case.room.wishes = asked.wishes
    _take_places(case)


def move_home(case: Case) -> None:
    """Another home was chosen: the next generation, with a new allocation."""
    asked, room = case.wanted, case.home
    _leave_home(case)
    room.generation += 1
    _allocate(case, case.step.new_allocation_id())
    _reserve_for(room, asked.peers, asked.publishers, asked.streams, asked.cost)
    _take_places(case)


def adopt(case: Case) -> None:
    """The room lives on a server that nobody chose: that server is its home."""
    generation = stamps.last_generation(case.step.view, case.room_id) + 1
    case.room = Room(case.room_id, generation=generation)
    _allocate(case, case.step.new_allocation_id())
    _live_at_teller(case)


def adopt_expired(case: Case) -> None:
    """As adopt, under the allocation that its caller was told and that ran out here."""
    generation = stamps.last_generation(case.step.view, case.room_id) + 1
    case.room = Room(case.room_id, generation=generation)
    _allocate(case, case.teller.allocation_id or "")
    _live_at_teller(case)


def take_over(case: Case) -> None:
    """The room lives elsewhere, and its home does not have it: where it lives is its home."""
    _leave_home(case)
    case.home.generation += 1
    _allocate(case, case.step.new_allocation_id())
    _live_at_teller(case)


def take_over_expired(case: Case) -> None:
    """As take over, under the allocation that its caller was told and that ran out here."""
    _leave_home(case)
    case.home.generation += 1
    _allocate(case, case.teller.allocation_id or "")
    _live_at_teller(case)


def leave(case: Case) -> None:
    """The room is nowhere: its capacity comes back, its generation is remembered."""
    _leave_home(case)
    case.step.view.drop(case.step.view.rooms[case.room_id])
    case.room = None


# --- lives ---------------------------------------------------------------------------------------


def confirm(case: Case) -> None:
    """The home has the room: its create counts from here, its reservation begins to fade."""
    told, view = case.teller, case.step.view
    router = _router_of_teller(case)
    life_is_new = not router.active or told.seen is None
    confirmed = changed(
        router,
        active=1,
        incarnation=told.life[0],
        created_sequence=told.life[1] if life_is_new else router.created_sequence,
        worker_id=told.worker_id or router.worker_id,
        named_allocation_id=told.allocation_id or router.named_allocation_id,
    )
    if not router.active:
        confirmed.fade_step = 0
        confirmed.fade_at_ms = case.step.now_ms + step_ms(view.limits.settle_ms)
    view.put(confirmed)
    if not router.active:
        _reserve_again(case, confirmed)


def note_load(case: Case) -> None:
    """What the list says of the room; a created says nothing."""
    told = case.teller
    if told.seen is None:
        return
    router = _router_of_teller(case)
    case.step.view.put(changed(router, seen=told.seen, peers_seen=told.peers or 0))


def deactivate(case: Case) -> None:
    """The home has deleted the room; a hold keeps the capacity that it had, or all where it fits.

    Never more than fits: what the room does not use any more may be others' by now.
    """
    router = _router_of_teller(case)
    remember_end(case)
    kept = changed(
        router,
        active=0,
        created_sequence=0,
        named_allocation_id=None,
        seen=0,
        peers_seen=0,
        reserved=max(router.seen, router.reserved),
        fade_step=0,
        fade_at_ms=None,
    )
    case.step.view.put(kept)
    _reserve_again(case, kept)


def remember_end(case: Case) -> None:
    """Until its next status the worker may count what the room needed: it is not unexplained."""
    router = _router_of_teller(case)
    stamp = stamps.stamp_of(case.step.view, case.room_id, router.server_id)
    case.step.view.put(changed(stamp, worker_id=router.worker_id, seen=router.seen))


def quench(case: Case) -> None:
    """The room's routers on the server, or on the worker that died, are gone with all they had."""
    for router in _gone(case):
        case.step.view.put(
            changed(
                router,
                active=0,
                created_sequence=0,
                named_allocation_id=None,
                seen=0,
                peers_seen=0,
                reserved=0,
                fade_at_ms=None,
            )
        )


def strand(case: Case) -> None:
    """Nobody hears of the room any more; it ends if nobody asks for it."""
    case.home.stranded_at_ms = case.step.now_ms
    case.home.ends_at_ms = case.step.now_ms + case.step.view.limits.strand_ms


def come_home(case: Case) -> None:
    """The room is where it was."""
    case.home.stranded_at_ms = None
    case.home.ends_at_ms = None


def begin_age(case: Case) -> None:
    """A server that never lists its rooms may forget to delete one: it ends by its age."""
    view, told = case.step.view, case.teller
    lists = view.servers[told.server_id].lists_rooms
    case.home.ends_at_ms = None if lists else case.step.now_ms + view.limits.room_age_ms_max


# --- holds ---------------------------------------------------------------------------------------


def hold(case: Case) -> None:
    """The caller is promised the home for a while; a hold that runs longer stays."""
    until_ms = case.step.now_ms + case.wanted.hold_ms
    case.home.held_until_ms = max(case.home.held_until_ms or 0, until_ms)


def end_hold(case: Case) -> None:
    """The promise is kept, given back or out of time."""
    case.home.held_until_ms = None


def raise_reservation(case: Case) -> None:
    """More peers than ever asked for: reserve for them where the worker carries it."""
    asked, room, view = case.wanted, case.home, case.step.view
    # Each by itself: fewer peers who all send must not shrink a room of many who listen.
    peers = max(room.peers, asked.peers)
    publishers = max(room.publishers, asked.publishers)
    streams = max(room.streams, asked.streams)
    wanted = cost(peers, publishers, streams)
    if wanted <= room.reserved:
        return
    router = case.routers()[0]
    case.fits = asked.may_raise and _carries(case, router, wanted)
    if not case.fits:
        return
    _reserve_for(room, peers, publishers, streams, wanted)
    raised = changed(
        router, cost=wanted, reserved=wanted, reserved_offset=case.step.offset, fade_step=0
    )
    if router.active:
        raised.fade_at_ms = case.step.now_ms + step_ms(view.limits.settle_ms)
    view.put(raised)


def remember_expired(case: Case) -> None:
    """A late create may still claim this allocation here."""
    _remember(case, expired_allocation_id=case.home.allocation_id)


def remember_released(case: Case) -> None:
    """A late create may not claim this allocation any more."""
    _remember(case, released_allocation_id=case.home.allocation_id)


# --- closings ------------------------------------------------------------------------------------


def close_home(case: Case) -> None:
    """The life at the home should end; its capacity comes back when it has."""
    for router in case.routers():
        closings.close_router(case.step, router, case.home.allocation_id, _reason(case))


def close_copy(case: Case) -> None:
    """The copy at the server that speaks should end."""
    told = case.teller
    closings.close(
        case.step, case.room_id, told.server_id, told.life, told.allocation_id, _reason(case)
    )


# --- what is said --------------------------------------------------------------------------------


def say_allocated(case: Case) -> None:
    case.step.say("room-allocated", **case.facts(), reason=case.reason)


def say_active(case: Case) -> None:
    case.step.say("room-active", **case.facts(), reason=case.reason)


def say_moved(case: Case) -> None:
    came_from = case.left[0] if case.left else None
    case.step.say("room-moved", **case.facts(), from_server_id=came_from, reason=case.reason)


def say_stranded(case: Case) -> None:
    case.step.say("room-stranded", **case.facts(), reason=case.reason)


def say_ended(case: Case) -> None:
    case.step.say("room-ended", **case.facts(), reason=case.reason)


def say_expired(case: Case) -> None:
    case.step.say("allocation-expired", **case.facts(), reason=case.reason)


def say_conflict(case: Case) -> None:
    """`server_id` is where the copy is; a room that is nowhere has no home to name."""
    told, routers = case.teller, case.routers()
    case.step.say(
        "room-conflict",
        room_id=case.room_id,
        server_id=told.server_id,
        worker_id=told.worker_id,
        allocation_id=told.allocation_id,
        generation=None if case.room is None else case.room.generation,
        home_server_id=routers[0].server_id if routers else None,
        reason=_reason(case),
    )


# --- parts ---------------------------------------------------------------------------------------


def _reason(case: Case) -> str:
    return case.reason or "closed"


def _router_of_teller(case: Case) -> Router:
    router = case.router_of(case.teller.server_id)
    if router is None:
        raise ImpossibleState(f"{case.teller.server_id} is no home of room {case.room_id}")
    return router


def _gone(case: Case) -> list[Router]:
    told = case.teller
    return [
        router
        for router in case.routers()
        if router.server_id == told.server_id and told.worker_id in (None, router.worker_id)
    ]


def _allocate(case: Case, allocation_id: str) -> None:
    room = case.home
    room.allocation_id = allocation_id
    room.allocated_at_ms = case.step.now_ms
    room.held_until_ms = room.ends_at_ms = room.stranded_at_ms = None


def _reserve_for(room: Room, peers: int, publishers: int, streams: int, consumers: int) -> None:
    room.peers, room.publishers, room.streams, room.reserved = peers, publishers, streams, consumers


def _take_places(case: Case) -> None:
    """Routers at the chosen places, reserved in full."""
    asked, step = case.wanted, case.step
    for chosen in asked.decision.routers if asked.decision else ():
        step.view.put(_unconfirmed(case, chosen))


def _unconfirmed(case: Case, chosen: Placement) -> Router:
    step, consumers = case.step, case.wanted.cost
    return Router(
        case.room_id,
        chosen.router,
        chosen.server_id,
        chosen.worker_id,
        incarnation=step.view.servers[chosen.server_id].incarnation,
        cost=consumers,
        reserved=consumers,
        reserved_offset=step.offset,
    )


def _live_at_teller(case: Case) -> None:
    """A live router where the server says; what is listed is known by its load already."""
    told, step, room = case.teller, case.step, case.home
    if not room.reserved:
        peers = told.peers or 2
        _reserve_for(room, peers, peers, 2, cost(peers))
    fresh = told.seen is None
    router = Router(
        case.room_id,
        0,
        told.server_id,
        told.worker_id,
        active=1,
        incarnation=told.life[0],
        created_sequence=told.life[1],
        named_allocation_id=told.allocation_id,
        seen=told.seen or 0,
        peers_seen=(told.peers or 0) if told.seen is not None else 0,
        cost=room.reserved,
        reserved=room.reserved if fresh else 0,
        reserved_offset=step.offset,
        fade_step=0,
        fade_at_ms=step.now_ms + step_ms(step.view.limits.settle_ms) if fresh else None,
    )
    step.view.put(router)


def _reserve_again(case: Case, router: Router) -> None:
    """A reservation that faded or was lost starts at its cost again, where that fits."""
    if router.reserved < router.cost and _carries(case, router, router.cost):
        case.step.view.put(changed(router, reserved=router.cost, reserved_offset=case.step.offset))


def _carries(case: Case, router: Router, consumers: int) -> bool:
    """Does it fit there? Never on a worker that the server has not registered."""
    view, worker_id = case.step.view, router.worker_id
    if worker_id is not None and (router.server_id, worker_id) not in view.workers:
        return False
    return fits(view, router, consumers)


def _leave_home(case: Case) -> None:
    for router in case.routers():
        _remember(case, generation=case.home.generation)
        case.step.view.drop(router)
        case.left.append(router.server_id)


def _remember(case: Case, **columns: str | int | None) -> None:
    """In the stamps of the home's servers; one that never spoke of the room gets a blank one."""
    view = case.step.view
    for server_id in sorted({router.server_id for router in case.routers()}):
        stamp = stamps.stamp_of(view, case.room_id, server_id)
        view.put(changed(stamp, **columns))
