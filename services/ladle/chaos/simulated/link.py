"""`Link` to the simulated broker, of one process. Reconnects by itself, as the real ones do."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextvars import Context
from random import Random

from ladle.broker.stream import Start
from ladle.chaos.simulated.broker import Broker
from ladle.chaos.simulated.cable import Cable
from ladle.chaos.simulated.connection import Connection, Consumer
from ladle.chaos.simulated.faults import Fault
from ladle.chaos.simulated.loop import Host
from ladle.chaos.simulated.stream import first_of
from ladle_contracts.link import (
    DIRECT_REPLY_TO,
    LinkDown,
    LinkError,
    LinkState,
    Message,
    OnMessages,
    OnState,
    OutcomeUnknown,
    Outgoing,
    Refused,
    Unroutable,
)

RECONNECT_MS = (100, 2_000)
CONFIRM_TIMEOUT_MS = 5_000


class Subscription:
    """What a caller of `consume` holds: the consumer of each connection in turn."""

    def __init__(
        self,
        link: "SimulatedLink",
        queue: str,
        on_messages: OnMessages,
        prefetch: int,
        no_ack: bool,
    ) -> None:
        self._link = link
        self.queue = queue
        self._on_messages = on_messages
        self._prefetch = prefetch
        self._no_ack = no_ack
        self.consumer: Consumer | None = None
        self.is_cancelled = False

    def begin(self, connection: Connection) -> None:
        """Consume on this connection."""
        self.consumer = consumer = Consumer(
            connection,
            self.queue,
            self._on_messages,
            prefetch=self._prefetch,
            no_ack=self._no_ack,
        )
        connection.to_broker(self._at_broker, connection, consumer)

    def _at_broker(self, connection: Connection, consumer: Consumer) -> None:
        broker = connection.broker
        if connection.is_open and self.queue in broker.queues:
            connection.consumers.append(consumer)
            broker.subscribe(consumer)

    async def cancel(self) -> None:
        """Stop deliveries; what was delivered may still be acked.

        It is cancelled also where nobody waits for that; until then deliveries still arrive.
        """
        self.is_cancelled = True
        consumer = self.consumer
        if consumer is None or not consumer.connection.is_open:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        connection = consumer.connection
        self._link.waiting_for[done] = None

        def at_broker() -> None:
            connection.broker.retire(consumer)
            connection.to_client(at_client)

        def at_client() -> None:
            consumer.is_cancelled = True
            _finish(done)

        connection.to_broker(at_broker)
        try:
            await done
        except LinkError:
            return
        finally:
            self._link.waiting_for.pop(done, None)


class SimulatedLink:
    """One process's connection to the broker, by the cable of its machine."""

    def __init__(
        self, broker: Broker, host: Host, name: str, chance: Random, user: str, cable: Cable
    ) -> None:
        self.host = host
        self.name = name
        self.user = user
        self.random = chance.random
        self.connection: Connection | None = None
        self.cable = cable
        self.is_closed = True
        self.on_step: Callable[[str], None] = lambda step: None
        self.waiting_for: dict[asyncio.Future[None], None] = {}  # in the order of their making
        self._broker = broker
        self._watchers: list[OnState] = []
        self._subscriptions: list[Subscription] = []
        self._on_replies: OnMessages | None = None
        self._epoch = 0

    @property
    def is_up(self) -> bool:
        return self.connection is not None

    def watch(self, on_state: OnState) -> None:
        self._watchers.append(on_state)

    # Up and down

    async def open(self) -> None:
        if self.connection is not None:
            return
        await asyncio.sleep(self.random() * 0.02)
        if not self._can_connect():
            raise LinkDown("connection refused")
        self.is_closed = False
        self._connect()

    async def close(self) -> None:
        if self.connection is not None:
            # Flush: what was sent before is read before the end.
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.waiting_for[done] = None
            connection = self.connection
            connection.to_broker(lambda: connection.to_client(_finish, done))
            await asyncio.wait([done], timeout=5)
            self.waiting_for.pop(done, None)
        self.is_closed = True
        self.end("closed")

    def end(self, reason: str) -> None:
        """The process is gone, or wants no more: no connection follows this one."""
        self.is_closed = True
        if self.connection is not None:
            connection, self.connection = self.connection, None
            connection.break_off(reason)
            self._fail_all(reason)

    def vanish(self) -> None:
        """The machine has no power any more: no byte says so, and the broker waits for one."""
        self.is_closed = True
        if self.connection is not None:
            connection, self.connection = self.connection, None
            connection.fall_silent()
            self._fail_all("no power")

    def channel_closed(self, consumer: Consumer) -> None:
        """The client's side learns that one channel is gone, and opens another."""
        connection = consumer.connection
        consumer.is_cancelled = True
        if self.connection is not connection:
            return
        for subscription in self._subscriptions:
            if subscription.consumer is consumer and not subscription.is_cancelled:
                subscription.begin(connection)

    def publishing_channel_closed(self, connection: Connection) -> None:
        """What was not confirmed on it may have been taken, or not."""
        if self.connection is connection:
            self._fail_all("the channel is closed")

    def _can_connect(self) -> bool:
        return self._broker.is_up and not self.cable.is_cut

    def _connect(self) -> None:
        self._epoch += 1
        self.connection = connection = Connection(self._broker, self, self._epoch)
        connection.on_replies = self._on_replies
        self._subscriptions = [each for each in self._subscriptions if not each.is_cancelled]
        for subscription in self._subscriptions:
            subscription.begin(connection)
        self._tell(LinkState.UP, "connected")

    def lost(self, connection: Connection, reason: str) -> None:
        """The client's side learns that its connection is gone."""
        if self.connection is not connection:
            return
        self.connection = None
        self._fail_all(reason)
        self._tell(LinkState.DOWN, reason)
        self._try_again()

    def _try_again(self) -> None:
        if self.is_closed or self.connection is not None:
            return
        least, most = RECONNECT_MS
        pause_s = (least + self.random() * (most - least)) / 1_000
        asyncio.get_running_loop().call_later(pause_s, self._reconnect)

    def _reconnect(self) -> None:
        if self.is_closed or self.connection is not None:
            return
        if self._can_connect():
            self._connect()
        else:
            self._try_again()

    def _fail_all(self, reason: str) -> None:
        waiting, self.waiting_for = self.waiting_for, {}
        for future in waiting:
            if not future.done():
                future.set_exception(OutcomeUnknown(reason))
                future.exception()

    def _tell(self, state: LinkState, reason: str) -> None:
        for on_state in self._watchers:
            on_state(state, reason)

    def say(self, state: LinkState, reason: str) -> None:
        """The broker's alarm begins or ends."""
        if self.connection is not None:
            self.connection.to_client(self._tell, state, reason)

    # Receiving

    async def consume(
        self, queue: str, on_messages: OnMessages, *, prefetch: int, no_ack: bool = False
    ) -> Subscription:
        connection = self._connected()
        await self._round_trip(connection, lambda: self._must_exist(queue))
        subscription = Subscription(self, queue, on_messages, prefetch, no_ack)
        self._subscriptions.append(subscription)
        if self.connection is not None:
            subscription.begin(self.connection)
        return subscription

    def _must_exist(self, queue: str) -> None:
        if queue not in self._broker.queues:
            raise Refused(f"no queue '{queue}'")

    async def listen_for_replies(self, on_messages: OnMessages) -> None:
        self._on_replies = on_messages
        self._connected().on_replies = on_messages

    def ack(self, messages: Sequence[Message]) -> None:
        self._settle(messages, None)

    def nack(self, messages: Sequence[Message], *, requeue: bool) -> None:
        self._settle(messages, requeue)

    def _settle(self, messages: Sequence[Message], requeue: bool | None) -> None:
        connection = self.connection
        if connection is None:
            return
        by_channel: dict[tuple[str, int], list[int]] = defaultdict(list)
        for message in messages:
            if connection.has_channel(message.epoch):
                by_channel[message.queue, message.epoch].append(message.tag)
        for (queue, epoch), tags in by_channel.items():
            connection.to_broker(self._settled, connection, queue, epoch, tags, requeue)

    def _settled(
        self,
        connection: Connection,
        queue: str,
        epoch: int,
        tags: list[int],
        requeue: bool | None,
    ) -> None:
        self.on_step("acking")
        if self.is_closed:
            return  # Killed with the ack on its way.
        for consumer in connection.consumers:
            if (consumer.queue, consumer.epoch) == (queue, epoch):
                self._broker.settle(consumer, tags, requeue=requeue)

    # Publishing

    async def publish(self, message: Outgoing) -> None:
        await self._publish(message)

    async def publish_all(self, messages: Sequence[Outgoing]) -> list[LinkError | None]:
        # Handed over in order before the first confirm is waited for.
        sent = [self._begin(message) for message in messages]
        return [await self._outcome(each) for each in sent]

    async def _publish(self, message: Outgoing) -> None:
        error = await self._outcome(self._begin(message))
        if error is not None:
            raise error

    def _begin(self, message: Outgoing) -> "asyncio.Future[None] | LinkError":
        connection = self.connection
        if connection is None:
            return LinkDown("not connected")
        if message.reply_to == DIRECT_REPLY_TO and self._on_replies is None:
            return Refused("nobody listens for direct replies")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting_for[done] = None
        connection.to_broker(self._taken, connection, message, done, publishes=True)
        return done

    async def _outcome(self, sent: "asyncio.Future[None] | LinkError") -> LinkError | None:
        if isinstance(sent, LinkError):
            return sent
        try:
            await sent
        except LinkError as error:
            return error
        finally:
            self.waiting_for.pop(sent, None)
        return None

    def _taken(
        self, connection: Connection, message: Outgoing, done: "asyncio.Future[None]"
    ) -> None:
        """At the broker: route, and let the confirm travel back, or get lost."""
        error: LinkError | None = None
        try:
            if not self._broker.take(message, connection) and message.mandatory:
                error = Unroutable(f"{message.exchange}/{message.routing_key}: no queue is bound")
        except Refused as refused:
            error = refused
        if error is None and self._broker.dice.strikes(Fault.LOST_CONFIRM):
            self._broker.loop.call_later(
                CONFIRM_TIMEOUT_MS / 1_000,
                *(_finish, done, OutcomeUnknown("no confirm in time")),
                context=Context(),
            )
            return
        connection.to_client(_finish, done, error)

    def send(self, messages: Sequence[Outgoing]) -> None:
        connection = self.connection
        if connection is not None:
            for message in messages:
                connection.to_broker(self._sent, connection, message, publishes=True)

    def _sent(self, connection: Connection, message: Outgoing) -> None:
        try:
            self._broker.take(message, connection)
        except Refused:
            for watcher in self._broker.on_refused:
                watcher(message)
            return
        self.on_step("replied")

    # Asking

    async def read_stream(self, queue: str, start: Start) -> list[tuple[int, Message]]:
        """What a stream holds from there on, with the positions."""
        found: list[tuple[int, Message]] = []

        def read() -> None:
            self._must_exist(queue)
            log = self._broker.queues[queue].log
            first = first_of(start, [at_us for at_us, _ in log])
            found.extend((n, log[n][1]) for n in range(first, len(log)))

        await self._round_trip(self._connected(), read)
        return found

    def _connected(self) -> Connection:
        if self.connection is None:
            raise LinkDown("not connected")
        return self.connection

    async def _round_trip(self, connection: Connection, work: Callable[[], None]) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting_for[done] = None

        def at_broker() -> None:
            error: LinkError | None = None
            try:
                work()
            except LinkError as refused:
                error = refused
            connection.to_client(_finish, done, error)

        connection.to_broker(at_broker)
        try:
            await done
        except OutcomeUnknown as lost:
            raise LinkDown(str(lost)) from lost
        finally:
            self.waiting_for.pop(done, None)


def _finish(done: "asyncio.Future[None]", error: LinkError | None = None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
        done.exception()
