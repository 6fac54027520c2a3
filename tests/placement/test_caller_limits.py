"""How often each caller may ask: the buckets, and the writer whose journal they keep small."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from yarl import URL

from ladle.core.record import Kind
from ladle.placement.caller_limits import CallerLimits
from ladle.placement.callers import Callers, OverLimit
from ladle.placement.identity import Identities, WrongIdentity
from ladle_contracts.envelope import ContractViolation, encode_request
from ladle_contracts.errors import NoServers
from ladle_contracts.link import Message, Outgoing
from ladle_contracts.requests import Allocate, Body, Lookup
from tests.fixtures.manual_clock import ManualClock
from tests.fixtures.service import running_service
from tests.placement.writing import REPLIES, Writing, writing


def admitted(limits: CallerLimits, user: str, tries: int) -> int:
    return sum(limits.wait_ms(user) == 0 for _ in range(tries))


# --- the buckets ---------------------------------------------------------------------------------


async def test_a_burst_and_then_so_many_a_second() -> None:
    clock = ManualClock()
    limits = CallerLimits(clock, per_s=4, burst=10)
    assert admitted(limits, "greedy", 1_000) == 10
    assert limits.wait_ms("greedy") == 250
    await clock.advance(100)
    assert limits.wait_ms("greedy", came_ms=clock.monotonic_ms() - 100) == 150
    await clock.advance(149)
    assert limits.wait_ms("greedy") == 1
    await clock.advance(1)
    assert admitted(limits, "greedy", 10) == 1
    await clock.advance(10_000)
    assert admitted(limits, "greedy", 1_000) == 10


async def test_a_wait_that_is_over_is_enough() -> None:
    """Whatever the rate: who comes back when told is admitted, once."""
    for per_s in (1, 3, 7, 999, 100_000):
        clock = ManualClock()
        limits = CallerLimits(clock, per_s=per_s, burst=1)
        for _ in range(5):
            assert limits.wait_ms("a") == 0
            wait_ms = limits.wait_ms("a")
            assert wait_ms > 0
            await clock.advance(wait_ms)


async def test_callers_have_nothing_to_do_with_each_other() -> None:
    limits = CallerLimits(ManualClock(), per_s=1, burst=3)
    assert admitted(limits, "greedy", 100) == 3
    assert admitted(limits, "other", 100) == 3
    assert admitted(limits, "", 100) == 3


def test_without_a_rate_nobody_waits_and_nothing_is_kept() -> None:
    limits = CallerLimits(ManualClock(), per_s=0, burst=1)
    assert admitted(limits, "greedy", 1_000) == 1_000
    assert len(limits) == 0


async def test_a_full_bucket_is_forgotten() -> None:
    clock = ManualClock()
    limits = CallerLimits(clock, per_s=10, burst=5)
    for number in range(1_000):
        limits.wait_ms(f"user-{number}")
    assert len(limits) == 1_000
    await clock.advance(100)
    limits.wait_ms("one-more")
    assert len(limits) == 1


async def test_too_many_callers_share_a_bucket_and_take_nobodys() -> None:
    """Who makes names up gets no more by it than one, and those who were there keep theirs."""
    clock = ManualClock()
    limits = CallerLimits(clock, per_s=1, burst=2, callers_max=100)
    assert admitted(limits, "greedy", 5) == 2
    made_up = sum(admitted(limits, f"made-up-{number}", 1) for number in range(5_000))
    assert made_up == 99 + 2
    assert len(limits) == 101
    assert admitted(limits, "greedy", 5) == 0
    await clock.advance(2_000)
    assert admitted(limits, "late", 5) == 2
    assert len(limits) == 1


# --- what is counted -----------------------------------------------------------------------------


def message(user: str | None, body: bytes = b"{", behalf: str | None = None) -> Message:
    headers = {"request_id": "r", **({"onbehalfof": behalf} if behalf else {})}
    return Message(
        body=body,
        exchange="placement.requests",
        routing_key="lookup",
        headers=headers,
        reply_to=REPLIES,
        correlation_id="c",
        user_id=user,
    )


def test_bad_input_is_counted_too_as_each_is_a_record() -> None:
    limits = CallerLimits(ManualClock(), per_s=1, burst=2)
    callers = Callers(Identities(required=True), limits)
    with pytest.raises(ContractViolation):
        callers.read(message("greedy"))
    with pytest.raises(WrongIdentity):
        callers.read(message("greedy", b'{"room_id": "a"}', behalf="other"))
    with pytest.raises(OverLimit, match="too many requests of user 'greedy'"):
        callers.read(message("greedy"))
    with pytest.raises(WrongIdentity):
        callers.read(message(None, b'{"room_id": "a"}'))


def test_a_proxys_tenants_are_counted_one_by_one() -> None:
    limits = CallerLimits(ManualClock(), per_s=1, burst=1)
    callers = Callers(Identities.parse(required=False, proxy_users="gw", server_users=""), limits)
    body = b'{"room_id": "a"}'
    for tenant in ("one", "two"):
        _, caller = callers.read(message("gw", body, behalf=tenant))
        callers.count(caller)
        with pytest.raises(OverLimit, match=f"'{tenant}'"):
            callers.count(caller)
    _, caller = callers.read(message(None, body))
    callers.count(caller)
    with pytest.raises(OverLimit, match="whom the broker does not vouch for") as nobody:
        callers.count(caller)
    assert nobody.value.wait_ms == 1_000


# --- the writer ----------------------------------------------------------------------------------


@pytest.fixture
async def limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Writing]:
    async with writing(tmp_path, monkeypatch, caller_requests_per_s=10, caller_burst=20) as made:
        await made.register("sfu-1", capacity=100_000)
        yield made


def asking(made: Writing, body: Body, user: str, request_id: str | None = None) -> Outgoing:
    number = next(made.ids)
    return encode_request(
        body,
        request_id=request_id or f"request-{number}",
        correlation_id=f"{user}-{number}",
        reply_to=REPLIES,
        timeout_ms=600_000,
        user_id=user,
    )


def answers(made: Writing, user: str) -> list[dict[str, Any]]:
    return [
        orjson.loads(reply.body)
        for reply in made.broker.queues[REPLIES]
        if (reply.correlation_id or "").startswith(f"{user}-")
    ]


def codes(made: Writing, user: str) -> list[str]:
    return [each.get("outcome") or each["error"]["code"] for each in answers(made, user)]


async def test_a_greedy_backend_starves_itself_alone(limited: Writing) -> None:
    """A thousand wait in the queue before the other's one, which is placed nevertheless."""
    before = limited.term.writer.committed.offset
    for number in range(1_000):
        await limited.peer.publish(asking(limited, Allocate(room_id=f"g-{number}"), "greedy"))
    await limited.peer.publish(asking(limited, Allocate(room_id="theirs"), "other"))
    await limited.until(lambda: bool(answers(limited, "other")), "the other's answer")
    assert codes(limited, "other") == ["placed"]
    await limited.until(lambda: len(answers(limited, "greedy")) == 1_000, "all answers")
    assert Counter(codes(limited, "greedy")) == {"placed": 20, "rate-limited": 980}
    refused = next(each for each in answers(limited, "greedy") if each["status"] == "error")
    # A client takes an offset for that of a record, which would be the answer to its id for good.
    assert set(refused) == {"status", "error"}
    error = refused["error"]
    assert (error["retryable"], error["retry_after_ms"]) == (True, 100)
    assert error["message"] == "too many requests of user 'greedy': ask again in 100 ms"
    # What is refused so is no record: a flood fills neither the journal nor the disk.
    assert await limited.kinds(before) == [Kind.REQUEST] * 21
    count = limited.metrics.registry.get_sample_value
    assert count("ladle_rate_limited_total", {"user": "greedy"}) == 980
    assert count("ladle_rate_limited_total", {"user": "other"}) is None
    labels = {"operation": "allocate", "outcome": "rate-limited"}
    assert count("ladle_requests_total", labels) == 980
    await limited.advance(100)
    await limited.peer.publish(asking(limited, Allocate(room_id="g-999"), "greedy"))
    await limited.until(lambda: len(answers(limited, "greedy")) == 1_001, "one answer more")
    assert codes(limited, "greedy")[-1] == "placed"
    assert limited.unacked() == 0
    await limited.tables_are_the_journal()


