"""The whole fleet: its servers, its people, its backend, and its truth.

`run.py` plays one script on it; a test may start a `Fleet` itself, and crash, drain or restart
servers through `mishaps` when it likes.
"""

import asyncio
from collections.abc import Callable, Iterable

from ladle.fleet.backend import Backend
from ladle.fleet.compare import Comparison, compare
from ladle.fleet.guests import Guests
from ladle.fleet.media_server import EmulatedServer
from ladle.fleet.mishaps import Mishaps
from ladle.fleet.options import FleetOptions
from ladle.fleet.see import see
from ladle.fleet.timeline import Timeline
from ladle.fleet.truth import Truth, whole_truth
from ladle.fleet.workloads import RoomDemand
from ladle_contracts.client import PlacementClient
from ladle_contracts.clock import Clock, SystemClock
from ladle_contracts.events import ServerDescription, WorkerDescription
from ladle_contracts.link import Link

OpenLink = Callable[[str], Link]
"""Makes a link, not yet open, for a connection of that name."""


class Fleet:
    """Servers and people of one run. `start` it, let it `live`, `stop_demand`, `close`."""

    def __init__(
        self, options: FleetOptions, open_link: OpenLink, *, clock: Clock | None = None
    ) -> None:
        """Makes everything and connects nothing; needs a running event loop."""
        self.options = options
        self.timeline = Timeline()
        self._open_link = open_link
        self._clock = clock or SystemClock()
        backend_link = open_link("fleet backend")
        shared = None if options.connection_per_server else open_link("fleet servers")
        self._links = [backend_link] if shared is None else [backend_link, shared]
        self.client = PlacementClient(
            backend_link, cell=options.cell, timeout_ms=options.request_timeout_ms
        )
        self.backend = Backend(
            self.client,
            self.timeline,
            asks_max=options.asks_max,
            patience_ms=options.patience_ms,
        )
        made = [self._make_server(number, shared) for number in range(options.servers)]
        self.servers = {server.server_id: server for server in made}
        self.mishaps = Mishaps(self.servers, options.faults, self.timeline)
        self._lives: set[asyncio.Task[None]] = set()
        # Done where the emulation itself fails: that must not pass for a quiet room.
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def _make_server(self, number: int, shared: Link | None) -> EmulatedServer:
        options = self.options
        server_id = f"{options.server_prefix}-{number + 1}"
        link = shared
        if link is None:
            link = self._open_link(f"fleet {server_id}")
            self._links.append(link)
        description = ServerDescription(
            host=f"{server_id}.fleet.example",
            region=options.regions[number % len(options.regions)] if options.regions else None,
            status_interval_ms=options.status_interval_ms,
        )
        workers = [
            WorkerDescription(worker_id=str(index), capacity_consumers=options.capacity_consumers)
            for index in range(options.workers)
        ]
        return EmulatedServer(
            server_id,
            description,
            workers,
            link,
            cell=options.cell,
            clock=self._clock,
            costs=options.costs,
            complete_every=options.complete_every,
        )

    # Coming up and going away

    async def start(self) -> None:
        """Connect, register every server.

        Raises LinkDown without a broker, TimeoutError where no queue takes the registrations.
        """
        for link in self._links:
            await link.open()
        await self.client.open()
        limit_s = self.options.start_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                await asyncio.gather(*map(self._start_in_turn, range(len(self.servers))))
        except TimeoutError:
            cell = self.options.cell
            raise TimeoutError(
                f"no registration was taken within {limit_s:g} s: is the placement service of "
                f"cell {cell!r} running, or the cell declared (ladle broker declare)?"
            ) from None

    async def _start_in_turn(self, number: int) -> None:
        spread_ms = min(self.options.start_spread_ms, self.options.status_interval_ms)
        await asyncio.sleep(spread_ms / 1000 * number / len(self.servers))
        await list(self.servers.values())[number].start()

    async def leave(self, *, close_rooms: bool = False) -> None:
        """The servers deregister; with `close_rooms` their rooms end before, one event each."""
        for server in self.servers.values():
            if close_rooms:
                server.close_all_rooms()
        await asyncio.gather(*(server.leave("fleet ends") for server in self.servers.values()))

    async def close(self) -> None:
        """Stop whatever still goes on; servers that have not left vanish."""
        self.timeline.end()
        for task in self._lives:
            task.cancel()
        await asyncio.gather(*self._lives, return_exceptions=True)
        await self.mishaps.stop()
        if not self.broken.cancel() and not self.broken.cancelled():
            self.broken.exception()  # Seen: who plays the demand was told.
        await asyncio.gather(*(server.vanish() for server in self.servers.values()))
        await self.client.close()
        for link in self._links:
            await link.close()

    # What people do

    async def live(self, demand: Iterable[RoomDemand]) -> None:
        """Let each room's demand begin at its time; returns when all have begun.

        Raises DemandOver at the end of the run.
        """
        for room in demand:
            await self.timeline.until(room.asked_at_ms)
            guests = Guests(
                room, self.backend, self.servers, self.timeline, self.options.reconnect_ms
            )
            task = asyncio.create_task(guests.live(), name=f"guests of {room.room_id}")
            self._lives.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._lives.discard(task)
        if task.cancelled() or self.broken.done():
            return
        if (error := task.exception()) is not None:
            self.broken.set_exception(error)

    async def stop_demand(self) -> None:
        """Nobody joins, leaves or asks from now on; returns when no ask is under way."""
        self.timeline.end()
        await asyncio.gather(*self._lives, return_exceptions=True)

    # Truth

    @property
    def published(self) -> int:
        """Events that the broker has confirmed."""
        return sum(server.published for server in self.servers.values())

    def truth(self) -> Truth:
        """What runs at this moment."""
        return whole_truth(server.truth() for server in self.servers.values())

    async def compare(self) -> Comparison:
        """Hold Ladle's view against what runs now. Raises PlacementError where nobody answers."""
        seen = await see(self.client)
        return compare(self.truth(), seen)
