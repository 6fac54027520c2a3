"""One seed from its first message to its rest, and what is reported of it."""

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from ladle.chaos.simulated.chance import Chance, seeded_kernel
from ladle.chaos.simulated.ending import come_to_rest, heal
from ladle.chaos.simulated.faults import Fault, Swarm
from ladle.chaos.simulated.laws import NO_DEFECT, Violation, refuse_secret
from ladle.chaos.simulated.loop import Host, SimulatedLoop, Stuck
from ladle.chaos.simulated.service import Programs
from ladle.chaos.simulated.strikes import strike
from ladle.chaos.simulated.workload import ask_something
from ladle.chaos.simulated.world import World
from ladle.journal.store import StoreError
from ladle_contracts.link import LinkError

STEPS = 60


@dataclass(slots=True)
class Outcome:
    """What became of one seed. `violation`: the law and what broke it, None where all held.

    steps: how many it was to have. broke_at: the step in which it broke, `steps` at the end.
    trace: a digest of all that happened. head: the hash of the journal's last record.
    """

    seed: int
    steps: int
    faults: list[str]
    violation: tuple[str, str] | None = None
    broke_at: int = 0
    simulated_ms: int = 0
    head: str = ""
    trace: str = ""
    struck: dict[str, int] = field(default_factory=dict)
    tally: dict[str, Any] = field(default_factory=dict)


def simulate(
    seed: int,
    programs: Programs,
    *,
    steps: int = STEPS,
    only: Collection[Fault] | None = None,
) -> Outcome:
    """Run one seed. `only`: the kinds of faults that it may have, of those that it draws."""
    if not __debug__:
        raise RuntimeError("python -O leaves the laws out: run the simulation without it")
    chance = Chance(seed)
    swarm = Swarm.of(chance, only)
    outcome = Outcome(seed, steps, [str(fault) for fault in swarm.often])
    with seeded_kernel(chance):
        world = World(chance, swarm, programs)
        with defects_told_to(world.loop):
            outcome.violation = _run(world, steps)
    outcome.broke_at = world.step
    outcome.simulated_ms = world.loop.now_us // 1_000
    outcome.head = world.database.head.hash
    outcome.trace = world.trace.digest
    outcome.struck = {str(fault): count for fault, count in sorted(world.dice.struck.items())}
    outcome.tally = asdict(world.tally)
    return outcome


def _run(world: World, steps: int) -> tuple[str, str] | None:
    try:
        world.loop.run_until(world.loop.spawn(Host("main"), _story(world, steps)))
    except Violation as broken:
        return broken.law, broken.what
    except Stuck as stuck:
        return "somebody can always go on", str(stuck)
    except Exception as error:
        return NO_DEFECT, repr(error)
    finally:
        end(world)
    return None


async def _story(world: World, steps: int) -> None:
    pace = world.chance.stream("pace")
    work = world.chance.stream("work")
    draws = {fault: world.chance.stream(f"strike {fault}") for fault in Fault}
    clock = world.backends[0].clock
    world.start()
    await clock.sleep(3_000)
    for step in range(1, steps + 1):
        world.step = step
        ask_something(world, work)
        strike(world, draws)
        pause_ms = pace.expovariate(1 / 400)
        if pace.random() < 0.05:
            pause_ms += pace.choice((5_000, 20_000))
        # Where nobody is heard for minutes, the run goes on for as long.
        pause_ms += max(0, world.silent_until_us - world.loop.now_us) / 4_000
        await clock.sleep(int(pause_ms))
    heal(world)
    await come_to_rest(world)


def end(world: World) -> None:
    """Let every task unwind, cut off from everything."""
    for process in world.processes:
        process.is_running = False
        process.store.is_dead = True
        for link in process.links:
            link.end("over")
    for server in world.servers.values():
        server.link.end("over")
    for backend in world.backends:
        backend.link.end("over")
    world.loop.unwind()


class _Defects(logging.Handler):
    """The program logs with its trace what it did not expect; faults are what it must expect."""

    def __init__(self, loop: SimulatedLoop) -> None:
        super().__init__(logging.WARNING)
        self._loop = loop

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        try:
            refuse_secret(f"a log of {record.name}", f"{record.getMessage()} {error!r}".encode())
        except Violation as told:
            self._loop.fail(told)
        if record.levelno < logging.ERROR:
            return
        if error is not None and not isinstance(error, StoreError | LinkError):
            self._loop.fail(Violation(NO_DEFECT, f"{record.getMessage()}: {error!r}"))


@contextmanager
def defects_told_to(loop: SimulatedLoop) -> Iterator[None]:
    """Inside, an unexpected exception in a log ends the run, and nothing else is logged.

    Thousands of seeds warn of what was done to them on purpose.
    """
    defects = _Defects(loop)
    loggers = [logging.getLogger(name) for name in ("ladle", "ladle_contracts")]
    before = [(each.level, each.propagate, each.handlers) for each in loggers]
    for each in loggers:
        each.handlers, each.propagate = [defects], False
        each.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for each, (level, propagate, handlers) in zip(loggers, before, strict=True):
            each.handlers, each.propagate = handlers, propagate
            each.setLevel(level)
