"""What must hold in a view at any offset, computed from its rows alone."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from ladle.core.rows import Router, Stamp, Worker
from ladle.core.view import View
from ladle.core.words import Administration, Liveness, Phase

LIVE = (Phase.ACTIVE, Phase.ACTIVE_HELD)
HOLDING = (Phase.HELD, Phase.HELD_AGAIN, Phase.ACTIVE_HELD)
Of = TypeVar("Of", Router, Stamp)


def check(view: View) -> None:
    """Raises AssertionError with the row that is wrong."""
    check_rows(view)
    derived(view)


def check_rows(view: View) -> None:
    """All but `derived`, which costs a whole load."""
    homes(view)
    phases(view)
    counters(view)
    sums(view)
    stamps(view)
    servers(view)


def homes(view: View) -> None:
    """One home a room, and no row of a room that is nowhere."""
    numbers: dict[str, list[int]] = {}
    for key, router in view.routers.items():
        assert router.room_id in view.rooms, key
        assert router.server_id in view.servers, key
        numbers.setdefault(key[0], []).append(key[1])
    for room_id in view.rooms:
        assert numbers.get(room_id) == [0], (room_id, numbers.get(room_id))


def phases(view: View) -> None:
    """A phase says what the columns say."""
    for room in view.rooms.values():
        router = view.routers[room.room_id, 0]
        assert (room.held_until_ms is not None) == (room.phase in HOLDING), room
        assert (room.stranded_at_ms is not None) == (room.phase == Phase.STRANDED), room
        if room.phase != Phase.STRANDED:
            assert bool(router.active) == (room.phase in LIVE), (room, router)
        else:
            assert room.ends_at_ms is not None, room
            # A server that is heard brings home what lives on; room.py leans on that.
            lost = view.servers[router.server_id].liveness == Liveness.LOST
            assert lost or not router.active, (room, router)
        if room.phase in LIVE:
            server = view.servers[router.server_id]
            assert server.liveness != Liveness.LOST, room
            assert router.incarnation == server.incarnation, (router, server)
        if not router.active:
            assert (router.seen, router.fade_at_ms) == (0, None), router


def counters(view: View) -> None:
    for router in view.routers.values():
        assert min(router.seen, router.reserved, router.cost, router.peers_seen) >= 0, router
        assert router.reserved <= max(router.cost, router.seen, router.reserved), router
    for worker in view.workers.values():
        assert view.loads.used(worker.server_id, worker.worker_id) >= 0, worker
        if worker.state == "died":
            assert worker.observed == 0, worker


def sums(view: View) -> None:
    """The running sums are the formula over the rows: nothing leaks and nothing counts twice."""
    routers, stamps = _by_worker(view.routers.values()), _by_worker(view.stamps.values())
    for key, worker in view.workers.items():
        needed = _used(worker, routers.get(key, ()), stamps.get(key, ()))
        assert view.loads.used(*key) == needed, worker


def used(view: View, worker: Worker) -> int:
    """The formula of load.py, from the rows of one worker."""
    key = worker.server_id, worker.worker_id
    return _used(
        worker,
        [row for row in view.routers.values() if (row.server_id, row.worker_id) == key],
        [row for row in view.stamps.values() if (row.server_id, row.worker_id) == key],
    )


def _by_worker(rows: Iterable[Of]) -> dict[tuple[str, str | None], list[Of]]:
    found: dict[tuple[str, str | None], list[Of]] = {}
    for row in rows:
        found.setdefault((row.server_id, row.worker_id), []).append(row)
    return found


def _used(worker: Worker, routers: Sequence[Router], stamps: Sequence[Stamp]) -> int:
    if worker.lists_rooms:
        told = worker.incarnation, worker.status_sequence
        ended = sum(stamp.seen for stamp in stamps if (stamp.incarnation, stamp.sequence) > told)
        seen = sum(row.seen for row in routers)
        wanted = sum(max(row.seen, row.reserved) for row in routers)
        return wanted + max(0, worker.observed - seen - ended)
    before = sum(r.reserved for r in routers if r.reserved_offset <= worker.status_offset)
    after = sum(r.reserved for r in routers if r.reserved_offset > worker.status_offset)
    return max(worker.observed, before) + after


def stamps(view: View) -> None:
    """A stamp runs out exactly where its server has nothing of the room."""
    for (room_id, server_id), stamp in view.stamps.items():
        router = view.routers.get((room_id, 0))
        is_home = router is not None and router.server_id == server_id
        needed = is_home or (room_id, server_id) in view.closings
        assert (stamp.until_ms is None) == needed, stamp
    for (room_id, server_id), closing in view.closings.items():
        assert (room_id, server_id) in view.stamps, closing
        server = view.servers[server_id]
        assert closing.incarnation == server.incarnation, closing
        assert (closing.next_at_ms is None) == (server.liveness == Liveness.LOST), closing


def servers(view: View) -> None:
    for server in view.servers.values():
        drains = bool(server.operator_drain or server.server_drain)
        empty = server.server_id not in view.routers_on
        expected = Administration.OPEN if not drains else Administration.DRAINING
        if drains and empty:
            expected = Administration.DRAINED
        assert server.administration == expected, server
        assert (server.lost_at_ms is not None) == (server.liveness == Liveness.LOST), server
        assert (server.silence_due_ms is None) == (server.liveness == Liveness.LOST), server
        assert (server.hole_since_ms is None) == (server.received_above == "[]"), server
        if server.hole_since_ms is not None and server.liveness != Liveness.LOST:
            assert server.report_due_ms is not None, server


def derived(view: View) -> None:
    """Loading the rows gives the same view: nothing that matters is kept beside them."""
    again = View.load(view.dump(), offset=view.offset, recorded_at_ms=view.recorded_at_ms)
    assert again.digest() == view.digest()
    assert again.limits == view.limits
    assert again.schedule.next() == view.schedule.next()
    assert again.workers_of == view.workers_of
    assert again.home_of == view.home_of
    assert again.routers_on == view.routers_on
    assert again.closings_on == view.closings_on
    assert again.stamps_of == view.stamps_of
    assert again.claims == view.claims
    assert again.silent == view.silent
    assert again.index.standings == view.index.standings
    assert again.last_resort.standings == view.last_resort.standings
