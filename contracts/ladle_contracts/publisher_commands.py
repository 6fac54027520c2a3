"""What Ladle tells a media server: read, checked against the life that is meant, acted upon."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from .clock import Clock
from .commands import CloseRoom, Register, ReportRooms
from .envelope import ContractViolation
from .link import Consumer, Link, LinkDown, Message, Refused
from .own_messages import ReceivedCommand, decode_command
from .publisher_rooms import RoomLife
from .topology import Topology

log = logging.getLogger(__name__)

OnCommand = Callable[[ReceivedCommand], Awaitable[None] | None]
"""Told `close-room`, `drain` and commands of pipes; may be a coroutine function. A command comes
again, with a new id, until its condition has ended: do what it says once more, or nothing."""

PREFETCH = 32
_RETRY_FIRST_MS = 250
_RETRY_LAST_MS = 5_000


class Life(Protocol):
    """The publisher as commands see it: one life of a server, which they may end or renew."""

    @property
    def incarnation(self) -> int: ...

    @property
    def rooms(self) -> dict[str, RoomLife]: ...

    def register_again(self) -> None: ...

    def restart(self, above: int) -> None: ...

    def supersede(self, by: int) -> None: ...

    def report_rooms(self) -> object:
        """Send a complete status; None where that is left to the application."""
        ...


class CommandReader:
    """Consumes `media.commands.<server_id>`, in order, one command at a time."""

    def __init__(
        self,
        link: Link,
        clock: Clock,
        life: Life,
        server_id: str,
        cell: str,
        on_command: OnCommand | None,
    ) -> None:
        self._link = link
        self._clock = clock
        self._life = life
        self._cell = cell
        self._queue = Topology(cell).command_queue(server_id)
        self._server_id = server_id
        self._on_command = on_command
        self._arrived: asyncio.Queue[Message] = asyncio.Queue()
        self._consumer: Consumer | None = None
        self._stopped = False
        self.ignored = 0

    def stop(self) -> None:
        """Consume no more, also where a cancel was lost in the libraries below."""
        self._stopped = True

    async def run(self) -> None:
        """Consume and act until cancelled; waits for the queue, which Ladle declares."""
        self._consumer = await self._consume()
        try:
            while not self._stopped:
                message = await self._arrived.get()
                await self._handle(message)
                # Acked whatever came of it: a command whose condition stays is issued again.
                self._link.ack([message])
        finally:
            await self._consumer.cancel()

    async def _consume(self) -> Consumer:
        pause_ms = _RETRY_FIRST_MS
        while not self._stopped:
            try:
                return await self._link.consume(self._queue, self._take, prefetch=PREFETCH)
            except (Refused, LinkDown) as error:
                log.debug("no commands yet: %s", error)
            if not self._stopped:
                await self._clock.sleep(pause_ms)
                pause_ms = min(pause_ms * 2, _RETRY_LAST_MS)
        raise asyncio.CancelledError

    def _take(self, messages: list[Message]) -> None:
        for message in messages:
            self._arrived.put_nowait(message)

    async def _handle(self, message: Message) -> None:
        try:
            command = decode_command(message, cell=self._cell)
        except ContractViolation as violation:
            self._ignore(f"not readable: {violation}")
            return
        reason = self._reason_to_ignore(command)
        if reason is not None:
            self._ignore(f"{command.type} {command.id}: {reason}")
            return
        try:
            await self._act(command)
        except Exception:
            log.exception("acting on %s %s failed", command.type, command.id)

    def _reason_to_ignore(self, command: ReceivedCommand) -> str | None:
        meant = command.data.incarnation
        if command.server_id != self._server_id:
            return f"it is for {command.server_id}"
        if command.expires_at_ms <= self._clock.unix_ms():
            return "it has expired"
        if meant is not None and meant != self._life.incarnation:
            return f"it means the life {meant}, this one is {self._life.incarnation}"
        return None

    async def _act(self, command: ReceivedCommand) -> None:
        match command.data:
            case Register() as register:
                self._on_register(register)
            case CloseRoom() as close if not self._means_this_room(close):
                self._ignore(f"close-room {close.room_id}: another life of the room is meant")
            case CloseRoom() as close if close.room_id not in self._life.rooms:
                # It is gone, or was never said: a complete status tells Ladle which.
                if self._life.report_rooms() is None:
                    await self._tell(command)
            case ReportRooms():
                if self._life.report_rooms() is None:
                    await self._tell(command)
            case _:
                await self._tell(command)

    def _on_register(self, register: Register) -> None:
        known = register.known_incarnation
        if known is None or known <= self._life.incarnation:
            self._life.register_again()
        elif register.refused_sequence == 1:
            self._life.restart(above=known)
        else:
            self._life.supersede(by=known)

    def _means_this_room(self, close: CloseRoom) -> bool:
        room = self._life.rooms.get(close.room_id)
        if room is None:
            return True
        if close.created_sequence is not None and (
            room.sequence is None or room.sequence > close.created_sequence
        ):
            return False
        ids = (close.allocation_id, room.created.allocation_id)
        return close.created_sequence is not None or None in ids or ids[0] == ids[1]

    async def _tell(self, command: ReceivedCommand) -> None:
        if self._on_command is None:
            self._ignore(f"{command.type} {command.id}: the application takes no commands")
            return
        answer = self._on_command(command)
        if answer is not None:
            await answer

    def _ignore(self, what: str) -> None:
        self.ignored += 1
        log.warning("command ignored: %s", what)
