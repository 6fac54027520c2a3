"""The publisher on a link in memory: order, confirms, buffer, heartbeat, end."""

import asyncio
from functools import partial

import pytest

from ladle_contracts.events import WorkerDescription
from ladle_contracts.link import LinkState
from ladle_contracts.publisher import (
    BufferFull,
    Fate,
    MediaServerPublisher,
    PublisherClosed,
)
from tests.ends.server_kit import SERVER, App, Ladle, publisher_of
from tests.fixtures.manual_clock import ManualClock, settle
from tests.fixtures.memory_link import Fault, MemoryBroker, MemoryLink


async def test_a_server_s_life(
    link: MemoryLink, clock: ManualClock, app: App, ladle: Ladle
) -> None:
    async with publisher_of(link, clock, app) as publisher:
        await publisher.wait_registered()
        app.rooms["a"] = "al-1"
        assert await publisher.room_created("a", worker_id="0", allocation_id="al-1") is (
            Fate.CONFIRMED
        )
        await clock.advance(1_000)
        del app.rooms["a"]
        await publisher.room_deleted("a", reason="empty")
        await publisher.draining("upgrade")
    assert ladle.said == [
        "server-registered",
        "all[]",
        "created a",
        "status",
        "deleted a",
        "server-draining",
        "server-deregistered",
    ]
    assert ladle.sequences == [1, 2, 3, 4, 5, 6, 7]
    assert {event.incarnation for event in ladle.events} == {1_763_802_000_000}
    assert ladle.events[4].data.allocation_id == "al-1", "known from the creation"  # type: ignore[union-attr]
    assert len({event.id for event in ladle.events}) == 7
    assert publisher.confirmed == 7
    assert publisher.backlog == 0


async def test_heartbeats_come_at_the_interval_and_some_are_complete(
    link: MemoryLink, clock: ManualClock, app: App, ladle: Ladle
) -> None:
    app.rooms["a"] = None
    publisher = publisher_of(link, clock, app, complete_every=3)
    await publisher.start()
    await clock.advance(6_500)
    await publisher.abort()
    assert ladle.said[1:] == ["all[a]", "status", "status", "all[a]", "status", "status", "all[a]"]


async def test_without_a_snapshot_no_status_is_made_up(
    link: MemoryLink, clock: ManualClock, app: App, ladle: Ladle
) -> None:
    async with publisher_of(link, clock, None) as publisher:
        await clock.advance(10_000)
        assert publisher.report_rooms() is None
        status = app.snapshot()
        await publisher.worker_status(status.workers, None)
        await publisher.worker_status(status.workers, status.rooms, complete=True)
    assert ladle.said == ["server-registered", "status", "all[]", "server-deregistered"]


async def test_a_snapshot_that_fails_costs_one_status(
    link: MemoryLink, clock: ManualClock, app: App, ladle: Ladle
) -> None:
    app.broken = True
    publisher = publisher_of(link, clock, app)
    await publisher.start()
    await clock.advance(1_500)
    app.broken = False
    await clock.advance(1_000)
    await publisher.abort()
    assert ladle.said == ["server-registered", "status"]


async def test_a_lost_confirm_is_sent_again_with_its_sequence_and_a_new_message_id(
    link: MemoryLink, clock: ManualClock, ladle: Ladle
) -> None:
    link.faults.extend([Fault.CONFIRM_LOST])
    publisher = publisher_of(link, clock, None)
    await publisher.start()
    created = publisher.room_created("a")
    await clock.advance(5_000)
    assert await created is Fate.CONFIRMED
    await publisher.abort()
    first, second = [m for m in link.published if m.type == "server-registered"]
    assert first.body == second.body, "the same event, so that Ladle knows the copy"
    assert first.message_id != second.message_id, "returns are matched by it"
    assert sorted(sequence or 0 for sequence in ladle.sequences) == [1, 1, 2]


