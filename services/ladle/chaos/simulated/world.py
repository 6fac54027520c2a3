"""Everything of one seed: broker, database, processes, servers, callers."""

from collections import deque
from collections.abc import Callable, Iterable
from contextvars import Context
from random import Random
from typing import Any

from ladle.chaos.simulated.broker import Broker
from ladle.chaos.simulated.callers import Backend
from ladle.chaos.simulated.chance import Chance
from ladle.chaos.simulated.database import Backup, Database
from ladle.chaos.simulated.faults import Dice, Fault, Swarm
from ladle.chaos.simulated.journal_laws import JournalLaws
from ladle.chaos.simulated.laws import Tally
from ladle.chaos.simulated.loop import SimulatedLoop
from ladle.chaos.simulated.losses import Losses
from ladle.chaos.simulated.media import MediaServer
from ladle.chaos.simulated.placement_process import PlacementProcess
from ladle.chaos.simulated.service import Programs
from ladle.chaos.simulated.trace import Trace
from ladle.chaos.simulated.wire_laws import WireLaws
from ladle.core.limits import RULES
from ladle_contracts.replies import PlacedReply
from ladle_contracts.topology import Topology

PROCESSES = (1, 2, 2, 3)
OLDER = RULES - 1
"""The edition of the rules that a program knows before it is upgraded."""

LIES_MAX = 2
"""Commits that a disk said it had, and had not when the power went."""
CRASH_STEPS = ("received", "committing", "committed", "told", "replied", "acking")
"""From the delivery of a message to its ack: before and after the commit happens at the database,
when the process hears of it, with the reply at the broker, and with the ack still on its way."""


class World:
    """Made from a seed and the kinds of faults that it may have."""

    def __init__(self, chance: Chance, swarm: Swarm, programs: Programs) -> None:
        self.chance = chance
        self.programs = programs
        self.loop = SimulatedLoop(chance.stream("scheduler"))  # type: ignore[abstract]
        self.dice = Dice(chance, swarm)
        self.tally = Tally()
        self.topology = Topology()
        self.database = Database()
        self.broker = Broker(self.loop, self.dice)
        self.journal = JournalLaws(self.database, self.tally)
        self.wire = WireLaws(self.broker, self.database, self.journal, self.topology)
        self.losses = Losses(
            self.database,
            self.broker,
            self.topology,
            is_seen=Fault.CLOCK_STEP not in swarm.often,
        )
        self.backups: list[Backup] = []
        self.homes: dict[str, PlacedReply] = {}
        self.is_quiet = False
        self.step = 0
        self.silent_until_us = 0
        self.trace = Trace(self.loop, self.broker, self.database)
        shape = chance.stream("shape")
        self.settings = settings_of(shape)
        if Fault.BURST in swarm.often:
            self.settings |= limits_of(chance.stream("limits"))
        self.processes = [
            PlacementProcess(self, f"writer-{number}") for number in range(shape.choice(PROCESSES))
        ]
        if Fault.OLD_PROGRAM in swarm.often:
            for process in self.processes:
                process.edition = OLDER
        if Fault.TORN_TAIL in swarm.often:
            self.database.newest = deque(maxlen=LIES_MAX + 1)
        self.servers = {
            server.name: server
            for server in (
                self._server(shape, number) for number in range(shape.choice((2, 3, 3, 4)))
            )
        }
        self.backends = [Backend(self, f"backend-{number}") for number in range(2)]

    def _server(self, shape: Random, number: int) -> MediaServer:
        capacity = shape.choice((60, 200, 500))
        workers = {str(worker): capacity for worker in range(shape.choice((1, 2, 3)))}
        return MediaServer(self, f"sfu-{number}", shape.choice(("eu", "us")), workers)

    def start(self) -> None:
        """Everything begins; the broker is there already."""
        self.broker.declare(self.topology.declarations())
        for process in self.processes:
            process.start()
        for server in self.servers.values():
            server.start()
        for backend in self.backends:
            backend.start()

    def later(self, after_ms: int, work: Callable[..., Any], *args: Any) -> None:
        """Let it happen after so long, whatever process asked for it."""
        self.loop.call_later(after_ms / 1_000, work, *args, context=Context())

    def again_and_again(
        self, times: int, every_ms: int, work: Callable[..., Any], *args: Any
    ) -> None:
        """Now, and so many times in all; not any more once the faults are over."""
        if self.is_quiet:
            return
        work(*args)
        if times > 1:
            self.later(every_ms, self.again_and_again, times - 1, every_ms, work, *args)

    def fall_silent(self, unlosable: Iterable[str], for_ms: int) -> None:
        """No media server is heard for so long; these may not be lost meanwhile."""
        self.silent_until_us = max(self.silent_until_us, self.loop.now_us + for_ms * 1_000)
        self.journal.silent_together |= frozenset(unlosable)
        self.later(for_ms, self._can_be_heard)

    def _can_be_heard(self) -> None:
        if self.loop.now_us >= self.silent_until_us:
            self.journal.silent_together = frozenset()

    def database_loses_power(self) -> None:
        """In mid-commit, for all who use it. A disk that lied has not all that it said it had."""
        newest = self.database.newest
        lost = self.dice.between(Fault.TORN_TAIL, 0, LIES_MAX)
        if 0 < lost < len(newest):
            self.database.restore(newest[-1 - lost])
        self.cut_from_database(self.dice.between(Fault.TORN_TAIL, 500, 8_000))

    def cut_from_database(self, for_ms: int) -> None:
        """All processes: it is not running."""
        for process in self.processes:
            process.cut_from_database(for_ms)

    def end_room(self, server: MediaServer, room_id: str) -> None:
        """The people leave, unless the run is at its end: then all stay where they are."""
        if not self.is_quiet:
            server.end_room(room_id)

    def draw_a_crash(self) -> str | None:
        """At which step of what has arrived now the process is killed, if at all."""
        if not self.dice.strikes(Fault.CRASH_AT_STEP):
            return None
        return CRASH_STEPS[self.dice.between(Fault.CRASH_AT_STEP, 0, len(CRASH_STEPS) - 1)]

    def writer(self) -> PlacementProcess | None:
        """The process that believes to write; the one of the newest term where two do."""
        writing = [
            each
            for each in self.processes
            if each.is_running and each.service.term is not None and not each.host.is_frozen
        ]
        return max(writing, key=_term_of, default=None)


def _term_of(process: PlacementProcess) -> int:
    term = process.service.term
    return 0 if term is None else term.lease.term


def settings_of(shape: Random) -> dict[str, Any]:
    """What an operator may set, drawn anew for each seed."""
    return {
        "lease_ms": shape.choice((1_000, 3_000, 3_000)),
        "policy": shape.choice(("least-loaded", "pack", "two-choice", "region-first")),
        "batch_records_max": shape.choice((1, 4, 512)),
        "statuses_wait_ms": shape.choice((0, 200, 1_000)),
        "hold_ms": shape.choice((5_000, 30_000)),
        "settle_ms": shape.choice((0, 20_000, 120_000)),
        "inbox_prefetch": shape.choice((2, 50, 1_000)),
        "requests_prefetch": shape.choice((1, 20, 500)),
    }


def limits_of(draw: Random) -> dict[str, Any]:
    """What an operator may set against callers who ask too much."""
    return {
        "caller_requests_per_s": draw.choice((0, 5, 50)),
        "caller_burst": draw.choice((20, 100)),
        "requests_wait_ms": draw.choice((500, 4_000)),
    }
