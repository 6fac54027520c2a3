"""A proxy between asyncpg and PostgreSQL that cuts the connection at a chosen moment."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Self

from sqlalchemy import URL, make_url

PORT = 5432
APPENDED = b"SELECT 1\x00"
"""What the server says after the append's statement, which it has committed then."""


class Cutter:
    """`async with Cutter(url) as cutter:` then connect to `cutter.url`.

    swallow_after: cut as soon as the server has said this; the client does not hear it.
    deaf: cut as soon as the client says anything; the server does not hear it.
    """

    def __init__(self, url: str) -> None:
        self._there = make_url(url)
        # A socket's path is short, so not pytest's folder.
        self._folder = Path(tempfile.mkdtemp(prefix="ladle-cut-"))
        self._pumps: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None
        self.cuts = 0
        self.swallow_after: bytes | None = None
        self.deaf = False
        there = self._there
        here = URL.create(
            "postgresql",
            there.username,
            there.password,
            database=there.database,
            query={"host": str(self._folder)},
        )
        self.url = here.render_as_string(hide_password=False)

    async def __aenter__(self) -> Self:
        path = self._folder / f".s.PGSQL.{PORT}"
        self._server = await asyncio.start_unix_server(self._accept, path)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        for path in [*self._folder.iterdir()]:
            path.unlink()
        self._folder.rmdir()

    def cut(self) -> None:
        """Drop every connection, without a farewell to either side; counted in `cuts`."""
        self.cuts += 1
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        folder = self._there.query.get("host")
        if folder:
            path = f"{folder}/.s.PGSQL.{self._there.port or PORT}"
            there_reader, there_writer = await asyncio.open_unix_connection(path)
        else:
            there_reader, there_writer = await asyncio.open_connection(
                self._there.host, self._there.port or PORT
            )
        self._writers += [writer, there_writer]
        self._pump(reader, there_writer, self._may_ask)
        self._pump(there_reader, writer, self._may_answer)

    def _may_ask(self, _: bytes) -> bool:
        return not self.deaf

    def _may_answer(self, data: bytes) -> bool:
        return self.swallow_after is None or self.swallow_after not in data

    def _pump(self, reader, writer, may_pass) -> None:
        async def pump() -> None:
            with contextlib.suppress(OSError):
                while data := await reader.read(65_536):
                    if not may_pass(data):
                        self.cut()
                        return
                    writer.write(data)
                    await writer.drain()
            writer.transport.abort()

        task = asyncio.create_task(pump())
        self._pumps.add(task)
        task.add_done_callback(self._pumps.discard)


@contextlib.asynccontextmanager
async def holding_the_lease_row(url: str) -> AsyncIterator[None]:
    """Another session keeps the lease row locked."""
    import asyncpg

    connection = await asyncpg.connect(url)
    try:
        await connection.execute("BEGIN; SELECT 1 FROM lease FOR UPDATE")
        yield
        await connection.execute("ROLLBACK")
    finally:
        await connection.close()
