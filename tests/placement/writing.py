"""The writer with all that stands around it in one term: link in memory, SQLite on disk, time by
hand. The journal is the real one, so that what is durable here is durable."""

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from ladle.core.record import Record
from ladle.journal.fold import check
from ladle.journal.schema import upgrade
from ladle.journal.sqlite import SqliteStore
from ladle.journal.store import Batch, Head, Lease, StoreError
from ladle.journal.url import SqliteUrl
from ladle.placement.metrics import Metrics
from ladle.placement.settings import PlacementSettings
from ladle.placement.term import Term
from ladle_contracts.envelope import encode_event, encode_request
from ladle_contracts.events import (
    EventData,
    RoomCreated,
    ServerDescription,
    ServerRegistered,
    WorkerDescription,
    WorkerState,
    WorkerStatus,
)
from ladle_contracts.link import Message, Outgoing
from ladle_contracts.requests import Allocate, Body, Release
from ladle_contracts.topology import Topology
from tests.fixtures.manual_clock import ManualClock
from tests.fixtures.memory_link import MemoryBroker, MemoryLink

LIFE = 1_763_802_000_000
REPLIES = "reply.test"


class SteeredStore(SqliteStore):
    """The SQLite store; a test holds its appends up and makes them fail."""

    appends: list[Batch]
    before: list[StoreError]
    """Raised instead of an append, one each."""
    after: list[StoreError]
    """Raised after an append that is committed, one each."""
    refuses: Callable[[Record], bool] | None
    """BadData for a batch with such a record; what the journal's rows cannot hold is rare."""

    def steer(self) -> None:
        self.appends, self.before, self.after, self.refuses = [], [], [], None
        self._free = asyncio.Event()
        self._free.set()

    def hold(self) -> None:
        """Appends wait from now on."""
        self._free.clear()

    def release(self) -> None:
        self._free.set()

    async def append(self, mine: Lease, batch: Batch) -> None:
        self.appends.append(batch)
        await self._free.wait()
        if self.before:
            raise self.before.pop(0)
        if self.refuses is not None and any(map(self.refuses, batch.records)):
            record = next(filter(self.refuses, batch.records))
            await super().append(mine, Batch([_unstorable(record)], batch.changes))
        await super().append(mine, batch)
        if self.after:
            raise self.after.pop(0)


def _unstorable(record: Record) -> Record:
    """The record with a text that no database holds: a BadData of the real store's own."""
    return replace(record, room_id="nul \0")


class LoggingLink(MemoryLink):
    """Remembers in which order it was told to reply and to ack."""

    def __init__(self, broker: MemoryBroker) -> None:
        super().__init__(broker)
        self.told: list[str] = []
        self.acked: list[Message] = []

    def send(self, messages: Sequence[Outgoing]) -> None:
        self.told.append("reply")
        super().send(messages)

    def ack(self, messages: Sequence[Message]) -> None:
        self.told.append("ack")
        self.acked += messages
        super().ack(messages)


