"""A link with a switch: what a server's end of a network partition looks like.

While it is cut nothing goes out or comes in, and the server behind it lives on with its rooms and
its people. Many servers may share the real link below; the cut is each one's own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ladle_contracts.link import (
    Consumer,
    Link,
    LinkDown,
    LinkError,
    LinkState,
    Message,
    OnMessages,
    OnState,
    Outgoing,
    one_by_one,
)


@dataclass(eq=False)
class _Subscription:
    """A consumer that ends with a cut and is there again after it."""

    link: "CutLink"
    queue: str
    on_messages: OnMessages
    prefetch: int
    no_ack: bool
    consumer: Consumer | None = None

    async def start(self) -> None:
        self.consumer = await self.link.below.consume(
            self.queue, self.on_messages, prefetch=self.prefetch, no_ack=self.no_ack
        )

    async def stop(self) -> None:
        consumer, self.consumer = self.consumer, None
        if consumer is not None:
            await consumer.cancel()

    async def cancel(self) -> None:
        self.link.subscriptions.discard(self)
        await self.stop()


class CutLink:
    """`Link` over another one; `cut` and `mend` from the task that owns the server."""

    def __init__(self, below: Link) -> None:
        self.below = below
        self.is_cut = False
        self.subscriptions: set[_Subscription] = set()
        self._watchers: list[OnState] = []
        below.watch(self._on_state)

    async def cut(self) -> None:
        """Nothing passes from now on; what is under way may still arrive."""
        if not self.is_cut:
            self.is_cut = True
            self._tell(LinkState.DOWN, "cut")
            for subscription in list(self.subscriptions):
                await subscription.stop()

    async def mend(self) -> None:
        """Everything passes again; raises LinkDown where the link below is down itself."""
        if self.is_cut:
            self.is_cut = False
            for subscription in list(self.subscriptions):
                await subscription.start()
            if self.below.is_up:
                self._tell(LinkState.UP, "mended")

    @property
    def is_up(self) -> bool:
        return self.below.is_up and not self.is_cut

    def watch(self, on_state: OnState) -> None:
        self._watchers.append(on_state)

    async def open(self) -> None:
        if self.is_cut:
            raise LinkDown("cut")
        await self.below.open()

    async def close(self) -> None:
        """Ends its own consumers; the link below belongs to whoever made it."""
        for subscription in list(self.subscriptions):
            await subscription.cancel()

    async def consume(
        self, queue: str, on_messages: OnMessages, *, prefetch: int, no_ack: bool = False
    ) -> Consumer:
        if self.is_cut:
            raise LinkDown("cut")
        subscription = _Subscription(self, queue, on_messages, prefetch, no_ack)
        await subscription.start()
        self.subscriptions.add(subscription)
        return subscription

    async def listen_for_replies(self, on_messages: OnMessages) -> None:
        await self.below.listen_for_replies(on_messages)

    def ack(self, messages: Sequence[Message]) -> None:
        self.below.ack(messages)

    def nack(self, messages: Sequence[Message], *, requeue: bool) -> None:
        self.below.nack(messages, requeue=requeue)

    async def publish(self, message: Outgoing) -> None:
        if self.is_cut:
            raise LinkDown("cut")
        await self.below.publish(message)

    async def publish_all(self, messages: Sequence[Outgoing]) -> list[LinkError | None]:
        return await one_by_one(self.publish, messages)

    def send(self, messages: Sequence[Outgoing]) -> None:
        if not self.is_cut:
            self.below.send(messages)

    def _on_state(self, state: LinkState, reason: str) -> None:
        if not self.is_cut:
            self._tell(state, reason)

    def _tell(self, state: LinkState, reason: str) -> None:
        for on_state in list(self._watchers):
            on_state(state, reason)
