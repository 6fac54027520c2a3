"""What tests of the publisher share: a server on a link in memory, and Ladle's side of it."""

import itertools
from dataclasses import dataclass, field, replace

from ladle_contracts.commands import Command
from ladle_contracts.envelope import Event, decode_event
from ladle_contracts.events import (
    RoomLoad,
    ServerDescription,
    WorkerDescription,
    WorkerState,
    WorkerStatus,
)
from ladle_contracts.link import Message, OnMessages
from ladle_contracts.own_messages import encode_command
from ladle_contracts.publisher import MediaServerPublisher, Snapshot
from ladle_contracts.times import to_rfc3339
from ladle_contracts.topology import Topology
from tests.fixtures.manual_clock import ManualClock
from tests.fixtures.memory_link import MemoryBroker, MemoryLink

SERVER = ServerDescription(host="sfu-1.example.org", status_interval_ms=1_000)
WORKERS = [WorkerDescription(worker_id="0")]


@dataclass
class App:
    """A media server's own state, as its snapshot tells it."""

    rooms: dict[str, str | None] = field(default_factory=dict)
    broken: bool = False

    def snapshot(self) -> Snapshot:
        if self.broken:
            raise ValueError("no snapshot now")
        state = WorkerState(
            worker_id="0",
            state="running",
            consumers=2 * len(self.rooms),
            producers=0,
            rooms=len(self.rooms),
            cpu_permille=10,
            memory_bytes=1,
        )
        rooms = [
            RoomLoad(room_id=room, worker_id="0", peers=2, consumers=2, allocation_id=allocation)
            for room, allocation in self.rooms.items()
        ]
        return Snapshot([state], rooms)


class Ladle:
    """Reads the inbox of a cell in memory, and commands."""

    def __init__(self, broker: MemoryBroker, clock: ManualClock, cell: str = "default") -> None:
        self.topology = Topology(cell)
        self.link = MemoryLink(broker)
        self.clock = clock
        self.events: list[Event] = []
        self._ids = itertools.count(1)

    async def start(self) -> None:
        await self.link.open()
        take: OnMessages = self._take
        await self.link.consume(self.topology.inbox, take, prefetch=10_000)

    def _take(self, messages: list[Message]) -> None:
        self.events.extend(decode_event(message) for message in messages)
        self.link.ack(messages)

    async def command(
        self, command: Command, *, server_id: str = "sfu-1", mandatory: bool = True
    ) -> None:
        number = next(self._ids)
        message = encode_command(
            command,
            server_id=server_id,
            command_id=f"c{number}",
            time_ms=self.clock.unix_ms(),
            cell=self.topology.cell,
        )
        await self.link.publish(replace(message, mandatory=mandatory))

    def in_ms(self, duration_ms: int) -> str:
        return to_rfc3339(self.clock.unix_ms() + duration_ms)

    @property
    def said(self) -> list[str]:
        """Types in the order of arrival; a complete status shows its rooms."""
        return [_words(event) for event in self.events]

    @property
    def sequences(self) -> list[int | None]:
        return [event.sequence for event in self.events]


def _words(event: Event) -> str:
    if isinstance(event.data, WorkerStatus):
        if not event.data.complete:
            return "status"
        rooms = ",".join(room.room_id for room in event.data.rooms or [])
        return f"all[{rooms}]"
    room = getattr(event.data, "room_id", None)
    return f"{event.type.removeprefix('room-')} {room}" if room else event.type


def publisher_of(
    link: MemoryLink, clock: ManualClock, app: App | None, **options: object
) -> MediaServerPublisher:
    return MediaServerPublisher(
        link,
        "sfu-1",
        SERVER,
        WORKERS,
        clock=clock,
        snapshot=app.snapshot if app is not None else None,
        **options,  # type: ignore[arg-type]
    )
