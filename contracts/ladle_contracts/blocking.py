"""The client for scripts and notebooks: the same methods, without `await`.

    with BlockingPlacementClient("amqp://backend:secret@broker/") as ladle:
        print(ladle.allocate("standup").server.ws_url)

A loop in a thread of its own carries the connection; any number of threads may call.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from .client import OwnEvents, PlacementClient
from .own_messages import ReceivedOwnEvent

P = ParamSpec("P")
R = TypeVar("R")


def _twin(
    method: Callable[Concatenate[PlacementClient, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate["BlockingPlacementClient", P], R]:
    """The same method, waiting for its result; name, signature and docs are the original's."""

    def call(self: "BlockingPlacementClient", /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._run(method(self._opened, *args, **kwargs))

    call.__name__ = method.__name__
    call.__doc__ = method.__doc__
    return call


class BlockingPlacementClient:
    """PlacementClient's twin; arguments as for PlacementClient.connect."""

    def __init__(self, url: str, **options: Any) -> None:
        self._url = url
        self._options = options
        self._loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = None
        self._client: PlacementClient | None = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def open(self) -> None:
        """Connect. Raises Unreachable."""
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="ladle-client", daemon=True
        )
        self._thread.start()
        try:
            self._client = self._run(self._connected())
        except BaseException:
            self.close()
            raise

    async def _connected(self) -> PlacementClient:
        client = PlacementClient.connect(self._url, **self._options)
        await client.open()
        return client

    def close(self) -> None:
        """Close the connection and end the thread. Safe to call twice; it does not open again."""
        client, self._client = self._client, None
        thread, self._thread = self._thread, None
        if client is not None:
            self._run(client.close())
        if thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
        if not self._loop.is_closed():
            self._loop.close()

    @property
    def _opened(self) -> PlacementClient:
        if self._client is None:
            raise RuntimeError("the client is not open: use it in a with statement")
        return self._client

    def _run(self, work: Coroutine[Any, Any, R]) -> R:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise

    allocate = _twin(PlacementClient.allocate)
    extend = _twin(PlacementClient.extend)
    move = _twin(PlacementClient.move)
    release = _twin(PlacementClient.release)
    drain = _twin(PlacementClient.drain)
    undrain = _twin(PlacementClient.undrain)
    lookup = _twin(PlacementClient.lookup)
    view = _twin(PlacementClient.view)
    rooms = _twin(PlacementClient.rooms)
    decisions = _twin(PlacementClient.decisions)
    history = _twin(PlacementClient.history)
    explain = _twin(PlacementClient.explain)

    @contextlib.contextmanager
    def events(
        self, *types: str, name: str | None = None, user: str | None = None
    ) -> Iterator[Iterator[ReceivedOwnEvent]]:
        """Ladle's own events; subscribed within the with statement, an endless iterator."""
        subscription = self._opened.events(*types, name=name, user=user)
        self._run(subscription.start())
        try:
            yield self._each(subscription)
        finally:
            self._run(subscription.aclose())

    def _each(self, subscription: OwnEvents) -> Iterator[ReceivedOwnEvent]:
        async def following() -> ReceivedOwnEvent | None:
            return await anext(subscription, None)

        while (event := self._run(following())) is not None:
            yield event
