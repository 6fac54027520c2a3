"""What backends ask for, one draw a step."""

from random import Random
from typing import Any

from ladle.chaos.simulated.faults import Fault
from ladle.chaos.simulated.world import World


def ask_something(world: World, draw: Random) -> None:
    """One caller asks one thing; now and then two ask the same."""
    backend = draw.choice(world.backends)
    # With the step, or two of a run's calls would bear one number in some seeds of a thousand.
    call = f"{world.step}-{draw.randrange(1_000_000)}"
    roll = draw.random()
    if roll < 0.55:
        body = _allocate(world, draw, call)
        backend.ask("allocate", **body)
        if draw.random() < 0.2:
            body = {**body, "metadata": {"call": f"{call}-twice"}}
            body["request_id"] = f"{backend.name}-own-{call}"
            backend.ask("allocate", **body)
            backend.ask("allocate", **body)
    elif roll < 0.85:
        _about_a_room(world, draw)
    elif roll < 0.93:
        name = draw.choice(sorted(world.servers))
        backend.ask(draw.choice(("drain", "undrain", "undrain")), server_id=name)
    else:
        backend.ask("view" if draw.random() < 0.5 else "rooms")


def _allocate(world: World, draw: Random, call: str) -> dict[str, Any]:
    room_id = None if draw.random() < 0.3 else f"room-{draw.randrange(25)}"
    body: dict[str, Any] = {
        "room_id": room_id,
        "peers": draw.choice((2, 2, 4, 5)),
        "metadata": {"call": call},
    }
    if draw.random() < 0.3:
        body["regions"] = ["eu"]
        body["region_mode"] = draw.choice(("prefer", "require"))
    if world.dice.strikes(Fault.BAD_DATA):
        body["metadata"]["note"] = "bad-data~"
    return body


def _about_a_room(world: World, draw: Random) -> None:
    backend = draw.choice(world.backends)
    if not world.homes:
        return
    home = world.homes[draw.choice(sorted(world.homes))]
    roll = draw.random()
    if roll < 0.3:
        backend.ask("extend", room_id=home.room_id, peers=draw.choice((4, 6)))
    elif roll < 0.5:
        backend.ask("move", room_id=home.room_id, if_generation=home.generation, reason="test")
    elif roll < 0.8:
        backend.ask("release", room_id=home.room_id, allocation_id=home.allocation_id)
    elif roll < 0.9:
        backend.ask("explain", room_id=home.room_id)
    else:
        backend.ask("lookup", room_id=home.room_id)
