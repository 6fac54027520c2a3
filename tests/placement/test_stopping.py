"""A stop is a matter of seconds in every phase, also where the broker accepts and stays silent."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ladle.broker import connecting
from ladle.journal.open import open_store
from ladle.journal.schema import upgrade
from ladle.placement import declaring as module
from ladle.placement.build import make_link
from ladle.placement.service import PlacementService
from ladle.placement.settings import PlacementSettings
from ladle.placement.stopping import unless_stopped, within
from ladle.placement.term import Term
from ladle_contracts.clock import SystemClock
from tests.fixtures.placement_process import placement_process
from tests.fixtures.proxy import Proxy, proxied

pytestmark = pytest.mark.broker

SECONDS = 15
"""More than any stop takes (2 + 4 + 3, and what is cut short), less than the libraries wait."""


@asynccontextmanager
async def starting(
    url: str, cell: str, folder: Path, link: str
) -> AsyncIterator[tuple[PlacementService, Callable[[], Any]]]:
    """A service that has been told to run, and how to stop it within seconds."""
    wanted = PlacementSettings.model_validate(
        {
            "amqp_url": url,
            "cell": cell,
            "database_url": f"sqlite:///{folder}/ladle.db",
            "http": False,
            "link": link,
        }
    )
    await upgrade(wanted.database)
    service = PlacementService(
        wanted,
        store=open_store(wanted.database),
        make_link=lambda: make_link(wanted),
        clock=SystemClock(),
    )
    stop = asyncio.Event()
    running = asyncio.create_task(service.run(stop))

    async def end() -> None:
        stop.set()
        await asyncio.wait([running], timeout=SECONDS)
        assert running.done(), "it does not stop"
        await running

    try:
        yield service, end
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    # A process of its own takes its time on a busy machine.
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


def silent_before(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> asyncio.Event:
    """Let the broker fall silent at the moment at which this is called; set when it was."""
    reached = asyncio.Event()
    real = getattr(owner, name)

    async def called(*args: Any, **kwargs: Any) -> Any:
        proxy.blackhole()
        reached.set()
        return await real(*args, **kwargs)

    monkeypatch.setattr(owner, name, called)
    return reached


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No errand ends by itself while a test looks on."""
    monkeypatch.setattr(connecting, "TIMEOUT_S", 600.0)
    monkeypatch.setattr(module.declare, "__kwdefaults__", {"ssl_context": None, "timeout_s": 600.0})


PHASES: dict[str, tuple[Any, str]] = {
    "connecting and declaring": (module, "declare"),
    "waiting for the lease": (PlacementService, "_serve_a_term"),
    "beginning to consume": (Term, "_consume"),
    "serving": (PlacementService, "_until_over"),
    "ending": (Term, "end"),
}


@pytest.mark.parametrize("link", ["fast", "plain"])
@pytest.mark.parametrize("phase", PHASES)
async def test_a_silent_broker_holds_up_no_stop(
    broker_url: str,
    cell: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    phase: str,
    link: str,
) -> None:
    async with proxied(broker_url) as (proxy, url):
        reached = silent_before(proxy, monkeypatch, *PHASES[phase])
        async with starting(url, cell, tmp_path, link) as (service, end):
            if phase == "ending":
                await until(lambda: service.term is not None)
            else:
                async with asyncio.timeout(20):
                    await reached.wait()
                await asyncio.sleep(0.2)
            await end()
            assert reached.is_set()
            assert not service.readiness()["ready"]


async def test_the_process_leaves_with_0_where_the_broker_never_says_a_word(
    tmp_path: Path, cell: str
) -> None:
    heard: list[asyncio.StreamWriter] = []

    def listen(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(writer)

    silent = await asyncio.start_server(listen, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    try:
        async with placement_process(
            tmp_path,
            amqp_url=f"amqp://guest:guest@127.0.0.1:{port}/",
            cell=cell,
            database_url=f"sqlite:///{tmp_path}/ladle.db",
        ) as process:
            await until(lambda: bool(heard))
            process.send(signal.SIGTERM)
            assert await process.ended(within_s=SECONDS) == 0, process.tail()
    finally:
        silent.close()
        for writer in heard:
            writer.close()


async def test_work_that_is_done_before_the_stop_has_its_end_and_its_error() -> None:
    async def fails() -> None:
        raise ValueError("seen")

    assert await unless_stopped(asyncio.Event(), asyncio.sleep(0))
    with pytest.raises(ValueError, match="seen"):
        await unless_stopped(asyncio.Event(), fails())
    with pytest.raises(ValueError, match="seen"):
        await within(1_000, "failing", fails())


async def test_what_ignores_its_cancel_is_left_behind() -> None:
    stop, over = asyncio.Event(), asyncio.Event()

    async def stubborn() -> None:
        while not over.is_set():
            try:
                await over.wait()
            except asyncio.CancelledError:
                continue

    stop.set()
    assert not await unless_stopped(stop, stubborn())
    await within(10, "ending", stubborn(), after=stop)
    over.set()
