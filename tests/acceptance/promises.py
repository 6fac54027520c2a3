"""Callers who write down what they were answered, and what the journal must say of it."""

import asyncio
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import orjson

from ladle.core.record import FIRST_PREV_HASH, Record
from ladle.journal.chain import verify
from ladle.journal.fold import check, loaded
from ladle.journal.open import open_store
from ladle.journal.store import Store
from ladle_contracts.amqp import AioPikaLink
from ladle_contracts.client import PlacementClient
from ladle_contracts.errors import PlacementError
from ladle_contracts.events import ServerDescription, WorkerDescription
from ladle_contracts.link import Message
from ladle_contracts.publisher import MediaServerPublisher
from ladle_contracts.replies import PlacedReply
from ladle_contracts.topology import Topology

HELD_MS = 600_000
"""Longer than any test: what was answered must still be held at its end."""


@dataclass(slots=True)
class Promises:
    """Answers by room, in the order in which they came, and what ended otherwise."""

    answers: dict[str, list[PlacedReply]] = field(default_factory=lambda: defaultdict(list))
    errors: list[str] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)
    """Set with every answer."""

    @property
    def count(self) -> int:
        return sum(map(len, self.answers.values()))

    async def ask(self, client: PlacementClient, room_id: str, *, peers: int = 2) -> None:
        try:
            reply = await client.allocate(room_id, peers=peers, ttl_ms=HELD_MS)
        except PlacementError as error:
            self.errors.append(f"{room_id}: {error}")
        else:
            self.answers[room_id].append(reply)
            self.came.set()


@asynccontextmanager
async def heard_events(broker_url: str, cell: str) -> AsyncIterator[list[str]]:
    """The ids of Ladle's own events in the order in which a subscriber gets them."""
    link, heard = AioPikaLink(broker_url, name="subscriber"), list[str]()

    def on_events(messages: list[Message]) -> None:
        heard.extend(message.message_id or "" for message in messages)
        link.ack(messages)

    await link.open()
    try:
        queue = f"sub.guest.{uuid4().hex}"
        await link.declare_subscription(queue, Topology(cell).placement_events, ["#"])
        await link.consume(queue, on_events, prefetch=1_000)
        yield heard
    finally:
        await link.close()


@asynccontextmanager
async def asking(client: PlacementClient, promises: Promises, **how: Any) -> AsyncIterator[None]:
    """Callers who ask all the time; they must never have been in trouble."""
    callers = asyncio.create_task(keep_asking(client, promises, **how))
    try:
        yield
        assert not callers.done()
    finally:
        callers.cancel()
        await asyncio.gather(callers, return_exceptions=True)


async def answered(promises: Promises, more: int, within_s: float = 30) -> None:
    """Until so many more answers have come, and no error."""
    wanted = promises.count + more
    async with asyncio.timeout(within_s):
        while promises.count < wanted:
            assert promises.errors == []
            await asyncio.sleep(0.01)


@asynccontextmanager
async def servers(
    broker_url: str,
    cell: str,
    count: int,
    *,
    workers: int = 4,
    capacity: int = 100_000,
    status_interval_ms: int = 5_000,
    until_known: bool = True,
) -> AsyncIterator[None]:
    """So many media servers, registered and silent; stale after three of their intervals.

    until_known: wait for Ladle to have heard them; not where what they say may be lost.
    """
    link = AioPikaLink(broker_url, name="servers")
    await link.open()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(link.close)
        for number in range(count):
            server_id = f"sfu-{number}"
            publisher = MediaServerPublisher(
                link,
                server_id,
                ServerDescription(
                    host=f"{server_id}.example.org", status_interval_ms=status_interval_ms
                ),
                [
                    WorkerDescription(worker_id=str(n), capacity_consumers=capacity)
                    for n in range(workers)
                ],
                cell=cell,
                deregister_on_exit=False,
            )
            await stack.enter_async_context(publisher)
            await publisher.wait_registered()
        if until_known:
            await _until_known(broker_url, cell, count)
        yield


