"""A media server's end of the contract: it says what happens, in order, and hears commands.

    async with MediaServerPublisher.connect(url, "sfu", server, workers, snapshot=now) as publisher:
        publisher.room_created("standup", worker_id="3", allocation_id=allocation_id)

Each saying takes its sequence at the moment of the call and returns a future, which need not be
awaited. See docs/publisher.md.
"""

import asyncio
import logging
import ssl
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from .clock import Clock, SystemClock
from .envelope import encode_event
from .events import (
    EventData,
    RoomCreated,
    RoomDeleted,
    RoomLoad,
    ServerDeregistered,
    ServerDescription,
    ServerDraining,
    ServerRegistered,
    WorkerDescription,
    WorkerState,
    WorkerStatus,
)
from .link import Link, LinkDown, LinkState
from .publisher_commands import CommandReader, OnCommand
from .publisher_errors import BufferFull as BufferFull
from .publisher_errors import PublisherClosed as PublisherClosed
from .publisher_errors import Superseded as Superseded
from .publisher_pipeline import Fate as Fate
from .publisher_pipeline import Pipeline
from .publisher_pipeline import Settled as Settled
from .publisher_rooms import RoomLife, UnheardEnds
from .topology import DEFAULT_CELL

log = logging.getLogger(__name__)

STALE_AFTER_STATUSES = 3
"""Ladle calls a server stale after so many intervals; events older than that are history."""

