"""A standby answers reads from the journal that the writer commits, and takes over from it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from yarl import URL

from ladle.journal.open import open_store
from ladle.placement import standby as module
from ladle.placement.follower import Follower
from ladle_contracts.errors import InvalidRequest, RateLimited, Unavailable
from ladle_contracts.events import ServerDescription, WorkerDescription
from ladle_contracts.link import DIRECT_REPLY_TO, Message, Outgoing
from ladle_contracts.publisher import MediaServerPublisher
from tests.fixtures.service import Running, running_service

pytestmark = pytest.mark.broker


@pytest.fixture
async def writer(broker_url: str, cell: str, database_url: str) -> AsyncIterator[Running]:
    async with running_service(broker_url, cell, database_url, lease_ms=1_000) as running:
        yield running


@pytest.fixture
async def standby(
    writer: Running, broker_url: str, cell: str, database_url: str
) -> AsyncIterator[Running]:
    async with running_service(
        broker_url, cell, database_url, role="standby", lease_ms=1_000
    ) as running:
        await running.until(lambda: consumes(running), "a standby that consumes")
        yield running


def consumes(running: Running) -> bool:
    standby = running.service.standby
    return standby is not None and standby._consumer is not None


def answered(running: Running, operation: str, outcome: str = "ok") -> float:
    return running.count("ladle_requests_total", operation=operation, outcome=outcome)


@asynccontextmanager
async def a_server(running: Running, server_id: str = "sfu-1") -> AsyncIterator[None]:
    publisher = MediaServerPublisher.connect(
        running.settings.url,
        server_id,
        ServerDescription(host=f"{server_id}.example.org"),
        [WorkerDescription(worker_id="0"), WorkerDescription(worker_id="1")],
        cell=running.cell,
    )
    async with publisher, running.client() as client:
        # Up, and not only known: one that a journal has from an earlier life is lost until it
        # has registered again, and who asks meanwhile is refused.
        while not any(
            (server.server_id, server.liveness) == (server_id, "up")
            for server in (await client.view()).servers
        ):
            await asyncio.sleep(0.05)
        yield


async def test_both_answer_reads_and_nobody_sees_less_than_was_written(
    writer: Running, standby: Running
) -> None:
    async with a_server(writer), writer.client() as client:
        for number in range(20):
            placed = await client.allocate(room_id=f"room-{number}", peers=2)
            found = await client.lookup(f"room-{number}", min_offset=placed.journal_offset)
            assert found.allocation_id == placed.allocation_id
            assert found.journal_offset >= placed.journal_offset
        await client.explain("room-3")
        await client.explain("room-4")
    assert answered(writer, "lookup") > 0
    assert answered(standby, "lookup") > 0
    assert answered(writer, "lookup") + answered(standby, "lookup") == 20
    assert answered(writer, "explain") + answered(standby, "explain") == 2


async def test_a_standby_says_which_term_it_follows(writer: Running, standby: Running) -> None:
    async with writer.client() as client:
        terms = {(await client.view()).term for _ in range(6)}
    assert terms == {writer.service.term.lease.term}  # type: ignore[union-attr]
    assert standby.service.readiness()["offset"] > 0
    assert answered(standby, "view") > 0


async def test_what_nobody_has_written_is_unavailable_on_a_standby_too(
    writer: Running, standby: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAIT_MS", 100)
    async with writer.client(attempts_max=1) as client:
        for _ in range(4):
            with pytest.raises(Unavailable):
                await client.lookup("standup", min_offset=10_000)
    assert answered(standby, "lookup", "unavailable") > 0


async def raw(running: Running, key: str, body: bytes, **properties: Any) -> Message:
    """A request as nobody's client would send it, and its answer."""
    got: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
    async with running.link() as link:
        await link.listen_for_replies(
            lambda messages: None if got.done() else got.set_result(messages[0])
        )
        await link.publish(
            Outgoing(
                running.service.topology.placement_requests,
                key,
                body,
                **{"correlation_id": "c", "reply_to": DIRECT_REPLY_TO, **properties},
            )
        )
        return await asyncio.wait_for(got, 10)


async def test_bad_reads_are_answered_by_whoever_gets_them(
    writer: Running, standby: Running
) -> None:
    # One kind after the other: the broker shares messages out in turn, and in pairs each process
    # would see one kind only.
    for _ in range(4):
        assert b'"invalid-request"' in (await raw(writer, "lookup", b"not JSON")).body
    for _ in range(4):
        assert b'"unknown-operation"' in (await raw(writer, "guess", b"{}")).body
    assert answered(standby, "lookup", "invalid-request") > 0
    assert answered(standby, "unknown", "unknown-operation") > 0
    async with writer.client() as client:
        with pytest.raises(InvalidRequest):
            await client.lookup("no room has this name")


