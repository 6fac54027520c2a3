"""Who a server is: its lives, what it says of itself, its workers."""

from collections.abc import Mapping
from typing import Any

from ladle.core import administration, liveness, ports, room
from ladle.core.record import canonical
from ladle.core.rows import Server, Timer, Worker, changed
from ladle.core.step import Step

REGISTER = "register"


def begin(step: Step, server_id: str, incarnation: int, sequenced: bool) -> None:
    """A server speaks in a life that is newer than any known: that one has ended."""
    view = step.view
    known = view.servers.get(server_id)
    reason = liveness.REGISTERED if known is None else "restarted"
    server = changed(known) if known is not None else Server(server_id, claimed_offset=step.offset)
    server.incarnation, server.sequenced = incarnation, int(sequenced)
    server.watermark, server.received_above = 0, "[]"
    server.hole_since_ms = server.report_due_ms = server.deregistered_sequence = None
    server.report_tries = server.admin_sequence = server.registered_sequence = 0
    server.complete_sequence = server.lists_rooms = server.server_drain = 0
    server.server_drain_reason = server.server_drain_by_ms = None
    view.put(server)
    for worker_id in view.workers_of.get(server_id, ()):
        _begin_worker(step, view.workers[server_id, worker_id], incarnation)
    liveness.turn(step, server_id, liveness.What.RESTARTED, reason)
    administration.tell_drain(step, view.servers[server_id])


def _begin_worker(step: Step, worker: Worker, incarnation: int) -> None:
    """Load starts from nothing; what had died is no worker of the new life until it says so."""
    if worker.state == "died":
        step.view.drop(worker)
        return
    step.view.put(
        Worker(
            worker.server_id,
            worker.worker_id,
            capacity=worker.capacity,
            incarnation=incarnation,
            status_offset=step.offset,
        )
    )


def register(step: Step, server_id: str, sequence: int, data: Mapping[str, Any]) -> str | None:
    """Address, labels and workers as it says now. Returns why it was ignored, or None."""
    view = step.view
    server = view.servers[server_id]
    if sequence <= server.registered_sequence:
        return "older-registration"
    described = changed(server, registered_sequence=sequence, **_columns(data["server"]))
    # The first silence was counted by an interval that is known only now.
    described.silence_due_ms = step.now_ms + liveness.stale_ms(view, described)
    if _ports(described) != _ports(server):
        described.claimed_offset = step.offset
    view.put(described)
    ports.recheck(step, server_id, before=server)
    _replace_workers(step, server_id, sequence, data["workers"])
    if (REGISTER, server_id) in view.timers:
        view.drop(view.timers[REGISTER, server_id])
    return None


def ask(step: Step, server_id: str, *, at_once: bool = False, **data: Any) -> bool:
    """Ask a server who it is, not more often than commands are repeated. Was it asked now?"""
    view = step.view
    if (REGISTER, server_id) in view.timers and not at_once:
        return False
    view.put(Timer(REGISTER, server_id, step.now_ms + view.limits.reissue_ms))
    step.tell("register", server_id, **data)
    return True


def _replace_workers(
    step: Step, server_id: str, sequence: int, said: list[Mapping[str, Any]]
) -> None:
    """This is the set now; a worker that is missing has died."""
    view = step.view
    incarnation = view.servers[server_id].incarnation
    named = {worker["worker_id"] for worker in said}
    for worker_id in view.workers_of.get(server_id, ()):
        if worker_id not in named:
            kill(step, view.workers[server_id, worker_id], sequence)
    for worker in sorted(said, key=lambda worker: str(worker["worker_id"])):
        known = view.workers.get((server_id, worker["worker_id"]))
        capacity = worker["capacity_consumers"]
        if known is None or known.state == "died":
            view.put(
                Worker(
                    server_id,
                    worker["worker_id"],
                    capacity=capacity,
                    incarnation=incarnation,
                    status_offset=step.offset,
                )
            )
        else:
            view.put(changed(known, capacity=capacity))


def kill(step: Step, worker: Worker, sequence: int) -> None:
    """A worker died: it carries nothing, and the rooms that it had are gone."""
    dead = Worker(
        worker.server_id,
        worker.worker_id,
        state="died",
        capacity=worker.capacity,
        incarnation=worker.incarnation,
        status_sequence=max(sequence, worker.status_sequence),
        status_offset=step.offset,
    )
    step.view.put(dead)
    life = (worker.incarnation, sequence)
    room.lose_life(step, worker.server_id, life, "worker-died", worker.worker_id)


def _columns(server: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that a registration's `server` fills."""
    udp_ports = server["udp_ports"] or (None, None)
    return {
        "region": server["region"],
        "zone": server["zone"],
        "labels": canonical(server["labels"]).decode(),
        "host": server["host"],
        "port": server["port"],
        "ws_url_template": server["ws_url_template"],
        "places_workers": int(server["places_workers"]),
        "status_interval_ms": server["status_interval_ms"],
        "liveness_mode": server["liveness"],
        "contract_version": server["contract_version"],
        "external_id": server["external_id"],
        "media_ip": server["media_ip"],
        "udp_port_min": udp_ports[0],
        "udp_port_max": udp_ports[1],
        "turn_ports": canonical(_turn_ports(server["turn"])).decode(),
        "description": canonical(server).decode(),
    }


def _turn_ports(turn: Mapping[str, Any] | None) -> list[str]:
    """ "host:port" of each TURN URL, once, ascending; a URL without a port means the default."""
    found = set()
    for url in turn["urls"] if turn else ():
        scheme, _, rest = url.partition(":")
        address = rest.partition("?")[0]
        has_port = ":" in address.rpartition("]")[2]
        default = "5349" if scheme == "turns" else "3478"
        found.add(address if has_port else f"{address}:{default}")
    return sorted(found)


def _ports(server: Server) -> tuple[Any, ...]:
    return (server.media_ip, server.udp_port_min, server.udp_port_max, server.turn_ports)
