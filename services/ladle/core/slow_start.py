"""A server that is new or back: it counts as fuller than it is, less so with each step.

What it carries counts STEPS-fold in the first step, and as what it is after the last one, so its
share of the load grows as evenly as its steps, up to that of the others. Only the order among
servers changes: what a worker can carry stays, so nothing is refused that would not be anyway.
The index leaves it out of account while not at least as many servers are past it: see there.
Source: docs/adr/0047-slow-start.md.
"""

from typing import TYPE_CHECKING

from ladle.core.rows import Timer, changed

if TYPE_CHECKING:
    from ladle.core.step import Step
    from ladle.core.view import View

SLOW_START = "slow-start"
"""The kind of its timer: `tries` is the step, `due_ms` when the next one begins."""

STEPS = 8
"""The first is an eighth of a share: what a burst may put on a server of which nothing is known."""


def begin(step: "Step", server_id: str) -> None:
    """The first step, also where one was under way."""
    slow_start_ms = step.view.limits.slow_start_ms
    if slow_start_ms:
        width = step_ms(slow_start_ms)
        # On the clock's grid: servers that came together step together, and in one tick.
        due_ms = (step.now_ms // width + 1) * width
        step.view.put(Timer(SLOW_START, server_id, due_ms, tries=1))


def go_on(step: "Step", server_id: str) -> None:
    """The next step is due. The last one leaves no row, as does a limit that is 0 by now."""
    view = step.view
    timer = view.timers[SLOW_START, server_id]
    slow_start_ms = view.limits.slow_start_ms
    if slow_start_ms and timer.tries + 1 < STEPS:
        due_ms = timer.due_ms + step_ms(slow_start_ms)
        view.put(changed(timer, due_ms=due_ms, tries=timer.tries + 1))
    else:
        view.drop(timer)


def step_ms(slow_start_ms: int) -> int:
    """How long one step takes."""
    return max(1, slow_start_ms // STEPS)


def step_of(view: "View", server_id: str) -> int:
    """The step that a server is in: 1 is the first, STEPS stands for none."""
    timer = view.timers.get((SLOW_START, server_id))
    return STEPS if timer is None or not view.limits.slow_start_ms else timer.tries
