"""A subscription: one queue on a channel of its own; batches in, acks out."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable

from aiormq import Channel
from aiormq.abc import DeliveredMessage

from .amqp_line import LOSSES, Line, cancelled_by_a_loss, finish, insist_on_a_cancel
from .amqp_messages import message_of
from .link import LinkDown, Message, OnMessages, Refused

log = logging.getLogger(__name__)

_HEAL_PAUSE_S = 0.5
_FLUSH_WAIT_S = 5.0


class Deliveries:
    """One life of a subscription's channel. Acks belong to it and die with it."""

    def __init__(
        self,
        channel: Channel,
        queue: str,
        epoch: int,
        on_messages: OnMessages,
        *,
        no_ack: bool = False,
    ) -> None:
        self.channel = channel
        self.queue = queue
        self.epoch = epoch
        self._on_messages = on_messages
        self._no_ack = no_ack
        self._arrived: list[Message] = []
        self._unsettled: dict[int, None] = {}
        self._orders: deque[tuple[int, bool, bool | None]] = deque()
        self._writer: asyncio.Task[None] | None = None

    async def receive(self, delivered: DeliveredMessage) -> None:
        """Take one delivery; all that come in one loop iteration are handed over as one list.

        It never waits: aiormq starts it once for each delivery, and the order would go.
        """
        self.take(message_of(delivered, self.queue, self.epoch))

    def take(self, message: Message) -> None:
        """Take one delivery of this life."""
        if not self._no_ack:
            self._unsettled[message.tag] = None
        if not self._arrived:
            asyncio.get_running_loop().call_soon(self._hand_over)
        self._arrived.append(message)

    def _hand_over(self) -> None:
        arrived, self._arrived = self._arrived, []
        try:
            self._on_messages(arrived)
        except Exception:
            # The batch stays unacked: the broker redelivers it when this channel ends.
            log.exception("the handler of %s failed", self.queue)

    def settle(self, tags: Iterable[int], requeue: bool | None) -> None:
        """Ack (`requeue=None`) or nack the tags; one frame covers the oldest contiguous ones.

        A frame with `multiple` settles everything up to its tag, so it is used only for the run
        that starts at the oldest delivery still open: nothing uncommitted slips through.
        """
        wanted = {tag for tag in tags if tag in self._unsettled}
        last = 0
        for tag in self._unsettled:
            if tag not in wanted:
                break
            last = tag
        if last:
            self._order(last, True, requeue)
            for tag in [tag for tag in wanted if tag <= last]:
                wanted.discard(tag)
                del self._unsettled[tag]
        for tag in sorted(wanted):
            del self._unsettled[tag]
            self._order(tag, False, requeue)

    def _order(self, tag: int, multiple: bool, requeue: bool | None) -> None:
        self._orders.append((tag, multiple, requeue))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write(), name=f"settle {self.queue}")

    async def _write(self) -> None:
        try:
            while self._orders:
                tag, multiple, requeue = self._orders.popleft()
                drain = not self._orders
                if requeue is None:
                    await self.channel.basic_ack(tag, multiple, wait=drain)
                else:
                    await self.channel.basic_nack(tag, multiple, requeue, wait=drain)
        except LOSSES as error:
            log.debug("acks on %s lost with their channel: %r", self.queue, error)
        except asyncio.CancelledError:
            if not cancelled_by_a_loss():
                raise

    def end(self) -> None:
        """The channel is gone: what was not written will be redelivered."""
        self._orders.clear()
        self._unsettled.clear()
        if self._writer is not None:
            self._writer.cancel()

    async def flush(self) -> None:
        """Wait until the acks given so far are in the socket."""
        if self._writer is not None:
            await asyncio.wait({self._writer}, timeout=_FLUSH_WAIT_S)


