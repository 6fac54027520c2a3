"""Whose room it is: under `owner_only`, that of the caller who allocated it.

Nobody else then moves, extends or releases it. The owner stands among the room's wishes, for it is
one more thing that who placed the room said of it; it is noted only while the limit holds, so that
rooms of before belong to nobody, as does a room that its server made by itself. What belongs to
nobody is everybody's.
Source: docs/adr/0038-whose-room-it-is.md.
"""

import orjson

from ladle.core.limits import Limits
from ladle.core.rows import Room

OWNER = "owner"
"""Its name among the wishes."""


def owner_to_note(limits: Limits, user: str) -> dict[str, str]:
    """What the wishes of a room that `user` allocates now say of its owner."""
    return {OWNER: user} if limits.owner_only and user else {}


def may_change(limits: Limits, room: Room, user: str) -> bool:
    """May `user` move, extend and release this room?"""
    if not limits.owner_only:
        return True
    owner = orjson.loads(room.wishes).get(OWNER)
    return owner in (None, user) or user in _listed(limits.operators)


def _listed(users: str) -> list[str]:
    return [user.strip() for user in users.split(",") if user.strip()]
