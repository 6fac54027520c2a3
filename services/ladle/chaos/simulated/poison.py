"""Messages that nobody should have sent: each must end as an answer, a dead letter or a reason."""

import asyncio
import json
from collections.abc import Sequence
from random import Random

from ladle.chaos.simulated.world import World
from ladle_contracts.link import LinkError, Outgoing

BODIES = (
    b"",
    b"\x00\xff\xfe",
    b"{}",
    b"[" * 2_000,
    b'{"specversion": "1.0", "id": "x", "source": "/servers/sfu-0", "type": "no-such-type"}',
    b'{"specversion": "1.0", "id": "y", "source": "/servers/sfu-1", "type": "room-created",'
    b' "data": {"room_id": 7}}',
    b'{"room_id": "r", "peers": 1e400}',
    b'{"peers": -3}',
)

NEWER = (("2.0", "room-created"), ("1.0", "room-created.v2"), ("1.0", "room-painted"))
"""The envelope's version, and a type."""


def poison(world: World, draw: Random) -> None:
    """A burst of them, from a backend's connection."""
    _send(world, draw, BODIES, "poison")


def _send(world: World, draw: Random, bodies: Sequence[bytes], name: str) -> None:
    backend = draw.choice(world.backends)
    for number in range(draw.randint(1, 3)):
        body = draw.choice(bodies)
        if draw.random() < 0.5:
            key = draw.choice(
                ("room-created.sfu-0", "room-created.sfu-1", "x.y.z", "worker-status")
            )
            message = Outgoing(world.topology.media_events, key, body, persistent=True)
        else:
            message = Outgoing(
                world.topology.placement_requests,
                draw.choice(("allocate", "release", "lookup", "fly")),
                body,
                reply_to=draw.choice(("reply.nobody", "placement.inbox", None)),
                correlation_id=f"{name}-{world.step}-{number}",
            )
        world.loop.spawn(backend.host, _publish(backend.link, message))


def large(world: World, draw: Random) -> None:
    """A megabyte: an event, a request, or something in between."""
    text = b"x" * 1_000_000
    body = draw.choice(
        (text, b'{"room_id": "%s"}' % text, b'{"peers": 2, "metadata": {"a": "%s"}}' % text)
    )
    _send(world, draw, [body], "large")


def unknown_version(world: World, draw: Random) -> None:
    """What a newer program might say."""
    server = draw.choice(sorted(world.servers.values(), key=lambda each: each.name))
    specversion, type_ = draw.choice(NEWER)
    envelope = {
        "specversion": specversion,
        "id": f"newer-{world.step}",
        "source": f"/servers/{server.name}",
        "type": type_,
        "incarnation": 1,
        "sequence": 1_000,
        "data": {"room_id": "r", "worker_id": "0", "schema": 2},
    }
    body = json.dumps(envelope).encode()
    _send(world, draw, [body, b'{"version": 2, "room_id": "r"}'], "version")


async def _publish(link: object, message: Outgoing) -> None:
    try:
        await link.publish(message)  # type: ignore[attr-defined]
    except (LinkError, asyncio.CancelledError):
        return