async def test_a_read_that_may_not_be_answered_becomes_a_dead_letter(
    writer: Running, standby: Running
) -> None:
    """On either process: the queue's next messages are served, this one is kept with its reason."""
    async with writer.link() as link:
        for number in range(4):
            await link.publish(
                Outgoing(
                    writer.service.topology.placement_requests,
                    "lookup",
                    b'{"room_id": "standup"}',
                    reply_to="placement.inbox",
                    message_id=f"m-{number}",
                )
            )
        dead: list[Message] = []
        await link.consume(writer.service.topology.dead_letters, dead.extend, prefetch=10)
        await writer.until(lambda: len(dead) == 4, "four dead letters")
        link.ack(dead)
    assert {message.headers["ladle-reason"] for message in dead} == {"reply-not-allowed"}
    assert standby.count("ladle_replies_refused_total") > 0


async def test_a_standby_takes_over_and_goes_on_answering(
    writer: Running, standby: Running
) -> None:
    async with a_server(writer), writer.client() as client:
        placed = await client.allocate(room_id="standup", peers=2)
        writer.stop.set()
        await writer.task
        # Nobody else reads now, and for a while nobody writes.
        found = await client.lookup("standup", min_offset=placed.journal_offset)
        assert found.allocation_id == placed.allocation_id
        again = await client.allocate(room_id="standup", peers=2)
        assert (again.outcome, again.allocation_id) == ("existing", placed.allocation_id)
        assert again.term > placed.term
    assert standby.service.standby is None


async def test_a_read_that_waits_while_the_standby_becomes_the_writer_is_answered(
    writer: Running, standby: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its channel lives on, so the broker would not give it to anybody again by itself."""
    waiting = 0
    reaches = Follower.reaches

    async def never(self: Follower, min_offset: int, wait_ms: int) -> bool:
        nonlocal waiting
        if min_offset:
            waiting += 1
            await asyncio.Event().wait()
        return await reaches(self, min_offset, wait_ms)

    async with a_server(writer), writer.client(attempts_max=1, timeout_ms=20_000) as client:
        placed = await client.allocate(room_id="standup", peers=2)
        monkeypatch.setattr(Follower, "reaches", never)
        reads = [
            asyncio.create_task(client.lookup("standup", min_offset=placed.journal_offset))
            for _ in range(4)
        ]
        await standby.until(lambda: waiting > 0, "a read that waits on the standby")
        writer.stop.set()
        await writer.task
        found = await asyncio.gather(*reads)
    assert {each.allocation_id for each in found} == {placed.allocation_id}


async def test_a_record_that_cannot_be_folded_sends_the_standby_back_to_the_tables(
    writer: Running, standby: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was erased, or written by a newer program, is still in the rows that it changed."""
    from ladle.placement import follower

    monkeypatch.setattr(follower, "RETRY_MS", 50)
    failures = 0
    really = follower.open_record

    def fails_once(record: Any) -> Any:
        nonlocal failures
        failures += 1
        if failures == 1:
            raise ValueError("erased")
        return really(record)

    monkeypatch.setattr(follower, "open_record", fails_once)
    async with a_server(writer), writer.client() as client:
        placed = await client.allocate(room_id="standup", peers=2)
        watched = standby.service.standby
        assert watched is not None
        assert await watched.follower.reaches(placed.journal_offset, 5_000)
    assert failures >= 1
    store = open_store(standby.settings.database)
    await store.open()
    try:
        view = follower.loaded(await store.load())
        assert await watched.follower.reaches(view.offset, 5_000)
        assert watched.follower.view is not None
        if watched.follower.offset == view.offset:
            assert watched.follower.view.digest() == view.digest()
    finally:
        await store.close()


async def test_a_standby_counts_its_callers_by_itself(
    writer: Running, broker_url: str, cell: str, database_url: str
) -> None:
    limits = {"caller_requests_per_s": 1, "caller_burst": 1}
    async with running_service(
        broker_url, cell, database_url, role="standby", lease_ms=1_000, **limits
    ) as running:
        await running.until(lambda: consumes(running), "a standby that consumes")
        limited = None
        async with running.client(attempts_max=1) as client, asyncio.timeout(30):
            # The broker shares reads out; those that the writer gets have no limit.
            while limited is None:
                try:
                    await client.view()
                except RateLimited as error:
                    limited = error
    assert 0 < (limited.retry_after_ms or 0) <= 1_000
    assert answered(running, "view", "rate-limited") == 1
    user = str(URL(broker_url).user)
    assert running.count("ladle_rate_limited_total", user=user) == 1
    assert answered(writer, "view", "rate-limited") == 0


async def test_a_standby_counts_who_cannot_be_answered(
    writer: Running, broker_url: str, cell: str, database_url: str
) -> None:
    """Two at least reach it, a copy each: one becomes a dead letter, the others leave no trace."""
    limits = {"caller_requests_per_s": 1, "caller_burst": 1}
    async with (
        running_service(
            broker_url, cell, database_url, role="standby", lease_ms=1_000, **limits
        ) as running,
        writer.link() as link,
    ):
        await running.until(lambda: consumes(running), "a standby that consumes")
        exchange = writer.service.topology.placement_requests
        async with asyncio.timeout(30):
            while not answered(running, "lookup", "rate-limited"):
                await link.publish(Outgoing(exchange, "lookup", b"{}"))
        await running.until(lambda: answered(running, "lookup", "no-reply-to") > 0, "a dead letter")
    assert running.count("ladle_rate_limited_total", user="") > 0
    assert answered(writer, "lookup", "rate-limited") == 0
