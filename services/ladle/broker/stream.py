"""The stream `placement.log`, read as the log that it is: from its beginning, a time or a place.

Over AMQP 0-9-1 a stream is consumed like a queue, with prefetch and acks, which take nothing from
it. It has no end that a consumer could see, so a reader puts a mark behind all that is there and
reads until the mark comes back: a small message on the default exchange, which is no event.
"""

import asyncio
import uuid
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from aiormq import spec
from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage
from aiormq.exceptions import (
    ChannelAccessRefused,
    ChannelNotFoundEntity,
    DeliveryError,
    PublishError,
)

from ladle_contracts.amqp_messages import message_of
from ladle_contracts.link import LinkDown, Message, Refused

PREFETCH = 2_000
ACK_EVERY = 500
QUIET_S = 1.0
"""Behind the newest chunk: what was there is here."""

PATIENCE_S = 20.0
"""For what is known to be there: a busy broker takes its time, and a part is no stream."""

EMPTY_S = 3.0
"""A stream that gives nothing for so long, not even its newest chunk, is empty."""

MARK_TYPE = "ladle-mark"
MARK_BODY = b"{}"

Start = Literal["first", "last", "next"] | int | datetime
"""The oldest message, the newest chunk, the next to come, the one at an offset, those of a time."""


@dataclass(frozen=True, slots=True)
class Logged:
    """One message of the stream. position: its offset there, which has nothing to do with ours."""

    position: int
    message: Message


def since(unix_ms: int) -> datetime:
    """Start at a time; the broker has whole seconds, and gives the chunk around it."""
    return datetime.fromtimestamp(unix_ms // 1000, UTC)


class StreamReader:
    """Reads one stream on channels of a connection that the caller holds.

    Both ways of reading raise Refused where there is no such stream or the user may not read it,
    and LinkDown where the broker ends it.
    """

    def __init__(self, connection: AbstractConnection, queue: str) -> None:
        self._connection = connection
        self._queue = queue

    async def until_now(self, start: Start) -> AsyncIterator[Logged]:
        """Everything from `start` on that was there when this was called, in order.

        The last one is the reader's own mark, whose position is the end: for who may write there.
        """
        async with self._consuming(start) as consuming:
            mark = await self._mark()
            while (logged := await consuming.next()) is not None:
                yield logged
                if logged.message.message_id == mark:
                    return

    async def until_quiet(self) -> AsyncIterator[Logged]:
        """Everything that is there, without a mark: for who may read and not write.

        It ends where nothing comes any more, or at what came next after this was called: on a
        stream that somebody writes to, nothing may ever be quiet.
        """
        async with (
            self._consuming("next") as coming,
            self._consuming("last") as last,
            self._consuming("first") as consuming,
        ):
            newest = await last.next(EMPTY_S)
            position = -1
            while newest is not None:
                is_behind = position >= newest.position
                logged = await consuming.next(QUIET_S if is_behind else PATIENCE_S)
                end = coming.first_position
                if logged is None and not is_behind:
                    raise LinkDown(f"the broker stopped giving what {self._queue} holds")
                if logged is None or (end is not None and logged.position >= end):
                    return
                position = logged.position
                yield logged

    @asynccontextmanager
    async def _consuming(self, start: Start) -> "AsyncIterator[_Consuming]":
        try:
            channel = await self._connection.channel(publisher_confirms=False)
            consuming = _Consuming(channel, self._queue)
            # Mandatory for a stream, as is acking.
            await channel.basic_qos(prefetch_count=PREFETCH)
            await channel.basic_consume(
                self._queue, consuming.on_message, arguments={"x-stream-offset": start}
            )
            yield consuming
            await channel.close()
        except (ChannelNotFoundEntity, ChannelAccessRefused) as error:
            raise Refused(f"the stream {self._queue} cannot be read: {error}") from error

    async def _mark(self) -> str:
        """Publish the mark behind everything that is there; its message id."""
        mark = uuid.uuid4().hex
        channel = await self._connection.channel(on_return_raises=True)
        properties = spec.Basic.Properties(delivery_mode=2, message_id=mark, message_type=MARK_TYPE)
        try:
            await channel.basic_publish(
                MARK_BODY,
                routing_key=self._queue,
                properties=properties,
                mandatory=True,
            )
        except (DeliveryError, PublishError) as error:
            raise Refused(f"the stream {self._queue} took no mark: {error}") from error
        await channel.close()
        return mark


class _Consuming:
    """One consumer on its channel: what has arrived, and acks for it."""

    def __init__(self, channel: AbstractChannel, queue: str) -> None:
        self._channel = channel
        self._queue = queue
        self._arrived: deque[DeliveredMessage] = deque()
        self._more = asyncio.Event()
        self._count = 0

    async def on_message(self, message: DeliveredMessage) -> None:
        self._arrived.append(message)
        self._more.set()

    @property
    def first_position(self) -> int | None:
        """Of the first that has arrived, where none was taken; None while there is none."""
        return _position(message_of(self._arrived[0], self._queue, 0)) if self._arrived else None

    async def next(self, quiet_s: float | None = None) -> Logged | None:
        """The next one; None where none comes for so long."""
        if not self._arrived:
            await self._wait(quiet_s)
            if not self._arrived:
                return None
        message = message_of(self._arrived.popleft(), self._queue, 0)
        self._count += 1
        if self._count % ACK_EVERY == 0:
            await self._channel.basic_ack(message.tag, multiple=True)
        return Logged(_position(message), message)

    async def _wait(self, quiet_s: float | None) -> None:
        """Until one has arrived; LinkDown where the channel ends: nobody else would say so."""
        self._more.clear()
        more, closing = asyncio.ensure_future(self._more.wait()), self._channel.closing
        try:
            await asyncio.wait(
                {more, closing}, timeout=quiet_s, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            more.cancel()
        if closing.done() and not self._arrived:
            raise LinkDown(f"the broker ended the reading of {self._queue}")


def is_mark(message: Message) -> bool:
    """Is it some reader's mark? There is nothing in it."""
    return message.exchange == "" and message.type == MARK_TYPE


def _position(message: Message) -> int:
    position = message.headers.get("x-stream-offset")
    if not isinstance(position, int):
        raise Refused(f"{message.queue} is no stream: its messages have no offset")
    return position
