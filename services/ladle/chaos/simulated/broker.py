"""The broker of the simulation: exchanges, queues, acks, redelivery, expiry, limits, restarts.

As RabbitMQ does it where Ladle can notice: topic and fanout exchanges, the alternate exchange; what
a connection held comes back first, and marked; a quorum queue counts deliveries; a restart loses
what was not persistent. A stream keeps all that it was given.
"""

from collections import deque
from collections.abc import Callable, Iterable
from contextvars import Context
from dataclasses import replace
from functools import lru_cache

from ladle.chaos.simulated.connection import Connection, Consumer
from ladle.chaos.simulated.faults import Dice, Fault
from ladle.chaos.simulated.loop import SimulatedLoop
from ladle_contracts.link import Message, Outgoing, Refused
from ladle_contracts.topology import Declarations, Exchange

Held = tuple[Message, int, bool]
"""The message, when it expires (0: never; microseconds), and whether it outlives a restart."""

DIRECT_PREFIX = "amq.rabbitmq.reply-to."


class Queue:
    """What waits, and who reads it in turn."""

    def __init__(
        self,
        name: str,
        *,
        kind: str,
        delivery_limit: int,
        dead_exchange: str,
        drops_its_oldest: bool,
    ) -> None:
        self.name = name
        self.kind = kind
        self.delivery_limit = delivery_limit
        self.dead_exchange = dead_exchange
        self.drops_its_oldest = drops_its_oldest
        self.full_until_us = 0
        self.waiting: deque[Held] = deque()
        self.consumers: deque[Consumer] = deque()
        self.holders: dict[Consumer, None] = {}  # those that are given no more too, until they end
        self.deliveries: dict[int, int] = {}
        self.log: list[tuple[int, Message]] = []  # of a stream, with the broker's time


