"""A placement process of the simulation: the real service, killed and started again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING

from ladle.chaos.simulated.cable import Cable
from ladle.chaos.simulated.clock import SimulatedClock
from ladle.chaos.simulated.laws import NO_DEFECT, Violation
from ladle.chaos.simulated.link import SimulatedLink
from ladle.chaos.simulated.loop import Host
from ladle.chaos.simulated.service import Service
from ladle.chaos.simulated.store import SimulatedStore
from ladle.chaos.simulated.stream import opened_stream
from ladle.core.limits import RULES
from ladle.core.record import Kind
from ladle.journal.store import Batch, Lease, StoreError
from ladle_contracts.topology import Topology

if TYPE_CHECKING:
    from ladle.chaos.simulated.world import World

RESTART_MS = (300, 3_000)
ONLY_WHERE_LOST = "only a journal that lost records is refused"
SOON_MS = (50, 500)
"""So long after it accepted a loss a process dies: the journal is not where it was yet."""
ACCEPT_EVERY = 2
"""After so many refusals somebody has looked, and accepts that records are lost."""


class SimulatedDeclaring:
    """`Declaring` on the simulated broker."""

    def __init__(self, world: World, process: PlacementProcess) -> None:
        self._world = world
        self._process = process

    async def cell(self, topology: Topology) -> None:
        await self._process.reach_broker()
        self._world.broker.declare(topology.declarations())

    async def command_queues(self, topology: Topology, server_ids: Sequence[str]) -> None:
        await self._process.reach_broker()
        for server_id in server_ids:
            self._world.broker.declare(topology.command_declarations(server_id))


class PlacementProcess:
    """One place where the service runs, through all the lives of its process."""

    def __init__(self, world: World, name: str) -> None:
        self.name = name
        self.clock = SimulatedClock(world.loop)
        self.cable = Cable(world.loop)
        self.lives = 0
        self.is_running = False
        self.edition = RULES
        self.refusals = 0
        self.crash_at: str | None = None
        self.dies_when_accepted = False
        self.is_cut = False
        self.host: Host
        self.store: SimulatedStore
        self.service: Service
        self._world = world
        self._random = world.chance.stream(f"process {name}")
        self._links: list[SimulatedLink] = []
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None]
        world.database.before_append.append(self._on_append)

    # Lives

    def start(self) -> None:
        """A new process."""
        world = self._world
        self.lives += 1
        self.is_running = True
        self.crash_at = None
        self.host = Host(f"{self.name}.{self.lives}")
        self.store = SimulatedStore(world.database, world.dice, self._random, self.edition)
        self.store.on_power_loss = world.database_loses_power
        self.store.is_cut = self.is_cut
        self.store.on_step = self._on_step
        self._links = []
        self._stop = asyncio.Event()
        accepts = self.refusals > 0 and self.refusals % ACCEPT_EVERY == 0
        self.service = world.programs.make_service(
            world.settings,
            holder=self.host.name,
            store=self.store,
            make_link=self._make_link,
            clock=self.clock,
            declaring=SimulatedDeclaring(world, self),
            open_log=partial(opened_stream, world, self),
            accept_loss=accepts,
            rules=self.edition,
        )
        self.dies_when_accepted = accepts and self._random.random() < 0.8
        self._task = world.loop.spawn(self.host, self.service.run(self._stop))
        self._task.add_done_callback(self._on_end, context=Context())

    def _make_link(self) -> SimulatedLink:
        name = f"{self.host.name}.{len(self._links)}"
        link = SimulatedLink(self._world.broker, self.host, name, self._random, "ladle", self.cable)
        link.on_step = self._on_step
        self._links.append(link)
        return link

    def kill(self) -> None:
        """kill -9; somebody starts it again."""
        if self.is_running:
            for link in self._links:
                link.end("killed")
            self._die()

    def lose_power(self) -> None:
        """The machine is gone; the broker keeps its connections until it misses heartbeats."""
        if self.is_running:
            for link in self._links:
                link.vanish()
            self._die()

    def _die(self) -> None:
        self.is_running = False
        self.store.is_dead = True
        self._world.loop.kill(self.host)
        self._start_again()

    def stop(self) -> None:
        """SIGTERM."""
        self.host.context.copy().run(self._stop.set)

    def freeze(self, for_ms: int) -> None:
        """SIGSTOP, and SIGCONT later."""
        host = self.host
        if self.is_running and not host.is_frozen:
            self._world.loop.freeze(host)
            self._world.later(for_ms, self._world.loop.thaw, host)

    def cut_from_database(self, for_ms: int) -> None:
        self.is_cut = self.store.is_cut = True
        self._world.later(for_ms, self.mend)

    def mend(self) -> None:
        self.is_cut = self.store.is_cut = False

    @property
    def links(self) -> list[SimulatedLink]:
        """Those that are connected."""
        return [link for link in self._links if link.is_up]

    def _on_end(self, task: asyncio.Task[None]) -> None:
        if self.is_running and task is self._task:
            # A clean stop, or an error after which it may not go on.
            error = None if task.cancelled() else task.exception()
            if getattr(error, "code", None) == "journal-behind":
                self.refusals += 1
                if not self._world.losses.may_refuse(self.name):
                    self._world.loop.fail(Violation(ONLY_WHERE_LOST, self.name))
            elif error is not None and not isinstance(error, StoreError):
                self._world.loop.fail(Violation(NO_DEFECT, f"{self.name}: {error!r}"))
            self.is_running = False
            for link in self._links:
                link.end("the process has ended")
            self.store.is_dead = True
            self._start_again()

    def _on_append(self, mine: Lease, batch: Batch) -> None:
        """What was accepted once is not asked for again, though the stream is still ahead."""
        if batch.records[0].kind != Kind.LOSS_ACCEPTED:
            return
        self.refusals = 0
        if self.dies_when_accepted and mine.holder == self.host.name:
            least, most = SOON_MS
            self._world.later(least + int(self._random.random() * (most - least)), self.kill)

    def _start_again(self) -> None:
        least, most = RESTART_MS
        self._world.later(least + int(self._random.random() * (most - least)), self.start)

    def _on_step(self, step: str) -> None:
        """On the way of a message, from its delivery to its ack; where a crash may be due."""
        if not self.is_running:
            return
        if step == "received" and self.crash_at is None:
            self.crash_at = self._world.draw_a_crash()
        if self.crash_at == step:
            crashes = self._world.tally.crashes
            crashes[step] = crashes.get(step, 0) + 1
            self.kill()

    async def reach_broker(self) -> None:
        """A connection for a declaration: there and back."""
        async with self.connected():
            pass

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[SimulatedLink]:
        """A connection of its own for a while."""
        link = self._make_link()
        try:
            await link.open()
            yield link
        finally:
            link.end("done")
            self._links.remove(link)
