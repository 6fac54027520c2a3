"""Messages that nobody should have sent: each must end as an answer, a dead letter or a reason."""

import asyncio
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


def poison(world: World, draw: Random) -> None:
    """A burst of them, from a backend's connection."""
    backend = draw.choice(world.backends)
    for number in range(draw.randint(1, 3)):
        body = draw.choice(BODIES)
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
                correlation_id=f"poison-{world.step}-{number}",
            )
        world.loop.spawn(backend.host, _publish(backend.link, message))


async def _publish(link: object, message: Outgoing) -> None:
    try:
        await link.publish(message)  # type: ignore[attr-defined]
    except (LinkError, asyncio.CancelledError):
        return
