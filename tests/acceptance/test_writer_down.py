"""Nobody writes for two minutes, while servers and callers go on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest

from ladle.core.record import Kind, Record
from ladle.journal.open import open_store
from ladle_contracts.amqp import AioPikaLink
from ladle_contracts.clock import SystemClock
from ladle_contracts.envelope import encode_event
from ladle_contracts.events import (
    EventData,
    RoomCreated,
    ServerDescription,
    ServerRegistered,
    WorkerDescription,
    WorkerState,
    WorkerStatus,
)
from tests.acceptance.promises import Promises, all_records, the_journal_holds
from tests.fixtures.service import running_service

pytestmark = pytest.mark.broker

TWO_MINUTES_MS = 120_000


class LaterClock(SystemClock):
    """The machine's clock, some time on: what a writer sees that starts then."""

    def __init__(self, later_ms: int) -> None:
        self._later_ms = later_ms

    def monotonic_ms(self) -> int:
        return super().monotonic_ms() + self._later_ms

    def unix_ms(self) -> int:
        return super().unix_ms() + self._later_ms


class Server:
    """What one media server says, without anybody who speaks by himself."""

    def __init__(self, link: AioPikaLink, cell: str, server_id: str) -> None:
        self._link, self._cell, self.server_id = link, cell, server_id
        self._life = SystemClock().unix_ms()
        self._sequence = 0

    async def say(self, data: EventData) -> None:
        self._sequence += 1
        message = encode_event(
            data,
            server_id=self.server_id,
            event_id=f"{self.server_id}-{self._sequence}",
            time_ms=SystemClock().unix_ms(),
            incarnation=self._life,
            sequence=self._sequence,
            cell=self._cell,
        )
        await self._link.publish(message)

    async def register(self) -> None:
        await self.say(
            ServerRegistered(
                server=ServerDescription(host=f"{self.server_id}.example.org"),
                workers=[WorkerDescription(worker_id="0")],
            )
        )

    async def status(self) -> None:
        state = WorkerState(
            worker_id="0",
            state="running",
            consumers=0,
            producers=0,
            rooms=0,
            cpu_permille=0,
            memory_bytes=0,
        )
        await self.say(WorkerStatus(workers=[state]))


@asynccontextmanager
async def speaking(broker_url: str) -> AsyncIterator[AioPikaLink]:
    link = AioPikaLink(broker_url, name="servers")
    await link.open()
    try:
        yield link
    finally:
        await link.close()


def said(record: Record) -> list[str]:
    outbound = orjson.loads(record.body)["outcome"].get("outbound", [])
    return [each["type"] for each in outbound if each["what"] == "event"]


async def test_a_writer_down_for_two_minutes(broker_url: str, cell: str, database_url: str) -> None:
    """Nothing is stale, lost or expired before all that piled up is read.

    Every hold ran out meanwhile, by the clock, and every server was silent, for want of a reader.
    """
    promises = Promises()
    async with speaking(broker_url) as link:
        servers = [Server(link, cell, f"sfu-{number}") for number in range(3)]
        async with running_service(broker_url, cell, database_url) as service:
            for server in servers:
                await server.register()
            async with service.client() as client:
                for number in range(20):
                    await client.allocate(f"created-{number}")
                    await client.allocate(f"unused-{number}")
                homes = {
                    f"created-{number}": (await client.lookup(f"created-{number}")).server.server_id
                    for number in range(20)
                }
        # Two minutes of it, in the order in which it came.
        for turn in range(24):
            for server in servers:
                await server.status()
            for number in range(20):
                room_id = f"created-{number}"
                if turn == number:
                    (home,) = [each for each in servers if each.server_id == homes[room_id]]
                    await home.say(RoomCreated(room_id=room_id, worker_id="0"))
        clock = LaterClock(TWO_MINUTES_MS)
        async with running_service(broker_url, cell, database_url, clock=clock) as service:
            async with service.client() as client:
                await promises.ask(client, "afterwards")
                for number in range(20):
                    found = await client.lookup(f"created-{number}")
                    assert (found.room_state, found.generation) == ("active", 1)
                view = await client.view()
                assert [server.liveness for server in view.servers] == ["up"] * 3
            term = service.service.term
            assert term is not None
            await service.until(
                lambda: not any(room.startswith("unused-") for room in term.writer.view.rooms),
                "the holds that nobody used to run out",
            )
    store = open_store(database_url)
    await store.open()
    records = [record for record in await all_records(store) if record.term == 2]
    await store.close()
    kinds = [record.kind for record in records]
    assert kinds[0] == Kind.WRITER_ACTIVE
    caught_up = kinds.index(Kind.CAUGHT_UP)
    assert Kind.TICK not in kinds[:caught_up]
    assert [said(record) for record in records].count(["room-active"]) == 20
    ended = [event for record in records for event in said(record) if event != "room-active"]
    assert ended.count("allocation-expired") == 20
    assert not {"server-stale", "server-lost", "room-stranded", "server-up"} & set(ended)
    await the_journal_holds(database_url, promises)