async def test_what_was_answered_is_answered_again_at_any_rate(limited: Writing) -> None:
    """Else a caller that lost its answer would be told that nothing was done."""
    first = asking(limited, Allocate(room_id="room"), "greedy", request_id="mine")
    await limited.peer.publish(first)
    await limited.quiet()
    for number in range(40):
        await limited.peer.publish(asking(limited, Allocate(room_id=f"g-{number}"), "greedy"))
    await limited.until(lambda: len(answers(limited, "greedy")) == 41, "all answers")
    assert "rate-limited" in codes(limited, "greedy")
    await limited.peer.publish(first)
    await limited.until(lambda: len(answers(limited, "greedy")) == 42, "the recalled answer")
    again = answers(limited, "greedy")
    assert again[-1] == again[0]
    assert again[0]["outcome"] == "placed"


async def test_who_shares_a_batch_with_bad_data_is_counted_once(limited: Writing) -> None:
    """It is folded again and again until the culprit stands alone, with all the others."""
    limited.store.refuses = lambda rec: b"poison" in rec.body and rec.kind != Kind.REJECTED
    limited.store.hold()
    rooms = [*(f"r-{number}" for number in range(15)), "poison"]
    for room_id in rooms:
        await limited.peer.publish(asking(limited, Allocate(room_id=room_id), "honest"))
    limited.store.release()
    await limited.until(lambda: len(answers(limited, "honest")) == 16, "all answers")
    assert Counter(codes(limited, "honest")) == {"placed": 15, "internal": 1}
    await limited.tables_are_the_journal()


