"""One suite for every link: the plain one of the light install, FastStream's, the fast one."""

import asyncio
import secrets
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import aiormq
import pytest
import uvloop
from aiormq.abc import AbstractChannel

from ladle.broker.fast import FastLink
from ladle.broker.plain import FastStreamLink
from ladle_contracts.amqp import AioPikaLink
from ladle_contracts.link import Link, LinkDown, LinkState, Message, Outgoing

LINKS = {
    "aio-pika": AioPikaLink,
    "faststream": FastStreamLink,
    "fast": FastLink,
}

MakeLink = Callable[..., Awaitable[Link]]


@dataclass
class Inbox:
    """What a consumer got, and a way to wait for it."""

    batches: list[list[Message]] = field(default_factory=list)

    def __call__(self, messages: list[Message]) -> None:
        self.batches.append(messages)

    @property
    def messages(self) -> list[Message]:
        return [message for batch in self.batches for message in batch]

    @property
    def bodies(self) -> list[bytes]:
        return [message.body for message in self.messages]

    async def until(self, count: int, timeout_s: float = 10.0) -> list[Message]:
        """Wait for so many messages in all, and a moment longer: no more should come."""
        await eventually(lambda: len(self.messages) >= count, timeout_s)
        await asyncio.sleep(0.1)
        assert len(self.messages) == count
        return self.messages


async def eventually(holds: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(timeout_s):
        while not holds():
            await asyncio.sleep(0.01)


async def published(link: Link, message: Outgoing, timeout_s: float = 10.0) -> None:
    """Publish, again as long as the link says that nothing was sent."""
    async with asyncio.timeout(timeout_s):
        while True:
            try:
                return await link.publish(message)
            except LinkDown:
                await asyncio.sleep(0.05)


@dataclass
class States:
    """The changes that a link told."""

    seen: list[LinkState] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def __call__(self, state: LinkState, reason: str) -> None:
        self.seen.append(state)
        self.reasons.append(reason)


@pytest.fixture(params=list(LINKS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The links are tried on asyncio's own loop and on uvloop, which the service runs on."""
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if "make_link" in getattr(item, "fixturenames", ()):
        loops["uvloop"] = uvloop.new_event_loop
    return loops


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Only the fast link works below the level at which the loops differ."""
    items[:] = [item for item in items if not is_needless(item)]


def is_needless(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    params = callspec.params if callspec is not None else {}
    on_uvloop = params.get("_asyncio_loop_factory") is uvloop.new_event_loop
    return on_uvloop and params.get("kind", "fast") != "fast"


@pytest.fixture
async def make_link(kind: str, broker_url: str) -> AsyncIterator[MakeLink]:
    """Open links of the kind under test; they are closed in the end."""
    made: list[Link] = []

    async def make(
        url: str = broker_url,
        *,
        heartbeat_s: int = 10,
        ssl_context: ssl.SSLContext | None = None,
        confirm_timeout_ms: int = 10_000,
        states: States | None = None,
    ) -> Link:
        options = {} if kind == "aio-pika" else {"reconnect_interval_ms": 200}
        link: Link = LINKS[kind](
            url,
            heartbeat_s=heartbeat_s,
            ssl_context=ssl_context,
            confirm_timeout_ms=confirm_timeout_ms,
            **options,
        )
        if states is not None:
            link.watch(states)
        made.append(link)
        await link.open()
        return link

    yield make
    for link in made:
        await link.close()


@pytest.fixture
async def channel(broker_url: str) -> AsyncIterator[AbstractChannel]:
    """A raw channel of its own, for what the tests set up and look at."""
    connection = await aiormq.connect(broker_url)
    yield await connection.channel(on_return_raises=True)
    await connection.close()


@pytest.fixture
async def queue(broker_url: str) -> AsyncIterator[str]:
    """A fresh durable queue."""
    name = f"test.{secrets.token_hex(6)}"
    connection = await aiormq.connect(broker_url)
    declaring = await connection.channel()
    await declaring.queue_declare(name, durable=True)
    await declaring.close()
    yield name
    cleaning = await connection.channel()
    await cleaning.queue_delete(name)
    await connection.close()


async def fill(channel: AbstractChannel, queue: str, bodies: list[bytes]) -> None:
    """Put messages into a queue."""
    for body in bodies:
        await channel.basic_publish(body, routing_key=queue, mandatory=True)


async def left_in(channel: AbstractChannel, queue: str) -> list[bytes]:
    """Take what is left in a queue, after everybody else has closed."""
    bodies = []
    while True:
        got = await channel.basic_get(queue, no_ack=True)
        if isinstance(got.delivery, aiormq.spec.Basic.GetEmpty):
            return bodies
        bodies.append(got.body)