class Subscription:
    """A consumer that outlives its channels; `Consumer` of the Link interface."""

    def __init__(
        self,
        line: Line,
        queue: str,
        on_messages: OnMessages,
        *,
        prefetch: int,
        no_ack: bool,
        lives: dict[int, Deliveries],
        next_epoch: Callable[[], int],
        prepare: Callable[[Channel], Awaitable[None]] | None,
    ) -> None:
        self._line = line
        self.queue = queue
        self._on_messages = on_messages
        self._prefetch = prefetch
        self._no_ack = no_ack
        self._lives = lives
        self._next_epoch = next_epoch
        self._prepare = prepare
        self._life: Deliveries | None = None
        self._ended_channel: Channel | None = None
        self._tag = ""
        self._healer: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self.cancelled = False

    async def start(self) -> None:
        """Open a channel and consume. Raises LinkDown, Refused (no such queue, no right)."""
        await finish(self._start_once())

    async def _start_once(self) -> None:
        async with self._lock:
            if self._life is not None or self.cancelled:
                return
            try:
                await self._start()
            except LOSSES as error:
                raise _as_link_error(error, self._line, self.queue) from error
            except asyncio.CancelledError as error:
                if cancelled_by_a_loss():
                    raise LinkDown(f"connection lost while consuming {self.queue}") from error
                raise

    async def _start(self) -> None:
        channel = await self._line.channel(confirms=False)
        life = Deliveries(
            channel, self.queue, self._next_epoch(), self._on_messages, no_ack=self._no_ack
        )
        try:
            await channel.basic_qos(prefetch_count=self._prefetch)
            if self._prepare is not None:
                await self._prepare(channel)
            channel.on_consumer_cancel_callbacks.add(lambda _frame: self._ended(life))
            self._lives[life.epoch] = life
            ok = await channel.basic_consume(self.queue, life.receive, no_ack=self._no_ack)
        except BaseException:
            self._lives.pop(life.epoch, None)
            await close_channel(channel)
            raise
        if self.cancelled:  # meanwhile
            self._lives.pop(life.epoch, None)
            await close_channel(channel)
            return
        self._life = life
        self._tag = ok.consumer_tag or ""
        channel.closing.add_done_callback(lambda _closing: self._ended(life))

    def _ended(self, life: Deliveries) -> None:
        """The channel closed or the broker cancelled the consumer (its queue was deleted)."""
        if self._lives.pop(life.epoch, None) is None:
            return
        life.end()
        if self._life is life:
            self._life = None
        if not self.cancelled:
            self._ended_channel = life.channel
            self._start_healing()

    async def _heal(self) -> None:
        """A channel that ended alone is replaced; with its connection, the link restores all."""
        if self._ended_channel is not None:
            await close_channel(self._ended_channel)
            insist_on_a_cancel()
        while self._life is None and not self.cancelled:
            await asyncio.sleep(_HEAL_PAUSE_S)
            if not self._line.is_up:
                return
            await self.try_start()

    async def try_start(self) -> bool:
        """`start`, where a refusal is only logged: the queue may come back."""
        try:
            await self.start()
        except (Refused, LinkDown) as error:
            log.info("consuming %s: %s", self.queue, error)
            return False
        return True

    async def restore(self) -> None:
        """After a reconnection; goes on trying in the background where the queue is not there."""
        if not await self.try_start() and not self.cancelled:
            self._start_healing()

    def _start_healing(self) -> None:
        if self._healer is None or self._healer.done():
            self._healer = asyncio.create_task(self._heal(), name=f"heal {self.queue}")

    async def cancel(self) -> None:
        """Stop deliveries; those already here may still be acked until the link closes."""
        self.cancelled = True
        if self._healer is not None:
            self._healer.cancel()
            await asyncio.gather(self._healer, return_exceptions=True)
        life = self._life
        if life is not None:
            try:
                await life.channel.basic_cancel(self._tag)
            except LOSSES as error:
                log.debug("cancelling the consumer of %s: %r", self.queue, error)

    async def flush(self) -> None:
        if self._life is not None:
            await self._life.flush()


async def close_channel(channel: Channel) -> None:
    """Close a channel, whatever state it is in."""
    try:
        await channel.close()
    except LOSSES as error:
        log.debug("closing a channel: %r", error)


def _as_link_error(error: BaseException, line: Line, queue: str) -> LinkDown | Refused:
    if isinstance(error, LinkDown):
        return error
    try:
        _ = line.raw
    except LinkDown as down:
        return down
    return Refused(f"cannot consume {queue}: {error}")
