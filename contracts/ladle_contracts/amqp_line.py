"""One connection to RabbitMQ that comes back by itself.

aio-pika's own robust objects restore channels behind their user's back; here each loss is visible,
because acks, confirms and direct replies mean something only on the channel they began on.
"""

import asyncio
import logging
import random
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar, cast

import aio_pika
from aio_pika.exceptions import CONNECTION_EXCEPTIONS
from aiormq import Channel
from aiormq.abc import AbstractConnection
from yarl import URL

from .amqp_readable import ReadableFactory
from .link import LinkDown, LinkError, LinkState
from .tls import BROKER, greeting_trouble

log = logging.getLogger(__name__)

R = TypeVar("R")

LOSSES = (*CONNECTION_EXCEPTIONS, LinkError, TimeoutError, EOFError, StopAsyncIteration)
"""What a connection, a channel or a call on them may end with.

StopAsyncIteration: aiormq says so where the end of the stream is there before it asks for the next
frame of its greeting. An end that nobody took for a loss ended who keeps the connection.
"""


VHOST_REFUSED = (
    "the broker does not open the virtual host that LADLE_AMQP_URL names behind its last `/`: "
    "it is not there, or this user has no rights in it"
)


def setup_trouble(error: BaseException, *, tls: bool) -> str | None:
    """Why a connection was not set up, where the error itself does not say so to a person."""
    # aiormq names the frame that it expected there and keeps the broker's reason to itself.
    if "Connection.OpenOk" in str(error):
        return VHOST_REFUSED
    return greeting_trouble(error, BROKER) if tls else None


def cancelled_by_a_loss() -> bool:
    """Whether a CancelledError seen now is aiormq's way to report a lost connection.

    It cancels the calls that wait on it; only a cancel of the running task is the caller's own.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() == 0


_BLOCKED_CHECK_S = 0.5
_BACKOFF_FIRST_S = 0.2
_BACKOFF_LAST_S = 5.0


_going_on: set[asyncio.Task[Any]] = set()


async def finish(work: Coroutine[Any, Any, R]) -> R:
    """Await `work`; where the caller is cancelled meanwhile, it goes on to its end by itself.

    A cancelled call would leave its channel half open or half closed in aiormq, and RabbitMQ
    answers the next frame on it by closing the whole connection.
    """
    return await asyncio.shield(unhurried(work))


def unhurried(work: Coroutine[Any, Any, R]) -> asyncio.Task[R]:
    """`work` as a task of its own, for several to await under a shield; see `finish`."""
    task = asyncio.create_task(work)
    _going_on.add(task)
    task.add_done_callback(_finished)
    return task


def _finished(task: asyncio.Task[Any]) -> None:
    _going_on.discard(task)
    if not task.cancelled():
        task.exception()  # Seen: its caller may have left.


def insist_on_a_cancel() -> None:
    """Raise the CancelledError of the running task where aiormq answered it with something else.

    A call that is cancelled while its channel closes ends with the channel's error instead, and a
    loop that goes on after errors would then go on for ever. For tasks that loop, not for what
    also cleans up: a task that was cancelled once says so for the rest of its life.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling() > 0:
        raise asyncio.CancelledError


