"""Work beside the writer ends in the order of its start, whatever the addresses of its tasks."""

import asyncio
import logging

from ladle.placement.errands import Errands

COUNT = 50


async def test_what_is_cancelled_gives_back_in_the_order_in_which_it_came() -> None:
    """Once a set held the tasks: reads that a standby gave back came again in any order."""
    errands = Errands("a test", logging.getLogger("ladle.test"))
    given_back: list[int] = []

    async def hold(number: int) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            given_back.append(number)
            raise

    for number in range(COUNT):
        errands.run(hold(number))
    await asyncio.sleep(0)
    await errands.close()
    assert given_back == list(range(COUNT))


async def test_what_was_started_meanwhile_is_waited_for_too() -> None:
    errands = Errands("a test", logging.getLogger("ladle.test"))
    done: list[str] = []

    async def second() -> None:
        done.append("second")

    async def first() -> None:
        errands.run(second())
        done.append("first")

    errands.run(first())
    await errands.settle()
    assert done == ["first", "second"]
