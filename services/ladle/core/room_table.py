"""The life of a room, as a table: what happens x the phase it finds = the next phase and effects.

Two laws: every cell is written, and an effect is named here or nowhere. `STAYS` is a cell that
changes nothing; `CANNOT` one that the callers in room.py and asks.py never reach (reaching it
raises ImpossibleState). Whether an event is history, a duplicate or of an older life was decided
before; which "what" it is decides room.py. docs/rooms.md draws this table.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from ladle.core import room_effects as do
from ladle.core.case import Case
from ladle.core.words import Phase

NOWHERE, HELD, HELD_AGAIN = Phase.NOWHERE, Phase.HELD, Phase.HELD_AGAIN
ACTIVE, ACTIVE_HELD, STRANDED = Phase.ACTIVE, Phase.ACTIVE_HELD, Phase.STRANDED

Effect = Callable[[Case], None]


@dataclass(frozen=True, slots=True)
class Cell:
    """next: None where the room stays in its phase."""

    next: Phase | None
    effects: tuple[Effect, ...] = ()


STAYS = Cell(None)
CANNOT = Cell(None)


def to(phase: Phase, *effects: Effect) -> Cell:
    """The room comes into this phase."""
    return Cell(phase, effects)


def stays(*effects: Effect) -> Cell:
    """The room stays in its phase, but something is done."""
    return Cell(None, effects)


class What(StrEnum):
    """What happens, as seen from the room, in the order of a room's life."""

    PLACED = "placed"  # a caller asks, and a home was chosen
    ASKED_AGAIN = "asked-again"  # a caller asks for a room whose home stands
    MOVED = "moved"  # another home was chosen
    EXTENDED = "extended"  # a caller asks for room for more peers
    RELEASED = "released"  # a caller gives the allocation back
    CREATED = "created"  # its home says that it has it, or lists it
    CREATED_AWAY = "created-away"  # a server says so that is not its home
    CREATED_EXPIRED = "created-expired"  # the same, for an allocation that ran out there
    CREATED_RELEASED = "created-released"  # the same, for an allocation that was given back
    DELETED = "deleted"  # its home says that it is gone, or lists all but it
    HOLD_OUT = "hold-out"  # the time of its hold is over
    LOST = "lost"  # its home is not heard any more, or said goodbye
    RETURNED = "returned"  # its home is heard again, in the same life
    GONE = "gone"  # its home restarted, or its worker died
    STRANDED_OUT = "stranded-out"  # nobody asked for it for too long
    AGED = "aged"  # too old on a server that never lists its rooms


# What was never created needs no end: `close_home` stands only where there is a life.
MOVE = (do.move_home, do.hold, do.say_moved)
TAKE_OVER = (do.take_over, do.begin_age, do.say_moved, do.say_active)
REVIVE = (do.take_over_expired, do.begin_age, do.say_moved, do.say_active)
CONFLICT = (do.say_conflict, do.close_copy)