@dataclass
class Writing:
    """One term under way, and hands for a test to move it with."""

    broker: MemoryBroker
    peer: MemoryLink
    store: SteeredStore
    clock: ManualClock
    settings: PlacementSettings
    topology: Topology
    metrics: Metrics
    link: LoggingLink = field(init=False)
    term: Term = field(init=False)
    terms: int = 0
    ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    sequences: dict[str, int] = field(default_factory=dict)

    # Terms

    async def begin(self) -> None:
        """A new process takes the lease and begins its term."""
        self.terms += 1
        holder = f"writer-{self.terms}"
        self.link = LoggingLink(self.broker)
        await self.link.open()
        lease = await self.store.take_lease(holder, await self.store.lease())
        assert lease is not None
        self.term = term = Term(
            settings=self.settings,
            topology=self.topology,
            store=self.store,
            link=self.link,
            declaring=self.broker,
            clock=self.clock,
            metrics=self.metrics,
            lease=lease,
            holder=holder,
        )
        self.link.watch(lambda state, _: term.on_bus_up() if state == "up" else None)
        await term.start()

    async def caught_up(self) -> None:
        await self.until(lambda: self.term.caught_up, "the marker")
        await self.quiet()

    async def crash(self) -> None:
        """The process is gone: its connection too, and nothing more is said or written."""
        self.link.disconnect()
        await self.term.end(clean=False, grace_ms=0)

    # What others do

    async def event(
        self,
        server_id: str,
        data: EventData,
        *,
        sequence: int | None = None,
        incarnation: int = LIFE,
    ) -> Outgoing:
        """A server says something; its sequence goes on unless one is given."""
        if sequence is None:
            sequence = self.sequences.get(server_id, 0) + 1
        self.sequences[server_id] = max(sequence, self.sequences.get(server_id, 0))
        message = encode_event(
            data,
            server_id=server_id,
            event_id=f"{server_id}-{sequence}",
            time_ms=self.clock.unix_ms(),
            incarnation=incarnation,
            sequence=sequence,
        )
        await self.peer.publish(message)
        return message

    async def register(self, server_id: str = "sfu-1", capacity: int = 500) -> None:
        server = ServerDescription(host=f"{server_id}.example.org")
        workers = [WorkerDescription(worker_id="0", capacity_consumers=capacity)]
        await self.event(server_id, ServerRegistered(server=server, workers=workers))
        await self.quiet()

    async def status(self, server_id: str = "sfu-1", **about: Any) -> Outgoing:
        sequence = about.pop("sequence", None)
        state = WorkerState(
            worker_id="0",
            state="running",
            consumers=about.pop("consumers", 0),
            producers=0,
            rooms=0,
            cpu_permille=0,
            memory_bytes=0,
        )
        return await self.event(
            server_id, WorkerStatus(workers=[state], **about), sequence=sequence
        )

    async def created(self, room_id: str, server_id: str = "sfu-1") -> Outgoing:
        return await self.event(server_id, RoomCreated(room_id=room_id, worker_id="0"))

    async def ask(self, body: Body, request_id: str | None = None) -> str:
        """Ask, and do not wait; returns the correlation id of the answer."""
        number = next(self.ids)
        message = encode_request(
            body,
            request_id=request_id or f"request-{number}",
            correlation_id=f"ask-{number}",
            reply_to=REPLIES,
            timeout_ms=600_000,
        )
        await self.peer.publish(message)
        return f"ask-{number}"

    async def allocate(self, room_id: str, request_id: str | None = None, **body: Any) -> str:
        return await self.ask(Allocate(room_id=room_id, **body), request_id)

    async def release(self, placed: dict[str, Any]) -> dict[str, Any]:
        """Give an allocation back, and the answer to that."""
        body = Release(room_id=placed["room_id"], allocation_id=placed["allocation_id"])
        return await self.reply(await self.ask(body))

    # What is seen from outside

    def replies(self, to: str | None = None) -> list[dict[str, Any]]:
        """The answers so far, or those to one question."""
        return [
            orjson.loads(message.body)
            for message in self.broker.queues[REPLIES]
            if to in (None, message.correlation_id)
        ]

    async def reply(self, to: str) -> dict[str, Any]:
        """The first answer to a question, once it is there."""
        await self.until(lambda: bool(self.replies(to)), f"an answer to {to}")
        return self.replies(to)[0]

    def unacked(self, queue: str | None = None) -> int:
        """Deliveries that the writer has not acked, of its two writing queues or of one."""
        queues = [queue] if queue else [self.topology.inbox, self.topology.requests]
        return sum(len(c.unacked) for name in queues for c in self.broker.consumers[name])

    def dead_letters(self) -> list[Message]:
        return list(self.broker.queues[self.topology.dead_letters])

    # The journal

    async def records(self, after: int = 0) -> list[Record]:
        return await self.store.records(after, 10_000)

    async def kinds(self, after: int = 0) -> list[str]:
        return [str(record.kind) for record in await self.records(after)]

    async def tables_are_the_journal(self) -> None:
        consistency = await check(self.store)
        assert consistency.holds, consistency.differing

    async def failure(self) -> BaseException:
        """What ends the term, once it has."""
        async with asyncio.timeout(10):
            await asyncio.wait([self.term.over])
        error = self.term.over.exception()
        assert error is not None
        return error

    # Time and turns

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for the database's thread and the tasks; the writer's own time stands still."""
        async with asyncio.timeout(10):
            while not condition():
                failed = self.term.over.done() and self.term.over.exception()
                assert not failed, f"the term ended ({failed!r}) while waiting for {what}"
                await asyncio.sleep(0.002)

    async def settled(self) -> None:
        """A moment for the database's thread, where there is nothing to wait for."""
        await asyncio.sleep(0.02)

    async def quiet(self) -> None:
        """Until all that came is folded and durable, but for statuses that wait."""
        writer = self.term.writer
        for _ in range(2):
            await asyncio.sleep(0)
            await self.until(
                lambda: not (writer._arrived or writer._in_flight or writer.batch), "the writer"
            )
            # Deliveries are handed over in the next turn of the loop.
            for _ in range(20):
                await asyncio.sleep(0)

    async def quiet_but_held(self) -> None:
        """Until all that came is folded, while the store holds an append up."""
        for _ in range(2):
            await asyncio.sleep(0)
            await self.until(lambda: not self.term.writer._arrived, "the fold")
            for _ in range(20):
                await asyncio.sleep(0)

    async def advance(self, duration_ms: int) -> None:
        """Let time pass for the writer, and what follows from it come to rest."""
        await self.clock.advance(duration_ms)
        await self.quiet()

    async def advance_held(self, duration_ms: int) -> None:
        """The same, while the store holds an append up."""
        await self.clock.advance(duration_ms)
        await self.quiet_but_held()


PLAIN: dict[str, Any] = {"slow_start_ms": 0, "flap_ms": 0}
"""Or a record of settings, and ticks for each step, stood between those that the tests look at."""


@asynccontextmanager
async def writing(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    before: Callable[[MemoryBroker, MemoryLink], Any] | None = None,
    caught_up: bool = True,
    **settings: Any,
) -> AsyncIterator[Writing]:
    """A term from its start; `before` may fill the queues first. Ends it as SIGTERM does."""
    topology = Topology()
    broker = MemoryBroker(topology.declarations())
    broker.queues[REPLIES] = deque()
    url = f"sqlite:///{folder}/ladle.db"
    await upgrade(url)
    store = SteeredStore(SqliteUrl(folder / "ladle.db"))
    store.steer()
    await store.open()
    peer = MemoryLink(broker)
    await peer.open()
    if before is not None:
        await before(broker, peer)

    made = Writing(
        broker=broker,
        peer=peer,
        store=store,
        clock=ManualClock(),
        settings=PlacementSettings(
            amqp_url=SecretStr("amqp://localhost:1"),
            database_url=SecretStr(url),
            **(PLAIN | settings),
        ),
        topology=topology,
        metrics=Metrics(),
    )
    try:
        await made.begin()
        if caught_up:
            await made.caught_up()
        yield made
    finally:
        store.release()
        try:
            await made.term.end(clean=not made.term.over.done(), grace_ms=5_000)
        finally:
            await store.close()


def head_of(record: Record) -> Head:
    return Head(record.offset, record.hash, record.recorded_at_ms)
