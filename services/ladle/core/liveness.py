"""Is a server heard of? Its liveness as a table, its silence, and when silence is the bus's fault.

Silence counts from the last event, or from the record by which the writer, or its connection, came
up or had caught up: before that not all was read. Where most servers fall silent at once, it is
the bus: none of them is lost while the rest, too, say little, and for `bus_out_ms` after they speak
again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from ladle.core import closings, damping, ports, room, slow_start
from ladle.core.rows import Server, changed
from ladle.core.step import Step
from ladle.core.view import View
from ladle.core.words import Liveness

UP, STALE, LOST = Liveness.UP, Liveness.STALE, Liveness.LOST
REGISTERED = "registered"
"""Why a server that nobody knew is up."""

BUS = "bus-silence"
"""State of the cell while losses are suspended: since when, and until when, others spoke."""


class What(StrEnum):
    """What happens to a server's liveness."""

    HEARD = "heard"  # it speaks
    RESTARTED = "restarted"  # it speaks in a newer life, or for the first time
    SILENT = "silent"  # for stale_intervals
    SILENT_LONG = "silent-long"  # for lost_intervals, and it is not the bus
    LEFT = "left"  # it said goodbye


Effect = Callable[[Step, str, str], None]
"""step, server_id, reason."""


@dataclass(frozen=True, slots=True)
class Cell:
    """next: the liveness that the row has before the effects run."""

    next: Liveness
    effects: tuple[Effect, ...] = ()


def hear(step: Step, server_id: str, reason: str) -> None:
    """Its silence begins anew."""
    server = step.view.servers[server_id]
    step.view.put(
        changed(
            server,
            heard_at_ms=step.now_ms,
            silence_due_ms=step.now_ms + stale_ms(step.view, server),
            lost_at_ms=None,
            forget_at_ms=None,
        )
    )


def await_loss(step: Step, server_id: str, reason: str) -> None:
    """It is stale; the rest of its time runs."""
    server, limits = step.view.servers[server_id], step.view.limits
    rest = (limits.lost_intervals - limits.stale_intervals) * server.status_interval_ms
    step.view.put(changed(server, silence_due_ms=step.now_ms + max(0, rest)))


def give_up(step: Step, server_id: str, reason: str) -> None:
    """Nothing is due of it any more, but to be forgotten."""
    server = step.view.servers[server_id]
    step.view.put(
        changed(
            server,
            silence_due_ms=None,
            report_due_ms=None,
            lost_at_ms=step.now_ms,
            forget_at_ms=step.now_ms + step.view.limits.forget_ms,
        )
    )


def reclaim_ports(step: Step, server_id: str, reason: str) -> None:
    """Who took its ports while it was lost has them now."""
    step.view.put(changed(step.view.servers[server_id], claimed_offset=step.offset))
    ports.recheck(step, server_id)


def free_ports(step: Step, server_id: str, reason: str) -> None:
    """Somebody else may have them."""
    ports.recheck(step, server_id)


def lose_rooms(step: Step, server_id: str, reason: str) -> None:
    room.lose_rooms(step, server_id, f"server-{reason}")


def bring_rooms_home(step: Step, server_id: str, reason: str) -> None:
    room.bring_rooms_home(step, server_id)


def lose_life(step: Step, server_id: str, reason: str) -> None:
    life = (step.view.servers[server_id].incarnation, 0)
    room.lose_life(step, server_id, life, f"server-{reason}")


def pause_closings(step: Step, server_id: str, reason: str) -> None:
    closings.pause_all(step, server_id)


def resume_closings(step: Step, server_id: str, reason: str) -> None:
    closings.resume_all(step, server_id)


def end_closings(step: Step, server_id: str, reason: str) -> None:
    closings.end_all(step, server_id)


