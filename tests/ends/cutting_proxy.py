"""A TCP proxy that cuts, refuses, and holds only what the broker answers: confirms and replies."""

import asyncio
from contextlib import suppress
from typing import Self

from yarl import URL


class TcpProxy:
    """`async with TcpProxy(url) as proxy:` then connect to `proxy.url`."""

    def __init__(self, url: str) -> None:
        self._target = URL(url)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._port = 0
        self.refuses = False
        self.connections = 0
        self._answers = asyncio.Event()
        self._answers.set()

    @property
    def url(self) -> str:
        return str(self._target.with_host("127.0.0.1").with_port(self._port))

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for pump in list(self._pumps):
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    def cut(self) -> None:
        """Reset every connection, as a crashed broker or a firewall would."""
        for writer in list(self._writers):
            writer.transport.abort()

    def hold_answers(self) -> None:
        """What the client says arrives; what the broker says waits."""
        self._answers.clear()

    def release_answers(self) -> None:
        self._answers.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        if self.refuses:
            writer.transport.abort()
            return
        self.connections += 1
        there_reader, there_writer = await asyncio.open_connection(
            self._target.host, self._target.port or 5672
        )
        self._writers.add(there_writer)
        self._start(reader, there_writer, None)
        self._start(there_reader, writer, self._answers)

    def _start(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        gate: asyncio.Event | None,
    ) -> None:
        pump = asyncio.create_task(self._pump(reader, writer, gate))
        self._pumps.add(pump)
        pump.add_done_callback(self._pumps.discard)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        gate: asyncio.Event | None,
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if gate is not None:
                    await gate.wait()
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
