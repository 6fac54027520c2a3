"""Faults of the network and of the broker that strike at a moment, one function for each kind."""

from random import Random
from typing import Protocol

from ladle.chaos.simulated.cable import Cable
from ladle.chaos.simulated.connection import Connection
from ladle.chaos.simulated.link import SimulatedLink
from ladle.chaos.simulated.media import MediaServer
from ladle.chaos.simulated.placement_process import PlacementProcess
from ladle.chaos.simulated.world import World
from ladle.core.words import Liveness
from ladle_contracts.link import LinkState


class Machine(Protocol):
    """Where a process runs that speaks to the broker."""

    name: str
    cable: Cable

    @property
    def links(self) -> list[SimulatedLink]: ...


def any_server(world: World, draw: Random) -> MediaServer:
    """One of the media servers."""
    return draw.choice(sorted(world.servers.values(), key=lambda each: each.name))


def any_process(world: World, draw: Random) -> PlacementProcess:
    """The writer more often than not."""
    writer = world.writer() if draw.random() < 0.7 else None
    return writer or draw.choice(world.processes)


def any_machine(world: World, draw: Random) -> Machine:
    """Of a placement process, a media server or a backend, each as likely."""
    kind = draw.randrange(3)
    if kind == 0:
        return any_process(world, draw)
    if kind == 1:
        return any_server(world, draw)
    return draw.choice(world.backends)


def connections_of(world: World) -> list[Connection]:
    return sorted(world.broker.connections.values(), key=lambda each: each.address)


def cut(machine: Machine, for_ms: int, reason: str = "no route") -> None:
    """Its connections end, and it gets no new one for so long."""
    machine.cable.cut(for_ms)
    for link in machine.links:
        if link.connection is not None:
            link.connection.break_off(reason)


def disconnect(world: World, draw: Random) -> None:
    if connections := connections_of(world):
        draw.choice(connections).break_off("reset by peer")


def blackhole(world: World, draw: Random) -> None:
    if connections := connections_of(world):
        draw.choice(connections).stall(draw.choice((1_000, 8_000, 25_000)) * 1_000)


def one_way(world: World, draw: Random) -> None:
    if connections := connections_of(world):
        there = draw.random() < 0.5
        draw.choice(connections).stall(
            draw.choice((1_000, 8_000, 25_000)) * 1_000, there=there, back=not there
        )


def half_open(world: World, draw: Random) -> None:
    if connections := connections_of(world):
        draw.choice(connections).be_forgotten()


def channel_closed(world: World, draw: Random) -> None:
    if connections := connections_of(world):
        connection = draw.choice(connections)
        if connection.consumers and draw.random() < 0.7:
            connection.close_channel(draw.choice(connection.consumers))
        else:
            connection.to_client(connection.link.publishing_channel_closed, connection)


def partition(world: World, draw: Random) -> None:
    server = any_server(world, draw)
    cut(server, draw.choice((2_000, 20_000, 70_000)))


def flapping(world: World, draw: Random) -> None:
    machine = any_machine(world, draw)
    every_ms = draw.choice((300, 1_500, 4_000))
    world.again_and_again(draw.randint(3, 12), every_ms, cut, machine, every_ms // 3)


def cut_off(world: World, draw: Random) -> None:
    process, for_ms = any_process(world, draw), draw.choice((2_000, 10_000, 60_000))
    cut(process, for_ms)
    if draw.random() < 0.5:
        process.cut_from_database(for_ms)


def silence(world: World, draw: Random) -> None:
    """The bus is out: nobody says anything, and nobody may be lost for it."""
    for_ms = draw.choice((30_000, 120_000, 300_000))
    servers = sorted(world.servers.values(), key=lambda each: each.name)
    up = [
        server.name
        for server in servers
        if (row := world.journal.view.servers.get(server.name)) and row.liveness == Liveness.UP
    ]
    for server in servers:
        cut(server, for_ms)
    world.fall_silent(up if len(up) == len(servers) else (), for_ms)


def broker_restart(world: World, draw: Random) -> None:
    if world.broker.is_up:
        world.broker.go_down()
        world.later(draw.choice((200, 3_000, 15_000)), world.broker.come_up)


def alarm(world: World, draw: Random) -> None:
    for_ms = draw.choice((500, 4_000, 20_000))
    world.broker.alarm_until_us = world.loop.now_us + for_ms * 1_000
    for connection in connections_of(world):
        connection.link.say(LinkState.BLOCKED, "alarm")
    world.later(for_ms, _no_alarm, world)


def _no_alarm(world: World) -> None:
    for connection in connections_of(world):
        connection.link.say(LinkState.UNBLOCKED, "the alarm is over")


def full_queue(world: World, draw: Random) -> None:
    """As where an operator's policy sets a limit of one: a queue refuses, or drops its oldest."""
    topology, broker = world.topology, world.broker
    names = [topology.inbox, topology.requests, topology.answers, topology.dead_letters]
    names += [topology.command_queue(name) for name in sorted(world.servers)]
    queue = broker.queues.get(draw.choice(names))
    if queue is not None:
        for_us = draw.choice((1_000, 6_000, 20_000)) * 1_000
        queue.full_until_us = world.loop.now_us + for_us
