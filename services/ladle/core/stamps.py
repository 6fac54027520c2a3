"""What is remembered of a room on a server: how far its events are history, and which ids ended.

A stamp is kept while its server is the room's home or is closing a copy of it, and `stamp_ms`
after; without it a late or repeated event would bring back what has ended.
"""

from ladle.core.rows import Stamp, changed
from ladle.core.step import Step
from ladle.core.view import View

Life = tuple[int, int]
"""incarnation, sequence: compares as lives do."""


def stamp_of(view: View, room_id: str, server_id: str) -> Stamp:
    """The stamp that is there, or a blank one."""
    return view.stamps.get((room_id, server_id)) or Stamp(room_id, server_id)


def is_history(view: View, room_id: str, server_id: str, life: Life) -> bool:
    """Has this server said something of the room at `life` or later?"""
    stamp = view.stamps.get((room_id, server_id))
    return stamp is not None and life <= (stamp.incarnation, stamp.sequence)


def raise_stamp(
    step: Step, room_id: str, server_id: str, life: Life, *, then_kept: bool = False
) -> None:
    """The server spoke of the room. What had ended there before is in no status to come.

    then_kept: `keep` follows in this record; how long a new stamp stays is told there.
    """
    view = step.view
    stamp = view.stamps.get((room_id, server_id))
    if stamp is None:
        until_ms = None if then_kept or _is_needed(view, room_id, server_id) else _until_ms(step)
        view.put(Stamp(room_id, server_id, life[0], life[1], until_ms=until_ms))
        return
    until_ms = None if _is_needed(view, room_id, server_id) else _until_ms(step)
    raised = changed(
        stamp, incarnation=life[0], sequence=life[1], worker_id=None, seen=0, until_ms=until_ms
    )
    view.put(raised)


def keep(step: Step, room_id: str, server_id: str) -> None:
    """Let the stamp stay for good, or start to run out, as its room and closing ask."""
    view = step.view
    stamp = view.stamps.get((room_id, server_id))
    if stamp is None:
        return
    needed = _is_needed(view, room_id, server_id)
    if needed != (stamp.until_ms is None):
        view.put(changed(stamp, until_ms=None if needed else _until_ms(step)))


def _is_needed(view: View, room_id: str, server_id: str) -> bool:
    return (room_id, server_id) in view.closings or is_home(view, room_id, server_id)


def _until_ms(step: Step) -> int:
    return step.now_ms + step.view.limits.stamp_ms


def is_home(view: View, room_id: str, server_id: str) -> bool:
    """Has the room a router on this server?"""
    routers = view.routers
    for number in view.home_of.get(room_id, ()):
        if routers[room_id, number].server_id == server_id:
            return True
    return False


def last_generation(view: View, room_id: str) -> int:
    """The last one known of a room that is nowhere; 0 where none is."""
    servers = view.stamps_of.get(room_id, ())
    return max([view.stamps[room_id, server_id].generation for server_id in servers], default=0)