@pytest.mark.parametrize("fault", [Fault.RETURNED, Fault.MESSAGE_LOST, Fault.REFUSED])
async def test_what_did_not_arrive_is_sent_again_before_later_ones_count(
    fault: Fault, link: MemoryLink, clock: ManualClock, ladle: Ladle
) -> None:
    """Order under retry: events 2 and 3 were confirmed long before, and are settled after 1."""
    link.faults.extend([fault])
    publisher = publisher_of(link, clock, None)
    settled: list[str] = []

    def note(room: str, _: object) -> None:
        settled.append(room)

    await publisher.start()
    for room in ("a", "b"):
        publisher.room_created(room).add_done_callback(partial(note, room))
    await settle()
    assert ladle.sequences == [2, 3]
    assert settled == []
    later = publisher.room_created("c")
    await settle()
    assert 4 not in ladle.sequences, "nothing new goes out before the failed one is settled"
    await clock.advance(1_000)
    await later
    assert settled == ["a", "b"]
    assert ladle.sequences == [2, 3, 1, 4]
    await publisher.abort()


async def test_careful_means_one_at_a_time(
    link: MemoryLink, clock: ManualClock, ladle: Ladle
) -> None:
    """Two failures out of three in flight: they arrive in order all the same."""
    link.faults.extend([Fault.MESSAGE_LOST, None, Fault.MESSAGE_LOST, None])
    publisher = publisher_of(link, clock, None)
    await publisher.start()
    for room in ("a", "b", "c"):
        publisher.room_created(room)
    await clock.advance(10_000)
    assert ladle.sequences == [2, 4, 1, 3]
    assert publisher.backlog == 0
    await publisher.abort()


async def test_at_most_in_flight_max_are_under_way(
    link: MemoryLink, clock: ManualClock, ladle: Ladle
) -> None:
    publisher = publisher_of(link, clock, None, in_flight_max=4)
    await publisher.start()
    await settle()
    link.hold_confirms()
    for number in range(10):
        publisher.room_created(f"r{number}")
    await settle()
    assert len(ladle.events) == 1 + 4
    link.release_confirms()
    await settle()
    assert ladle.sequences == list(range(1, 12))
    await publisher.abort()


async def test_retries_back_off(link: MemoryLink, clock: ManualClock, ladle: Ladle) -> None:
    link.faults.extend([Fault.RETURNED] * 100)
    publisher = publisher_of(link, clock, None)
    await publisher.start()
    await clock.advance(60_000)
    assert 10 <= len(link.published) <= 15
    await publisher.abort()


async def test_connection_loss_in_flight_loses_nothing(
    link: MemoryLink, clock: ManualClock, app: App, ladle: Ladle
) -> None:
    publisher = publisher_of(link, clock, app)
    await publisher.start()
    await settle()
    link.hold_confirms()
    created = [publisher.room_created(f"r{number}") for number in range(3)]
    await settle()
    link.disconnect()
    during = publisher.room_created("during")
    await settle()
    assert not any(future.done() for future in created)
    link.release_confirms()
    link.reconnect()
    await clock.advance(2_000)
    assert [await future for future in [*created, during]] == [Fate.CONFIRMED] * 4
    firsts = list(dict.fromkeys(ladle.sequences))
    assert firsts == sorted(firsts, key=lambda sequence: sequence or 0)
    await publisher.abort()


async def test_no_status_piles_up_while_the_broker_is_away(
    link: MemoryLink, clock: ManualClock, app: App, ladle: Ladle
) -> None:
    publisher = publisher_of(link, clock, app)
    await publisher.start()
    await settle()
    link.disconnect()
    await clock.advance(600_000)
    assert publisher.backlog == 0
    link.reconnect()
    await settle()
    assert ladle.said[2:] == ["status"], "and one is sent at once"
    await publisher.abort()


async def test_buffer_overflow_gives_a_complete_status_instead_of_history(
    link: MemoryLink, clock: ManualClock, app: App, ladle: Ladle
) -> None:
    publisher = publisher_of(link, clock, app, buffer_max=10)
    await publisher.start()
    await settle()
    link.disconnect()
    fates = []
    for number in range(30):
        app.rooms = {f"r{number}": None}
        fates.append(publisher.room_created(f"r{number}"))
        if number:
            fates.append(publisher.room_deleted(f"r{number - 1}"))
    assert publisher.backlog <= 10
    link.reconnect()
    await settle()
    assert {await fate for fate in fates} == {Fate.REPLACED}
    assert ladle.said == ["server-registered", "all[]", "all[r29]"]
    last = ladle.events[-1].sequence
    assert last is not None
    assert last > 3, "sequences are never used twice; the complete status closes the holes"
    await publisher.room_created("after")
    assert ladle.events[-1].sequence == last + 1
    await publisher.abort()


