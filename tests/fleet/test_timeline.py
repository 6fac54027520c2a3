"""The run's own time: steps come when they are due, and the end wakes everybody."""

import asyncio

import pytest

from ladle.fleet.timeline import DemandOver, Timeline


async def test_a_moment_comes() -> None:
    timeline = Timeline()
    assert await timeline.until(20)
    assert timeline.now_ms() >= 20
    # One that has passed does not wait at all.
    assert await timeline.until(0)


async def test_a_wake_comes_first_even_when_the_moment_has_passed() -> None:
    timeline = Timeline()
    wake = asyncio.Event()
    asyncio.get_running_loop().call_later(0.01, wake.set)
    assert not await timeline.until(60_000, wake)
    assert not await timeline.until(0, wake)
    assert timeline.now_ms() < 10_000


async def test_the_end_wakes_everybody_and_lets_nothing_new_begin() -> None:
    timeline = Timeline()
    waiting = [asyncio.ensure_future(timeline.until(60_000)) for _ in range(3)]
    waiting.append(asyncio.ensure_future(timeline.until(60_000, asyncio.Event())))
    await asyncio.sleep(0)
    assert not timeline.is_over
    timeline.end()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [DemandOver] * 4
    assert timeline.is_over
    with pytest.raises(DemandOver):
        await timeline.pause(0)
