"""Faults that strike at a moment: which function does which, and those of processes and people."""

from collections.abc import Callable, Mapping
from random import Random

from ladle.chaos.simulated import network_strikes as network
from ladle.chaos.simulated import storage_strikes as storage
from ladle.chaos.simulated.faults import PER_STEP, Fault
from ladle.chaos.simulated.network_strikes import any_process, any_server
from ladle.chaos.simulated.poison import large, poison, unknown_version
from ladle.chaos.simulated.world import World
from ladle.core.limits import RULES

HOUR_MS = 3_600_000


def strike(world: World, chance: Mapping[Fault, Random]) -> None:
    """Let each kind of this seed strike, or not, in this step."""
    if Fault.OLD_BACKUP in world.dice.swarm.often:
        storage.keep_backup(world, chance[Fault.OLD_BACKUP])
    for fault in Fault:
        if fault in PER_STEP and can_strike(world, fault) and world.dice.strikes(fault):
            STRIKES[fault](world, chance[fault])


def can_strike(world: World, fault: Fault) -> bool:
    """Is there anything that it could change?"""
    if fault is Fault.OLD_BACKUP:
        return bool(world.backups)
    if fault is Fault.BIT_FLIP:
        return bool(world.database.records)
    if fault is Fault.OLD_PROGRAM:
        return any(process.edition < RULES for process in world.processes)
    return True


def _crash(world: World, draw: Random) -> None:
    draw.choice(world.processes).kill()


def _stop(world: World, draw: Random) -> None:
    process = draw.choice(world.processes)
    if process.is_running:
        process.stop()


def _freeze(world: World, draw: Random) -> None:
    any_process(world, draw).freeze(draw.choice((300, 2_000, 6_000, 30_000)))


def _isolate(world: World, draw: Random) -> None:
    draw.choice(world.processes).cut_from_database(draw.choice((500, 4_000, 15_000)))


def _power_cut(world: World, draw: Random) -> None:
    machine = draw.randrange(3)
    if machine == 0:
        any_process(world, draw).lose_power()
    elif machine == 1:
        server = any_server(world, draw)
        server.lose_power()
        world.later(draw.choice((1_000, 10_000, 60_000)), server.start)
    else:
        draw.choice(world.backends).lose_power()


def _clock_step(world: World, draw: Random) -> None:
    clocks = [each.clock for each in world.processes]
    clocks += [each.clock for each in world.servers.values()]
    clocks += [each.clock for each in world.backends]
    draw.choice(clocks).wall_off_ms += draw.choice((-1, 1)) * draw.choice((20_000, HOUR_MS))


def _server_restart(world: World, draw: Random) -> None:
    server = any_server(world, draw)
    server.kill()
    world.later(draw.choice((100, 5_000, 40_000)), server.start)


def _restart_loop(world: World, draw: Random) -> None:
    """Killed as often as it has begun, as where something is wrong with its machine."""
    times, every_ms = draw.randint(3, 8), draw.choice((700, 3_000, 8_000))
    if draw.random() < 0.5:
        world.again_and_again(times, every_ms, any_process(world, draw).kill)
        return
    server = any_server(world, draw)
    world.again_and_again(times, every_ms, server.kill)
    world.later(every_ms // 2, world.again_and_again, times, every_ms, server.start)


def _server_leaves(world: World, draw: Random) -> None:
    server = any_server(world, draw)
    server.leave()
    world.later(draw.choice((2_000, 20_000)), server.start)


def _worker_dies(world: World, draw: Random) -> None:
    any_server(world, draw).lose_worker()


def _client_restart(world: World, draw: Random) -> None:
    draw.choice(world.backends).kill()


def _upgrade(world: World, draw: Random) -> None:
    """One process gets the newer program; the others keep the older one beside it."""
    process = draw.choice([each for each in world.processes if each.edition < RULES])
    process.edition = RULES
    if draw.random() < 0.5:
        process.kill()
    elif process.is_running:
        process.stop()


def _burst(world: World, draw: Random) -> None:
    """Of rooms that nobody has yet; for the last of them there may be no room."""
    for number in range(draw.randint(30, 90)):
        call = f"{world.step}-crowd-{number}"
        draw.choice(world.backends).ask(
            "allocate",
            room_id=f"crowd-{world.step}-{number}",
            peers=draw.choice((2, 4)),
            metadata={"call": call},
        )


def _all_draining(world: World, draw: Random) -> None:
    backend = draw.choice(world.backends)
    for name in sorted(world.servers):
        backend.ask("drain", server_id=name)
        world.later(draw.choice((5_000, 15_000)), _undrain, world, name)


def _undrain(world: World, name: str) -> None:
    world.backends[0].ask("undrain", server_id=name)


STRIKES: Mapping[Fault, Callable[[World, Random], None]] = {
    Fault.CRASH: _crash,
    Fault.STOP: _stop,
    Fault.FREEZE: _freeze,
    Fault.ISOLATE: _isolate,
    Fault.DISCONNECT: network.disconnect,
    Fault.BLACKHOLE: network.blackhole,
    Fault.PARTITION: network.partition,
    Fault.BROKER_RESTART: network.broker_restart,
    Fault.ALARM: network.alarm,
    Fault.CLOCK_STEP: _clock_step,
    Fault.SERVER_RESTART: _server_restart,
    Fault.SERVER_LEAVES: _server_leaves,
    Fault.WORKER_DIES: _worker_dies,
    Fault.CLIENT_RESTART: _client_restart,
    Fault.POISON: poison,
    Fault.ONE_WAY: network.one_way,
    Fault.HALF_OPEN: network.half_open,
    Fault.POWER_CUT: _power_cut,
    Fault.CHANNEL_CLOSED: network.channel_closed,
    Fault.FLAPPING: network.flapping,
    Fault.CUT_OFF: network.cut_off,
    Fault.SILENCE: network.silence,
    Fault.FULL_QUEUE: network.full_queue,
    Fault.RESTART_LOOP: _restart_loop,
    Fault.BURST: _burst,
    Fault.ALL_DRAINING: _all_draining,
    Fault.LARGE: large,
    Fault.UNKNOWN_VERSION: unknown_version,
    Fault.OLD_BACKUP: storage.old_backup,
    Fault.BIT_FLIP: storage.bit_flip,
    Fault.DISK_FULL: storage.disk_full,
    Fault.OLD_PROGRAM: _upgrade,
}
