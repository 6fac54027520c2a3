"""The end of a run: all faults stop, and everything must come to rest in the truth."""

from ladle.chaos.simulated.faults import Fault
from ladle.chaos.simulated.laws import Violation
from ladle.chaos.simulated.media import MediaServer
from ladle.chaos.simulated.world import World
from ladle.core.limits import RULES
from ladle.core.load import cost
from ladle.core.view import View
from ladle.core.words import Liveness, Phase
from ladle.journal.fold import loaded

REST_MS_MAX = 300_000
LOOK_MS = 500
OVERDUE_MS = 5_000


def heal(world: World) -> None:
    """No fault strikes from now on, and what was broken is mended."""
    world.dice.is_over = True
    world.is_quiet = True
    world.broker.come_up()
    world.broker.alarm_until_us = 0
    world.database.full_until_us = 0
    for queue in world.broker.queues.values():
        queue.full_until_us = 0
    world.journal.silent_together = frozenset()
    for process in world.processes:
        if process.edition < RULES:
            process.edition = RULES
            process.kill()
        process.crash_at = None
        process.clock.wall_off_ms = 0
        process.mend()
        process.cable.mend()
        if process.is_running:
            world.loop.thaw(process.host)
    for server in world.servers.values():
        server.clock.wall_off_ms = 0
        server.cable.mend()
        server.begin_again()
    for backend in world.backends:
        backend.clock.wall_off_ms = 0
        backend.cable.mend()


async def come_to_rest(world: World) -> None:
    """Wait until the view is the servers' truth; raises Violation where it does not become so."""
    until_us = world.loop.now_us + REST_MS_MAX * 1_000
    clock = world.backends[0].clock
    unrest = "it was not looked at"
    while world.loop.now_us < until_us:
        await clock.sleep(LOOK_MS)
        for server in world.servers.values():
            server.begin_again()
        found = what_is_open(world)
        if found is None:
            whole(world)
            return
        unrest = found
    raise Violation("after the faults stop, the view equals the servers' truth", unrest)


def what_is_open(world: World) -> str | None:
    """The first thing that is not at rest yet; None: everything is."""
    writer = world.writer()
    term = writer.service.term if writer is not None else None
    if term is None or not term.caught_up:
        return "nobody writes, or the writer has not caught up"
    if found := _waits(world):
        return found
    if any(backend.open_calls for backend in world.backends):
        return "a call is open"
    view = world.journal.view
    if view.limits.rules != RULES:
        return f"edition {view.limits.rules} of the rules decides"
    for server in world.servers.values():
        if found := _differs(view, server):
            return f"{server.name}: {found}"
    if view.closings:
        return f"closings: {sorted(view.closings)}"
    overdue = [
        room.room_id
        for room in view.rooms.values()
        if room.held_until_ms is not None
        and room.phase != Phase.ACTIVE_HELD
        and room.held_until_ms < view.recorded_at_ms - OVERDUE_MS
    ]
    if overdue:
        return f"holds that should be over: {overdue}"
    if found := _stands_by(world):
        return found
    unpublished = world.wire.unpublished()
    return f"never published: {unpublished[:3]}" if unpublished else None


def _waits(world: World) -> str | None:
    """The first queue that is not empty; dead letters are kept, and streams empty themselves."""
    topology, broker = world.topology, world.broker
    shared = (topology.inbox, topology.requests, topology.queries, topology.answers)
    for name in (*shared, *map(topology.command_queue, world.servers)):
        # A server that nobody has told anything may have no queue: the first command makes it.
        if name in broker.queues and (backlog := broker.backlog(name)):
            return f"{backlog} messages wait in {name}"
    return None


def _stands_by(world: World) -> str | None:
    """The first standby that would answer otherwise than the writer."""
    view = world.journal.view
    for process in world.processes:
        standby = process.service.standby if process.is_running else None
        if standby is None:
            continue
        followed = standby.follower.view
        if followed is None or followed.offset != view.offset:
            return f"{process.name} has not followed to {view.offset}"
        if followed.digest() != view.digest():
            return f"{process.name} stands by with another view at {view.offset}"
    return None


def _differs(view: View, server: MediaServer) -> str | None:
    """What the view and the server do not agree on."""
    if not server.is_running or not server.speaks:
        return "it is not running"
    if server.publisher.backlog:
        return f"{server.publisher.backlog} events are not at the broker"
    row = view.servers.get(server.name)
    if row is None or row.liveness != Liveness.UP:
        return f"it is {row.liveness if row else 'unknown'}"
    if row.incarnation != server.publisher.incarnation:
        return f"life {row.incarnation}, it lives {server.publisher.incarnation}"
    there = {
        room_id: view.routers[room_id, number].worker_id
        for room_id, number in view.routers_on.get(server.name, ())
        if view.routers[room_id, number].active
    }
    truth = {room.room_id: room.worker_id for room in server.rooms.values()}
    if there != truth:
        return f"view {sorted(there.items())}, truth {sorted(truth.items())}"
    for worker_id in server.capacities:
        carried = sum(
            cost(room.peers) for room in server.rooms.values() if room.worker_id == worker_id
        )
        observed = view.workers[server.name, worker_id].observed
        if observed != carried:
            return f"worker {worker_id}: {observed} observed, {carried} true"
    return None


def whole(world: World) -> None:
    """What is looked at once, for it costs much: the whole view, the tables, what was taken."""
    world.journal.check_rows(whole=True)
    tables = loaded(world.database.load())
    if tables.digest() != world.journal.view.digest():
        raise Violation("the tables are the journal", "at the end")
    if Fault.BIT_FLIP in world.dice.swarm.often:
        audited = world.programs.audit(world.database.records, world.database.load())
        if audited.exit_code:
            raise Violation("the journal verifies", audited.said)
    lost = sorted(life for life in world.wire.taken if not world.journal.is_durable(life))
    if lost:
        raise Violation("what the broker took is in the journal", f"{lost[:3]}")
