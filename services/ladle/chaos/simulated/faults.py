"""The kinds of faults, and which of them a seed has: a random part of them, as swarms do.

A run in which everything goes wrong explores little, for nothing ever works; so each seed draws
which kinds it has and how often each strikes.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from ladle.chaos.simulated.chance import Chance


class Fault(StrEnum):
    """What can go wrong. The first group strikes single operations, the second at moments."""

    # The chance is per operation.
    LOST_CONFIRM = "lost-confirm"  # the broker has the message, its sender does not know
    NACK = "nack"  # the broker refuses a message
    LOST_REPLY = "lost-reply"
    DUPLICATE = "duplicate"  # a message is delivered twice, the second time later
    REORDER = "reorder"  # one server's connection is seconds slower than another's
    STORE_BUSY = "store-busy"  # nothing was stored, or the answer to a lease was lost
    STORE_SLOW = "store-slow"  # seconds, up to longer than the lease
    STORE_UNKNOWN = "store-unknown"  # the connection broke inside COMMIT, with either outcome
    STORE_BROKEN = "store-broken"  # an I/O error: this process must stop
    BAD_DATA = "bad-data"  # the database refuses a value
    CRASH_AT_STEP = "crash-at-step"  # kill -9 at one of the steps between receiving and acking
    # The chance is per step of the run.
    CRASH = "crash"  # kill -9 of a placement process at any moment
    STOP = "stop"  # a clean stop of a placement process
    FREEZE = "freeze"  # SIGSTOP of a placement process, often past its lease
    ISOLATE = "isolate"  # a placement process without database
    DISCONNECT = "disconnect"  # a connection is reset
    BLACKHOLE = "blackhole"  # nothing passes, nobody is told
    PARTITION = "partition"  # a media server without broker, for up to minutes
    BROKER_RESTART = "broker-restart"
    ALARM = "alarm"  # the broker takes no messages for a while
    CLOCK_STEP = "clock-step"  # a wall clock set by up to an hour, both ways
    SERVER_RESTART = "server-restart"  # a media server dies and begins a new life
    SERVER_LEAVES = "server-leaves"  # it deregisters, and comes back
    WORKER_DIES = "worker-dies"
    CLIENT_RESTART = "client-restart"
    POISON = "poison"  # messages that nobody can read

    # Which kinds a seed has is drawn in this order: a new one goes to the end of its list.
    ONE_WAY = "one-way"  # nothing passes in one direction, nobody is told
    HALF_OPEN = "half-open"  # the broker's side is gone, and the client does not know
    POWER_CUT = "power-cut"  # a machine is gone, and the broker does not know
    CHANNEL_CLOSED = "channel-closed"  # one channel, and the connection stays
    FLAPPING = "flapping"  # a machine's network goes and comes, and goes
    CUT_OFF = "cut-off"  # a placement process without broker, at times without database too
    SILENCE = "silence"  # no media server is heard, for up to five minutes
    FULL_QUEUE = "full-queue"  # a queue refuses, or drops its oldest
    RESTART_LOOP = "restart-loop"  # a server or a placement process that starts again and again
    BURST = "burst"  # many callers at once, more than there is room for
    ALL_DRAINING = "all-draining"  # nobody takes anything new
    LARGE = "large-body"  # a megabyte
    UNKNOWN_VERSION = "unknown-version"  # of the envelope, or of a type
    TORN_TAIL = "torn-tail"  # the database without power in mid-commit, at times with a lying disk
    OLD_BACKUP = "old-backup"  # the database as it was some time ago
    BIT_FLIP = "bit-flip"  # one bit of what is stored, which an audit must find
    DISK_FULL = "disk-full"  # nobody can write, and who tries must stop, until there is room again
    OLD_PROGRAM = "old-program"  # a cell of the older program, which is upgraded one by one


PER_STEP = frozenset(
    {
        *(Fault.CRASH, Fault.STOP, Fault.FREEZE, Fault.ISOLATE, Fault.DISCONNECT),
        *(Fault.BLACKHOLE, Fault.PARTITION, Fault.BROKER_RESTART, Fault.ALARM),
        *(Fault.CLOCK_STEP, Fault.SERVER_RESTART, Fault.SERVER_LEAVES, Fault.WORKER_DIES),
        *(Fault.CLIENT_RESTART, Fault.POISON),
        *(Fault.ONE_WAY, Fault.HALF_OPEN, Fault.POWER_CUT, Fault.CHANNEL_CLOSED),
        *(Fault.FLAPPING, Fault.CUT_OFF, Fault.SILENCE, Fault.FULL_QUEUE, Fault.RESTART_LOOP),
        *(Fault.BURST, Fault.ALL_DRAINING, Fault.LARGE, Fault.UNKNOWN_VERSION),
        *(Fault.OLD_BACKUP, Fault.BIT_FLIP, Fault.DISK_FULL, Fault.OLD_PROGRAM),
    }
)

OFTEN: Mapping[Fault, tuple[float, float]] = {
    Fault.LOST_CONFIRM: (0.01, 0.1),
    Fault.NACK: (0.01, 0.1),
    Fault.LOST_REPLY: (0.02, 0.3),
    Fault.DUPLICATE: (0.02, 0.2),
    Fault.REORDER: (0.01, 0.1),
    Fault.STORE_BUSY: (0.01, 0.1),
    Fault.STORE_SLOW: (0.005, 0.05),
    Fault.STORE_UNKNOWN: (0.02, 0.2),
    Fault.STORE_BROKEN: (0.002, 0.02),
    Fault.BAD_DATA: (0.05, 0.3),
    Fault.CRASH_AT_STEP: (0.01, 0.08),
    # Each of these lasts long, or costs much.
    Fault.SILENCE: (0.005, 0.02),
    Fault.RESTART_LOOP: (0.01, 0.04),
    Fault.BURST: (0.005, 0.02),
    Fault.ALL_DRAINING: (0.01, 0.04),
    Fault.TORN_TAIL: (0.002, 0.02),
    Fault.OLD_BACKUP: (0.005, 0.02),
    Fault.BIT_FLIP: (0.005, 0.02),
    Fault.DISK_FULL: (0.005, 0.03),
}
"""From the least to the most often; kinds that are not here: as PER_STEP_OFTEN."""

PER_STEP_OFTEN = (0.03, 0.12)
HAS_A_KIND = 0.3
"""How likely a seed is to have a kind at all."""


@dataclass(frozen=True, slots=True)
class Swarm:
    """How often each kind strikes in one seed; kinds that are missing never do."""

    often: Mapping[Fault, float]

    @classmethod
    def of(cls, chance: Chance, only: Collection[Fault] | None = None) -> "Swarm":
        """What this seed draws; `only` leaves out all other kinds and changes nothing else."""
        draw = chance.stream("swarm")
        often = {}
        for fault in Fault:
            has, share = draw.random() < HAS_A_KIND, draw.random()
            least, most = OFTEN.get(fault, PER_STEP_OFTEN)
            if has and (only is None or fault in only):
                often[fault] = least + (most - least) * share
        return cls(often)


class Dice:
    """Asked at every operation whether it goes wrong; counts what did. Silent once `over`."""

    def __init__(self, chance: Chance, swarm: Swarm) -> None:
        self.struck: Counter[Fault] = Counter()
        self.swarm = swarm
        self.is_over = False
        self._streams = {fault: chance.stream(f"fault {fault}") for fault in Fault}

    def strikes(self, fault: Fault) -> bool:
        """Does it go wrong now?"""
        often = self.swarm.often.get(fault)
        if often is None or self.is_over or self._streams[fault].random() >= often:
            return False
        self.struck[fault] += 1
        return True

    def between(self, fault: Fault, least: int, most: int) -> int:
        """A number of that fault's own stream, both ends included."""
        return self._streams[fault].randint(least, most)

    def one_of_two(self, fault: Fault) -> bool:
        """Heads or tails of that fault's own stream."""
        return self._streams[fault].random() < 0.5