async def test_old_history_is_replaced_even_where_it_is_short(
    link: MemoryLink, clock: ManualClock, app: App, ladle: Ladle
) -> None:
    publisher = publisher_of(link, clock, app)
    await publisher.start()
    await settle()
    link.disconnect()
    fate = publisher.room_created("a")
    app.rooms["a"] = None
    await clock.advance(3_001)
    link.reconnect()
    await settle()
    assert await fate is Fate.REPLACED
    assert ladle.said[2:] == ["all[a]"]
    await publisher.abort()


async def test_recent_history_is_sent_as_it_was(
    link: MemoryLink, clock: ManualClock, app: App, ladle: Ladle
) -> None:
    publisher = publisher_of(link, clock, app)
    await publisher.start()
    await settle()
    link.disconnect()
    publisher.room_created("a")
    publisher.room_deleted("a")
    await clock.advance(2_900)
    link.reconnect()
    await settle()
    assert ladle.said[2:] == ["created a", "deleted a", "status"]
    await publisher.abort()


async def test_never_registered_registers_first_when_the_broker_is_back(
    link: MemoryLink, clock: ManualClock, app: App, ladle: Ladle
) -> None:
    link.fails_to_open = True
    publisher = publisher_of(link, clock, app, buffer_max=5)
    await publisher.start()
    publisher.draining("old")
    for number in range(20):
        publisher.room_created(f"r{number}")
    app.rooms["r19"] = None
    await clock.advance(60_000)
    assert ladle.events == []
    link.fails_to_open = False
    await clock.advance(11_000)
    assert ladle.said[:3] == ["server-registered", "server-draining", "all[r19]"]
    assert ladle.sequences[0] == 1
    await publisher.abort()


async def test_the_buffer_overflows_on_a_broker_that_is_slow(
    link: MemoryLink, clock: ManualClock, app: App, ladle: Ladle
) -> None:
    """The link is up all the time; what is under way stays, the rest gives way."""
    publisher = publisher_of(link, clock, app, buffer_max=8, in_flight_max=2)
    await publisher.start()
    await settle()
    link.hold_confirms()
    for number in range(20):
        app.rooms[f"r{number}"] = None
        publisher.room_created(f"r{number}")
    await settle()
    link.release_confirms()
    await settle()
    everything = ",".join(f"r{number}" for number in range(20))
    assert ladle.said[-1] == f"all[{everything}]"
    assert publisher.backlog == 0
    await publisher.abort()


async def test_without_a_snapshot_a_full_buffer_refuses(
    link: MemoryLink, clock: ManualClock
) -> None:
    publisher = publisher_of(link, clock, None, buffer_max=3)
    link.fails_to_open = True
    await publisher.start()
    publisher.room_created("a")
    publisher.room_created("b")
    with pytest.raises(BufferFull):
        publisher.room_created("c")
    assert "c" not in publisher.rooms
    await publisher.abort()


async def test_without_a_snapshot_old_history_is_sent_all_the_same(
    link: MemoryLink, clock: ManualClock, ladle: Ladle
) -> None:
    publisher = publisher_of(link, clock, None)
    await publisher.start()
    await settle()
    link.disconnect()
    publisher.room_created("a")
    await clock.advance(60_000)
    link.reconnect()
    await settle()
    assert ladle.said == ["server-registered", "created a"]
    await publisher.abort()


async def test_a_complete_status_that_fails_stays_due(
    link: MemoryLink, clock: ManualClock, app: App, ladle: Ladle
) -> None:
    publisher = publisher_of(link, clock, app, buffer_max=2)
    await publisher.start()
    await settle()
    link.disconnect()
    for number in range(5):
        publisher.room_created(f"r{number}")
    app.broken = True
    link.reconnect()
    await settle()
    app.broken = False
    await clock.advance(1_000)
    assert ladle.said[2:] == ["all[]"]
    await publisher.abort()


