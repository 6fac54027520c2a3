"""One emulated media server on the wire: changes become events, commands become changes.

It speaks through the same MediaServerPublisher as a real server. The model changes and the event
takes its sequence in one step, without an await between, so that a status never shows a room
before its creation has its place.
"""

import logging
from collections.abc import Callable, Sequence

from ladle.fleet.cut_link import CutLink
from ladle.fleet.home import Home
from ladle.fleet.server_model import CannotJoin, CloseReason, Costs, Room, ServerModel
from ladle.fleet.truth import RoomTruth, ServerTruth, server_truth
from ladle_contracts.clock import Clock
from ladle_contracts.commands import CloseRoom, DrainCommand
from ladle_contracts.envelope import ReceivedCommand
from ladle_contracts.events import RoomLoad, ServerDescription, WorkerDescription, WorkerState
from ladle_contracts.link import Link
from ladle_contracts.publisher import MediaServerPublisher, PublisherClosed, Snapshot

log = logging.getLogger(__name__)

OnGone = Callable[[str], None]
"""Told the server's id when a room ends there without its people's wish."""

_NEVER = 1_000_000_000
_LEAVE_TIMEOUT_MS = 5_000
_LOOK_AGAIN_MS = 50


class EmulatedServer:
    """A server through all its lives; each `start` begins one, `vanish` or `leave` ends it."""

    def __init__(
        self,
        server_id: str,
        description: ServerDescription,
        workers: Sequence[WorkerDescription],
        link: Link,
        *,
        cell: str,
        clock: Clock,
        costs: Costs | None = None,
        complete_every: int = 12,
    ) -> None:
        """`link` may be shared with other servers. `complete_every` 0: only when asked."""
        self.server_id = server_id
        self.worker_ids = tuple(worker.worker_id for worker in workers)
        self.incarnation = 0
        self.rooms_lost = 0
        self.rooms_closed_as_told = 0
        self.told_to_drain = False
        self._description = description
        self._workers = tuple(workers)
        self._link = CutLink(link)
        self._cell = cell
        self._clock = clock
        self._costs = costs or Costs()
        self._complete_every = complete_every or _NEVER
        self._model: ServerModel | None = None
        self._publisher: MediaServerPublisher | None = None
        self._on_gone: dict[str, dict[int, OnGone]] = {}
        self._published_before = 0

    # Lives

    @property
    def running(self) -> bool:
        """Between a start and its end, and not superseded by another process of that name."""
        publisher = self._publisher
        return publisher is not None and not publisher.superseded.is_set()

    @property
    def published(self) -> int:
        """Events that the broker has confirmed, over all lives."""
        now = self._publisher.confirmed if self._publisher is not None else 0
        return self._published_before + now

    @property
    def backlog(self) -> int:
        """Events of this life that the broker has not confirmed yet."""
        return self._publisher.backlog if self._publisher is not None else 0

    async def start(self) -> None:
        """A new incarnation, empty; returns when the registration is at the broker."""
        if self._publisher is not None:
            return
        await self._link.mend()
        self.incarnation = max(self._clock.unix_ms(), self.incarnation + 1)
        self.told_to_drain = False
        capacities = {worker.worker_id: worker.capacity_consumers for worker in self._workers}
        self._model = ServerModel(capacities, self._costs)
        publisher = self._publisher = MediaServerPublisher(
            self._link,
            self.server_id,
            self._description,
            self._workers,
            cell=self._cell,
            clock=self._clock,
            snapshot=self._snapshot,
            on_command=self._on_command,
            incarnation=self.incarnation,
            complete_every=self._complete_every,
            close_timeout_ms=_LEAVE_TIMEOUT_MS,
        )
        await publisher.start()
        await publisher.wait_registered()

    async def vanish(self) -> None:
        """The process is gone, in mid sentence: nothing is said, every room has ended."""
        publisher = self._end_life()
        if publisher is not None:
            await publisher.abort()
            self._published_before += publisher.confirmed

    async def leave(self, reason: str) -> None:
        """Deregister, end; what was said before is still sent, for five seconds at most."""
        if not self.running:
            return
        publisher = self._end_life()
        if publisher is not None:
            publisher.deregister(reason)
            await publisher.close()
            self._published_before += publisher.confirmed

    def _end_life(self) -> MediaServerPublisher | None:
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            # Ladle may have made this life begin later than the clock said.
            self.incarnation = max(self.incarnation, publisher.incarnation)
        model, self._model = self._model, None
        if model is not None:
            self._throw_out(list(model.rooms.values()))
        return publisher

    @property
    def is_cut_off(self) -> bool:
        """Does it live behind a network partition?"""
        return self._link.is_cut

    async def cut_off(self) -> None:
        """The network between it and the broker breaks; it lives on, with its people."""
        if self.running:
            await self._link.cut()

    async def reconnect(self) -> None:
        """The network is whole again; what is new since is said."""
        await self._link.mend()

    async def drain(self, reason: str) -> None:
        """Say that no new rooms are wanted; lasts for this incarnation."""
        if self._publisher is not None:
            self._publisher.draining(reason)

    async def until_empty(self) -> None:
        """Wait until the last room has ended."""
        while self._model is not None and self._model.rooms:
            await self._clock.sleep(_LOOK_AGAIN_MS)

    # Workers

    @property
    def dead_workers(self) -> frozenset[str]:
        return frozenset(self._model.died) if self._model is not None else frozenset()

    async def kill_worker(self, worker_id: str) -> None:
        """The worker's process dies with its rooms; a status says so, no room-deleted does."""
        if self._model is None or worker_id in self._model.died:
            return
        self._throw_out(self._model.kill_worker(worker_id))
        self._say_state()

    async def restart_worker(self, worker_id: str) -> None:
        """The worker runs again, empty; a status says so."""
        if self._model is not None:
            self._model.restart_worker(worker_id)
            self._say_state()

    def _say_state(self) -> None:
        """A plain status at once: mediasoup's `died` comes within milliseconds."""
        if self._publisher is not None:
            now = self._snapshot()
            self._publisher.worker_status(now.workers, now.rooms)

    # People

    def join(self, home: Home, peer: int, *, publishes: bool, on_gone: OnGone) -> None:
        """Let a peer into the room of `home`; the first one creates it on the told worker.

        Raises CannotJoin where the server or the told worker does not run.
        """
        if self._model is None or self._publisher is None or not self.running:
            raise CannotJoin(f"{self.server_id} does not run")
        room = Room(
            room_id=home.room_id,
            worker_id=home.worker_id or self._roomiest_worker(self._model),
            allocation_id=home.allocation_id,
            streams_per_publisher=home.streams_per_publisher,
        )
        if self._model.join(room, peer, publishes=publishes) is not None:
            self._publisher.room_created(
                room.room_id, worker_id=room.worker_id, allocation_id=room.allocation_id
            )
        self._on_gone.setdefault(home.room_id, {})[peer] = on_gone

    def leave_room(self, room_id: str, peer: int) -> None:
        """Let a peer go; the last one takes the room along. Nothing where it is not here."""
        self._on_gone.get(room_id, {}).pop(peer, None)
        room = self._model.leave(room_id, peer) if self._model is not None else None
        if room is not None:
            self._on_gone.pop(room_id, None)
            self._say_deleted(room, CloseReason.EMPTY)

    def close_all_rooms(self) -> None:
        """End every room, as an orderly shutdown does."""
        for room_id in list(self._model.rooms) if self._model is not None else []:
            self._close(room_id, CloseReason.SERVER_GONE)

    @staticmethod
    def _roomiest_worker(model: ServerModel) -> str:
        """Where Ladle leaves the worker to the server: the one with the fewest consumers."""
        running = [load for load in model.loads() if load.running]
        if not running:
            raise CannotJoin("no worker runs")
        return min(running, key=lambda load: (load.consumers, load.worker_id)).worker_id

    def _close(self, room_id: str, reason: CloseReason) -> bool:
        room = self._model.close(room_id) if self._model is not None else None
        if room is None:
            return False
        self._say_deleted(room, reason)
        self._throw_out([room])
        return True

    def _say_deleted(self, room: Room, reason: CloseReason) -> None:
        if self._publisher is not None and self.running:
            self._publisher.room_deleted(
                room.room_id, allocation_id=room.allocation_id, reason=reason
            )

    def _throw_out(self, rooms: list[Room]) -> None:
        self.rooms_lost += len(rooms)
        for room in rooms:
            for on_gone in {*self._on_gone.pop(room.room_id, {}).values()}:
                on_gone(self.server_id)

    # What the publisher asks for and brings

    def _snapshot(self) -> Snapshot:
        """Everything at this moment; the publisher gives it its sequence in the same step."""
        if self._model is None:
            raise PublisherClosed(f"{self.server_id} does not run")
        workers = [
            WorkerState(
                worker_id=load.worker_id,
                state="running" if load.running else "died",
                consumers=load.consumers,
                producers=load.producers,
                rooms=load.rooms,
                cpu_permille=load.cpu_permille,
                memory_bytes=load.memory_bytes,
            )
            for load in self._model.loads()
        ]
        rooms = [
            RoomLoad(
                room_id=room.room_id,
                worker_id=room.worker_id,
                peers=room.peers,
                consumers=room.consumers,
                allocation_id=room.allocation_id,
            )
            for room in self._model.rooms.values()
        ]
        return Snapshot(workers, rooms)

    def _on_command(self, command: ReceivedCommand) -> None:
        """close-room and drain; the publisher has checked that this very life is meant."""
        match command.data:
            case CloseRoom() as close:
                if self._close(close.room_id, CloseReason.TOLD):
                    self.rooms_closed_as_told += 1
            case DrainCommand():
                # Ladle places nothing here already; saying `draining` too would outlast an undrain.
                self.told_to_drain = True
            case _:
                log.info("%s does not play %s", self.server_id, command.type)

    def report(self) -> None:
        """Send a complete status now."""
        if self._publisher is not None and self.running:
            self._publisher.report_rooms()

    def truth(self) -> tuple[ServerTruth, list[RoomTruth]]:
        """What runs here now."""
        publisher = self._publisher
        life = publisher.incarnation if publisher is not None else self.incarnation
        return server_truth(self.server_id, life, self._model if self.running else None)
