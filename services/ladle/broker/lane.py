"""One life of one channel on the fast link: its consumers, its acks, its confirms.

A life begins with Channel.OpenOk and ends with the channel or the connection, and has an epoch that
no other life has: a delivery tag means something only within it. A lane takes the frames that
the fast link handles itself and leaves all others to aiormq.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping
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
    CONTENT_HEAD,
    FRAME_END,
    FRAME_EXTRA,
    FRAME_HEAD,
    HEADER,
    METHOD,
    METHOD_HEAD,
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
_ENDS = (FRAME_END, FRAME_END, FRAME_END)

epochs = itertools.count(1)
"""Epochs are unique in the process, so that no ack can reach another life's channel."""


@dataclass(slots=True, eq=False)
class Sink:
    """Where the deliveries of one queue go; `batch` is what one read from the socket brought."""

    queue: str
    on_messages: OnMessages
    no_ack: bool = False
    batch: list[Message] = field(default_factory=list)


_Route = tuple[str, str]
"""Exchange and routing key."""

_Delivery = tuple[Sink, int, bool, _Route]
"""Where it goes, its tag, whether it comes again, where it was published."""


@dataclass(slots=True)
class _Content:
    """A message whose frames are arriving; without a delivery it is one that came back."""

    delivery: _Delivery | None
    route: _Route = ("", "")
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
        self._routes: dict[bytes, _Route] = {}

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

    def take_whole(self, buffer: bytes, position: int, end: int, filled: list[Sink]) -> int:
        """Take the deliveries that stand whole at `position`, one after the other; where they end.

        What `take` does frame by frame, in half the time; it has all that arrives in pieces, and
        a message that is empty or of several body frames.
        """
        number = self.number
        while end - position >= METHOD_HEAD.size:
            kind, channel, size, method = METHOD_HEAD.unpack_from(buffer, position)
            head = position + size + FRAME_EXTRA
            if kind != METHOD or channel != number or method != BASIC_DELIVER:
                break
            if head + CONTENT_HEAD.size > end:
                break
            kind, channel, size, _, _, body_bytes, _ = CONTENT_HEAD.unpack_from(buffer, head)
            body = head + size + FRAME_EXTRA + FRAME_HEAD.size
            stop = body + body_bytes
            if kind != HEADER or channel != number or not body_bytes or stop >= end:
                break
            if FRAME_HEAD.unpack_from(buffer, body - FRAME_HEAD.size) != (BODY, number, body_bytes):
                break
            if (buffer[head - 1], buffer[body - FRAME_EXTRA], buffer[stop]) != _ENDS:
                break
            delivery = self._delivery(buffer, position + FRAME_HEAD.size, head - 1)
            if delivery is None:
                break
            properties = read_properties(buffer, head + FRAME_HEAD.size)
            self._deliver(delivery, properties, buffer[body:stop], filled)
            self._content = None
            position = stop + 1
        return position

    def _take_method(self, buffer: bytes, start: int, stop: int) -> bool:
        self._content = None
        method = method_id(buffer, start)
        if method == BASIC_DELIVER:
            delivery = self._delivery(buffer, start, stop)
            if delivery is not None:
                self._content = _Content(delivery)
            return delivery is not None
        if method == BASIC_RETURN:
            return self._begin_return(buffer, start)
        if self.confirms is not None and method in (BASIC_ACK, BASIC_NACK):
            (number,) = U64.unpack_from(buffer, start + 4)
            multiple = bool(buffer[start + 12] & 1)
            self.confirms.settled(number, multiple=multiple, accepted=method == BASIC_ACK)
            return True
        return False

    def _delivery(self, buffer: bytes, start: int, stop: int) -> _Delivery | None:
        """What a Basic.Deliver says; None where its consumer is aiormq's."""
        at = start + 5 + buffer[start + 4]
        sink = self.sinks.get(buffer[start + 5 : at])
        if sink is None:
            return None
        (tag,) = U64.unpack_from(buffer, at)
        if not sink.no_ack:
            self._settling.delivered(tag)
        return sink, tag, bool(buffer[at + 8] & 1), self._route(buffer[at + 9 : stop])

    def _route(self, raw: bytes) -> _Route:
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
        self._content = _Content(None, (exchange, routing_key), f"{code} {text}")
        return True

    def _complete(self, content: _Content, filled: list[Sink]) -> None:
        if content.delivery is None:
            self._came_back(content)
        else:
            body = b"".join(content.parts)
            self._deliver(content.delivery, content.properties, body, filled)

    def _deliver(
        self,
        delivery: _Delivery,
        properties: Mapping[str, object],
        body: bytes,
        filled: list[Sink],
    ) -> None:
        sink, tag, redelivered, (exchange, routing_key) = delivery
        # Epoch 0 is never alive: what needs no ack cannot be acked by mistake.
        epoch = 0 if sink.no_ack else self.epoch
        if not sink.batch:
            filled.append(sink)
        sink.batch.append(
            message_of(properties, body, sink.queue, exchange, routing_key, redelivered, epoch, tag)
        )

    def _came_back(self, content: _Content) -> None:
        if self.confirms is not None:
            message_id = content.properties.get("message_id")
            exchange, routing_key = content.route
            self.confirms.returned(
                None if message_id is None else str(message_id),
                exchange,
                routing_key,
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