class Line:
    """A connection, `connect` once, then kept: `on_up` runs before the line counts as up again."""

    def __init__(
        self,
        url: str,
        *,
        name: str,
        ssl_context: ssl.SSLContext | None,
        heartbeat_s: int,
        connect_timeout_ms: int,
        on_up: Callable[[], Awaitable[None]],
        on_state: Callable[[LinkState, str], None],
    ) -> None:
        self.url = URL(url)
        if "heartbeat" not in self.url.query:
            self.url = self.url.update_query(heartbeat=str(heartbeat_s))
        self._name = name
        self._ssl_context = ssl_context
        self._connect_timeout_s = connect_timeout_ms / 1000
        self._on_up = on_up
        self._on_state = on_state
        self._connection: aio_pika.Connection | None = None
        self._keeper: asyncio.Task[None] | None = None
        self.is_up = False

    @property
    def is_open(self) -> bool:
        """Whether `open` succeeded once and `close` was not called."""
        return self._keeper is not None

    async def channel(self, *, confirms: bool) -> Channel:
        """A new channel on the live connection; with confirms, a returned message raises."""
        channel = await self.raw.channel(publisher_confirms=confirms, on_return_raises=confirms)
        return cast(Channel, channel)

    @property
    def is_lost(self) -> bool:
        """Whether there is no live connection now, known to be down or not."""
        transport = self._connection.transport if self._connection else None
        return transport is None or transport.connection.is_closed

    @property
    def raw(self) -> AbstractConnection:
        """The live connection. Raises LinkDown where there is none."""
        transport = self._connection.transport if self._connection else None
        if transport is None or transport.connection.is_closed:
            raise LinkDown(f"no connection to {self.url.host}:{self.url.port}")
        return transport.connection

    async def open(self) -> None:
        """Connect. Raises LinkDown where that fails; after it, the line keeps itself up."""
        try:
            await self._connect()
        except LOSSES as error:
            said = self._trouble(error) or error
            raise LinkDown(f"cannot connect to {self.url.host}:{self.url.port}: {said}") from error
        self._keeper = asyncio.create_task(self._keep(), name=f"keep {self._name}")

    async def close(self) -> None:
        """Close the connection and stop keeping it."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
        self.is_up = False
        await self._drop()

    def _trouble(self, error: BaseException) -> str | None:
        return setup_trouble(error, tls=self.url.scheme == "amqps")

    async def _connect(self) -> None:
        connection = aio_pika.Connection(
            self.url,
            ssl_context=self._ssl_context,
            client_properties={"connection_name": self._name},
        )
        connection.kwargs["transport_factory"] = ReadableFactory()
        self._connection = connection
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                await connection.connect()
                # A broker that has just started may accept connections and answer nothing else.
                await self._on_up()
        except asyncio.CancelledError as error:
            await self._drop()
            if cancelled_by_a_loss():
                raise LinkDown("the connection was lost while it was set up") from error
            raise
        except BaseException:
            await self._drop()
            insist_on_a_cancel()
            raise
        self.is_up = True

    async def _drop(self) -> None:
        """Close what is left of the connection, so that nothing lingers in the loop."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                async with asyncio.timeout(self._connect_timeout_s):
                    await connection.close()
            except LOSSES as error:
                log.debug("closing %s: %r", self._name, error)

    async def _keep(self) -> None:
        while True:
            reason = await self._until_lost()
            self.is_up = False
            self._on_state(LinkState.DOWN, reason)
            await self._drop()
            insist_on_a_cancel()
            await self._reconnect()
            self._on_state(LinkState.UP, f"connected to {self.url.host}:{self.url.port}")

    async def _reconnect(self) -> None:
        delay_s = _BACKOFF_FIRST_S
        while True:
            # Jitter: a fleet that lost its broker together should not return in step.
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))
            try:
                await self._connect()
            except LOSSES as error:
                said = self._trouble(error) or repr(error)
                log.info("%s: still no broker: %s", self._name, said)
                delay_s = min(delay_s * 2, _BACKOFF_LAST_S)
            else:
                return

    async def _until_lost(self) -> str:
        """Wait for the end of the connection; meanwhile tell when the broker blocks it."""
        try:
            raw = self.raw
        except LinkDown as down:
            return str(down)
        closing = raw.closing
        blocked = False
        while True:
            done, _ = await asyncio.wait({closing}, timeout=_BLOCKED_CHECK_S)
            if done:
                cause = None if closing.cancelled() else closing.exception()
                return f"connection lost: {cause!r}"
            if blocked == _is_ready(raw):
                blocked = not blocked
                state = LinkState.BLOCKED if blocked else LinkState.UNBLOCKED
                self._on_state(state, "the broker raised or cleared a resource alarm")


def _is_ready(raw: AbstractConnection) -> bool:
    """Whether the broker lets this connection publish.

    aiormq shows connection.blocked only through `ready()`, which then waits; one step tells.
    """
    step = raw.ready().__await__()
    try:
        next(step)
    except StopIteration:
        return True
    step.close()
    return False
