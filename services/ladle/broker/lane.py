"""One life of one channel on the fast link: its consumers, its acks, its confirms.

A life begins with Channel.OpenOk and ends with the channel or the connection, and has an epoch that
no other life has: a delivery tag means something only within it. A lane takes the frames that
the fast link handles itself and leaves all others to aiormq.
"""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ladle_contracts.link import Message, OnMessages, Outgoing

from .confirms import Confirms
from .frames import (
    BASIC_ACK,
    BASIC_CONSUME,
    BASIC_DELIVER,
    BASIC_NACK,
    BASIC_RETURN,
    BODY,
    CONFIRM_SELECT,
    METHOD,
    U16,
    U64,
    ack,
    body_size,
    message_of,
    method_id,
    nack,
    publish,
    read_properties,
    read_short,
)
from .settling import Settling

_ROUTES_MAX = 4096

epochs = itertools.count(1)
"""Epochs are unique in the process, so that no ack can reach another life's channel."""


@dataclass(slots=True, eq=False)
class Sink:
    """Where the deliveries of one queue go; `batch` is what one read from the socket brought."""

    queue: str
    on_messages: OnMessages
    no_ack: bool = False
    batch: list[Message] = field(default_factory=list)


@dataclass(slots=True)
class _Content:
    """A message whose frames are arriving; without a sink it is one that came back."""

    sink: Sink | None
    tag: int
    redelivered: bool
    exchange: str
    routing_key: str
    why: str = ""
    size: int = 0
    have: int = 0
    parts: list[bytes] = field(default_factory=list)
    properties: dict[str, object] = field(default_factory=dict)


class Lane:
    """A channel from its opening to its end."""

    def __init__(self, number: int, write: Callable[[bytes], None]) -> None:
        self.number = number
        self.epoch = next(epochs)
        self.is_open = True
        self.sinks: dict[bytes, Sink] = {}
        self.confirms: Confirms | None = None
        self._write = write
        self._settling = Settling()
        self._content: _Content | None = None
        self._routes: dict[bytes, tuple[str, str]] = {}

    def end(self, why: str, code: int = 0) -> None:
        """The channel or its connection is gone."""
        self.is_open = False
        self._content = None
        self.sinks.clear()
        if self.confirms is not None:
            self.confirms.closed(why, code)

    # What aiormq writes

    def wrote(self, method: int, frame: bytes, registered: dict[str, Sink]) -> None:
        """Note a method frame on its way out. From here on, its effect is in the order of bytes."""
        if method == CONFIRM_SELECT:
            self.confirms = Confirms()
        elif method == BASIC_CONSUME:
            queue, end = read_short(frame, 13)
            tag = frame[end + 1 : end + 1 + frame[end]]
            if queue in registered:
                self.sinks[tag] = registered[queue]

    def forget(self, buffer: bytes, position: int) -> None:
        """The consumer named in a Basic.Cancel or CancelOk is no more."""
        start = position + 5
        self.sinks.pop(buffer[start : start + buffer[position + 4]], None)

    # What the broker sends

    def take(self, kind: int, buffer: bytes, start: int, stop: int, filled: list[Sink]) -> bool:
        """Take a frame if it is the fast link's; a sink that got a message joins `filled`."""
        if kind == METHOD:
            return self._take_method(buffer, start, stop)
        content = self._content
        if content is None:
            return False
        if kind == BODY:
            content.parts.append(buffer[start:stop])
            content.have += stop - start
        else:
            content.size = body_size(buffer, start)
            content.properties = read_properties(buffer, start)
        if content.have >= content.size:
            self._content = None
            self._complete(content, filled)
        return True

    def _take_method(self, buffer: bytes, start: int, stop: int) -> bool:
        self._content = None
        method = method_id(buffer, start)
        if method == BASIC_DELIVER:
            return self._begin_delivery(buffer, start, stop)
        if method == BASIC_RETURN:
            return self._begin_return(buffer, start)
        if self.confirms is not None and method in (BASIC_ACK, BASIC_NACK):
            (number,) = U64.unpack_from(buffer, start + 4)
            multiple = bool(buffer[start + 12] & 1)
            self.confirms.settled(number, multiple=multiple, accepted=method == BASIC_ACK)
            return True
        return False

    def _begin_delivery(self, buffer: bytes, start: int, stop: int) -> bool:
        at = start + 5 + buffer[start + 4]
        sink = self.sinks.get(buffer[start + 5 : at])
        if sink is None:
            return False
        (tag,) = U64.unpack_from(buffer, at)
        exchange, routing_key = self._route(buffer[at + 9 : stop])
        if not sink.no_ack:
            self._settling.delivered(tag)
        self._content = _Content(sink, tag, bool(buffer[at + 8] & 1), exchange, routing_key)
        return True

    def _route(self, raw: bytes) -> tuple[str, str]:
        """Exchange and routing key; most messages repeat one that was read before."""
        known = self._routes.get(raw)
        if known is None:
            exchange, end = read_short(raw, 0)
            known = (exchange, read_short(raw, end)[0])
            if len(self._routes) >= _ROUTES_MAX:
                self._routes.clear()
            self._routes[raw] = known
        return known

    def _begin_return(self, buffer: bytes, start: int) -> bool:
        (code,) = U16.unpack_from(buffer, start + 4)
        text, at = read_short(buffer, start + 6)
        exchange, at = read_short(buffer, at)
        routing_key, _ = read_short(buffer, at)
        why = f"{code} {text}"
        self._content = _Content(None, 0, False, exchange, routing_key, why)
        return True

    def _complete(self, content: _Content, filled: list[Sink]) -> None:
        sink = content.sink
        if sink is None:
            self._came_back(content)
            return
        parts = content.parts
        message = message_of(
            content.properties,
            parts[0] if len(parts) == 1 else b"".join(parts),
            queue=sink.queue,
            exchange=content.exchange,
            routing_key=content.routing_key,
            redelivered=content.redelivered,
            # Epoch 0 is never alive: what needs no ack cannot be acked by mistake.
            epoch=0 if sink.no_ack else self.epoch,
            tag=content.tag,
        )
        if not sink.batch:
            filled.append(sink)
        sink.batch.append(message)

    def _came_back(self, content: _Content) -> None:
        if self.confirms is not None:
            message_id = content.properties.get("message_id")
            self.confirms.returned(
                None if message_id is None else str(message_id),
                content.exchange,
                content.routing_key,
                content.why,
            )

    # What the fast link writes

    def settle(self, tags: Iterable[int], requeue: bool | None) -> None:
        """Ack (`requeue=None`) or nack deliveries of this life."""
        for tag, multiple in self._settling.settle(tags):
            if requeue is None:
                self._write(ack(self.number, tag, multiple=multiple))
            else:
                self._write(nack(self.number, tag, multiple=multiple, requeue=requeue))

    def publish(self, message: Outgoing, frame_max: int) -> None:
        """Write one message. Raises ValueError, nothing written, where AMQP cannot carry it."""
        self._write(publish(self.number, message, frame_max))