async def test_a_stop_leaves_nobody_behind_those_who_ask_too_much(limited: Writing) -> None:
    """A turn may end with nothing but refusals; what stands behind them is still to be done."""
    writer = limited.term.writer
    for number in range(20 + 3 * writer.limits.batch_records_max):
        await limited.peer.publish(asking(limited, Allocate(room_id=f"g-{number}"), "greedy"))
    await limited.peer.publish(asking(limited, Allocate(room_id="theirs"), "other"))
    await writer.drain()
    assert codes(limited, "other") == ["placed"]


async def test_bad_input_fills_the_journal_no_faster(limited: Writing) -> None:
    before = limited.term.writer.committed.offset
    for _ in range(200):
        bad = asking(limited, Allocate(room_id="room"), "greedy")
        bad.body = b'{"peers": -1}'
        await limited.peer.publish(bad)
    await limited.until(lambda: len(answers(limited, "greedy")) == 200, "all answers")
    assert Counter(codes(limited, "greedy")) == {"invalid-request": 20, "rate-limited": 180}
    assert await limited.kinds(before) == [Kind.REJECTED] * 20


@pytest.mark.parametrize("body", [Allocate(room_id="room"), Lookup(room_id="room")])
async def test_who_cannot_be_answered_is_counted_too(limited: Writing, body: Body) -> None:
    """Each is a record and a dead letter: without an address a flood had no limit at all."""
    before = limited.term.writer.committed.offset
    count = limited.metrics.registry.get_sample_value
    for number in range(200):
        mute = asking(limited, body, "greedy")
        mute.reply_to = None if number % 2 else "amq.gen-somebody"
        await limited.peer.publish(mute)
    over = {"user": "greedy"}
    await limited.until(lambda: count("ladle_rate_limited_total", over) == 180, "the count")
    await limited.quiet()
    assert await limited.kinds(before) == [Kind.REJECTED] * 20
    assert len(limited.broker.queues[limited.topology.dead_letters]) == 20
    await limited.until(lambda: limited.unacked() == 0, "the acks")
    await limited.peer.publish(asking(limited, Allocate(room_id="room"), "other"))
    await limited.until(lambda: codes(limited, "other") == ["placed"], "the other's answer")


async def test_reads_are_counted_apart_from_writes(limited: Writing) -> None:
    for _ in range(30):
        await limited.peer.publish(asking(limited, Lookup(room_id="room"), "greedy"))
    await limited.peer.publish(asking(limited, Allocate(room_id="room"), "greedy"))
    await limited.until(lambda: len(answers(limited, "greedy")) == 31, "all answers")
    found = codes(limited, "greedy")
    assert sorted(found) == ["placed"] + ["rate-limited"] * 10 + ["unknown-room"] * 20


async def test_by_default_five_hundred_may_come_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with writing(tmp_path, monkeypatch) as made:
        await made.register("sfu-1", capacity=100_000)
        for number in range(500):
            await made.peer.publish(asking(made, Allocate(room_id=f"g-{number}"), "greedy"))
        await made.until(lambda: len(answers(made, "greedy")) == 500, "all answers")
        assert set(codes(made, "greedy")) == {"placed"}


@pytest.mark.broker
async def test_a_client_waits_for_its_turn_by_itself(
    broker_url: str, cell: str, tmp_path: Path
) -> None:
    """Also under an id of its caller's choice, which is as good as new: nothing was recorded."""
    database = f"sqlite:///{tmp_path}/ladle.db"
    limits = {"caller_requests_per_s": 2, "caller_burst": 1}
    async with (
        running_service(broker_url, cell, database, **limits) as running,
        running.client(attempts_max=20) as client,
    ):
        answers = await asyncio.gather(
            *(client.allocate("room", request_id=f"mine-{number}") for number in range(3)),
            return_exceptions=True,
        )
        assert [type(answer) for answer in answers] == [NoServers] * 3
    retries = client.retries
    assert running.count("ladle_rate_limited_total", user=str(URL(broker_url).user)) == retries
    assert retries >= 1
