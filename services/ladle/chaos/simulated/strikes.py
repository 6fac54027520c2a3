"""Faults that strike at a moment, one function for each kind."""

from collections.abc import Callable, Mapping
from random import Random

from ladle.chaos.simulated.connection import Connection
from ladle.chaos.simulated.faults import PER_STEP, Fault
from ladle.chaos.simulated.poison import poison
from ladle.chaos.simulated.world import World
from ladle_contracts.link import LinkState

HOUR_MS = 3_600_000


def strike(world: World, chance: Mapping[Fault, Random]) -> None:
    """Let each kind of this seed strike, or not, in this step."""
    for fault in Fault:
        if fault in PER_STEP and world.dice.strikes(fault):
            STRIKES[fault](world, chance[fault])


def _crash(world: World, draw: Random) -> None:
    draw.choice(world.processes).kill()


def _stop(world: World, draw: Random) -> None:
    process = draw.choice(world.processes)
    if process.is_running:
        process.stop()


def _freeze(world: World, draw: Random) -> None:
    process = world.writer() if draw.random() < 0.7 else None
    (process or draw.choice(world.processes)).freeze(draw.choice((300, 2_000, 6_000, 30_000)))


def _isolate(world: World, draw: Random) -> None:
    draw.choice(world.processes).cut_from_database(draw.choice((500, 4_000, 15_000)))


def _connections(world: World) -> list[Connection]:
    return sorted(world.broker.connections.values(), key=lambda each: each.address)


def _disconnect(world: World, draw: Random) -> None:
    if connections := _connections(world):
        draw.choice(connections).break_off("reset by peer")


def _blackhole(world: World, draw: Random) -> None:
    if connections := _connections(world):
        draw.choice(connections).stall(draw.choice((1_000, 8_000, 25_000)) * 1_000)


def _partition(world: World, draw: Random) -> None:
    link = draw.choice(sorted(world.servers.values(), key=lambda each: each.name)).link
    link.is_cut = True
    if link.connection is not None:
        link.connection.break_off("no route")
    world.later(draw.choice((2_000, 20_000, 70_000)), _mend, link)


def _mend(link: object) -> None:
    link.is_cut = False  # type: ignore[attr-defined]


def _broker_restart(world: World, draw: Random) -> None:
    if world.broker.is_up:
        world.broker.go_down()
        world.later(draw.choice((200, 3_000, 15_000)), world.broker.come_up)


def _alarm(world: World, draw: Random) -> None:
    for_ms = draw.choice((500, 4_000, 20_000))
    world.broker.alarm_until_us = world.loop.now_us + for_ms * 1_000
    for connection in _connections(world):
        connection.link.say(LinkState.BLOCKED, "alarm")
    world.later(for_ms, _no_alarm, world)


def _no_alarm(world: World) -> None:
    for connection in _connections(world):
        connection.link.say(LinkState.UNBLOCKED, "the alarm is over")


def _clock_step(world: World, draw: Random) -> None:
    clocks = [each.clock for each in world.processes]
    clocks += [each.clock for each in world.servers.values()]
    clocks += [each.clock for each in world.backends]
    draw.choice(clocks).wall_off_ms += draw.choice((-1, 1)) * draw.choice((20_000, HOUR_MS))


def _server_restart(world: World, draw: Random) -> None:
    server = draw.choice(sorted(world.servers.values(), key=lambda each: each.name))
    server.kill()
    world.later(draw.choice((100, 5_000, 40_000)), server.start)


def _server_leaves(world: World, draw: Random) -> None:
    server = draw.choice(sorted(world.servers.values(), key=lambda each: each.name))
    server.leave()
    world.later(draw.choice((2_000, 20_000)), server.start)


def _worker_dies(world: World, draw: Random) -> None:
    draw.choice(sorted(world.servers.values(), key=lambda each: each.name)).lose_worker()


def _client_restart(world: World, draw: Random) -> None:
    draw.choice(world.backends).kill()


STRIKES: Mapping[Fault, Callable[[World, Random], None]] = {
    Fault.CRASH: _crash,
    Fault.STOP: _stop,
    Fault.FREEZE: _freeze,
    Fault.ISOLATE: _isolate,
    Fault.DISCONNECT: _disconnect,
    Fault.BLACKHOLE: _blackhole,
    Fault.PARTITION: _partition,
    Fault.BROKER_RESTART: _broker_restart,
    Fault.ALARM: _alarm,
    Fault.CLOCK_STEP: _clock_step,
    Fault.SERVER_RESTART: _server_restart,
    Fault.SERVER_LEAVES: _server_leaves,
    Fault.WORKER_DIES: _worker_dies,
    Fault.CLIENT_RESTART: _client_restart,
    Fault.POISON: poison,
}
