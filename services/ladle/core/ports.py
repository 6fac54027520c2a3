"""Servers that claim the same media or TURN ports: nothing is placed on the one that came later."""

from ladle.core.rows import Server, changed
from ladle.core.step import Step
from ladle.core.view import View, claims_of
from ladle.core.words import Liveness


def recheck(step: Step, server_id: str, before: Server | None = None) -> None:
    """This server's claims, place in time or liveness changed: see who may have the ports now.

    before: its row with the claims that it has given up.
    """
    view = step.view
    others = set(_sharing(view, view.servers[server_id]))
    if before is not None:
        others.update(_sharing(view, before))
    for other_id in [server_id, *sorted(others)]:
        server = view.servers[other_id]
        first = _first_claimant(view, server)
        if first != server.conflicting_with:
            view.put(changed(server, conflicting_with=first))


def forget(step: Step, server: Server) -> None:
    """This server's row is gone; the others have its ports to themselves."""
    for other_id in _sharing(step.view, server):
        recheck(step, other_id)


def _sharing(view: View, server: Server) -> list[str]:
    """The other servers that claim something that this one claims, ascending."""
    return sorted(
        {
            other_id
            for claim in claims_of(server)
            for other_id in view.claims.get(claim, ())
            if other_id != server.server_id
        }
    )


def _first_claimant(view: View, server: Server) -> str | None:
    """Of the servers that are not lost and have these ports too, the one that had them first."""
    if server.liveness == Liveness.LOST:
        return None
    mine = (server.claimed_offset, server.server_id)
    earlier = [
        (other.claimed_offset, other.server_id)
        for other in (view.servers[other_id] for other_id in _sharing(view, server))
        if (other.claimed_offset, other.server_id) < mine
        and other.liveness != Liveness.LOST
        and _overlap(server, other)
    ]
    return min(earlier)[1] if earlier else None


def _overlap(one: Server, other: Server) -> bool:
    """Both may share a media address; its ports they may not, and a TURN port never."""
    if any(claim.startswith("turn ") for claim in claims_of(one) & claims_of(other)):
        return True
    return (one.udp_port_min or 0) <= (other.udp_port_max or 0) and (other.udp_port_min or 0) <= (
        one.udp_port_max or 0
    )
