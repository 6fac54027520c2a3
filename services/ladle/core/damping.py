"""A server that comes and goes: each return costs it, and above a limit others are taken first.

The penalty is time. Each flap, a return from lost or a restart, adds `flap_ms`, and it runs out as
time passes, so it is one date. Above `flap_limit` flaps the server is damped: it gets no new rooms
while any other one can take them. Below half of that, or `damped_ms_max` after its last flap, it
comes back by slow start.
Source: docs/adr/0048-damping.md.
"""

from typing import TYPE_CHECKING

from ladle.core import slow_start
from ladle.core.rows import Timer

if TYPE_CHECKING:
    from ladle.core.step import Step
    from ladle.core.view import View

FLAPS = "flaps"
"""The kind of a timer: `tries` counts the flaps, `due_ms` is when they are forgiven."""

DAMPED = "damped"
"""The kind of a timer: the server is damped until `due_ms`; `tries` is not used."""


def count(step: "Step", server_id: str) -> None:
    """One flap more."""
    view, limits = step.view, step.view.limits
    if not limits.flap_ms:
        return
    known = view.timers.get((FLAPS, server_id))
    flaps, forgiven_ms = (0, step.now_ms) if known is None else (known.tries, known.due_ms)
    suppress_ms = limits.flap_limit * limits.flap_ms
    reuse_ms = suppress_ms // 2
    forgiven_ms = max(step.now_ms, forgiven_ms) + limits.flap_ms
    # Or what flapped for a day would be remembered for another.
    forgiven_ms = min(forgiven_ms, step.now_ms + suppress_ms + limits.damped_ms_max)
    view.put(Timer(FLAPS, server_id, forgiven_ms, tries=flaps + 1))
    penalty_ms = forgiven_ms - step.now_ms
    if penalty_ms > (reuse_ms if (DAMPED, server_id) in view.timers else suppress_ms):
        until_ms = min(forgiven_ms - reuse_ms, step.now_ms + limits.damped_ms_max)
        view.put(Timer(DAMPED, server_id, until_ms))


def forgive(step: "Step", server_id: str) -> None:
    """The penalty has run out."""
    step.view.drop(step.view.timers[FLAPS, server_id])


def release(step: "Step", server_id: str) -> None:
    """It is below the limit of reuse: it takes rooms like others, by and by."""
    step.view.drop(step.view.timers[DAMPED, server_id])
    slow_start.begin(step, server_id)


def is_damped(view: "View", server_id: str) -> bool:
    """Are others taken first? Never where the limit is 0 by now."""
    return view.limits.flap_ms > 0 and (DAMPED, server_id) in view.timers


def told(view: "View", server_id: str) -> dict[str, int | None]:
    """What the view says of it: flaps that are not forgiven, and until when it is damped."""
    flaps = view.timers.get((FLAPS, server_id))
    damped = view.timers[DAMPED, server_id].due_ms if is_damped(view, server_id) else None
    return {"flaps": 0 if flaps is None else flaps.tries, "damped_until_ms": damped}