async def test_a_snapshot_and_its_sequence_are_taken_at_once(
    link: MemoryLink, clock: ManualClock, app: App, ladle: Ladle
) -> None:
    """Whatever is listed was created at or below the status's sequence, whatever is not, above."""
    publisher = publisher_of(link, clock, app, complete_every=1)
    await publisher.start()
    for number in range(200):
        app.rooms[f"r{number}"] = None
        publisher.room_created(f"r{number}")
        if number % 7 == 0:
            await clock.advance(300)
    await settle()
    await publisher.abort()
    created = {e.data.room_id: e.sequence for e in ladle.events if e.type == "room-created"}  # type: ignore[union-attr]
    statuses = [e for e in ladle.events if e.type == "worker-status"]
    assert len(statuses) > 5
    for status in statuses:
        listed = {room.room_id for room in status.data.rooms}  # type: ignore[union-attr]
        assert listed == {
            room for room, at in created.items() if (at or 0) < (status.sequence or 0)
        }


async def test_after_deregistering_nothing_is_said_until_it_registers_again(
    link: MemoryLink, clock: ManualClock, app: App, ladle: Ladle
) -> None:
    """A status after it would bring a lost server back."""
    publisher = publisher_of(link, clock, app)
    await publisher.start()
    await publisher.deregister("moving")
    await clock.advance(5_000)
    link.disconnect()
    link.reconnect()
    await settle()
    assert ladle.said[-1] == "server-deregistered"
    await publisher.register(SERVER, [WorkerDescription(worker_id="1")])
    await clock.advance(1_000)
    assert ladle.said[-2:] == ["server-registered", "status"]
    assert publisher.workers[0].worker_id == "1"
    await publisher.abort()


async def test_close_sends_what_is_left(
    link: MemoryLink, clock: ManualClock, app: App, ladle: Ladle
) -> None:
    publisher = publisher_of(link, clock, app)
    await publisher.start()
    for number in range(100):
        publisher.room_created(f"r{number}")
    await publisher.close()
    await publisher.close()
    assert ladle.sequences == list(range(1, 103))


async def test_close_does_not_wait_for_a_broker_that_stays_away(
    link: MemoryLink, clock: ManualClock
) -> None:
    link.fails_to_open = True
    publisher = publisher_of(link, clock, None, close_timeout_ms=700)
    await publisher.start()
    left = publisher.room_created("a")
    closing = asyncio.create_task(publisher.close())
    await clock.advance(699)
    assert not closing.done()
    await clock.advance(1)
    await closing
    with pytest.raises(PublisherClosed):
        await left
    with pytest.raises(PublisherClosed):
        publisher.room_created("b")
    with pytest.raises(PublisherClosed):
        await publisher.wait_registered()


async def test_wait_registered_needs_a_start(link: MemoryLink, clock: ManualClock) -> None:
    with pytest.raises(PublisherClosed, match="not started"):
        await publisher_of(link, clock, None).wait_registered()


async def test_who_gives_up_waiting_does_not_stop_the_event(
    link: MemoryLink, clock: ManualClock, ladle: Ladle
) -> None:
    publisher = publisher_of(link, clock, None)
    await publisher.start()
    await settle()
    link.hold_confirms()
    waiting = asyncio.create_task(asyncio.wait_for(publisher.room_created("a"), 60))
    await settle()
    waiting.cancel()
    await settle()
    link.release_confirms()
    await settle()
    assert publisher.backlog == 0
    assert ladle.said == ["server-registered", "created a"]
    await publisher.abort()


async def test_a_gateway_speaks_for_a_server(
    broker: MemoryBroker, clock: ManualClock, ladle: Ladle
) -> None:
    link = MemoryLink(broker, user="gateway")
    async with publisher_of(link, clock, None, user_id="gateway", on_behalf_of="sfu-1"):
        await settle()
    assert {(event.user, event.on_behalf_of) for event in ladle.events} == {("gateway", "sfu-1")}


async def test_states_other_than_up_change_nothing(
    link: MemoryLink, clock: ManualClock, app: App, ladle: Ladle
) -> None:
    publisher = publisher_of(link, clock, app)
    await publisher.start()
    await settle()
    link._tell(LinkState.BLOCKED, "alarm")
    await settle()
    assert len(ladle.events) == 2
    await publisher.abort()
    link._tell(LinkState.UP, "late")
    assert len(ladle.events) == 2


async def test_the_incarnation_is_the_start_unless_given(
    link: MemoryLink, clock: ManualClock
) -> None:
    assert publisher_of(link, clock, None).incarnation == clock.unix_ms()
    assert publisher_of(link, clock, None, incarnation=77).incarnation == 77
    assert isinstance(publisher_of(link, clock, None), MediaServerPublisher)