async def _until_known(broker_url: str, cell: str, count: int) -> None:
    """The broker has the registrations; a request comes by another queue, and may overtake them."""
    async with (
        asyncio.timeout(60),
        PlacementClient.connect(broker_url, cell=cell, timeout_ms=10_000) as client,
    ):
        while sum(s.liveness == "up" for s in (await client.view()).servers) < count:
            await asyncio.sleep(0.02)


async def keep_asking(
    client: PlacementClient,
    promises: Promises,
    *,
    callers: int = 4,
    pause_s: float = 0.05,
    prefix: str = "plain",
) -> None:
    """Each caller asks for a new room, and then for the one before once more; until cancelled."""
    numbers = itertools.count()

    async def caller() -> None:
        while True:
            room_id = f"{prefix}-{next(numbers)}"
            await promises.ask(client, room_id)
            await promises.ask(client, room_id)
            await asyncio.sleep(pause_s)

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(caller())


async def the_journal_holds(
    database_url: str, promises: Promises, *, heard: list[str] | None = None, cell: str = ""
) -> None:
    """Assert all that a stopped service must have left, whatever was done to it.

    heard: what a subscriber got of Ladle's own events, from the first to the last.
    """
    store = open_store(database_url)
    await store.open()
    try:
        records = await all_records(store)
        assert verify(records, after_offset=0, after_hash=FIRST_PREV_HASH) is None
        consistency = await check(store)
        assert consistency.holds, consistency.differing
        one_room_one_home(promises)
        _answers_stand_in(records, promises)
        await _answers_stand_in_the_view(store, promises)
        if heard is not None:
            # At least once, and the first copies in order.
            assert list(dict.fromkeys(heard)) == own_events(records, cell)
    finally:
        await store.close()


async def all_records(store: Store) -> list[Record]:
    records: list[Record] = []
    while page := await store.records(len(records), 2_000):
        records += page
    return records


def own_events(records: list[Record], cell: str) -> list[str]:
    """The ids of the events that follow from the records, in order."""
    return [
        f"{cell}:{record.offset}:{index}"
        for record in records
        for index, outbound in enumerate(orjson.loads(record.body)["outcome"].get("outbound", []))
        if outbound["what"] == "event"
    ]


def one_room_one_home(promises: Promises) -> None:
    """In one generation a room has one home, one allocation; a move counts on."""
    for room_id, answers in promises.answers.items():
        homes = defaultdict(set)
        for answer in answers:
            home = (answer.server.server_id, answer.server.worker_id, answer.allocation_id)
            homes[answer.generation].add(home)
        assert all(len(each) == 1 for each in homes.values()), f"{room_id} has two: {dict(homes)}"
        ids = [answer.allocation_id for answer in answers]
        assert len(set(ids)) == len(homes), f"{room_id}: one allocation id, two generations"


def _answers_stand_in(records: list[Record], promises: Promises) -> None:
    assert promises.count
    for room_id, answers in promises.answers.items():
        for answer in answers:
            record = records[answer.journal_offset - 1]
            reply = orjson.loads(record.body)["outcome"]["reply"]
            said = (reply["room_id"], reply["allocation_id"], reply["outcome"])
            assert said == (room_id, answer.allocation_id, answer.outcome)
            assert reply["server"]["server_id"] == answer.server.server_id
            # A later term may have sent it; that term did not decide it.
            assert record.term == answer.term


async def _answers_stand_in_the_view(store: Store, promises: Promises) -> None:
    view = loaded(await store.load())
    for room_id, answers in promises.answers.items():
        last = max(answers, key=lambda answer: answer.journal_offset)
        room = view.rooms[room_id]
        assert (room.allocation_id, room.generation) == (last.allocation_id, last.generation)
        (home,) = [router for key, router in view.routers.items() if key[0] == room_id]
        assert home.server_id == last.server.server_id