TABLE: Mapping[What, Mapping[Phase, Cell]] = {
    What.PLACED: {
        NOWHERE: to(HELD, do.place, do.hold, do.say_allocated),
        HELD: CANNOT,
        HELD_AGAIN: CANNOT,
        ACTIVE: CANNOT,
        ACTIVE_HELD: CANNOT,
        STRANDED: CANNOT,
    },
    What.ASKED_AGAIN: {
        NOWHERE: CANNOT,
        HELD: to(HELD_AGAIN, do.raise_reservation, do.hold),
        HELD_AGAIN: stays(do.raise_reservation, do.hold),
        ACTIVE: to(ACTIVE_HELD, do.raise_reservation, do.hold),
        ACTIVE_HELD: stays(do.raise_reservation, do.hold),
        STRANDED: CANNOT,
    },
    What.MOVED: {
        NOWHERE: CANNOT,
        HELD: stays(*MOVE),
        HELD_AGAIN: to(HELD, *MOVE),
        ACTIVE: to(HELD, do.close_home, *MOVE),
        ACTIVE_HELD: to(HELD, do.close_home, *MOVE),
        STRANDED: to(HELD, do.close_home, *MOVE),
    },
    What.EXTENDED: {
        NOWHERE: CANNOT,
        HELD: stays(do.raise_reservation),
        HELD_AGAIN: stays(do.raise_reservation),
        ACTIVE: stays(do.raise_reservation),
        ACTIVE_HELD: stays(do.raise_reservation),
        STRANDED: CANNOT,
    },
    What.RELEASED: {
        NOWHERE: CANNOT,
        HELD: to(NOWHERE, do.say_ended, do.remember_released, do.leave),
        HELD_AGAIN: to(NOWHERE, do.say_ended, do.remember_released, do.leave),
        # The server has the room: its capacity is taken until the server says that it is gone.
        ACTIVE: stays(do.remember_released, do.close_home),
        ACTIVE_HELD: to(ACTIVE, do.end_hold, do.remember_released, do.close_home),
        STRANDED: to(NOWHERE, do.say_ended, do.remember_released, do.close_home, do.leave),
    },
    What.CREATED: {
        NOWHERE: CANNOT,
        HELD: to(ACTIVE, do.confirm, do.note_load, do.begin_age, do.end_hold, do.say_active),
        # Somebody was answered `existing` and may still be on the way: that hold runs on.
        HELD_AGAIN: to(ACTIVE_HELD, do.confirm, do.note_load, do.begin_age, do.say_active),
        ACTIVE: stays(do.confirm, do.note_load),
        ACTIVE_HELD: stays(do.confirm, do.note_load),
        STRANDED: to(ACTIVE, do.confirm, do.note_load, do.come_home, do.begin_age, do.say_active),
    },
    What.CREATED_AWAY: {
        NOWHERE: to(ACTIVE, do.adopt, do.begin_age, do.say_active),
        HELD: stays(*CONFLICT),
        HELD_AGAIN: stays(*CONFLICT),
        ACTIVE: stays(*CONFLICT),
        ACTIVE_HELD: stays(*CONFLICT),
        STRANDED: to(ACTIVE, do.close_home, *TAKE_OVER),
    },
    What.CREATED_EXPIRED: {
        NOWHERE: to(ACTIVE, do.adopt_expired, do.begin_age, do.say_active),
        # The caller of the old hold came late, but came: a room that lives beats a promise.
        HELD: to(ACTIVE, *REVIVE),
        HELD_AGAIN: to(ACTIVE, *REVIVE),
        ACTIVE: stays(*CONFLICT),
        ACTIVE_HELD: stays(*CONFLICT),
        STRANDED: to(ACTIVE, do.close_home, *REVIVE),
    },
    What.CREATED_RELEASED: {
        NOWHERE: stays(do.close_copy),
        HELD: stays(*CONFLICT),
        HELD_AGAIN: stays(*CONFLICT),
        ACTIVE: stays(*CONFLICT),
        ACTIVE_HELD: stays(*CONFLICT),
        STRANDED: stays(*CONFLICT),
    },
    What.DELETED: {
        NOWHERE: CANNOT,
        HELD: STAYS,
        HELD_AGAIN: STAYS,
        ACTIVE: to(NOWHERE, do.remember_end, do.say_ended, do.leave),
        # Who was answered `existing` finds the capacity still there.
        ACTIVE_HELD: to(HELD_AGAIN, do.deactivate, do.come_home),
        STRANDED: to(NOWHERE, do.remember_end, do.say_ended, do.leave),
    },
    What.HOLD_OUT: {
        NOWHERE: CANNOT,
        HELD: to(NOWHERE, do.say_expired, do.remember_expired, do.leave),
        HELD_AGAIN: to(NOWHERE, do.say_expired, do.remember_expired, do.leave),
        ACTIVE: CANNOT,
        ACTIVE_HELD: to(ACTIVE, do.end_hold),
        STRANDED: CANNOT,
    },
    What.LOST: {
        NOWHERE: CANNOT,
        # A hold stays where it was told and runs out; who asks meanwhile gets another home.
        HELD: STAYS,
        HELD_AGAIN: STAYS,
        ACTIVE: to(STRANDED, do.strand, do.say_stranded),
        ACTIVE_HELD: to(STRANDED, do.end_hold, do.strand, do.say_stranded),
        STRANDED: STAYS,
    },
    What.RETURNED: {
        NOWHERE: CANNOT,
        HELD: STAYS,
        HELD_AGAIN: STAYS,
        ACTIVE: STAYS,
        ACTIVE_HELD: STAYS,
        STRANDED: to(ACTIVE, do.come_home, do.begin_age, do.say_active),
    },
    What.GONE: {
        NOWHERE: CANNOT,
        HELD: STAYS,
        HELD_AGAIN: STAYS,
        ACTIVE: to(STRANDED, do.quench, do.strand, do.say_stranded),
        ACTIVE_HELD: to(STRANDED, do.quench, do.end_hold, do.strand, do.say_stranded),
        STRANDED: stays(do.quench),
    },
    What.STRANDED_OUT: {
        NOWHERE: CANNOT,
        HELD: CANNOT,
        HELD_AGAIN: CANNOT,
        ACTIVE: CANNOT,
        ACTIVE_HELD: CANNOT,
        STRANDED: to(NOWHERE, do.say_ended, do.leave),
    },
    What.AGED: {
        NOWHERE: CANNOT,
        HELD: CANNOT,
        HELD_AGAIN: CANNOT,
        ACTIVE: to(NOWHERE, do.say_ended, do.leave),
        ACTIVE_HELD: to(HELD_AGAIN, do.deactivate, do.come_home),
        STRANDED: CANNOT,
    },
}
