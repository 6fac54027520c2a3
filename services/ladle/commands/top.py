"""`ladle top`: the fleet on one screen, and the decisions as they fall."""

import asyncio
import contextlib
import os
import sys
import termios
import tty
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated

import typer
from rich.console import Console, RenderableType
from rich.live import Live

from ladle.commands.asking import asked, client_for
from ladle.commands.guard import command
from ladle.commands.output import DONE, USAGE, SafeConsole, fail
from ladle.commands.screen import Screen, first_shown, frame, rows_for_servers
from ladle_contracts.client import PlacementClient
from ladle_contracts.errors import PlacementError
from ladle_contracts.link import LinkError
from ladle_contracts.requests import DecisionRecord, ViewReply

DECISIONS_KEPT = 200
SORTS = ("load", "id", "rooms")
KEYS = "q leave   s next order   up/down, page up/down scroll"


@dataclass(slots=True)
class _Watch:
    """What the screen shows now, and how."""

    interval_s: float
    region: str | None
    sort: str
    view: ViewReply | None = None
    trouble: str = ""
    after_offset: int = 0
    first: int = 0
    keys: str = ""
    decisions: deque[DecisionRecord] = field(default_factory=lambda: deque(maxlen=DECISIONS_KEPT))
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Something new to draw: an answer, or a key."""

    def screen(self, console: Console) -> Screen:
        return Screen(console.width, console.height, self.sort, self.first, self.trouble, self.keys)


@command
def top(
    interval: Annotated[
        float, typer.Option(min=0.2, max=60, help="Seconds between two looks.")
    ] = 1.0,
    region: Annotated[str | None, typer.Option(help="Only servers of this region.")] = None,
    sort: Annotated[str, typer.Option(help="load, id or rooms.")] = "load",
    once: Annotated[bool, typer.Option("--once", help="Print one picture and leave.")] = False,
) -> None:
    """Watch servers and workers by load, and decisions as they fall; times are UTC.

    Keys: q leaves, s takes the next order, arrows and page keys (or k and j) scroll.

    Example: ladle top --region eu-west
    """
    if sort not in SORTS:
        fail(USAGE, f"--sort: {sort!r} is none of {', '.join(SORTS)}")
    console = SafeConsole()
    if not (once or console.is_terminal):
        fail(USAGE, "top draws on a terminal", "one picture for a pipe: ladle top --once")
    if not once and console.is_dumb_terminal:
        # Nothing would be drawn at all: such a terminal cannot write over what stands there.
        fail(USAGE, "top cannot draw where TERM is dumb", "one picture: ladle top --once")
    try:
        with asked():
            asyncio.run(_top(_Watch(interval, region, sort), once=once))
    except KeyboardInterrupt:
        raise typer.Exit(DONE) from None  # The other way to leave.


async def _top(watch: _Watch, *, once: bool) -> None:
    console = SafeConsole()
    async with client_for() as client:
        await _look(client, watch)
        if once:
            console.print(_frame(watch, console))
            return
        watch.keys = KEYS if sys.stdin.isatty() else "Ctrl-C leaves"
        with (
            _keys(watch, console),
            Live(_frame(watch, console), console=console, screen=True, auto_refresh=False) as live,
        ):
            # Beside the drawing: an answer that is late must not keep keys waiting.
            looking = asyncio.create_task(_keep_looking(client, watch))
            try:
                await _keep_drawing(watch, live, console)
            finally:
                looking.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await looking


async def _keep_looking(client: PlacementClient, watch: _Watch) -> None:
    while True:
        await asyncio.sleep(watch.interval_s)
        await _look(client, watch)


async def _keep_drawing(watch: _Watch, live: Live, console: Console) -> None:
    """Draw what is new, at once, and each second: terminals change their size."""
    while not watch.stop.is_set():
        live.update(_frame(watch, console), refresh=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(watch.changed.wait(), 1.0)
        watch.changed.clear()


async def _look(client: PlacementClient, watch: _Watch) -> None:
    """Read view and new decisions; trouble is shown above the last good picture."""
    try:
        watch.view = await client.view(region=watch.region)
        if not watch.after_offset:
            # The last screenful of decisions, not the whole journal from its beginning.
            watch.after_offset = max(0, watch.view.journal_offset - DECISIONS_KEPT)
        page = await client.decisions(after_offset=watch.after_offset, limit=DECISIONS_KEPT)
        watch.decisions.extend(page.decisions)
        watch.after_offset = max(watch.after_offset, page.next_offset)
        watch.trouble = ""
    except (PlacementError, LinkError) as error:
        if watch.view is None:
            raise
        watch.trouble = str(error)
    watch.changed.set()


def _frame(watch: _Watch, console: Console) -> RenderableType:
    assert watch.view is not None
    return frame(watch.view, list(watch.decisions), watch.screen(console))


@contextlib.contextmanager
def _keys(watch: _Watch, console: Console) -> Iterator[None]:
    """Single keys from the terminal; without one only Ctrl-C leaves."""
    if not sys.stdin.isatty():
        yield
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, _on_typed, watch, descriptor, console)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _on_typed(watch: _Watch, descriptor: int, console: Console) -> None:
    typed = os.read(descriptor, 16).decode(errors="ignore")
    on_key(watch, typed, watch.screen(console))
    watch.changed.set()


def on_key(watch: _Watch, typed: str, screen: Screen) -> None:
    """What a key does; `typed` is what the terminal sent for it."""
    page = rows_for_servers(screen)
    steps = {
        "j": 1, "\x1b[B": 1, "\x1bOB": 1,
        "k": -1, "\x1b[A": -1, "\x1bOA": -1,
        " ": page, "\x1b[6~": page, "\x1b[5~": -page,
    }  # fmt: skip
    if typed in ("q", "\x04", ""):
        watch.stop.set()
    elif typed == "s":
        watch.sort = SORTS[(SORTS.index(watch.sort) + 1) % len(SORTS)]
    elif typed in steps and watch.view is not None:
        moved = Screen(screen.width, screen.height, first=watch.first + steps[typed])
        watch.first = first_shown(len(watch.view.servers), moved)
