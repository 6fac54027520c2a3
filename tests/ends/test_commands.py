"""What the publisher does when Ladle tells it something, and when it refuses to."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

import pytest

from ladle_contracts.commands import CloseRoom, DrainCommand, Register, ReportRooms
from ladle_contracts.link import Outgoing, Refused
from ladle_contracts.own_messages import ReceivedCommand
from ladle_contracts.publisher import Fate, MediaServerPublisher, PublisherClosed, Superseded
from ladle_contracts.topology import Topology
from tests.ends.server_kit import App, Ladle, publisher_of
from tests.fixtures.manual_clock import ManualClock, settle
from tests.fixtures.memory_link import Fault, MemoryBroker, MemoryLink

LIFE = 1_763_802_000_000


@pytest.fixture
def told() -> list[ReceivedCommand]:
    return []


@pytest.fixture
async def publisher(
    link: MemoryLink,
    clock: ManualClock,
    app: App,
    ladle: Ladle,
    told: list[ReceivedCommand],
) -> AsyncIterator[MediaServerPublisher]:
    publisher = publisher_of(link, clock, app, on_command=told.append)
    await publisher.start()
    await settle()
    ladle.events.clear()
    yield publisher
    await publisher.abort()


async def test_who_are_you_is_answered_with_everything(
    publisher: MediaServerPublisher, app: App, ladle: Ladle
) -> None:
    app.rooms["a"] = None
    await ladle.command(Register(incarnation=LIFE, expires_at=ladle.in_ms(1_000)))
    await settle()
    assert ladle.said == ["server-registered", "all[a]"]
    assert ladle.sequences == [3, 4]


async def test_a_registration_under_way_is_answer_enough(
    publisher: MediaServerPublisher, link: MemoryLink, ladle: Ladle
) -> None:
    link.hold_confirms()
    publisher.register()
    for _ in range(3):
        await ladle.command(Register(expires_at=ladle.in_ms(1_000)))
    await settle()
    link.release_confirms()
    await settle()
    assert ladle.said == ["server-registered"]


async def test_refused_sequence_1_restarts_above_the_known_life(
    publisher: MediaServerPublisher, app: App, ladle: Ladle, link: MemoryLink, clock: ManualClock
) -> None:
    """A clock that ran ahead had numbered an earlier life: rooms are kept, the number grows."""
    app.rooms["a"] = None
    await publisher.room_created("a")
    await publisher.draining("soon")
    ladle.events.clear()
    link.faults.append(Fault.RETURNED)
    left = publisher.room_created("b")
    app.rooms["b"] = None
    await settle()
    known = clock.unix_ms() + 5_000
    command = Register(
        incarnation=LIFE,
        known_incarnation=known,
        refused_sequence=1,
        expires_at=ladle.in_ms(1_000),
    )
    await ladle.command(command)
    await settle()
    assert await left is Fate.REPLACED
    assert publisher.incarnation == known + 1
    assert ladle.said == ["server-registered", "server-draining", "all[a,b]"]
    assert ladle.sequences == [1, 2, 3]
    assert {event.incarnation for event in ladle.events} == {known + 1}
    await clock.advance(1_000)
    await ladle.command(command)
    await settle()
    assert publisher.incarnation == known + 1, "the command means the life before"
    assert not publisher.superseded.is_set()


async def test_a_restart_without_a_snapshot_tells_the_rooms_one_by_one(
    link: MemoryLink, clock: ManualClock, ladle: Ladle
) -> None:
    publisher = publisher_of(link, clock, None)
    await publisher.start()
    publisher.room_created("a", worker_id="0", allocation_id="al-1", expected_peers=4)
    await settle()
    ladle.events.clear()
    await ladle.command(
        Register(
            known_incarnation=LIFE + 9,
            refused_sequence=1,
            expires_at=ladle.in_ms(1_000),
        )
    )
    await settle()
    assert ladle.said == ["server-registered", "created a"]
    again = ladle.events[1].data.model_dump()
    assert again["worker_id"] == "0"
    assert again["allocation_id"] == "al-1"
    assert again["expected_peers"] == 4
    assert publisher.rooms["a"].sequence == 2
    await publisher.abort()


async def test_a_server_that_lived_on_is_superseded(
    publisher: MediaServerPublisher, link: MemoryLink, ladle: Ladle, clock: ManualClock
) -> None:
    link.hold_confirms()
    left = publisher.room_created("a")
    await ladle.command(
        Register(
            incarnation=LIFE,
            known_incarnation=LIFE + 1,
            refused_sequence=3,
            expires_at=ladle.in_ms(1_000),
        )
    )
    await settle()
    assert publisher.superseded.is_set()
    with pytest.raises(Superseded) as caught:
        await left
    assert (caught.value.incarnation, caught.value.by) == (LIFE, LIFE + 1)
    link.release_confirms()
    ladle.events.clear()
    for say in (publisher.register, publisher.deregister, publisher.draining):
        with pytest.raises(Superseded):
            say()
    with pytest.raises(Superseded):
        publisher.room_created("b")
    with pytest.raises(Superseded):
        await publisher.wait_registered()
    await ladle.command(Register(expires_at=ladle.in_ms(1_000)))
    link.disconnect()
    link.reconnect()
    await clock.advance(60_000)
    await publisher.close()
    assert ladle.events == [], "it stops publishing"


async def test_leaving_the_context_of_a_superseded_server_is_quiet(
    link: MemoryLink, clock: ManualClock, ladle: Ladle
) -> None:
    async with publisher_of(link, clock, None):
        await settle()
        await ladle.command(
            Register(known_incarnation=LIFE + 1, refused_sequence=7, expires_at=ladle.in_ms(10))
        )
        await settle()
    assert ladle.said == ["server-registered"]


async def test_an_older_known_life_only_asks_to_register(
    publisher: MediaServerPublisher, ladle: Ladle
) -> None:
    await ladle.command(
        Register(known_incarnation=LIFE - 1, refused_sequence=5, expires_at=ladle.in_ms(1_000))
    )
    await settle()
    assert ladle.said == ["server-registered", "all[]"]
    assert publisher.incarnation == LIFE


async def test_a_deregistered_server_stays_silent(
    publisher: MediaServerPublisher, ladle: Ladle
) -> None:
    await publisher.deregister()
    ladle.events.clear()
    await ladle.command(Register(expires_at=ladle.in_ms(1_000)))
    await ladle.command(
        Register(known_incarnation=LIFE + 1, refused_sequence=1, expires_at=ladle.in_ms(1_000))
    )
    await settle()
    assert ladle.events == []


async def test_report_rooms_is_answered_with_a_complete_status(
    publisher: MediaServerPublisher, app: App, ladle: Ladle, told: list[ReceivedCommand]
) -> None:
    app.rooms["a"] = None
    await ladle.command(ReportRooms(incarnation=LIFE, expires_at=ladle.in_ms(1_000)))
    await settle()
    assert ladle.said == ["all[a]"]
    assert told == []


async def test_report_rooms_without_a_snapshot_is_the_application_s(
    link: MemoryLink, clock: ManualClock, ladle: Ladle, told: list[ReceivedCommand]
) -> None:
    publisher = publisher_of(link, clock, None, on_command=told.append)
    await publisher.start()
    await ladle.command(ReportRooms(expires_at=ladle.in_ms(1_000)))
    await settle()
    assert [command.type for command in told] == ["report-rooms"]
    await publisher.abort()


async def test_the_application_is_told_in_order(
    link: MemoryLink, clock: ManualClock, ladle: Ladle
) -> None:
    done: list[str] = []

    async def slowly(command: ReceivedCommand) -> None:
        await clock.sleep(100)
        done.append(command.id)

    publisher = publisher_of(link, clock, None, on_command=slowly)
    await publisher.start()
    await publisher.room_created("a")
    for command in (
        CloseRoom(room_id="a", reason="moved", expires_at=ladle.in_ms(1_000)),
        DrainCommand(reason="upgrade", expires_at=ladle.in_ms(1_000)),
    ):
        await ladle.command(command)
    await clock.advance(150)
    assert done == ["c1"]
    await clock.advance(100)
    assert done == ["c1", "c2"]
    await publisher.abort()


async def test_a_former_life_s_command_is_not_obeyed(
    publisher: MediaServerPublisher, ladle: Ladle, told: list[ReceivedCommand]
) -> None:
    await ladle.command(
        DrainCommand(incarnation=LIFE - 1, reason="old", expires_at=ladle.in_ms(1_000))
    )
    await settle()
    assert told == []


async def test_an_expired_command_is_not_obeyed(
    publisher: MediaServerPublisher, ladle: Ladle, told: list[ReceivedCommand], clock: ManualClock
) -> None:
    expires_at = ladle.in_ms(500)
    await clock.advance(500)
    await ladle.command(DrainCommand(reason="late", expires_at=expires_at))
    await settle()
    assert told == []


@pytest.mark.parametrize(
    ("created_sequence", "allocation_id", "obeyed"),
    [
        (None, None, True),
        (3, None, True),
        (2, None, False),
        (None, "al-1", True),
        (None, "al-2", False),
        (3, "al-2", True),
        (2, "al-1", False),
    ],
)
async def test_close_room_ends_the_life_that_it_means_and_no_other(
    created_sequence: int | None,
    allocation_id: str | None,
    obeyed: bool,
    publisher: MediaServerPublisher,
    ladle: Ladle,
    told: list[ReceivedCommand],
) -> None:
    """The room was created with sequence 3 for al-1."""
    await publisher.room_created("a", allocation_id="al-1")
    await ladle.command(
        CloseRoom(
            room_id="a",
            created_sequence=created_sequence,
            allocation_id=allocation_id,
            reason="moved",
            expires_at=ladle.in_ms(1_000),
        )
    )
    await settle()
    assert [command.type for command in told] == (["close-room"] if obeyed else [])


async def test_close_room_spares_a_room_that_ladle_has_not_heard_of(
    publisher: MediaServerPublisher,
    link: MemoryLink,
    ladle: Ladle,
    app: App,
    told: list[ReceivedCommand],
) -> None:
    """Created while its saying gave way to a status that is due: newer than anything known."""
    app.broken = True
    link.disconnect()
    for number in range(1_001):
        publisher.room_created(f"r{number}")
    link.reconnect()
    await settle()
    assert publisher.rooms["r1000"].sequence is None
    await ladle.command(
        CloseRoom(room_id="r1000", created_sequence=10**9, reason="x", expires_at=ladle.in_ms(9))
    )
    await settle()
    assert told == []


@pytest.mark.parametrize(
    ("away_ms", "said"),
    [
        ([3_001], ["all[a]"]),
        ([3_001, 3_001], ["all[a]"]),
        ([0], ["deleted a", "created a", "deleted a", "created a", "status"]),
    ],
    ids=["replaced", "replaced twice", "heard"],
)
async def test_close_room_ends_a_room_whose_end_and_return_ladle_has_not_heard_of(
    away_ms: list[int],
    said: list[str],
    publisher: MediaServerPublisher,
    link: MemoryLink,
    clock: ManualClock,
    ladle: Ladle,
    app: App,
    told: list[ReceivedCommand],
) -> None:
    """Both gave way to a complete status: Ladle knows one life, and names it by its create.

    The status that lacked the room may give way itself, to one that has it again.
    """
    app.rooms["a"] = None
    await publisher.room_created("a")
    first = publisher.rooms["a"].sequence
    assert first is not None
    ladle.events.clear()
    link.disconnect()
    for duration_ms in away_ms:
        publisher.room_deleted("a")
        publisher.room_created("a")
        publisher.room_deleted("a")
        del app.rooms["a"]
        await clock.advance(duration_ms)
        if duration_ms:
            link.faults.append(Fault.MESSAGE_LOST)
            link.reconnect()
            await settle()
            link.disconnect()
        app.rooms["a"] = None
        publisher.room_created("a")
    await clock.advance(away_ms[-1])
    link.reconnect()
    await settle()
    assert ladle.said == said
    await ladle.command(
        CloseRoom(room_id="a", created_sequence=first, reason="x", expires_at=ladle.in_ms(9))
    )
    await settle()
    heard = "deleted a" in said
    assert len(told) == int(not heard), "where Ladle heard of the end, another life is meant"


@pytest.mark.parametrize("away_ms", [0, 3_001], ids=["heard", "replaced"])
async def test_close_room_ends_a_room_that_was_created_anew_without_an_end(
    away_ms: int,
    publisher: MediaServerPublisher,
    link: MemoryLink,
    clock: ManualClock,
    ladle: Ladle,
    app: App,
    told: list[ReceivedCommand],
) -> None:
    """Its worker died, and said no room-deleted; the second create gave way to a status."""
    app.rooms["a"] = None
    await publisher.room_created("a")
    first = publisher.rooms["a"].sequence
    assert first is not None
    link.disconnect()
    publisher.room_created("a")
    await clock.advance(away_ms)
    link.reconnect()
    await settle()
    assert ("created a" in ladle.said[1:]) == (away_ms == 0)
    await ladle.command(
        CloseRoom(room_id="a", created_sequence=first, reason="x", expires_at=ladle.in_ms(9))
    )
    await settle()
    assert len(told) == int(away_ms > 0), "where Ladle heard of the second, another life is meant"


async def test_close_room_of_a_room_that_is_gone_is_answered_with_what_is_there(
    publisher: MediaServerPublisher, ladle: Ladle, app: App, told: list[ReceivedCommand]
) -> None:
    app.rooms["b"] = "al-b"
    await ladle.command(CloseRoom(room_id="a", reason="moved", expires_at=ladle.in_ms(1_000)))
    await settle()
    assert ladle.said == ["all[b]"]
    assert told == []
    assert publisher.rooms["b"].created.allocation_id == "al-b"


async def test_close_room_of_an_unknown_room_without_a_snapshot_is_the_application_s(
    link: MemoryLink, clock: ManualClock, ladle: Ladle, told: list[ReceivedCommand]
) -> None:
    publisher = publisher_of(link, clock, None, on_command=told.append)
    await publisher.start()
    await ladle.command(CloseRoom(room_id="a", reason="moved", expires_at=ladle.in_ms(1_000)))
    await settle()
    assert [command.type for command in told] == ["close-room"]
    await publisher.abort()


async def test_a_handler_that_fails_does_not_stop_the_next_command(
    link: MemoryLink, clock: ManualClock, ladle: Ladle, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []

    def fail_once(command: ReceivedCommand) -> None:
        told.append(command.id)
        if len(told) == 1:
            raise ValueError("broken application")

    publisher = publisher_of(link, clock, None, on_command=fail_once)
    await publisher.start()
    for _ in range(2):
        await ladle.command(DrainCommand(reason="x", expires_at=ladle.in_ms(1_000)))
    await settle()
    assert told == ["c1", "c2"]
    assert "broken application" in caplog.text
    await publisher.abort()


async def test_without_a_handler_and_with_nonsense_commands_are_counted(
    link: MemoryLink, clock: ManualClock, ladle: Ladle, broker: MemoryBroker
) -> None:
    publisher = publisher_of(link, clock, None)
    await publisher.start()
    await ladle.command(DrainCommand(reason="x", expires_at=ladle.in_ms(1_000)))
    queue = Topology().command_queue("sfu-1")
    await ladle.link.publish(Outgoing("", queue, b"not json", mandatory=True))
    broker.bind("media.commands", queue, "*.sfu-2")
    await ladle.command(DrainCommand(reason="x", expires_at=ladle.in_ms(1_000)), server_id="sfu-2")
    await settle()
    assert publisher.ignored_commands == 3
    assert not broker.queues[queue], "acked all the same"
    await publisher.abort()


async def test_commands_wait_for_their_queue(
    clock: ManualClock, told: list[ReceivedCommand]
) -> None:
    """Ladle declares it after it has heard of the server."""
    broker = MemoryBroker(Topology().declarations())
    ladle, link = Ladle(broker, clock), MemoryLink(broker)
    await ladle.start()
    publisher = publisher_of(link, clock, None, on_command=told.append)
    await publisher.start()
    await clock.advance(30_000)
    broker.declare(Topology().command_declarations("sfu-1"))
    await ladle.command(DrainCommand(reason="x", expires_at=ladle.in_ms(60_000)))
    await clock.advance(5_000)
    assert [command.type for command in told] == ["drain"]
    await publisher.abort()


async def test_a_command_that_was_being_carried_out_comes_again_after_a_loss(
    link: MemoryLink, clock: ManualClock, ladle: Ladle
) -> None:
    started: list[str] = []
    going_on = asyncio.Event()

    async def wait(command: ReceivedCommand) -> None:
        started.append(command.id)
        await going_on.wait()

    publisher = publisher_of(link, clock, None, on_command=wait)
    await publisher.start()
    await settle()
    await ladle.command(DrainCommand(reason="x", expires_at=ladle.in_ms(60_000)))
    await settle()
    link.disconnect()
    link.reconnect()
    going_on.set()
    await settle()
    assert started == ["c1", "c1"]
    assert ladle.link.broker.queues[Topology().command_queue("sfu-1")] == deque()
    await publisher.abort()


async def test_a_closed_publisher_raises(link: MemoryLink, clock: ManualClock, app: App) -> None:
    publisher = publisher_of(link, clock, app)
    await publisher.start()
    await publisher.close()
    with pytest.raises(PublisherClosed):
        publisher.register()


async def test_a_link_that_swallows_a_cancel_does_not_keep_the_publisher(
    link: MemoryLink, clock: ManualClock
) -> None:
    async def refuse_when_cancelled(*_: object, **__: object) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise Refused("no queue") from None

    link.consume = refuse_when_cancelled  # type: ignore[assignment]
    publisher = publisher_of(link, clock, None)
    await publisher.start()
    await settle()
    aborting = asyncio.create_task(publisher.abort())
    await settle()
    assert aborting.done()
