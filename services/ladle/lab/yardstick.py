"""The yardsticks: what bare aio-pika does with the same messages.

`echo`: answers each request with its own body, confirms off, an ack each. `sink`: takes events,
an ack each, and does nothing but say how many. Both with prefetch 500.
`python -m ladle.lab.yardstick echo URL QUEUE`
"""

import asyncio
import contextlib
import sys

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

PREFETCH = 500
SAY_EVERY = 500


async def serve(kind: str, url: str, queue_name: str) -> None:
    """Until cancelled; says "ready" on standard output when it consumes."""
    connection = await aio_pika.connect(url)
    async with connection:
        channel = await connection.channel(publisher_confirms=False)
        await channel.set_qos(prefetch_count=PREFETCH)
        queue = await channel.get_queue(queue_name)
        exchange = channel.default_exchange

        async def echo(message: AbstractIncomingMessage) -> None:
            await exchange.publish(
                aio_pika.Message(message.body, correlation_id=message.correlation_id),
                routing_key=message.reply_to or "",
                mandatory=False,
            )
            await message.ack()

        taken = 0

        async def sink(message: AbstractIncomingMessage) -> None:
            nonlocal taken
            await message.ack()
            taken += 1
            if taken % SAY_EVERY == 0:
                sys.stdout.write(f"{taken}\n")
                sys.stdout.flush()

        await queue.consume(echo if kind == "echo" else sink)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.Future()


def main() -> None:
    """uvloop as the service has it, so that the loop is not what differs."""
    import uvloop

    kind, url, queue = sys.argv[1:4]
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(serve(kind, url, queue))


if __name__ == "__main__":
    main()
