"""Says `capacity-low` once: a room found no place, or hardly one is left."""

from ladle.core.load import largest_room
from ladle.core.step import Step
from ladle.core.view import View

LOW = "capacity-low"
"""State of the cell: the headroom in consumers that some worker must reach to end it."""


def most_headroom(view: View) -> int:
    """Of the roomiest worker on which anything may be placed; 0 where there is none."""
    most = 0
    for index in (view.index, view.last_resort):
        for region in index.regions.values():
            if region.roomiest:
                most = max(most, region.roomiest[-1][0])
    return most


def review(step: Step, room_id: str, missing: int) -> None:
    """After a decision, the index being settled. missing: consumers that found no place, or 0."""
    view, limits = step.view, step.view.limits
    headroom, bar = most_headroom(view), view.state(LOW)
    # A room larger than the bar must fit before its refusal can be said again.
    wanted = max(limits.capacity_ok_consumers, missing)
    if bar is None and (missing or headroom < limits.capacity_low_consumers):
        view.set_state(LOW, wanted)
        step.say(
            "capacity-low",
            room_id=room_id if missing else None,
            headroom=headroom,
            largest_room_peers=largest_room(headroom),
            reason="no-capacity" if missing else "nearly-full",
        )
    elif bar is not None and headroom >= bar and not missing:
        view.set_state(LOW, None)
