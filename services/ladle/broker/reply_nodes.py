"""Answers to nodes of the broker that are proven, and a way to prove one at no risk.

A direct reply names a node of the cluster by a hash. Where there is no such node (the caller made
it up, or it stopped), RabbitMQ 3.10 fails over the reply and closes the connection of whoever
sent it, with all that is under way there. So a node is asked about first, on a connection that
carries nothing else: by a message to a process that nobody has. Answers to a node wait meanwhile;
to one that is not there they are dropped, like those of callers who have left.
Source: docs/adr/0011-nodes-of-replies.md.
"""

import asyncio
import logging
import random
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import aiormq
from aiormq.abc import AbstractConnection
from aiormq.exceptions import AMQPChannelError, ConnectionInternalError
from yarl import URL

from ladle_contracts.amqp_line import LOSSES, insist_on_a_cancel
from ladle_contracts.link import LinkDown, Outgoing
from ladle_contracts.reply_addresses import direct_reply_address, is_direct_reply, reply_node

from .held import Held
from .losses import as_link_down, whatever_happens

log = logging.getLogger(__name__)

WAITING_BYTES_MAX = 4_000_000
"""Answers that wait for one node: a burst's worth."""

NODES_MAX = 64
"""Nodes that are asked about at once; a cluster has seven or so, and what is above is made up."""

ADDRESSES_MAX = 8_192
_REFUSED_S = 30.0
"""A node that was not there is not asked about again for so long."""

_PROBE_TIMEOUT_S = 5.0
_CLOSE_WAIT_S = 1.0
_PAUSE_S = 0.05
_PAUSE_AFTER_A_LOSS_S = 1.0


@dataclass(slots=True, eq=False)
class _Node:
    """A node of the broker, or what a caller says is one."""

    name: str
    proven: bool = False
    refused_until: float = 0.0
    waiting: Held = field(default_factory=lambda: Held(WAITING_BYTES_MAX))


class ReplyNodes:
    """Passes on what may be written now; `write` gets the rest once its node is proven."""

    def __init__(
        self,
        url: URL,
        ssl_context: ssl.SSLContext | None,
        write: Callable[[Sequence[Outgoing]], None],
    ) -> None:
        self._url = url
        self._ssl_context = ssl_context
        self._write = write
        self._nodes: dict[str, _Node] = {}
        self._by_address: dict[str, _Node] = {}
        self._asking: asyncio.Task[None] | None = None
        self.dropped = 0

    def pass_on(self, messages: Sequence[Outgoing]) -> Sequence[Outgoing]:
        """Those that may be written now; O(messages), and a look-up each for known callers."""
        known = self._by_address
        for message in messages:
            node = known.get(message.routing_key)
            if node is None or not node.proven:
                return self._sorted_out(messages)
        return messages

    def forget(self) -> None:
        """The connection that answers was lost: perhaps a node stopped, so each is asked again."""
        for node in self._nodes.values():
            node.proven = False

    async def close(self) -> None:
        """Ask, for a moment, what is to be asked; what still waits then is lost."""
        asking, self._asking = self._asking, None
        if asking is not None:
            # Their questions are acked: the first callers of a short life are answered too.
            await asyncio.wait([asking], timeout=_CLOSE_WAIT_S)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        self._nodes.clear()
        self._by_address.clear()

    def _sorted_out(self, messages: Sequence[Outgoing]) -> list[Outgoing]:
        passed = []
        for message in messages:
            if message.exchange or not is_direct_reply(message.routing_key):
                passed.append(message)
                continue
            node = self._node(message.routing_key)
            if node is not None and node.proven:
                passed.append(message)
            elif node is None or node.refused_until > _now():
                self.dropped += 1
            else:
                self.dropped += node.waiting.add([message])
                self._ask()
        return passed

    def _node(self, address: str) -> _Node | None:
        """The node of an address; None where it is no address or too many are asked about."""
        known = self._by_address.get(address)
        if known is not None:
            return known
        name = reply_node(address)
        if name is None:
            return None
        node = self._nodes.get(name)
        if node is None:
            if len(self._nodes) >= NODES_MAX and not self._make_room():
                return None
            node = self._nodes[name] = _Node(name)
        if len(self._by_address) >= ADDRESSES_MAX:
            self._by_address.clear()
        self._by_address[address] = node
        return node

    def _make_room(self) -> bool:
        """Forget a node that was refused, or one that many made-up ones crowd out."""
        unproven = [node for node in self._nodes.values() if not node.proven]
        if not unproven:
            return False
        refused = [node for node in unproven if node.refused_until]
        gone = refused[0] if refused else random.choice(unproven)
        self.dropped += len(gone.waiting.take())
        del self._nodes[gone.name]
        self._by_address = {a: node for a, node in self._by_address.items() if node is not gone}
        return True

    # Asking

    def _ask(self) -> None:
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask_all(), name="ask about nodes of callers")

    async def _ask_all(self) -> None:
        """One after the other, in no order that a caller could use to be asked about last."""
        while open_ := [node for node in self._nodes.values() if node.waiting]:
            node = random.choice(open_)
            try:
                is_there = await self._is_there(node.name)
            except LinkDown as down:
                log.debug("cannot ask about %s: %s", node.name, down)
                await asyncio.sleep(_PAUSE_AFTER_A_LOSS_S)
                continue
            waiting = node.waiting.take()
            if is_there:
                node.proven, node.refused_until = True, 0.0
                self._write(waiting)
            else:
                node.refused_until = _now() + _REFUSED_S
                self.dropped += len(waiting)
                log.warning("callers at %s are not answered: no such node", node.name)
                await asyncio.sleep(_PAUSE_S)

    async def _is_there(self, name: str) -> bool:
        """Ask on a connection of its own. Raises LinkDown where that says nothing."""
        url = self._url.update_query(heartbeat="10")
        async with as_link_down("cannot ask about a node"), asyncio.timeout(_PROBE_TIMEOUT_S):
            connection = await aiormq.connect(url, context=self._ssl_context)
            try:
                channel = await connection.channel(publisher_confirms=True)
                await channel.basic_publish(b"", routing_key=direct_reply_address(name))
            except AMQPChannelError as error:
                # Of rights, as a rule: what the answers themselves will meet too.
                log.debug("asking about %s: %s", name, error)
            except (*LOSSES, asyncio.CancelledError):
                insist_on_a_cancel()
                if _failed_inside(connection):
                    return False
                raise
            finally:
                await whatever_happens(connection.close(), 1.0)
        return True


def _failed_inside(connection: AbstractConnection) -> bool:
    """Whether the broker closed the connection over an error of its own (541)."""
    closing = connection.closing
    if not closing.done() or closing.cancelled():
        return False
    return isinstance(closing.exception(), ConnectionInternalError)


def _now() -> float:
    return asyncio.get_running_loop().time()
