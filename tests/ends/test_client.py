"""The client on a link in memory: deadlines, retries, ids, errors."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from ladle_contracts import errors
from ladle_contracts.client import PlacementClient
from ladle_contracts.errors import (
    BadReply,
    Forbidden,
    InvalidRequest,
    NoCapacity,
    OutcomeUnknownError,
    PlacementError,
    RequestTimedOut,
    ServiceAbsent,
    Unavailable,
    Unreachable,
)
from ladle_contracts.link import Message
from ladle_contracts.replies import ErrorCode, Reply
from ladle_contracts.requests import (
    Allocate,
    DecisionsQuery,
    Drain,
    Explain,
    Extend,
    HistoryQuery,
    Lookup,
    Move,
    Release,
    RoomsQuery,
    Undrain,
    ViewQuery,
)
from tests.ends.responder import Responder, refusal
from tests.fixtures.manual_clock import ManualClock, settle
from tests.fixtures.memory_link import Fault, MemoryBroker, MemoryLink


class NoJitter(random.Random):
    def random(self) -> float:
        return 0.0


@pytest.fixture
async def responder(broker: MemoryBroker) -> Responder:
    link = MemoryLink(broker)
    await link.open()
    responder = Responder(link)
    await responder.start()
    return responder


@pytest.fixture
async def client(
    link: MemoryLink, clock: ManualClock, responder: Responder
) -> AsyncIterator[PlacementClient]:
    async with PlacementClient(link, clock=clock, chance=NoJitter()) as client:
        yield client


CALLS: list[tuple[Callable[[PlacementClient], Awaitable[Reply]], object]] = [
    (lambda c: c.allocate(), Allocate()),
    (
        lambda c: c.allocate(
            "r",
            peers=4,
            publishers=3,
            streams_per_publisher=1,
            regions=["eu"],
            region_mode="require",
            labels={"gpu": "1"},
            server_id="sfu-1",
            avoid=("sfu-2",),
            ttl_ms=5_000,
            metadata={"a": 1},
        ),
        Allocate(
            room_id="r",
            peers=4,
            publishers=3,
            streams_per_publisher=1,
            regions=["eu"],
            region_mode="require",
            labels={"gpu": "1"},
            server_id="sfu-1",
            avoid=["sfu-2"],
            ttl_ms=5_000,
            metadata={"a": 1},
        ),
    ),
    (
        lambda c: c.extend("r", peers=9, publishers=2, regions=["eu"]),
        Extend(room_id="r", peers=9, publishers=2, regions=["eu"]),
    ),
    (
        lambda c: c.move("r", if_generation=1, reason="hot", avoid=["sfu-9"]),
        Move(room_id="r", if_generation=1, reason="hot", avoid=["sfu-9"]),
    ),
    (lambda c: c.release("r", "al-1"), Release(room_id="r", allocation_id="al-1")),
    (
        lambda c: c.drain("sfu-1", reason="x", drain_by_ms=9),
        Drain(server_id="sfu-1", reason="x", drain_by_ms=9),
    ),
    (lambda c: c.undrain("sfu-1", reason="x"), Undrain(server_id="sfu-1", reason="x")),
    (lambda c: c.lookup("r", min_offset=7), Lookup(room_id="r", min_offset=7)),
    (
        lambda c: c.view(region="eu", server_id="sfu-1", at_offset=3, min_offset=2),
        ViewQuery(region="eu", server_id="sfu-1", at_offset=3, min_offset=2),
    ),
    (
        lambda c: c.rooms(server_id="sfu-1", state="held", after="q", limit=5, min_offset=1),
        RoomsQuery(server_id="sfu-1", state="held", after="q", limit=5, min_offset=1),
    ),
    (
        lambda c: c.decisions(after_offset=1, limit=2, room_id="r", server_id="s", min_offset=3),
        DecisionsQuery(after_offset=1, limit=2, room_id="r", server_id="s", min_offset=3),
    ),
    (
        lambda c: c.history(after_offset=1, limit=2, room_id="r", server_id="s", min_offset=3),
        HistoryQuery(after_offset=1, limit=2, room_id="r", server_id="s", min_offset=3),
    ),
    (
        lambda c: c.explain("r", generation=2, min_offset=3),
        Explain(room_id="r", generation=2, min_offset=3),
    ),
]


@pytest.mark.parametrize(("call", "body"), CALLS)
async def test_every_operation_asks_what_it_was_told(
    call: Callable[[PlacementClient], Awaitable[Reply]],
    body: object,
    client: PlacementClient,
    responder: Responder,
) -> None:
    reply = await call(client)
    assert responder.bodies == [body]
    assert (reply.term, reply.journal_offset) == (7, 1234)


async def test_concurrent_calls_get_their_own_answers_in_any_order(
    client: PlacementClient, responder: Responder
) -> None:
    responder.held = []
    calls = [asyncio.create_task(client.allocate(f"r{n}")) for n in range(300)]
    await settle()
    assert len(responder.held) == 300
    responder.release()
    replies = await asyncio.gather(*calls)
    assert [reply.room_id for reply in replies] == [f"r{n}" for n in range(300)]
    assert len(set(responder.ids)) == 300


async def test_a_request_expires_with_its_caller(
    client: PlacementClient, responder: Responder
) -> None:
    await client.allocate("r", timeout_ms=1_234)
    await client.allocate("r")
    assert [request.expiration_ms for request in responder.requests] == [1_234, 15_000]


async def test_no_answer_in_time(
    client: PlacementClient, responder: Responder, clock: ManualClock
) -> None:
    responder.script.append(None)
    call = asyncio.create_task(client.allocate("r", timeout_ms=500))
    await clock.advance(499)
    assert not call.done()
    await clock.advance(1)
    with pytest.raises(RequestTimedOut) as caught:
        await call
    assert isinstance(caught.value, TimeoutError)
    assert isinstance(caught.value, OutcomeUnknownError)
    assert caught.value.request_id == responder.ids[0]
    assert caught.value.code == "timed-out"


async def test_silence_is_asked_again_with_the_same_id(
    client: PlacementClient, responder: Responder, clock: ManualClock
) -> None:
    """A broker that is starting drops direct replies without a word."""
    responder.script.append(None)
    call = asyncio.create_task(client.allocate("r", timeout_ms=60_000))
    await clock.advance(4_999)
    assert len(responder.requests) == 1
    await clock.advance(1)
    assert (await call).room_id == "r"
    assert [request.expiration_ms for request in responder.requests] == [60_000, 55_000]
    assert (len(set(responder.ids)), client.retries) == (1, 1)


@pytest.mark.parametrize(("timeout_ms", "asked"), [(9_000, 1), (11_000, 2)])
async def test_a_refusal_that_took_longer_than_there_is_time_is_final(
    client: PlacementClient,
    responder: Responder,
    clock: ManualClock,
    timeout_ms: int,
    asked: int,
) -> None:
    """Asked again, the caller would wait as long once more, and not know the outcome."""
    responder.script.append(refusal(ErrorCode.UNAVAILABLE, retryable=True, after_ms=1_000))
    responder.held = []
    call = asyncio.create_task(client.allocate("r", timeout_ms=timeout_ms))
    await clock.advance(4_000)
    responder.release()
    responder.held = None
    if asked == 1:
        with pytest.raises(PlacementError) as caught:
            await call
        assert caught.value.code == "unavailable"
    else:
        await clock.advance(2_000)
        assert (await call).room_id == "r"
    assert len(responder.requests) == asked


async def test_silence_is_asked_again_more_and_more_seldom(
    client: PlacementClient, responder: Responder, clock: ManualClock
) -> None:
    responder.held = []
    asked_after_s = []
    responder.on_request = lambda _: asked_after_s.append(clock.monotonic_ms() // 1_000)
    call = asyncio.create_task(client.allocate("r", timeout_ms=60_000))
    await clock.advance(60_000)
    with pytest.raises(RequestTimedOut):
        await call
    assert asked_after_s == [0, 5, 15, 35]


async def test_the_first_answer_counts_whichever_message_it_is_to(
    client: PlacementClient, responder: Responder, clock: ManualClock
) -> None:
    responder.held = []
    call = asyncio.create_task(client.allocate("r"))
    await clock.advance(5_000)
    responder.release()
    assert (await call).room_id == "r"
    await settle()
    assert (len(responder.requests), client.late_replies) == (2, 1)


async def test_a_refusal_after_silence_does_not_say_that_nothing_was_done(
    client: PlacementClient, responder: Responder, clock: ManualClock, broker: MemoryBroker
) -> None:
    responder.script.append(None)
    call = asyncio.create_task(client.allocate("r"))
    await clock.advance(4_000)
    broker.bindings.clear()
    await clock.advance(1_000)
    with pytest.raises(OutcomeUnknownError, match="an earlier attempt may have worked"):
        await call


async def test_a_late_reply_is_dropped(
    client: PlacementClient, responder: Responder, clock: ManualClock
) -> None:
    responder.held = []
    call = asyncio.create_task(client.allocate("r", timeout_ms=500))
    await clock.advance(500)
    with pytest.raises(RequestTimedOut):
        await call
    responder.release()
    await settle()
    assert client.late_replies == 1
    assert (await client.allocate("s")).room_id == "s"


async def test_a_cancelled_call_leaves_nothing_behind(
    client: PlacementClient, responder: Responder
) -> None:
    responder.held = []
    call = asyncio.create_task(client.allocate("r"))
    await settle()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert client._calls._pending == {}
    responder.release()
    await settle()
    assert client.late_replies == 1


async def test_an_unroutable_request_says_at_once_that_nobody_is_there(
    client: PlacementClient, broker: MemoryBroker, clock: ManualClock
) -> None:
    broker.bindings.clear()
    with pytest.raises(ServiceAbsent):
        await client.allocate("r")
    assert clock.monotonic_ms() == 0


async def test_an_undeclared_cell_is_absent_too(
    link: MemoryLink, clock: ManualClock, broker: MemoryBroker
) -> None:
    async with PlacementClient(link, clock=clock, cell="elsewhere") as client:
        with pytest.raises(ServiceAbsent, match="never declared"):
            await client.lookup("r")


async def test_no_right_to_ask_is_forbidden(client: PlacementClient, link: MemoryLink) -> None:
    link.faults.append(Fault.REFUSED)
    with pytest.raises(Forbidden):
        await client.allocate("r")


@pytest.mark.parametrize("fault", [Fault.CONFIRM_LOST, Fault.MESSAGE_LOST])
async def test_an_unknown_outcome_is_asked_again_with_the_same_id(
    fault: Fault, client: PlacementClient, link: MemoryLink, responder: Responder
) -> None:
    """A confirm that is lost: the answer may come all the same, and only one room is placed."""
    link.faults.append(fault)
    responder.held = []
    call = asyncio.create_task(client.allocate())
    await settle()
    responder.release()
    await call
    assert len(set(responder.ids)) == 1
    assert len(responder.recorded) == 1
    assert len({m.correlation_id for m in link.published}) == len(link.published)


async def test_connection_loss_in_flight_is_asked_again_with_the_same_id(
    client: PlacementClient, link: MemoryLink, responder: Responder, clock: ManualClock
) -> None:
    responder.held = []
    call = asyncio.create_task(client.allocate("r", timeout_ms=10_000))
    await settle()
    link.disconnect()
    await clock.advance(3_000)
    responder.release()
    link.reconnect()
    await clock.advance(100)
    assert (await call).room_id == "r"
    assert len(responder.ids) == 2
    assert len(set(responder.ids)) == 1
    assert client.retries == 1
    assert responder.requests[1].expiration_ms == 7_000, "what is left of the caller's time"


async def test_outcomes_that_stay_unknown_are_told_with_the_id(
    client: PlacementClient, link: MemoryLink, responder: Responder
) -> None:
    link.faults.extend([Fault.MESSAGE_LOST] * 3)
    with pytest.raises(OutcomeUnknownError) as caught:
        await client.allocate("r")
    assert caught.value.code == "outcome-unknown"
    again = await client.allocate("r", request_id=caught.value.request_id)
    assert again.room_id == "r"
    assert responder.ids == [caught.value.request_id]


async def test_a_broker_that_is_away_is_waited_for_within_the_time(
    client: PlacementClient, link: MemoryLink, clock: ManualClock, responder: Responder
) -> None:
    link.disconnect()
    call = asyncio.create_task(client.allocate("r", timeout_ms=5_000))
    await clock.advance(4_000)
    link.reconnect()
    await clock.advance(100)
    assert (await call).room_id == "r"
    assert client.retries == 0, "nothing was sent before"


async def test_a_broker_that_stays_away_is_unreachable(
    client: PlacementClient, link: MemoryLink, clock: ManualClock
) -> None:
    link.disconnect()
    call = asyncio.create_task(client.allocate("r", timeout_ms=5_000))
    await clock.advance(5_000)
    with pytest.raises(Unreachable) as caught:
        await call
    assert not isinstance(caught.value, OutcomeUnknownError)


async def test_after_an_unknown_outcome_unreachable_is_unknown(
    client: PlacementClient, link: MemoryLink, clock: ManualClock, responder: Responder
) -> None:
    """Nothing was done would be a lie: the first attempt may have placed the room."""
    responder.held = []
    call = asyncio.create_task(client.allocate("r", timeout_ms=5_000))
    await settle()
    link.disconnect()
    await clock.advance(5_000)
    with pytest.raises(OutcomeUnknownError, match="earlier attempt"):
        await call


async def test_a_recorded_refusal_is_asked_again_with_a_new_id(
    client: PlacementClient, responder: Responder, clock: ManualClock
) -> None:
    """The old id would get the recorded refusal for ten minutes."""
    responder.script.append(
        refusal(ErrorCode.NO_CAPACITY, retryable=True, after_ms=2_000, offset=9)
    )
    call = asyncio.create_task(client.allocate("r"))
    await clock.advance(1_999)
    assert len(responder.ids) == 1
    await clock.advance(1)
    assert (await call).room_id == "r"
    assert len(set(responder.ids)) == 2


async def test_a_refusal_that_is_not_recorded_keeps_its_id(
    client: PlacementClient, responder: Responder, clock: ManualClock
) -> None:
    responder.script.append(refusal(ErrorCode.UNAVAILABLE, retryable=True))
    call = asyncio.create_task(client.allocate("r", request_id="mine"))
    await clock.advance(200)
    assert (await call).room_id == "r"
    assert responder.ids == ["mine", "mine"]


async def test_the_caller_s_own_id_is_never_replaced(
    client: PlacementClient, responder: Responder, clock: ManualClock
) -> None:
    responder.script.append(refusal(ErrorCode.NO_CAPACITY, retryable=True, after_ms=1, offset=9))
    with pytest.raises(NoCapacity) as caught:
        await client.allocate("r", request_id="mine")
    assert responder.ids == ["mine"]
    assert caught.value.request_id == "mine"


async def test_retries_are_bounded(
    client: PlacementClient, responder: Responder, clock: ManualClock
) -> None:
    responder.script.extend([refusal(ErrorCode.UNAVAILABLE, retryable=True, after_ms=10)] * 9)
    call = asyncio.create_task(client.allocate("r"))
    await clock.advance(1_000)
    with pytest.raises(Unavailable):
        await call
    assert len(responder.ids) == 3


async def test_a_retry_that_would_come_too_late_is_not_waited_for(
    client: PlacementClient, responder: Responder, clock: ManualClock
) -> None:
    responder.script.append(refusal(ErrorCode.NO_CAPACITY, retryable=True, after_ms=2_000))
    with pytest.raises(NoCapacity) as caught:
        await client.allocate("r", timeout_ms=1_000)
    assert clock.monotonic_ms() == 0
    assert caught.value.retry_after_ms == 2_000
    assert caught.value.retryable


async def test_the_jitter_is_later_never_earlier(
    link: MemoryLink, clock: ManualClock, responder: Responder
) -> None:
    class Most(random.Random):
        def random(self) -> float:
            return 1.0

    responder.script.append(refusal(ErrorCode.UNAVAILABLE, retryable=True, after_ms=1_000))
    async with PlacementClient(link, clock=clock, chance=Most()) as client:
        call = asyncio.create_task(client.allocate("r"))
        await clock.advance(1_249)
        assert len(responder.ids) == 1
        await clock.advance(1)
        await call


@pytest.mark.parametrize("code", list(ErrorCode))
async def test_every_code_has_its_own_error(
    code: ErrorCode, client: PlacementClient, responder: Responder
) -> None:
    responder.script.append(refusal(code, after_ms=77))
    with pytest.raises(errors.ERRORS[code]) as caught:
        await client.allocate("r")
    error = caught.value
    assert isinstance(error, PlacementError)
    assert type(error).__mro__[1] is PlacementError
    assert error.code == code
    assert (error.message, error.retryable, error.retry_after_ms) == ("no", False, 77)
    assert error.details == {"full": 9}
    assert str(error) == f"{code}: no"
    assert len(responder.ids) == 1


async def test_a_bad_body_is_refused_before_it_is_sent(
    client: PlacementClient, responder: Responder
) -> None:
    with pytest.raises(InvalidRequest, match="peers: must be >= 1"):
        await client.allocate("r", peers=0)
    assert responder.requests == []


async def test_an_unreadable_answer_is_an_unknown_outcome(
    client: PlacementClient, responder: Responder
) -> None:
    responder.script.append({"status": "ok"})
    with pytest.raises(BadReply) as caught:
        await client.allocate("r")
    assert isinstance(caught.value, OutcomeUnknownError)
    assert caught.value.request_id == responder.ids[0]


async def test_a_reply_queue_instead_of_direct_replies(
    link: MemoryLink, clock: ManualClock, responder: Responder
) -> None:
    async with PlacementClient(link, clock=clock, replies="queue") as client:
        await client.allocate("r")
        link.disconnect()
        link.reconnect()
        await client.allocate("r")
    addresses = {request.reply_to for request in responder.requests}
    (address,) = addresses
    assert address is not None
    assert address.startswith("reply.")


async def test_closing_ends_the_calls(
    link: MemoryLink, clock: ManualClock, responder: Responder
) -> None:
    responder.held = []
    client = PlacementClient(link, clock=clock)
    await client.open()
    sent = asyncio.create_task(client.allocate("r"))
    await settle()
    await client.close()
    with pytest.raises(OutcomeUnknownError):
        await sent
    with pytest.raises(Unreachable, match="closed"):
        await client.allocate("r")


async def test_closing_ends_the_calls_that_wait_for_a_connection(
    link: MemoryLink, clock: ManualClock, responder: Responder
) -> None:
    client = PlacementClient(link, clock=clock)
    await client.open()
    link.disconnect()
    waiting = asyncio.create_task(client.allocate("r"))
    await clock.advance(1_000)
    await client.close()
    await clock.advance(50)
    with pytest.raises(Unreachable, match="closed"):
        await waiting


async def test_no_broker_at_the_start_is_unreachable(link: MemoryLink, clock: ManualClock) -> None:
    link.fails_to_open = True
    with pytest.raises(Unreachable):
        await PlacementClient(link, clock=clock).open()


async def test_a_link_that_cannot_declare_says_so(link: MemoryLink, clock: ManualClock) -> None:
    class Plain:
        def __getattr__(self, name: str) -> Any:
            if name.startswith("declare"):
                raise AttributeError(name)
            return getattr(link, name)

    with pytest.raises(TypeError, match="cannot declare reply queues"):
        await PlacementClient(Plain(), clock=clock, replies="queue").open()
    async with PlacementClient(Plain(), clock=clock) as client:
        with pytest.raises(TypeError, match="cannot declare subscriptions"):
            await client.events().start()


async def test_a_gateway_asks_for_somebody_else(
    link: MemoryLink, clock: ManualClock, responder: Responder
) -> None:
    async with PlacementClient(
        link, clock=clock, user_id="gateway", on_behalf_of="tenant-1"
    ) as client:
        await client.allocate("r")
    (request,) = responder.requests
    assert (request.user, request.on_behalf_of) == ("gateway", "tenant-1")


async def test_replies_without_a_call_are_counted_not_raised(client: PlacementClient) -> None:
    client._calls.on_replies([Message(b"{}"), Message(b"{}", correlation_id="x")])
    assert client.late_replies == 2
