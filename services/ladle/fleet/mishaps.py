"""What is done to servers: crashes, dead workers, partitions, drains, deploys."""

import asyncio
import contextlib
from collections.abc import Coroutine, Mapping

from ladle.fleet.faults import Fault, FaultKind, faults_of
from ladle.fleet.media_server import EmulatedServer
from ladle.fleet.options import Faults
from ladle.fleet.report import Incidents
from ladle.fleet.timeline import Timeline


class Mishaps:
    """Every method may be called at any time; the ones by script leave one server standing."""

    def __init__(
        self, servers: Mapping[str, EmulatedServer], faults: Faults, timeline: Timeline
    ) -> None:
        self._servers = servers
        self._faults = faults
        self._timeline = timeline
        self._under_way: set[asyncio.Task[None]] = set()
        # Servers on which something of the script goes on: nothing else is done to them.
        self._busy: set[str] = set()
        self._crashes = 0
        self._worker_deaths = 0
        self._deploys = 0
        self._partitions = 0

    # On demand

    async def crash(self, server_id: str) -> None:
        """The server's process is killed: it says nothing more, its rooms are gone."""
        if self._servers[server_id].running:
            self._crashes += 1
            await self._servers[server_id].vanish()

    async def restart(self, server_id: str) -> None:
        """A new incarnation without rooms; a server that runs is crashed first."""
        await self.crash(server_id)
        await self._servers[server_id].start()

    async def kill_worker(self, server_id: str, worker_id: str) -> None:
        """One worker's process dies; the server lives, and says so."""
        self._worker_deaths += 1
        await self._servers[server_id].kill_worker(worker_id)

    async def restart_worker(self, server_id: str, worker_id: str) -> None:
        """The server starts the worker again, empty."""
        await self._servers[server_id].restart_worker(worker_id)

    async def drain(self, server_id: str, reason: str = "told to drain") -> None:
        """The server wants no new rooms, for the rest of its incarnation."""
        await self._servers[server_id].drain(reason)

    async def deploy(self, server_id: str) -> None:
        """Drain, wait for the rooms (for a time), leave, come back as a new incarnation."""
        self._deploys += 1
        server = self._servers[server_id]
        await server.drain("deploy")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._faults.drain_timeout_s):
                await server.until_empty()
        await server.leave("deploy")
        await asyncio.sleep(self._faults.restart_after_s)
        await server.start()

    async def cut_off(self, server_id: str) -> None:
        """The network between the server and the broker breaks; server and people live on."""
        self._partitions += 1
        await self._servers[server_id].cut_off()

    async def reconnect(self, server_id: str) -> None:
        """The network is whole again."""
        await self._servers[server_id].reconnect()

    # By script

    async def play(self, seed: int) -> None:
        """Do what the seed's script says until the demand is over. Raises DemandOver then."""
        for fault in faults_of(self._faults, seed):
            await self._timeline.until(fault.at_ms)
            self.strike(fault)

    def strike(self, fault: Fault) -> None:
        """Begin one fault and its repair; nothing where no server could suffer it now."""
        steady = [
            server
            for server_id, server in sorted(self._servers.items())
            if server.running and server_id not in self._busy
        ]
        if not steady or (len(steady) == 1 and fault.kind is not FaultKind.WORKER_DEATH):
            # The last one stays, or the people of the run would only wait.
            return
        server_id = steady[fault.server % len(steady)].server_id
        workers = self._servers[server_id].worker_ids
        match fault.kind:
            case FaultKind.CRASH:
                work = self._crash_and_restart(server_id)
            case FaultKind.WORKER_DEATH:
                work = self._worker_dies(server_id, workers[fault.worker % len(workers)])
            case FaultKind.DEPLOY:
                work = self.deploy(server_id)
            case FaultKind.PARTITION:
                work = self._is_cut_off(server_id)
        self._begin(server_id, work)

    async def repair_all(self) -> None:
        """Cut the script short: what is down comes back now; returns when all servers run."""
        await self.stop()
        for server in self._servers.values():
            await server.reconnect()
            if not server.running:
                await server.start()
            for worker_id in sorted(server.dead_workers):
                await server.restart_worker(worker_id)

    async def stop(self) -> None:
        """Let the script's faults be as they are; nothing more of it happens."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def incidents(self) -> Incidents:
        """What was done so far, and what it cost."""
        servers = self._servers.values()
        return Incidents(
            crashes=self._crashes,
            worker_deaths=self._worker_deaths,
            deploys=self._deploys,
            partitions=self._partitions,
            rooms_lost=sum(server.rooms_lost for server in servers),
            rooms_closed_as_told=sum(server.rooms_closed_as_told for server in servers),
        )

    async def _crash_and_restart(self, server_id: str) -> None:
        await self.crash(server_id)
        await asyncio.sleep(self._faults.restart_after_s)
        await self._servers[server_id].start()

    async def _worker_dies(self, server_id: str, worker_id: str) -> None:
        await self.kill_worker(server_id, worker_id)
        await asyncio.sleep(self._faults.worker_restart_after_s)
        await self.restart_worker(server_id, worker_id)

    async def _is_cut_off(self, server_id: str) -> None:
        await self.cut_off(server_id)
        await asyncio.sleep(self._faults.partition_s)
        await self.reconnect(server_id)

    def _begin(self, server_id: str, work: Coroutine[object, object, None]) -> None:
        async def repaired() -> None:
            try:
                await work
            finally:
                self._busy.discard(server_id)

        self._busy.add(server_id)
        task = asyncio.create_task(repaired(), name=f"mishap of {server_id}")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
