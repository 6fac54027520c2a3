"""Whether a server takes new rooms: an operator's drain, its own, and when it is drained."""

from collections.abc import Mapping
from typing import Any

from ladle.core.rows import Server, changed
from ladle.core.step import Step
from ladle.core.view import View
from ladle.core.words import Administration


def drain_by_operator(step: Step, server_id: str, body: Mapping[str, Any]) -> None:
    """Nothing new there until `undrain`, whatever restarts; the server is told."""
    server = changed(
        step.view.servers[server_id],
        operator_drain=1,
        operator_drain_reason=body["reason"],
        operator_drain_by_ms=body["drain_by_ms"],
    )
    step.view.put(server)
    tell_drain(step, server)


def undrain_by_operator(step: Step, server_id: str) -> None:
    """The operator's drain ends; the server's own does not."""
    step.view.put(
        changed(
            step.view.servers[server_id],
            operator_drain=0,
            operator_drain_reason=None,
            operator_drain_by_ms=None,
        )
    )


def drain_by_server(
    step: Step, server_id: str, sequence: int, data: Mapping[str, Any]
) -> str | None:
    """The server wants nothing new in this life. Returns why it was ignored, or None."""
    server = step.view.servers[server_id]
    if sequence <= server.admin_sequence:
        return "older-administration"
    step.view.put(
        changed(
            server,
            admin_sequence=sequence,
            server_drain=1,
            server_drain_reason=data["reason"],
            server_drain_by_ms=data["drain_by_ms"],
        )
    )
    return None


def tell_drain(step: Step, server: Server) -> None:
    """Tell a server that an operator drains it; again in each life, for a life knows nothing."""
    if server.operator_drain:
        step.tell(
            "drain",
            server.server_id,
            incarnation=server.incarnation,
            reason=server.operator_drain_reason or "drained by an operator",
            drain_by_ms=server.operator_drain_by_ms,
        )


def review(step: Step, server_id: str) -> None:
    """After each record: what the drains and the rooms of a changed server make of it."""
    view = step.view
    server = view.servers.get(server_id)
    if server is None:
        return
    now = administration_of(view, server)
    if now == server.administration:
        return
    view.put(changed(server, administration=now))
    if now == Administration.DRAINED:
        step.say(
            "server-drained",
            server_id=server_id,
            incarnation=server.incarnation,
            reason=why_drained(server)[0],
        )


def why_drained(server: Server) -> tuple[str | None, int | None]:
    """(reason, when it should be empty) as last said, an operator's drain before the server's."""
    if server.operator_drain:
        return server.operator_drain_reason, server.operator_drain_by_ms
    return server.server_drain_reason, server.server_drain_by_ms


def administration_of(view: View, server: Server) -> Administration:
    """Open without a drain; drained with one and no room, held ones included."""
    if not server.operator_drain and not server.server_drain:
        return Administration.OPEN
    has_rooms = server.server_id in view.routers_on
    return Administration.DRAINING if has_rooms else Administration.DRAINED
