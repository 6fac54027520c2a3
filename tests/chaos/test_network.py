"""The simulated broker as clients meet it where a connection is neither whole nor gone."""

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

import pytest

from ladle.chaos.simulated.broker import Broker
from ladle.chaos.simulated.cable import Cable
from ladle.chaos.simulated.chance import Chance
from ladle.chaos.simulated.connection import HEARTBEAT_US
from ladle.chaos.simulated.faults import Dice, Swarm
from ladle.chaos.simulated.link import SimulatedLink
from ladle.chaos.simulated.loop import Host, SimulatedLoop
from ladle_contracts.link import LinkState, Message, OutcomeUnknown, Outgoing, Refused
from ladle_contracts.topology import Topology

TOPOLOGY = Topology()
HEARTBEAT_S = HEARTBEAT_US / 1_000_000
EVENT = Outgoing(TOPOLOGY.media_events, "room-created.sfu-1", b"{}", persistent=True)


class Net:
    """A broker where nothing goes wrong by chance, and machines that connect to it."""

    def __init__(self) -> None:
        chance = Chance(1)
        self.loop = SimulatedLoop(chance.stream("scheduler"))  # type: ignore[abstract]
        self.broker = Broker(self.loop, Dice(chance, Swarm({})))
        self.broker.declare(TOPOLOGY.declarations())
        self.broker.declare(TOPOLOGY.command_declarations("sfu-1"))

    def link(self, name: str) -> SimulatedLink:
        host = Host(name)
        return SimulatedLink(self.broker, host, name, Random(name), name, Cable(self.loop))

    def run(self, story: Callable[["Net"], Coroutine[Any, Any, None]]) -> None:
        self.loop.run_until(self.loop.spawn(Host("story"), story(self)))


def told(net: Net, story: Callable[[Net], Coroutine[Any, Any, None]]) -> None:
    try:
        net.run(story)
    finally:
        net.loop.unwind()


async def reader(net: Net, name: str, *, prefetch: int = 10) -> tuple[SimulatedLink, list[Message]]:
    """A link that reads the inbox, and what it has got."""
    link, got = net.link(name), list[Message]()
    await link.open()
    await link.consume(TOPOLOGY.inbox, got.extend, prefetch=prefetch)
    return link, got


async def sender(net: Net) -> SimulatedLink:
    link = net.link("sender")
    await link.open()
    return link


def test_what_a_machine_without_power_held_comes_again_after_heartbeats() -> None:
    async def story(net: Net) -> None:
        dead, got = await reader(net, "dead")
        out = await sender(net)
        await out.publish(EVENT)
        await asyncio.sleep(0.1)
        assert len(got) == 1
        dead.vanish()
        _, later = await reader(net, "alive")
        await asyncio.sleep(HEARTBEAT_S - 1)
        assert later == []
        assert net.broker.backlog(TOPOLOGY.inbox) == 1
        await asyncio.sleep(2)
        assert [each.redelivered for each in later] == [True]

    told(Net(), story)


def test_a_client_that_the_broker_forgot_learns_it_from_heartbeats() -> None:
    async def story(net: Net) -> None:
        out = await sender(net)
        states: list[LinkState] = []
        out.watch(lambda state, reason: states.append(state))
        assert out.connection is not None
        out.connection.be_forgotten()
        with pytest.raises(OutcomeUnknown, match="no heartbeat"):
            await out.publish(EVENT)
        assert net.loop.now_us >= HEARTBEAT_US
        assert net.broker.backlog(TOPOLOGY.inbox) == 0
        await asyncio.sleep(5)
        assert states == [LinkState.DOWN, LinkState.UP]
        await out.publish(EVENT)
        assert net.broker.backlog(TOPOLOGY.inbox) == 1

    told(Net(), story)


@pytest.mark.parametrize("there", [True, False], ids=["to the broker", "to the client"])
def test_one_direction_passes_and_the_other_does_not(there: bool) -> None:
    """Of a publish: the broker has it at once and its confirm is late, or both are late."""

    async def story(net: Net) -> None:
        out = await sender(net)
        assert out.connection is not None
        out.connection.stall(5_000_000, there=there, back=not there)
        publishing = asyncio.ensure_future(out.publish(EVENT))
        await asyncio.sleep(4)
        assert net.broker.backlog(TOPOLOGY.inbox) == (0 if there else 1)
        assert not publishing.done()
        await publishing
        assert net.broker.backlog(TOPOLOGY.inbox) == 1

    told(Net(), story)


def test_a_closed_channel_gives_back_what_it_held_and_opens_again() -> None:
    """An ack of a delivery of before says nothing of the next one."""

    async def story(net: Net) -> None:
        link, got = await reader(net, "reader")
        await (await sender(net)).publish(EVENT)
        await asyncio.sleep(0.1)
        assert link.connection is not None
        link.connection.close_channel(link.connection.consumers[0])
        await asyncio.sleep(0.1)
        assert [each.redelivered for each in got] == [False, True]
        assert link.connection is not None
        link.ack(got[:1])
        await asyncio.sleep(0.1)
        assert net.broker.backlog(TOPOLOGY.inbox) == 1
        link.ack(got[1:])
        await asyncio.sleep(0.1)
        assert net.broker.backlog(TOPOLOGY.inbox) == 0

    told(Net(), story)


def test_nobody_knows_of_what_a_closed_channel_had_published() -> None:
    async def story(net: Net) -> None:
        out = await sender(net)
        connection = out.connection
        assert connection is not None
        publishing = asyncio.ensure_future(out.publish(EVENT))
        await asyncio.sleep(0)
        connection.to_client(out.publishing_channel_closed, connection)
        with pytest.raises(OutcomeUnknown, match="the channel is closed"):
            await publishing
        assert out.connection is connection
        await out.publish(EVENT)

    told(Net(), story)


def test_a_full_queue_refuses_or_drops_its_oldest_as_it_is_declared() -> None:
    commands = TOPOLOGY.command_queue("sfu-1")

    async def story(net: Net) -> None:
        out = await sender(net)
        for name in (TOPOLOGY.inbox, commands):
            net.broker.queues[name].full_until_us = net.loop.now_us + 1_000_000
        with pytest.raises(Refused, match="is full"):
            await out.publish(EVENT)
        for number in range(3):
            await out.publish(Outgoing("", commands, str(number).encode()))
        waiting = net.broker.queues[commands].waiting
        assert [message.body for message, *_ in waiting] == [b"2"]
        await asyncio.sleep(1)
        await out.publish(EVENT)

    told(Net(), story)


def test_a_cut_cable_outlives_the_process() -> None:
    async def story(net: Net) -> None:
        first = await sender(net)
        first.cable.cut(3_000)
        assert first.connection is not None
        first.connection.break_off("no route")
        await asyncio.sleep(2.5)
        assert not first.is_up
        await asyncio.sleep(3)
        assert first.is_up

    told(Net(), story)
