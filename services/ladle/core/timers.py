"""What time does, and when: everything that is due in one tick, in a total order.

Due times are columns of rows; nothing happens between ticks, and nothing at all before the writer
has caught up with what had piled up: a silence that is only unread must end nothing.
"""

from collections.abc import Callable, Mapping
from typing import Any

from ladle.core import closings, damping, liveness, room, slow_start
from ladle.core.rows import changed
from ladle.core.step import ImpossibleState, Step
from ladle.core.view import View

CAUGHT_UP = "caught-up"
"""State of the cell: the marker that the writer put behind what had piled up came back. True, or
no row: so that each tick and each look at what is due need not read what it says."""


def next_due_ms(view: View) -> int | None:
    """When a `tick` should be written next; None: nothing is due ever, or not caught up yet."""
    if CAUGHT_UP not in view.settings:
        return None
    due = view.schedule.next()
    return None if due is None else due[0]


def tick(step: Step) -> str | None:
    """Do all that is due by now. Returns why nothing was, or None."""
    view = step.view
    if CAUGHT_UP not in view.settings:
        return "not-caught-up"
    for due in view.schedule.until(step.now_ms):
        _, kind, key = due
        DUE[kind](step, key)
        if view.schedule.next() == due:
            raise ImpossibleState(f"{kind} {key} stays due at {due[0]}")
    return None


def _report(step: Step, server_id: str) -> None:
    """A hole is too old: a complete status will say what was lost."""
    server = step.view.servers[server_id]
    tries = server.report_tries + 1
    again_ms = step.now_ms + step.pause_ms(tries)
    step.view.put(changed(server, report_due_ms=again_ms, report_tries=tries))
    step.tell("report-rooms", server_id, incarnation=server.incarnation)


def _closing(step: Step, key: tuple[str, str]) -> None:
    closings.issue(step, *key)


def _evict(table: str) -> Callable[[Step, Any], None]:
    """The row's time is over."""

    def drop(step: Step, key: Any) -> None:
        step.view.drop(step.view.tables[table][key])

    return drop


def _asked(step: Step, server_id: str) -> None:
    """The next word of the server may be answered with `register` again."""
    step.view.drop(step.view.timers["register", server_id])


DUE: Mapping[str, Callable[[Step, Any], None]] = {
    "silence": liveness.silence_is_due,
    "forget": liveness.forget,
    "report": _report,
    "hold": room.hold_runs_out,
    "end": room.room_runs_out,
    "closing": _closing,
    "stamp": _evict("stamp"),
    "request": _evict("request"),
    "event-seen": _evict("event_seen"),
    "register": _asked,
    slow_start.SLOW_START: slow_start.go_on,
    damping.FLAPS: damping.forgive,
    damping.DAMPED: damping.release,
}
"""Kind -> what is done with the key; the kinds are those that View schedules."""