class Broker:
    """One node. `on_publish(message, queues)` is told what it has taken, `on_ack` what is done.

    on_refused: told what it did not take of what nobody waits for.
    """

    def __init__(self, loop: SimulatedLoop, dice: Dice) -> None:
        self.loop = loop
        self.dice = dice
        self.queues: dict[str, Queue] = {}
        self.exchanges: dict[str, Exchange] = {}
        self.bindings: list[tuple[str, str, str]] = []
        self.connections: dict[str, Connection] = {}
        self.is_up = True
        self.alarm_until_us = 0
        self.on_publish: list[Callable[[Message, tuple[str, ...]], None]] = []
        self.on_refused: list[Callable[[Outgoing], None]] = []
        self.on_ack: list[Callable[[str, Message], None]] = []
        self._routes: dict[tuple[str, str], tuple[str, ...]] = {}
        self._numbers = 0

    # Declaring

    def declare(self, declarations: Declarations) -> None:
        """Declare all of it; what exists is kept."""
        for exchange in declarations.exchanges:
            self.exchanges.setdefault(exchange.name, exchange)
        for queue in declarations.queues:
            arguments = queue.arguments
            if queue.name not in self.queues:
                self.queues[queue.name] = Queue(
                    queue.name,
                    kind=queue.kind,
                    delivery_limit=int(arguments.get("x-delivery-limit", 0)),
                    dead_exchange=str(arguments.get("x-dead-letter-exchange", "")),
                    drops_its_oldest=arguments.get("x-overflow") == "drop-head",
                )
        for binding in declarations.bindings:
            bound = (binding.exchange, binding.queue, binding.key)
            if bound not in self.bindings:
                self.bindings.append(bound)
        self._routes.clear()

    # Publishing

    def take(self, message: Outgoing, sender: Connection) -> bool:
        """Whether it reached any queue. Raises Refused: a nack, or no such exchange."""
        if message.exchange and message.exchange not in self.exchanges:
            raise Refused(f"no exchange '{message.exchange}'")
        if message.exchange == "" and message.routing_key.startswith(DIRECT_PREFIX):
            self._reply(message, sender)
            return True
        if self.dice.strikes(Fault.NACK):
            raise Refused("nacked")
        names = self._route(message.exchange, message.routing_key)
        for name in names:
            if self._is_full(name) and not self.queues[name].drops_its_oldest:
                raise Refused(f"{name} is full")
        delivery = delivery_of(message, sender)
        for watcher in self.on_publish:
            watcher(delivery, names)
        expires_us = 0
        if message.expiration_ms is not None:
            expires_us = self.loop.now_us + message.expiration_ms * 1_000
        for name in names:
            self._enqueue(name, (replace(delivery, queue=name), expires_us, message.persistent))
        return bool(names)

    def _reply(self, message: Outgoing, sender: Connection) -> None:
        caller = self.connections.get(message.routing_key)
        delivery = delivery_of(message, sender)
        for watcher in self.on_publish:
            watcher(delivery, (message.routing_key,))
        if caller is None or self.dice.strikes(Fault.LOST_REPLY):
            return
        caller.deliver_reply(delivery)

    def _route(self, exchange: str, key: str) -> tuple[str, ...]:
        found = self._routes.get((exchange, key))
        if found is None:
            found = self._routes[exchange, key] = self._find_route(exchange, key)
        return found

    def _find_route(self, exchange: str, key: str) -> tuple[str, ...]:
        if exchange == "":
            return (key,) if key in self.queues else ()
        declared = self.exchanges[exchange]
        names = {
            queue
            for bound, queue, pattern in self.bindings
            if bound == exchange and (declared.kind == "fanout" or matches(pattern, key))
        }
        other = declared.arguments.get("alternate-exchange")
        if not names and other is not None:
            return self._find_route(str(other), key)
        return tuple(sorted(names))

    def _enqueue(self, name: str, held: Held) -> None:
        queue = self.queues[name]
        if queue.kind == "stream":
            queue.log.append((self.loop.now_us, held[0]))
            return
        self._numbers += 1
        held[0].headers = {**held[0].headers, NUMBER: self._numbers}
        if self._is_full(name) and queue.drops_its_oldest:
            queue.waiting.clear()
        queue.waiting.append(held)
        self.pump(queue)
        if queue.consumers and self.dice.strikes(Fault.DUPLICATE):
            again_ms = self.dice.between(Fault.DUPLICATE, 0, 8_000)
            self._numbers += 1
            copy = replace(held[0], headers={**held[0].headers, NUMBER: self._numbers})
            self.loop.call_later(
                again_ms / 1_000, self._again, name, (copy, *held[1:]), context=Context()
            )

    def _is_full(self, name: str) -> bool:
        return self.loop.now_us < self.queues[name].full_until_us

    def _again(self, name: str, held: Held) -> None:
        queue = self.queues.get(name)
        if queue is not None:
            queue.waiting.append(held)
            self.pump(queue)

    # Delivering

    def pump(self, queue: Queue) -> None:
        """Give what waits to the consumers in turn."""
        given: dict[Consumer, list[Message]] = {}
        while queue.waiting and queue.consumers and self.is_up:
            consumer = next((each for each in queue.consumers if each.has_room), None)
            if consumer is None:
                break
            queue.consumers.remove(consumer)
            queue.consumers.append(consumer)
            message, expires_us, persistent = queue.waiting.popleft()
            if expires_us and expires_us <= self.loop.now_us:
                continue
            number = int(str(message.headers[NUMBER]))
            if self._is_past_the_limit(queue, number):
                self._bury(queue, message)
                continue
            given.setdefault(consumer, []).append(
                consumer.deliver((message, expires_us, persistent), number)
            )
        for consumer, messages in given.items():
            consumer.connection.to_client(consumer.arrive, messages)

    def _is_past_the_limit(self, queue: Queue, number: int) -> bool:
        if not queue.delivery_limit:
            return False
        count = queue.deliveries[number] = queue.deliveries.get(number, 0) + 1
        return count > queue.delivery_limit + 1

    def _bury(self, queue: Queue, message: Message) -> None:
        for name in self._route(queue.dead_exchange, message.routing_key):
            self._enqueue(name, (message, 0, True))

    def settle(self, consumer: Consumer, tags: Iterable[int], *, requeue: bool | None) -> None:
        """Acks (None) and nacks, as they arrive."""
        queue = self.queues.get(consumer.queue)
        back: list[Held] = []
        for tag in tags:
            held = consumer.unacked.pop(tag, None)
            if held is None:
                continue
            if requeue is None:
                for watcher in self.on_ack:
                    watcher(consumer.queue, held[0])
            elif requeue:
                back.append(held)
        if queue is not None:
            self._give_back(queue, back)
            self.pump(queue)

    def _give_back(self, queue: Queue, back: list[Held]) -> None:
        for message, expires_us, persistent in reversed(back):
            again = replace(message, redelivered=True)
            queue.waiting.appendleft((again, expires_us, persistent))

    def subscribe(self, consumer: Consumer) -> None:
        queue = self.queues[consumer.queue]
        queue.consumers.append(consumer)
        queue.holders[consumer] = None
        self.pump(queue)

    def retire(self, consumer: Consumer) -> None:
        """Give it nothing more."""
        queue = self.queues.get(consumer.queue)
        if queue is not None and consumer in queue.consumers:
            queue.consumers.remove(consumer)

    def drop(self, consumer: Consumer) -> None:
        """End it; what it has not acked comes again, first."""
        self.retire(consumer)
        queue = self.queues.get(consumer.queue)
        back, consumer.unacked = list(consumer.unacked.values()), {}
        if queue is not None:
            queue.holders.pop(consumer, None)
            self._give_back(queue, back)
            self.pump(queue)

    # Restarts

    def go_down(self) -> None:
        """kill -9: all connections end, and what was not persistent is lost."""
        self.is_up = False
        for connection in list(self.connections.values()):
            connection.break_off("the broker is gone")
        for queue in self.queues.values():
            queue.waiting = deque(
                held for held in queue.waiting if held[2] or queue.kind == "quorum"
            )

    def come_up(self) -> None:
        self.is_up = True

    def backlog(self, name: str) -> int:
        """What waits or is not acked in a queue."""
        queue = self.queues[name]
        return len(queue.waiting) + sum(len(holder.unacked) for holder in queue.holders)


NUMBER = "x-simulated-number"
"""A message's number in the broker, which counts deliveries; nobody else reads it."""


def delivery_of(message: Outgoing, sender: Connection) -> Message:
    return Message(
        body=message.body,
        exchange=message.exchange,
        routing_key=message.routing_key,
        headers=dict(message.headers),
        content_type=message.content_type,
        type=message.type,
        message_id=message.message_id,
        correlation_id=message.correlation_id,
        reply_to=sender.reply_address(message),
        expiration_ms=message.expiration_ms,
        user_id=message.user_id,
    )


@lru_cache(maxsize=4096)
def matches(pattern: str, key: str) -> bool:
    """AMQP's topic rule: `*` is one word, `#` any number of them."""
    return _matches(pattern.split("."), key.split("."))


def _matches(pattern: list[str], words: list[str]) -> bool:
    if not pattern:
        return not words
    first, rest = pattern[0], pattern[1:]
    if first == "#":
        return any(_matches(rest, words[skip:]) for skip in range(len(words) + 1))
    return bool(words) and first in ("*", words[0]) and _matches(rest, words[1:])