_OPEN_RETRY_FIRST_MS = 500
_OPEN_RETRY_LAST_MS = 10_000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that runs on the server now: every worker, every room."""

    workers: Sequence[WorkerState]
    rooms: Sequence[RoomLoad]


class MediaServerPublisher:
    """Says what happens on one media server. Use as an async context manager, or start and close.

    snapshot: called for every status, at once with its sequence; without it no statuses are sent
        by themselves. on_command: see OnCommand. incarnation: the server's start in Unix ms, the
        clock's now unless given; it must grow with each start. buffer_max: events kept while the
        broker is away; above it, or once they are older than three status intervals, a complete
        status replaces them. in_flight_max: events under way at once. complete_every: every so
        many statuses is a complete one. deregister_on_exit: leaving the context says so.
    """

    def __init__(
        self,
        link: Link,
        server_id: str,
        server: ServerDescription,
        workers: Sequence[WorkerDescription],
        *,
        cell: str = DEFAULT_CELL,
        clock: Clock | None = None,
        snapshot: Callable[[], Snapshot] | None = None,
        on_command: OnCommand | None = None,
        incarnation: int | None = None,
        user_id: str | None = None,
        on_behalf_of: str | None = None,
        buffer_max: int = 1_000,
        in_flight_max: int = 32,
        complete_every: int = 60,
        close_timeout_ms: int = 5_000,
        deregister_on_exit: bool = True,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self.server_id = server_id
        self.server = server
        self.workers = tuple(workers)
        self.rooms: dict[str, RoomLife] = {}
        self.superseded = asyncio.Event()
        self._superseded_by = 0
        self._link = link
        self._owns_link = False
        self._cell = cell
        self._clock = clock or SystemClock()
        self._snapshot = snapshot
        self._user_id = user_id
        self._on_behalf_of = on_behalf_of
        self._buffer_max = buffer_max
        self._complete_every = complete_every
        self._close_timeout_ms = close_timeout_ms
        self._deregister_on_exit = deregister_on_exit
        self._new_id = new_id
        self._incarnation = incarnation or self._clock.unix_ms()
        self._sequence = 0
        self._beats = 0
        self._closed = False
        self._speaks = False  # between registering and deregistering
        self._complete_due = False
        self._unheard = UnheardEnds()
        self._draining: ServerDraining | None = None
        self._registration: Settled | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._pipeline = Pipeline(link, self._clock, in_flight_max=in_flight_max, new_id=new_id)
        self._commands = CommandReader(link, self._clock, self, server_id, cell, on_command)

    @classmethod
    def connect(
        cls,
        url: str,
        server_id: str,
        server: ServerDescription,
        workers: Sequence[WorkerDescription],
        *,
        ssl_context: ssl.SSLContext | None = None,
        **options: Any,
    ) -> Self:
        """A publisher with a link of its own to `url`; options as for the class."""
        from .amqp import AioPikaLink

        link = AioPikaLink(url, name=f"media server {server_id}", ssl_context=ssl_context)
        options.setdefault("user_id", link.user)
        publisher = cls(link, server_id, server, workers, **options)
        publisher._owns_link = True
        return publisher

    # Life

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._deregister_on_exit and self._speaks:
            self.deregister("shutdown")
        await self.close()

    async def start(self) -> None:
        """Register and begin to speak. A broker that is away is waited for in the background."""
        self._link.watch(self._on_state)
        self.register()
        self.report_rooms()
        for work in (self._open(), self._pipeline.run(), self._commands.run(), self._beat()):
            self._tasks.append(asyncio.create_task(work, name=f"publisher {self.server_id}"))

    async def close(self) -> None:
        """Send what is left, for `close_timeout_ms` at most, and stop. Safe to call twice."""
        if not self._closed:
            await self.flush(self._close_timeout_ms)
        await self.abort()

    async def abort(self) -> None:
        """Stop at once, without a word: as a crash would."""
        self._closed = True
        self._speaks = False
        self._commands.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        self._pipeline.fail(PublisherClosed("the publisher is closed"))
        if self._owns_link:
            await self._link.close()

    async def flush(self, timeout_ms: int) -> bool:
        """Wait until all that was said is at the broker; False where the time ran out."""
        flushed = asyncio.ensure_future(self._pipeline.flush())
        timer = asyncio.ensure_future(self._clock.sleep(timeout_ms))
        await asyncio.wait({flushed, timer}, return_when=asyncio.FIRST_COMPLETED)
        done = flushed.done()
        for future in (flushed, timer):
            future.cancel()
        await asyncio.gather(flushed, timer, return_exceptions=True)
        return done

    async def wait_registered(self) -> None:
        """Wait until the registration is at the broker. Raises Superseded, PublisherClosed."""
        self._check()
        while self._registration is not None:
            registration = self._registration
            await asyncio.shield(registration)
            if registration is self._registration:
                return
        raise PublisherClosed("the publisher was not started")

    @property
    def incarnation(self) -> int:
        """Which life of the server this is; Unix ms of its start."""
        return self._incarnation

    @property
    def sequence(self) -> int:
        """The last sequence that was taken."""
        return self._sequence

    @property
    def backlog(self) -> int:
        """Events that are not at the broker yet."""
        return len(self._pipeline)

    @property
    def confirmed(self) -> int:
        """Events that the broker has confirmed."""
        return self._pipeline.confirmed

    @property
    def ignored_commands(self) -> int:
        """Commands that were unreadable, expired, or meant another life."""
        return self._commands.ignored

    # What a server says

    def register(
        self,
        server: ServerDescription | None = None,
        workers: Sequence[WorkerDescription] | None = None,
    ) -> Settled:
        """Say who this is; called by `start`, and again when the address or workers change."""
        self.server = server or self.server
        self.workers = tuple(self.workers if workers is None else workers)
        data = ServerRegistered(server=self.server, workers=list(self.workers))
        self._check()
        self._speaks = True
        self._registration = self._say(data, lasting=True)
        return self._registration

    def room_created(
        self,
        room_id: str,
        *,
        worker_id: str | None = None,
        allocation_id: str | None = None,
        expected_peers: int | None = None,
    ) -> Settled:
        """A router for the room exists. Name the allocation that a caller was given."""
        data = RoomCreated(
            room_id=room_id,
            worker_id=worker_id,
            allocation_id=allocation_id,
            expected_peers=expected_peers,
        )
        settled = self._say_or_replace(data)
        self._unheard.begin_anew(room_id, self.rooms.get(room_id), settled)
        self.rooms[room_id] = RoomLife(data, None if self._complete_due else self._sequence)
        return settled

    def room_deleted(
        self, room_id: str, *, allocation_id: str | None = None, reason: str | None = None
    ) -> Settled:
        """The room's router is closed. The allocation is the one named at its creation."""
        known = self.rooms.get(room_id)
        if allocation_id is None and known is not None:
            allocation_id = known.created.allocation_id
        data = RoomDeleted(room_id=room_id, allocation_id=allocation_id, reason=reason)
        settled = self._say_or_replace(data)
        self._unheard.add(room_id, self.rooms.pop(room_id, None), settled)
        return settled

    def worker_status(
        self,
        workers: Sequence[WorkerState],
        rooms: Sequence[RoomLoad] | None = None,
        *,
        complete: bool = False,
    ) -> Settled:
        """A status made by hand. `complete`: `rooms` is all there is at this very moment."""
        data = WorkerStatus(
            workers=list(workers), rooms=None if rooms is None else list(rooms), complete=complete
        )
        return self._say_status(data)

    def report_rooms(self) -> Settled | None:
        """Send a complete status from `snapshot`; None without one, or where it failed."""
        return self._status(complete=True)

    def draining(self, reason: str | None = None, drain_by_ms: int | None = None) -> Settled:
        """Take no new rooms from now on; lasts until the server restarts. Times in Unix ms."""
        self._draining = ServerDraining(reason=reason, drain_by_ms=drain_by_ms)
        return self._say(self._draining, lasting=True)

    def deregister(self, reason: str | None = None, drain_by_ms: int | None = None) -> Settled:
        """The server goes; its rooms are stranded. No status follows, until `register`."""
        settled = self._say(
            ServerDeregistered(reason=reason, drain_by_ms=drain_by_ms), lasting=True
        )
        self._speaks = False
        return settled

    # What commands and the link do to it

    def register_again(self) -> None:
        """Ladle does not know this server: say who it is and all that it has."""
        if self._speaks and self._registration is not None and self._registration.done():
            self.register()
            self._say_rooms()

    def restart(self, above: int) -> None:
        """Begin a new life above a known one, which a clock that ran ahead had numbered."""
        if not self._speaks:
            return
        self._incarnation = max(self._clock.unix_ms(), above + 1)
        self._sequence = 0
        self._pipeline.drop_all()
        self._unheard.clear()
        for room in self.rooms.values():
            room.sequence = None
        self.register()
        if self._draining is not None:
            self._say(self._draining, lasting=True)
        self._say_rooms()

    def supersede(self, by: int) -> None:
        """A newer life of this server was heard: stop, and let the application know."""
        log.error("server %s: life %d is superseded by %d", self.server_id, self._incarnation, by)
        self._superseded_by = by
        self._speaks = False
        self.superseded.set()
        self._pipeline.fail(Superseded(self._incarnation, by))

    def _on_state(self, state: LinkState, reason: str) -> None:
        if state is not LinkState.UP or self._closed or self.superseded.is_set():
            return
        limit_ms = STALE_AFTER_STATUSES * self.server.status_interval_ms
        if self._pipeline.oldest_replaceable_age_ms() > limit_ms:
            self._replace_history()
        if self._complete_due:
            self.report_rooms()
        elif not self._pipeline.has_unsent_status:
            self._status(complete=False)
        self._pipeline.wake()

    # Inside

    def _check(self) -> None:
        if self._superseded_by:
            raise Superseded(self._incarnation, self._superseded_by)
        if self._closed:
            raise PublisherClosed("the publisher is closed")

    def _say(self, data: EventData, *, lasting: bool = False) -> Settled:
        """Give the event its sequence and put it in the line; no await may stand between."""
        self._check()
        message = encode_event(
            data,
            server_id=self.server_id,
            event_id=self._new_id(),
            time_ms=self._clock.unix_ms(),
            incarnation=self._incarnation,
            sequence=self._sequence + 1,
            cell=self._cell,
            user_id=self._user_id,
            on_behalf_of=self._on_behalf_of,
        )
        self._sequence += 1
        is_status = isinstance(data, WorkerStatus)
        return self._pipeline.add(message, lasting=lasting, is_status=is_status).settled

    def _say_or_replace(self, data: EventData) -> Settled:
        """Say what a complete status can stand for, unless one is due anyway."""
        self._check()
        if not self._complete_due and len(self._pipeline) >= self._buffer_max:
            if self._snapshot is None:
                raise BufferFull(f"{self._buffer_max} events wait for the broker")
            self._replace_history()
            if self._link.is_up:
                self._come_up_soon()
        if self._complete_due:
            replaced: Settled = asyncio.get_running_loop().create_future()
            replaced.set_result(Fate.REPLACED)
            return replaced
        return self._say(data)

    def _replace_history(self) -> None:
        if self._snapshot is not None:
            dropped = self._pipeline.drop_replaceable()
            self._complete_due = True
            log.warning("server %s: %d events give way to a status", self.server_id, dropped)

    def _come_up_soon(self) -> None:
        # Not now: the application is about to change what its snapshot would show.
        asyncio.get_running_loop().call_soon(self._on_state, LinkState.UP, "the buffer overflowed")

    def _status(self, *, complete: bool) -> Settled | None:
        if self._snapshot is None or not self._speaks:
            return None
        try:
            snapshot = self._snapshot()
            data = WorkerStatus(
                workers=list(snapshot.workers), rooms=list(snapshot.rooms), complete=complete
            )
        except Exception:
            log.exception("server %s: the snapshot failed; no status is sent", self.server_id)
            return None
        return self._say_status(data)

    def _say_status(self, data: WorkerStatus) -> Settled:
        if not data.complete:
            return self._say_or_replace(data)
        settled = self._say(data)
        self._complete_due = False
        self.rooms = self._unheard.listed_in(data, self._sequence, self.rooms, settled)
        return settled

    def _say_rooms(self) -> None:
        """All rooms, for a Ladle that knows none: a complete status, else one by one."""
        if self.report_rooms() is None:
            for room in list(self.rooms.values()):
                self._say_or_replace(room.created)
                room.sequence = self._sequence

    async def _open(self) -> None:
        pause_ms = _OPEN_RETRY_FIRST_MS
        while not self._link.is_up and not self._closed:
            try:
                await self._link.open()
            except LinkDown as error:
                log.warning("server %s: %s", self.server_id, error)
                await self._clock.sleep(pause_ms)
                pause_ms = min(pause_ms * 2, _OPEN_RETRY_LAST_MS)

    async def _beat(self) -> None:
        while not self.superseded.is_set():
            await self._clock.sleep(self.server.status_interval_ms)
            if self._link.is_up and self._speaks and not self._pipeline.has_unsent_status:
                self._beats += 1
                complete = self._complete_due or self._beats % self._complete_every == 0
                self._status(complete=complete)
