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
from ladle.commands.output import USAGE, fail
from ladle.commands.screen import Screen, frame
from ladle_contracts.client import PlacementClient
from ladle_contracts.requests import DecisionRecord, ViewReply

DECISIONS_KEPT = 200
SORTS = ("load", "id", "rooms")


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
    decisions: deque[DecisionRecord] = field(default_factory=lambda: deque(maxlen=DECISIONS_KEPT))
    stop: asyncio.Event = field(default_factory=asyncio.Event)


def top(
    interval: Annotated[
        float, typer.Option(min=0.2, max=60, help="Seconds between two looks.")
    ] = 1.0,
    region: Annotated[str | None, typer.Option(help="Only servers of this region.")] = None,
    sort: Annotated[str, typer.Option(help="load, id or rooms.")] = "load",
    once: Annotated[bool, typer.Option("--once", help="Print one picture and leave.")] = False,
) -> None:
    """Watch servers and workers by load, and decisions as they fall.

    Keys: s next order, up/down (or k/j) scroll, q leaves.

    Example: ladle top --region eu-west
    """
    if sort not in SORTS:
        fail(USAGE, f"--sort: {sort!r} is none of {', '.join(SORTS)}")
    with asked():
        asyncio.run(_top(_Watch(interval, region, sort), once=once))


async def _top(watch: _Watch, *, once: bool) -> None:
    console = Console()
    async with client_for() as client:
        await _look(client, watch)
        if once:
            console.print(_frame(watch, console))
            return
        with (
            _keys(watch),
            Live(_frame(watch, console), console=console, screen=True, auto_refresh=False) as live,
        ):
            while not watch.stop.is_set():
                await _look(client, watch)
                live.update(_frame(watch, console), refresh=True)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(watch.stop.wait(), watch.interval_s)


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
    except Exception as error:
        if watch.view is None:
            raise
        watch.trouble = str(error) or type(error).__name__


def _frame(watch: _Watch, console: Console) -> RenderableType:
    assert watch.view is not None
    screen = Screen(console.width, console.height, watch.sort, watch.first, watch.trouble)
    return frame(watch.view, list(watch.decisions), screen)


@contextlib.contextmanager
def _keys(watch: _Watch) -> Iterator[None]:
    """Single keys from the terminal; without one only Ctrl-C leaves."""
    if not sys.stdin.isatty():
        yield
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, _on_key, watch, descriptor)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _on_key(watch: _Watch, descriptor: int) -> None:
    typed = os.read(descriptor, 16).decode(errors="ignore")
    if "q" in typed:
        watch.stop.set()
    elif "s" in typed:
        watch.sort = SORTS[(SORTS.index(watch.sort) + 1) % len(SORTS)]
    elif typed in ("j", "\x1b[B"):
        watch.first += 1
    elif typed in ("k", "\x1b[A"):
        watch.first = max(0, watch.first - 1)
