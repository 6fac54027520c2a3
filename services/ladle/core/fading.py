"""The steps in which reservations fade, taken on records about the server that carries them."""

from ladle.core.load import faded, reserved_at
from ladle.core.rows import changed
from ladle.core.step import Step


def fade(step: Step, server_id: str) -> None:
    """Take the steps that are due by now on this server; O(rooms that are due)."""
    view = step.view
    for key in view.loads.due(server_id, step.now_ms):
        router = view.routers[key]
        assert router.fade_at_ms is not None, "a router that fades says when"
        number, at_ms = faded(
            router.fade_step, router.fade_at_ms, step.now_ms, view.limits.settle_ms
        )
        # A reservation that did not fit again whole must not grow by fading.
        left = min(router.reserved, reserved_at(number, router.cost, router.seen))
        view.put(changed(router, fade_step=number, fade_at_ms=at_ms, reserved=left))
