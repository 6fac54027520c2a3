"""One run of chaos: load, faults in the order of a seed, an end in peace, and the checks."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ladle.chaos.real.callers import Callers, asking
from ladle.chaos.real.check import examine
from ladle.chaos.real.plan import ON_POSTGRES, ON_SQLITE, Kind, Strike, plan
from ladle.chaos.real.report import ChaosReport, Struck
from ladle.chaos.real.stage import Stage, staged
from ladle.journal.open import open_store
from ladle.journal.schema import upgrade
from ladle.journal.url import SqliteUrl, parse
from ladle_contracts.client import TIMEOUT_MS, PlacementClient

CALL_MS = 90_000
"""Longer than a broker needs to come back: who waits that long gets an answer or an error."""

ANSWERS = 20
"""So many must come after a fault before the next one."""

RECOVERY_S = 90.0

PlayFleet = Callable[[str, asyncio.Event], Awaitable[list[str]]]
"""Plays media servers on a broker until the event; sentences where their truth is not the view."""

Say = Callable[[str], None]


class NotEmpty(Exception):
    """The database holds a journal already; chaos needs one of its own."""


@dataclass(frozen=True, slots=True)
class ChaosOptions:
    """`failovers`: instead of all kinds, so many kill -9 of the writer, each with a standby."""

    seed: int
    seconds: float
    database: str
    standby: bool = False
    failovers: int = 0

    @property
    def call_ms(self) -> int:
        """How long a caller waits: as shipped, unless the broker itself is away for as long."""
        return TIMEOUT_MS if self.failovers else CALL_MS

    @property
    def processes(self) -> int:
        return 2 if self.standby or self.failovers else 1

    def strikes(self) -> Iterator[Strike]:
        on_sqlite = isinstance(parse(self.database), SqliteUrl)
        if self.failovers:
            return itertools.islice(plan(self.seed, [Kind.KILL]), self.failovers)
        return plan(self.seed, ON_SQLITE if on_sqlite else ON_POSTGRES)


async def run(
    options: ChaosOptions,
    folder: Path,
    play_fleet: PlayFleet,
    *,
    say: Say,
    preexec: Callable[[], None] | None = None,
) -> tuple[ChaosReport, Callers]:
    """Everything from the broker's start to the last check.

    Raises NodeError without a broker, StoreError without a database, NotEmpty.
    """
    await _must_be_empty(options.database)
    callers, began = Callers(), time.monotonic()
    say("starting a broker and the service")
    async with staged(folder, options.database, processes=options.processes, preexec=preexec) as (
        stage,
        url,
    ):
        faults, trouble = await _play(options, stage, url, callers, play_fleet, say)
    say("reading the journal")
    report = ChaosReport(
        seed=options.seed,
        database="sqlite" if isinstance(parse(options.database), SqliteUrl) else "postgresql",
        processes=options.processes,
        seconds=time.monotonic() - began,
        attempted=callers.attempted,
        acknowledged=callers.acknowledged,
        failed=callers.failed,
        findings=await examine(options.database, callers),
        faults=faults,
        trouble=trouble,
    )
    return report, callers


async def _must_be_empty(database: str) -> None:
    await upgrade(database)
    store = open_store(database)
    try:
        await store.open()
        if (await store.head()).offset:
            raise NotEmpty("the database holds a journal already; give an empty one")
    finally:
        await store.close()


async def _play(
    options: ChaosOptions,
    stage: Stage,
    url: str,
    callers: Callers,
    play_fleet: PlayFleet,
    say: Say,
) -> tuple[list[Struck], list[str]]:
    over = asyncio.Event()
    fleet = asyncio.ensure_future(play_fleet(url, over))
    faults, trouble = list[Struck](), list[str]()
    try:
        async with PlacementClient.connect(url, timeout_ms=options.call_ms) as client:
            await _wait_for_servers(client)
            async with asking(client, callers):
                async for fault, said in _strike(options, stage, callers, say):
                    faults.append(fault)
                    trouble += said
                    if fleet.done():
                        break
        if options.failovers:
            trouble += [
                f"{room}: {each}" for room, all_ in callers.failures.items() for each in all_
            ]
        await stage.ready()
        over.set()
        say("the faults are over; comparing the fleet with the view")
        trouble += await fleet
    finally:
        over.set()
        fleet.cancel()
        await asyncio.gather(fleet, return_exceptions=True)
    for member in stage.members:
        if code := await member.process.terminate():
            trouble.append(f"a process ended with {code}: {member.process.tail()[-500:]}")
    return faults, trouble


async def _wait_for_servers(client: PlacementClient) -> None:
    async with asyncio.timeout(60):
        while True:
            if (await client.view()).servers:
                return
            await asyncio.sleep(0.1)


async def _strike(
    options: ChaosOptions, stage: Stage, callers: Callers, say: Say
) -> AsyncIterator[tuple[Struck, list[str]]]:
    """Fault after fault, each once the one before is over, until the time is."""
    until = time.monotonic() + options.seconds
    await callers.answered(ANSWERS, RECOVERY_S)
    for number, strike in enumerate(options.strikes(), 1):
        if not options.failovers and time.monotonic() >= until:
            return
        if options.failovers:
            await stage.ready()
        await asyncio.sleep(strike.calm_s)
        began, trouble = time.monotonic(), list[str]()
        if said := await stage.strike(strike):
            trouble.append(f"fault {number}, {strike.kind}: {said}")
        if not await callers.answered(ANSWERS, RECOVERY_S):
            trouble.append(f"fault {number}, {strike.kind}: no answers for {RECOVERY_S:.0f} s")
        silence = callers.silence_s(began, time.monotonic())
        say(f"fault {number}, {strike.kind}: {silence:.1f} s without an answer")
        yield Struck(strike.kind, silence), trouble
