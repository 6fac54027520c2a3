"""One connection to the simulated broker: two streams of bytes in order, each with its delay.

What was written may be read after its writer is gone, and what was read may never be answered:
where a connection breaks, some of what was under way still arrives.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ladle.chaos.simulated.faults import Fault
from ladle_contracts.link import DIRECT_REPLY_TO, Message, OnMessages, Outgoing
from ladle_contracts.reply_addresses import direct_reply_address

if TYPE_CHECKING:
    from ladle.chaos.simulated.broker import Broker, Held
    from ladle.chaos.simulated.link import SimulatedLink

USUAL_US = 2_000
HEARTBEAT_US = 20_000_000
"""After so much silence a side calls the other one dead."""
CHANNELS = 1 << 16
"""More than one connection ever opens."""


class Consumer:
    """A subscription on one connection."""

    def __init__(
        self,
        connection: Connection,
        queue: str,
        on_messages: OnMessages,
        *,
        prefetch: int,
        no_ack: bool,
    ) -> None:
        self.connection = connection
        self.epoch = connection.open_channel()
        self.queue = queue
        self.on_messages = on_messages
        self.prefetch = prefetch
        self.no_ack = no_ack
        self.unacked: dict[int, Held] = {}
        self.is_cancelled = False

    @property
    def has_room(self) -> bool:
        return self.no_ack or len(self.unacked) < self.prefetch

    def deliver(self, held: Held, tag: int) -> Message:
        """The delivery of a message; the broker remembers it until it is acked."""
        if not self.no_ack:
            self.unacked[tag] = held
        return replace(held[0], tag=tag, epoch=self.epoch)

    def arrive(self, messages: list[Message]) -> None:
        """On the client's side."""
        if self.is_cancelled:
            return
        self.connection.link.on_step("received")
        if self.connection.is_open:
            self.on_messages(messages)


class Connection:
    """Between one link and the broker, from its opening to its end."""

    def __init__(self, broker: Broker, link: SimulatedLink, epoch: int) -> None:
        self.broker = broker
        self.link = link
        self.epoch = epoch
        self.address = direct_reply_address("reply@1", key=f"{link.name}.{epoch}".encode())
        self.is_open = True
        self.consumers: list[Consumer] = []
        self.on_replies: OnMessages | None = None
        self._channels = 0
        self._there_us = 0
        self._back_us = 0
        self._deaf_from_us: int | None = None
        broker.connections[self.address] = self

    # Channels

    def open_channel(self) -> int:
        """The epoch of a new channel: no other of this link, ever, has the same."""
        self._channels += 1
        return self.epoch * CHANNELS + self._channels

    def has_channel(self, epoch: int) -> bool:
        """Is it one of this connection, rather than of one before?"""
        return epoch // CHANNELS == self.epoch

    def close_channel(self, consumer: Consumer) -> None:
        """The broker closes one channel: what it held comes again, and the connection stays."""
        self.consumers.remove(consumer)
        self.broker.drop(consumer)
        self.to_client(self.link.channel_closed, consumer)

    # The two ways

    def to_broker(self, work: Callable[..., Any], *args: Any, publishes: bool = False) -> None:
        """Let `work` happen at the broker after all that was sent before."""
        broker = self.broker
        self._there_us = max(self._there_us, broker.loop.now_us + self._travel_us())
        if publishes:
            self._there_us = max(self._there_us, broker.alarm_until_us)
        broker.loop.call_at_us(
            self._there_us, self._at_broker, self._there_us, work, args, context=Context()
        )

    def _at_broker(self, due_us: int, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
        if self._deaf_from_us is None or due_us <= self._deaf_from_us:
            work(*args)

    def to_client(self, work: Callable[..., Any], *args: Any) -> None:
        """Let `work` happen in the client's process after all that came before."""
        loop = self.broker.loop
        self._back_us = max(self._back_us, loop.now_us + self._travel_us())
        # It runs where the client's own code runs: a frozen process receives nothing.
        loop.call_at_us(
            self._back_us, self._at_client, work, args, context=self.link.host.context.copy()
        )

    def _at_client(self, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
        if self.is_open and self.link.connection is self:
            work(*args)

    def _travel_us(self) -> int:
        dice = self.broker.dice
        if dice.strikes(Fault.REORDER):
            return dice.between(Fault.REORDER, 100, 5_000) * 1_000
        return int(self.link.random() * USUAL_US)

    def stall(self, for_us: int, *, there: bool = True, back: bool = True) -> None:
        """A blackhole: nothing passes for so long, there, back, or both; nobody is told."""
        until_us = self.broker.loop.now_us + for_us
        if there:
            self._there_us = max(self._there_us, until_us)
        if back:
            self._back_us = max(self._back_us, until_us)
        if for_us > HEARTBEAT_US:
            self._miss_heartbeats()

    def _miss_heartbeats(self) -> None:
        self.broker.loop.call_later(
            HEARTBEAT_US / 1_000_000, self.break_off, "no heartbeat", context=Context()
        )

    def fall_silent(self) -> None:
        """Half open: the client's side is gone, and the broker does not know."""
        self._miss_heartbeats()

    def be_forgotten(self) -> None:
        """Half open: the broker's side is gone, and the client does not know."""
        if self._deaf_from_us is None:
            self._deaf_from_us = self.broker.loop.now_us
            self.broker.connections.pop(self.address, None)
            self._forget()
            self._miss_heartbeats()

    # Replies

    def reply_address(self, message: Outgoing) -> str | None:
        return self.address if message.reply_to == DIRECT_REPLY_TO else message.reply_to

    def deliver_reply(self, message: Message) -> None:
        if self.on_replies is not None:
            self.to_client(self.on_replies, [message])

    # The end

    def break_off(self, reason: str) -> None:
        """The broker's side ends; the client's is told, when it runs. Some bytes still arrive."""
        if not self.is_open:
            return
        self.is_open = False
        loop = self.broker.loop
        if self._deaf_from_us is None:
            self._deaf_from_us = loop.now_us
            if self.broker.is_up:
                self._deaf_from_us += int(self.link.random() * 2 * USUAL_US)
            self.broker.connections.pop(self.address, None)
            # The broker sees the end after the last bytes, and gives away what this one held.
            loop.call_at_us(self._deaf_from_us, self._forget, context=Context())
        loop.call_later(
            self.link.random() * USUAL_US / 1_000_000,
            *(self.link.lost, self, reason),
            context=self.link.host.context.copy(),
        )

    def _forget(self) -> None:
        for consumer in self.consumers:
            self.broker.drop(consumer)
        self.consumers.clear()
