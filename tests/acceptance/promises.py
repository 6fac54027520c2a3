"""Callers who write down what they were answered, and what the journal must say of it."""

import asyncio
import itertools
from collections import defaultdict
from dataclasses import dataclass, field

import orjson

from ladle.core.record import FIRST_PREV_HASH, Record
from ladle.journal.chain import verify
from ladle.journal.fold import check, loaded
from ladle.journal.open import open_store
from ladle.journal.store import Store
from ladle_contracts.client import PlacementClient
from ladle_contracts.errors import PlacementError
from ladle_contracts.replies import PlacedReply

HELD_MS = 600_000
"""Longer than any test: what was answered must still be held at its end."""


@dataclass(slots=True)
class Promises:
    """Answers by room, in the order in which they came, and what ended otherwise."""

    answers: dict[str, list[PlacedReply]] = field(default_factory=lambda: defaultdict(list))
    errors: list[str] = field(default_factory=list)

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


async def the_journal_holds(database_url: str, promises: Promises) -> None:
    """Assert all that a stopped service must have left, whatever was done to it."""
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
    finally:
        await store.close()


async def all_records(store: Store) -> list[Record]:
    records: list[Record] = []
    while page := await store.records(len(records), 2_000):
        records += page
    return records


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
