"""A broker that closes a connection as soon as it is made: on its way down, or a dead proxy."""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing

import pytest
import uvloop

from ladle.broker.declare import declare
from ladle_contracts.amqp import AioPikaLink
from ladle_contracts.link import LinkDown
from ladle_contracts.topology import Topology

TRIES = 40
"""Only some ends are there before the client asks for the first frame."""


@pytest.fixture
def closing_url() -> Iterator[str]:
    """Accepts and says goodbye; keeps its half open, or the client would see a reset instead."""
    listener = socket.create_server(("127.0.0.1", 0))
    accepted: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
                connection.shutdown(socket.SHUT_WR)
            except OSError:  # The listener is closed: the test is over.
                return
            accepted.append(connection)

    thread = threading.Thread(target=accept)
    thread.start()
    with closing(listener):
        yield f"amqp://guest:guest@127.0.0.1:{listener.getsockname()[1]}/"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    for connection in accepted:
        connection.close()


async def declaring(url: str) -> None:
    await declare(url, Topology("default"), timeout_s=5)


async def opening(url: str) -> None:
    await AioPikaLink(url, name="test").open()


@pytest.mark.parametrize("attempt", [declaring, opening])
async def test_it_is_a_link_that_is_down(
    closing_url: str, attempt: Callable[[str], Awaitable[None]]
) -> None:
    """On the event loop that the service runs on, where such an end ended the service."""

    async def again_and_again() -> list[BaseException]:
        tries = [attempt(closing_url) for _ in range(TRIES)]
        return [error for error in await asyncio.gather(*tries, return_exceptions=True) if error]

    errors = await asyncio.to_thread(uvloop.run, again_and_again())
    assert len(errors) == TRIES
    assert {type(error) for error in errors} == {LinkDown}
