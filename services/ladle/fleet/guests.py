"""The people of one room: they ask where it is, come, go, and come back where they lose it.

One coroutine a room walks through its demand. What Ladle or a server does to the room in between
(a crash, a dead worker, a close-room) throws peers out; those ask again and join where they are
told, as clients do. Nothing here knows what the right answer would be.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from ladle.fleet.backend import Backend
from ladle.fleet.home import Home
from ladle.fleet.media_server import EmulatedServer
from ladle.fleet.server_model import CannotJoin
from ladle.fleet.timeline import DemandOver, Timeline
from ladle.fleet.workloads import RoomDemand, Visit


@dataclass(frozen=True, slots=True)
class _Step:
    """One change of the room's people; leaves come before joins of the same moment."""

    at_ms: int
    arrives: bool
    peer: int
    visit: Visit


def _steps(demand: RoomDemand) -> list[_Step]:
    """In order of time; a visit too short for the run's speed-up leaves no trace."""
    steps = []
    for peer, visit in enumerate(demand.visits):
        if visit.from_ms >= visit.until_ms:
            continue
        steps.append(_Step(visit.from_ms, True, peer, visit))
        steps.append(_Step(visit.until_ms, False, peer, visit))
    return sorted(steps, key=lambda step: (step.at_ms, step.arrives, step.peer))


class Guests:
    """Lives one room's demand; see `live`."""

    def __init__(
        self,
        demand: RoomDemand,
        backend: Backend,
        servers: Mapping[str, EmulatedServer],
        timeline: Timeline,
        reconnect_ms: int,
    ) -> None:
        self._demand = demand
        self._backend = backend
        self._servers = servers
        self._timeline = timeline
        self._reconnect_ms = reconnect_ms
        self._home: Home | None = None
        # Who should be in the room, and on which server each of them really is.
        self._wanted: dict[int, Visit] = {}
        self._at: dict[int, str] = {}
        self._lost = asyncio.Event()
        self._grown = demand.grows_to == 0

    @property
    def waiting(self) -> int:
        """Peers who want to be in the room and are in none."""
        return len(self._wanted) - len(self._at)

    async def live(self) -> None:
        """From the first ask to the last leave, or to the end of the run's demand."""
        try:
            await self._timeline.until(self._demand.asked_at_ms)
            self._home = await self._backend.ask(self._demand)
            if self._home is None:
                return
            if not self._demand.visits:
                await self._give_back(self._home)
                return
            await self._timeline.pause(self._demand.connect_ms)
            for step in _steps(self._demand):
                await self._reach(step.at_ms)
                if step.arrives:
                    await self._arrive(step)
                else:
                    self._leave(step)
        except DemandOver:
            return
        self._backend.forget(self._demand.room_id)

    async def _give_back(self, home: Home) -> None:
        await self._timeline.pause(self._demand.released_after_ms)
        await self._backend.release(home)

    async def _reach(self, at_ms: int) -> None:
        """Wait for the next step; whoever loses the room meanwhile comes back first."""
        if not self._grown and self._demand.grows_at_ms <= at_ms:
            await self._reach_step(self._demand.grows_at_ms)
            self._grown = True
            await self._backend.extend(self._demand)
        await self._reach_step(at_ms)

    async def _reach_step(self, at_ms: int) -> None:
        while not await self._timeline.until(at_ms, self._lost):
            self._lost.clear()
            await self._come_back(at_ms)
            if self._timeline.now_ms() >= at_ms:
                return

    async def _arrive(self, step: _Step) -> None:
        self._wanted[step.peer] = step.visit
        if step.visit.asks:
            self._home = await self._backend.ask_again(self._demand) or self._home
        if not self._join(step.peer):
            self._lost.set()

    def _leave(self, step: _Step) -> None:
        self._wanted.pop(step.peer, None)
        server_id = self._at.pop(step.peer, None)
        if server_id is not None:
            self._servers[server_id].leave_room(self._demand.room_id, step.peer)

    def _join(self, peer: int) -> bool:
        """Put one peer where the home is; False where nobody opens there."""
        home, visit = self._home, self._wanted[peer]
        server = self._servers.get(home.server_id) if home else None
        if home is None or server is None:
            return False
        try:
            server.join(home, peer, publishes=visit.publishes, on_gone=self._thrown_out)
        except CannotJoin:
            return False
        self._at[peer] = home.server_id
        return True

    def _thrown_out(self, server_id: str) -> None:
        """The room ended on a server, not by its people's wish."""
        self._at = {peer: at for peer, at in self._at.items() if at != server_id}
        self._lost.set()

    async def _come_back(self, until_ms: int) -> None:
        """Ask again and join, until everybody is back or the script's next step is due."""
        while self.waiting and self._timeline.now_ms() < until_ms:
            await self._timeline.pause(self._reconnect_ms)
            self._home = await self._backend.ask_again(self._demand) or self._home
            for peer in sorted(self._wanted.keys() - self._at.keys()):
                self._join(peer)
        if self.waiting:
            # Not given up: the next step's wait begins with another try.
            self._lost.set()
