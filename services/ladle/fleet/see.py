"""Asks Ladle what it believes: one `view` and every page of `rooms`."""

from ladle.fleet.seen import RoomSeen, Seen, ServerSeen, WorkerSeen
from ladle_contracts.client import PlacementClient
from ladle_contracts.replies import RoomEntry, ServerView

PAGE = 500


async def see(client: PlacementClient, *, min_offset: int = 0) -> Seen:
    """The view at `min_offset` or later, and the rooms at that or a later offset.

    Raises PlacementError where Ladle does not answer.
    """
    view = await client.view(min_offset=min_offset)
    rooms: dict[str, RoomSeen] = {}
    after: str | None = None
    more = True
    while more:
        page = await client.rooms(after=after, limit=PAGE, min_offset=view.offset)
        rooms.update((entry.room_id, _room(entry)) for entry in page.rooms)
        more = page.more and bool(page.rooms)
        after = page.rooms[-1].room_id if page.rooms else None
    servers = {server.server_id: _server(server) for server in view.servers}
    return Seen(view.offset, servers, rooms)


def _server(server: ServerView) -> ServerSeen:
    workers = {
        worker.worker_id: WorkerSeen(
            worker_id=worker.worker_id,
            running=worker.state == "running",
            capacity=worker.capacity,
            observed=worker.observed,
            used=worker.used,
        )
        for worker in server.workers
    }
    return ServerSeen(server.server_id, server.liveness, server.incarnation, workers)


def _room(entry: RoomEntry) -> RoomSeen:
    return RoomSeen(
        room_id=entry.room_id,
        state=entry.room_state,
        server_id=entry.server_id,
        worker_id=entry.worker_id,
        allocation_id=entry.allocation_id,
        consumers=entry.consumers,
    )