def ask_again(step: Step, server_id: str, reason: str) -> None:
    """Its holes are as old as they were; nobody could ask it meanwhile."""
    server = step.view.servers[server_id]
    if server.hole_since_ms is not None:
        due_ms = step.now_ms + step.view.limits.hole_ms
        step.view.put(changed(server, report_due_ms=due_ms, report_tries=0))


def start_slowly(step: Step, server_id: str, reason: str) -> None:
    """New or back: it shall not get all that comes, empty as it is."""
    slow_start.begin(step, server_id)


def count_flap(step: Step, server_id: str, reason: str) -> None:
    """It was here before, and went."""
    if reason != REGISTERED:
        damping.count(step, server_id)


def say_up(step: Step, server_id: str, reason: str) -> None:
    _say(step, "server-up", server_id, reason)


def say_stale(step: Step, server_id: str, reason: str) -> None:
    _say(step, "server-stale", server_id, reason)


def say_lost(step: Step, server_id: str, reason: str) -> None:
    _say(step, "server-lost", server_id, reason)


def _say(step: Step, event: str, server_id: str, reason: str) -> None:
    incarnation = step.view.servers[server_id].incarnation
    step.say(event, server_id=server_id, incarnation=incarnation, reason=reason)


RESTART = Cell(UP, (hear, lose_life, end_closings, reclaim_ports, start_slowly, count_flap, say_up))
BACK = Cell(
    UP,
    (
        hear,
        say_up,
        bring_rooms_home,
        resume_closings,
        reclaim_ports,
        ask_again,
        start_slowly,
        count_flap,
    ),
)
LOSE = Cell(LOST, (give_up, say_lost, lose_rooms, pause_closings, free_ports))

TABLE: Mapping[What, Mapping[Liveness, Cell | None]] = {
    What.HEARD: {
        UP: Cell(UP, (hear,)),
        STALE: Cell(UP, (hear, say_up)),
        LOST: BACK,
    },
    What.RESTARTED: {UP: RESTART, STALE: RESTART, LOST: RESTART},
    What.SILENT: {UP: Cell(STALE, (await_loss, say_stale)), STALE: None, LOST: None},
    What.SILENT_LONG: {UP: None, STALE: LOSE, LOST: None},
    What.LEFT: {UP: LOSE, STALE: LOSE, LOST: Cell(LOST)},
}
"""None: does not happen."""


def turn(step: Step, server_id: str, what: What, reason: str) -> None:
    """One cell of the table: the row is what comes next, then the effects run in order."""
    server = step.view.servers[server_id]
    cell = TABLE[what][Liveness(server.liveness)]
    if cell is None:
        return
    if cell.next != server.liveness:
        step.view.put(changed(server, liveness=cell.next))
    for effect in cell.effects:
        effect(step, server_id, reason)


def heard(step: Step, server: Server) -> None:
    """The server speaks; `server` is its row, or a copy with that received, which is then put."""
    if server.liveness == UP:
        # The table's cell in one row: this runs for every event.
        due_ms = step.now_ms + stale_ms(step.view, server)
        if server is step.view.servers[server.server_id]:
            step.view.put(changed(server, heard_at_ms=step.now_ms, silence_due_ms=due_ms))
        else:  # What receiving made is a copy already, and a server's row is a long one.
            server.heard_at_ms, server.silence_due_ms = step.now_ms, due_ms
            step.view.put_heard(server)
    else:
        step.view.put(server)
        turn(step, server.server_id, What.HEARD, "heard")


# --- silence -------------------------------------------------------------------------------------


def stale_ms(view: View, server: Server) -> int:
    """How long it may be silent before nothing new is placed there."""
    return view.limits.stale_intervals * server.status_interval_ms


def lost_ms(view: View, server: Server) -> int:
    """How long it may be silent before its rooms are stranded."""
    return view.limits.lost_intervals * server.status_interval_ms


