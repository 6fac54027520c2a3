"""How long callers wait, in simulated time: bounds that no slow machine can spoil.

The real service and client with their default settings, and no faults but the one that each test
is about. On a real machine the test's own callers are late where it is busy.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from ladle.chaos.simulated.callers import SLACK_MS, TIMEOUT_MS
from ladle.chaos.simulated.chance import Chance, seeded_kernel
from ladle.chaos.simulated.faults import Swarm
from ladle.chaos.simulated.loop import Host
from ladle.chaos.simulated.placement_process import PlacementProcess
from ladle.chaos.simulated.simulation import defects_told_to, end
from ladle.chaos.simulated.store import SimulatedStore
from ladle.chaos.simulated.world import World
from ladle.commands.simulated_service import PROGRAMS
from ladle.core.record import Kind
from ladle.journal.store import Batch
from ladle.placement.settings import PlacementSettings
from ladle_contracts.errors import PlacementError

CALLERS = 10_000
ASK_EVERY_MS = 50
SLOW_COMMIT_MS = 1_000
READY_MS = 5_000
ROOM_FOR_ALL = 1_000_000
LEASE_MS = PlacementSettings.model_fields["lease_ms"].default

Ended = tuple[str, int]
"""With which outcome or code a call ended, and after how many milliseconds."""


class SlowStore:
    """Each commit takes so long; all else is the simulation's store."""

    def __init__(self, store: Any, commit_ms: int) -> None:
        self._store = store
        self._commit_s = commit_ms / 1_000

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def append(self, mine: Any, batch: Batch) -> None:
        await asyncio.sleep(self._commit_s)
        await self._store.append(mine, batch)


@contextmanager
def calm_world(seed: int, *, processes: int = 1, commit_ms: int = 0) -> Iterator[World]:
    """Default settings, servers with room for all, and nothing that goes wrong by itself."""
    chance = Chance(seed)

    def made(settings: Any, *, store: SimulatedStore, **rest: Any) -> Any:
        return PROGRAMS.make_service(
            settings, store=SlowStore(store, commit_ms) if commit_ms else store, **rest
        )

    with seeded_kernel(chance):
        world = World(chance, Swarm({}), replace(PROGRAMS, make_service=made))
        world.settings = {}
        world.processes = [PlacementProcess(world, f"writer-{n}") for n in range(processes)]
        for server in world.servers.values():
            server.capacities = dict.fromkeys(server.capacities, ROOM_FOR_ALL)
        with defects_told_to(world.loop):
            try:
                yield world
            finally:
                end(world)


def told(world: World, story: Callable[[], Awaitable[None]]) -> None:
    """Run a story to its end, from when everything is up."""

    async def whole() -> None:
        world.start()
        await world.backends[0].clock.sleep(READY_MS)
        await story()

    world.loop.run_until(world.loop.spawn(Host("main"), whole()))


class Callers:
    """Each asks for a room of its own, with the client's default time."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._calls: list[asyncio.Task[None]] = []
        self.ended: list[Ended] = []
        self.answered_at_ms: list[int] = []

    def ask(self, backend: Any = None) -> None:
        """One more, at one of the backends."""
        number = len(self._calls)
        if backend is None:
            backend = self._world.backends[number % len(self._world.backends)]
        self._calls.append(self._world.loop.spawn(backend.host, self._ask(backend, number)))

    async def _ask(self, backend: Any, number: int) -> None:
        began_ms = self._now_ms()
        try:
            said: str = (await backend.client.allocate(f"{backend.name}-{number}")).outcome
            self.answered_at_ms.append(self._now_ms())
        except PlacementError as error:
            said = str(error.code)
        self.ended.append((said, self._now_ms() - began_ms))

    async def all_ended(self) -> None:
        await asyncio.gather(*self._calls)

    def _now_ms(self) -> int:
        return self._world.loop.now_us // 1_000

    @property
    def codes(self) -> Counter[str]:
        return Counter(said for said, _ in self.ended)

    def longest_silence_ms(self) -> int:
        """Between one answer and the next one to anybody."""
        at = sorted(self.answered_at_ms)
        return max(later - earlier for earlier, later in pairwise(at))


def watch_no_laws(world: World) -> None:
    """A second fold beside the writer has tests of its own, and costs as much as a whole test."""
    for watchers in (
        world.database.before_append,
        world.database.on_cursor,
        world.broker.on_publish,
        world.broker.on_ack,
    ):
        watchers.clear()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "is_held_up"), [({}, False), ({"caller_requests_per_s": 0}, True)],
    ids=["as shipped", "without a limit"],
)  # fmt: skip
def test_one_backend_does_not_starve_another(settings: dict[str, int], is_held_up: bool) -> None:
    """Eight thousand requests of one, on a database that is slow; the other asks for ten rooms.

    What the first has asked beyond its share waits with its own client.
    """
    with calm_world(2, commit_ms=250) as world:
        watch_no_laws(world)
        world.settings = settings
        greedy, modest = Callers(world), Callers(world)

        async def story() -> None:
            for _ in range(8_000):
                greedy.ask(world.backends[0])
            await world.backends[0].clock.sleep(100)
            for _ in range(10):
                modest.ask(world.backends[1])
            await modest.all_ended()

        told(world, story)
    assert modest.codes == {"placed": 10}
    assert (max(took_ms for _, took_ms in modest.ended) > 3_500) == is_held_up


@pytest.mark.slow
def test_ten_thousand_who_wake_up_hear_within_their_own_time() -> None:
    """An answer, or a refusal that may be asked again; nobody is left with silence.

    The database takes so long for a commit that it cannot serve them all.
    """
    with calm_world(1, commit_ms=SLOW_COMMIT_MS) as world:
        watch_no_laws(world)
        callers = Callers(world)

        async def story() -> None:
            for _ in range(CALLERS):
                callers.ask()
            await callers.all_ended()

        told(world, story)
        recorded = [each for each in world.database.records if each.kind == Kind.REQUEST]
    assert callers.codes.total() == CALLERS
    assert callers.codes.keys() == {"placed", "unavailable"}, callers.codes
    assert len(recorded) == callers.codes["placed"]
    assert max(took_ms for _, took_ms in callers.ended) <= TIMEOUT_MS + SLACK_MS


@pytest.mark.parametrize(
    ("ends", "silence_ms_max"),
    [("kill", LEASE_MS + 2_000), ("stop", 1_000)],
    ids=["killed", "in order"],
)
def test_a_writer_that_ends_is_followed_within_its_bound(ends: str, silence_ms_max: int) -> None:
    """As docs/reliability.md has it, with a standby: callers see a delay, and no error."""
    for seed in range(6):
        with calm_world(seed, processes=2) as world:
            callers = Callers(world)

            async def story(world: World = world, callers: Callers = callers) -> None:
                for number in range(150):
                    if number == 30 + seed:  # noqa: B023 -- called within the round
                        writer = world.writer()
                        assert writer is not None
                        getattr(writer, ends)()
                    callers.ask()
                    await world.backends[0].clock.sleep(ASK_EVERY_MS)
                await callers.all_ended()

            told(world, story)
            terms = {record.term for record in world.database.records}
        assert callers.codes == {"placed": 150}
        assert terms == {1, 2}
        assert callers.longest_silence_ms() <= silence_ms_max
