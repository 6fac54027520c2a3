"""What chaos is played on: a broker, a database, placement processes, and a proxy before each."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from ladle.broker.node import PrivateNode
from ladle.chaos.real.plan import Kind, Strike
from ladle.chaos.real.process import PlacementProcess
from ladle.chaos.real.proxy import Proxy, proxied
from ladle.journal.url import SqliteUrl, parse

FULL_AFTER_BYTES = 300_000
"""What a full disk still takes: some hundred records."""

FULL_WITHIN_S = 20.0


@dataclass(frozen=True, slots=True)
class Member:
    """A placement process and the proxy through which it reaches the broker."""

    process: PlacementProcess
    proxy: Proxy


class Stage:
    """Does to its parts what a strike says, and mends it again."""

    def __init__(
        self, node: PrivateNode, database: str, members: list[Member], callers: Proxy
    ) -> None:
        self.node = node
        self.database = database
        self.members = members
        self._callers = callers
        self._strikes = {
            Kind.KILL: self._kill,
            Kind.STOP: self._stop,
            Kind.FREEZE: self._freeze,
            Kind.RESET: self._reset,
            Kind.BLACKHOLE: self._blackhole,
            Kind.RESET_CALLERS: self._reset_callers,
            Kind.BLACKHOLE_CALLERS: self._blackhole_callers,
            Kind.BROKER_RESTART: self._broker_restart,
            Kind.BROKER_KILL: self._broker_kill,
            Kind.DISK_FULL: self._disk_full,
            Kind.DATABASE_CUT: self._database_cut,
        }

    async def strike(self, strike: Strike) -> str | None:
        """Let it happen to the writer, or to who stands between; a sentence where it went wrong."""
        writer = await self.writer()
        said = await self._strikes[strike.kind](writer, strike.lasts_s)
        # A service that a fault outlasts may end by itself; whoever runs it starts it again.
        for member in self.members:
            if not member.process.running:
                code = member.process.exit_code
                said = said or f"a process ended with {code}: {member.process.tail()[-500:]}"
                await member.process.start()
        return said

    async def writer(self) -> Member:
        """Who writes now; the first where nobody says so."""
        for member in self.members:
            if await member.process.role() == "writer":
                return member
        return self.members[0]

    async def ready(self) -> None:
        """Wait until one writes and all others stand by."""
        waiting = [asyncio.create_task(self._has_a_role(member)) for member in self.members]
        await asyncio.gather(*waiting)

    async def _has_a_role(self, member: Member) -> None:
        async with asyncio.timeout(60):
            while True:
                if await member.process.role() is not None:
                    return
                await asyncio.sleep(0.1)

    async def _kill(self, writer: Member, lasts_s: float) -> None:
        await writer.process.kill()
        await writer.process.start()

    async def _stop(self, writer: Member, lasts_s: float) -> str | None:
        code = await writer.process.terminate()
        await writer.process.start()
        return f"SIGTERM ended it with {code}" if code else None

    async def _freeze(self, writer: Member, lasts_s: float) -> None:
        writer.process.send(signal.SIGSTOP)
        try:
            await asyncio.sleep(lasts_s)
        finally:
            writer.process.send(signal.SIGCONT)

    async def _reset(self, writer: Member, lasts_s: float) -> None:
        writer.proxy.reset()

    async def _reset_callers(self, writer: Member, lasts_s: float) -> None:
        self._callers.reset()

    async def _blackhole(self, writer: Member, lasts_s: float) -> None:
        await _nothing_passes(writer.proxy, lasts_s)

    async def _blackhole_callers(self, writer: Member, lasts_s: float) -> None:
        await _nothing_passes(self._callers, lasts_s)

    async def _broker_restart(self, writer: Member, lasts_s: float) -> None:
        await asyncio.to_thread(self.node.stop)
        await asyncio.to_thread(self.node.start)

    async def _broker_kill(self, writer: Member, lasts_s: float) -> None:
        if self.node.pid is not None:
            os.kill(self.node.pid, signal.SIGKILL)
        await asyncio.to_thread(self.node.stop)  # What is left of it: its name server.
        await asyncio.to_thread(self.node.start)

    async def _disk_full(self, writer: Member, lasts_s: float) -> str | None:
        """No file of the process grows any more: it must say so, end with 3, and go on later."""
        target = parse(self.database)
        assert isinstance(target, SqliteUrl)
        for member in self.members:
            await member.process.kill()
        limit = target.path.stat().st_size + FULL_AFTER_BYTES
        await writer.process.start(file_bytes_max=limit)
        try:
            code = await writer.process.ended(FULL_WITHIN_S)
        except TimeoutError:
            await writer.process.kill()
            code = None
        for member in self.members:
            await member.process.start()
        return None if code == 3 else f"on a full disk it ended with {code}, and not with 3"

    async def _database_cut(self, writer: Member, lasts_s: float) -> None:
        """End every session of the database, in mid transaction too."""
        import asyncpg

        target = parse(self.database)
        assert not isinstance(target, SqliteUrl)
        connection = await asyncpg.connect(target.dsn)
        try:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        finally:
            await connection.close()


async def _nothing_passes(proxy: Proxy, lasts_s: float) -> None:
    proxy.blackhole()
    try:
        await asyncio.sleep(lasts_s)
    finally:
        proxy.heal()


@asynccontextmanager
async def staged(
    folder: Path,
    database: str,
    *,
    processes: int,
    preexec: Callable[[], None] | None = None,
) -> AsyncIterator[tuple[Stage, str]]:
    """Everything started, and the broker's address for callers; ended in any state it is in.

    Raises NodeError where no broker can be started.
    """
    node = PrivateNode(folder / "rabbitmq", name=f"ladle-chaos-{os.getpid()}")
    async with AsyncExitStack() as stack:
        stack.callback(node.stop)
        await asyncio.to_thread(node.start)
        callers, url = await stack.enter_async_context(proxied(node.url))
        members = []
        for number in range(processes):
            own = folder / f"placement-{number + 1}"
            own.mkdir()
            proxy, its_url = await stack.enter_async_context(proxied(node.url))
            # No name for the lease: one that is started again under the name of the one that was
            # killed takes its lease back at once, and no standby is ever needed.
            process = PlacementProcess(
                own, preexec=preexec, amqp_url=its_url, database_url=database, cell="default"
            )
            stack.push_async_callback(_end, process)
            await process.start()
            await process.ready("standby" if number else "writer")
            members.append(Member(process, proxy))
        yield Stage(node, database, members, callers), url


async def _end(process: PlacementProcess) -> None:
    if process.running:
        await process.kill()
