"""Servers that register get their command queue, and however often they do, by one errand."""

import asyncio
from collections.abc import Sequence
from typing import Any

from ladle.placement.aftermath import AfterCommit
from ladle_contracts.clock import SystemClock
from ladle_contracts.topology import Topology


class Broker:
    """Declares as slowly as it is let; the most connections that were open at once."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.declared: list[list[str]] = []
        self.open = self.most = 0

    async def declare(self, server_ids: Sequence[str]) -> None:
        self.open += 1
        self.most = max(self.most, self.open)
        await self.go_on.wait()
        self.open -= 1
        self.declared.append(list(server_ids))


def after_commit(broker: Broker) -> AfterCommit:
    nothing: Any = None
    return AfterCommit(
        store=nothing,
        link=nothing,
        clock=SystemClock(),
        topology=Topology(),
        metrics=nothing,
        outbox=nothing,
        declare=broker.declare,
    )


async def test_one_that_registers_in_a_loop_opens_one_connection() -> None:
    broker = Broker()
    after = after_commit(broker)
    for _ in range(50):
        after.welcome("sfu-eu-1")
        await asyncio.sleep(0)
    after.welcome("sfu-eu-2")
    broker.go_on.set()
    await after.settle()
    assert broker.most == 1
    assert broker.declared == [["sfu-eu-1"], ["sfu-eu-2"]]
    after.welcome("sfu-eu-1")
    await after.settle()
    assert broker.declared[2:] == [["sfu-eu-1"]]