def silence_is_due(step: Step, server_id: str) -> None:
    """It has been silent for long enough to be stale, or then lost, where it is not the bus."""
    view = step.view
    server = view.servers[server_id]
    if server.liveness == UP:
        turn(step, server_id, What.SILENT, "silent")
    elif is_sole(view) or is_the_bus(step, server):
        view.put(changed(server, silence_due_ms=step.now_ms + stale_ms(view, server)))
    else:
        turn(step, server_id, What.SILENT_LONG, "silent")


def is_sole(view: View) -> bool:
    """Is there one server only that is not lost? If it is, there is nowhere else to go."""
    return view.liveness[UP] + view.liveness[STALE] == 1


def is_the_bus(step: Step, server: Server) -> bool:
    """Are more than half of the servers, at least two, silent together with this one?

    Not any more when the others have been heard for `bus_out_ms` without a pause.
    """
    view = step.view
    together = silent_together(view, server)
    if together < 2 or 2 * together <= view.liveness[UP] + view.liveness[STALE]:
        return False
    others: dict[str, int] | None = view.state(BUS)
    if others is None:
        view.set_state(BUS, {"since_ms": step.now_ms, "heard_ms": step.now_ms})
        return True
    if view.limits.rules >= 2 and step.now_ms - others["heard_ms"] >= lost_ms(view, server):
        return True  # The others have fallen silent, too, since then.
    return others["heard_ms"] - others["since_ms"] < view.limits.bus_out_ms


def silent_together(view: View, server: Server) -> int:
    """How many are silent together with this one, itself included.

    All who are silent now. When each was heard last does not tell who fell silent together: while
    nobody listened, some had a last word waiting and others had not, and a clock may have been set.
    """
    if view.limits.rules >= 2:
        return len(view.silent)
    window = lost_ms(view, server)
    first = view.silent.bisect_left((server.heard_at_ms - window, ""))
    last = view.silent.bisect_right((server.heard_at_ms + window, "\U0010ffff"))
    return int(last - first)


def others_speak(step: Step, server: Server) -> None:
    """While losses are suspended: how long have servers been heard without a long pause?"""
    view = step.view
    others: dict[str, int] | None = view.state(BUS)
    if others is None:
        return
    if 2 * len(view.silent) <= view.liveness[UP] + view.liveness[STALE]:
        view.set_state(BUS, None)
        _count_anew(step)
        return
    paused = step.now_ms - others["heard_ms"] > lost_ms(view, server)
    # The whole second: or each event of a large fleet would write this row.
    if paused or step.now_ms - others["heard_ms"] >= 1000:
        since_ms = step.now_ms if paused else others["since_ms"]
        view.set_state(BUS, {"since_ms": since_ms, "heard_ms": step.now_ms})


def _count_anew(step: Step) -> None:
    """The bus is back: who is still silent has a whole time to be heard, not what is left of it."""
    view = step.view
    for _, server_id in list(view.silent):
        server = view.servers[server_id]
        view.put(changed(server, silence_due_ms=step.now_ms + lost_ms(view, server)))


def restart_clocks(step: Step) -> None:
    """Nobody listened until now: every silence begins anew."""
    view = step.view
    view.set_state(BUS, None)
    for server_id in sorted(view.servers):
        server = view.servers[server_id]
        if server.liveness != LOST:
            wait = stale_ms if server.liveness == UP else lost_ms
            view.put(changed(server, silence_due_ms=step.now_ms + wait(view, server)))


# --- forgetting ----------------------------------------------------------------------------------


def forget(step: Step, server_id: str) -> None:
    """A server that is lost for long leaves no trace, unless a room or a drain needs it."""
    view = step.view
    server = view.servers[server_id]
    if server_id in view.routers_on or server.operator_drain:
        view.put(changed(server, forget_at_ms=step.now_ms + view.limits.forget_ms))
        return
    closings.end_all(step, server_id)
    for worker_id in view.workers_of.get(server_id, ()):
        view.drop(view.workers[server_id, worker_id])
    view.drop(server)
    ports.forget(step, server)
