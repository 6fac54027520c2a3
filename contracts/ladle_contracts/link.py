"""The one interface between Ladle's code and a message broker.

Writer, publisher and client speak to a `Link`; what stands behind it (aio-pika, FastStream, the
fast link, a simulation) is chosen where the process is put together. A link reconnects by itself:
consumers come back after a reconnection, and what was delivered before it can no longer be acked
(the broker redelivers it), which `Message.epoch` makes visible.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

DIRECT_REPLY_TO = "amq.rabbitmq.reply-to"
"""RabbitMQ's pseudo queue: publish with this as `reply_to` on the link that listens for replies."""

HeaderValue = str | int | float | bool | bytes | None


# Not frozen, though nobody changes one: a frozen dataclass takes three times as long to make,
# and one is made for each message.
@dataclass(slots=True, eq=False)
class Message:
    """One delivery. `epoch` and `tag` name the delivery on its channel's life; acks quote them."""

    body: bytes
    queue: str = ""
    exchange: str = ""
    routing_key: str = ""
    headers: Mapping[str, object] = field(default_factory=dict)
    content_type: str | None = None
    type: str | None = None
    message_id: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    expiration_ms: int | None = None
    user_id: str | None = None
    redelivered: bool = False
    epoch: int = 0
    tag: int = 0


@dataclass(slots=True)  # not frozen either, for the same reason
class Outgoing:
    """One message to publish; `exchange=""` is the default exchange (the key names a queue)."""

    exchange: str
    routing_key: str
    body: bytes
    headers: Mapping[str, HeaderValue] = field(default_factory=dict)
    content_type: str = "application/json"
    type: str | None = None
    message_id: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    expiration_ms: int | None = None
    user_id: str | None = None
    persistent: bool = False
    mandatory: bool = False


class LinkError(Exception):
    """The broker could not be used as asked."""


class LinkDown(LinkError):
    """There is no connection to the broker now; nothing was sent."""


class Unroutable(LinkError):
    """A mandatory message reached no queue; the broker sent it back."""


class OutcomeUnknown(LinkError):
    """The connection or the time ran out before the confirm; the broker may have the message."""


class Refused(LinkError):
    """The broker refused the message or the operation (nack, access refused, not found)."""


class LinkState(StrEnum):
    """What a link says to its listener; `BLOCKED` is the broker's memory or disk alarm."""

    UP = "up"
    DOWN = "down"
    BLOCKED = "blocked"
    UNBLOCKED = "unblocked"


OnMessages = Callable[[list[Message]], None]
"""Called in the event loop with what arrived together, in order; must not block."""

OnState = Callable[[LinkState, str], None]
"""Called at each change of state, with a reason for people."""


async def one_by_one(
    publish: Callable[[Outgoing], Awaitable[None]], messages: Sequence[Outgoing]
) -> list[LinkError | None]:
    """`publish_all` made of `publish`, all of them under way at once."""

    async def outcome(message: Outgoing) -> LinkError | None:
        try:
            await publish(message)
        except LinkError as error:
            return error
        return None

    return list(await asyncio.gather(*(outcome(message) for message in messages)))


class Consumer(Protocol):
    """A running subscription to one queue."""

    async def cancel(self) -> None:
        """Stop deliveries; what was delivered may still be acked."""
        ...


class Link(Protocol):
    """A connection to the broker that heals itself. Methods may be called from one event loop."""

    @property
    def is_up(self) -> bool: ...

    def watch(self, on_state: OnState) -> None:
        """Tell `on_state` every change from now on."""
        ...

    async def open(self) -> None:
        """Connect; raises LinkDown where the first connection fails."""
        ...

    async def close(self) -> None:
        """Flush what was sent, stop the consumers, close. Safe to call twice."""
        ...

    async def consume(
        self, queue: str, on_messages: OnMessages, *, prefetch: int, no_ack: bool = False
    ) -> Consumer:
        """Consume `queue` on a channel of its own. Raises Refused where there is no such queue."""
        ...

    async def listen_for_replies(self, on_messages: OnMessages) -> None:
        """Receive direct replies; later publishes with `reply_to=DIRECT_REPLY_TO` match them."""
        ...

    def ack(self, messages: Sequence[Message]) -> None:
        """Ack these deliveries; one of an earlier epoch is skipped, as the broker redelivers it."""
        ...

    def nack(self, messages: Sequence[Message], *, requeue: bool) -> None:
        """Give these deliveries back (`requeue`) or to the queue's dead-letter exchange."""
        ...

    async def publish(self, message: Outgoing) -> None:
        """Publish and wait for the confirm.

        Raises Unroutable (mandatory only), Refused, LinkDown (nothing sent), OutcomeUnknown.
        """
        ...

    async def publish_all(self, messages: Sequence[Outgoing]) -> list[LinkError | None]:
        """Publish in this order and wait for every confirm: one entry a message.

        None where the broker has it, else what `publish` would have raised.
        """
        ...

    def send(self, messages: Sequence[Outgoing]) -> None:
        """Publish without a confirm, for replies; lost silently where the link is down."""
        ...
