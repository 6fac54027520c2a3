"""An asyncio loop whose time is simulated and whose order comes from one seed.

What runs belongs to a `Host`, one simulated process: inside it callbacks keep asyncio's order,
between hosts the seed chooses, as the scheduler of an operating system would. When nobody can go
on, time jumps to the next timer. A host can be frozen (SIGSTOP) and killed.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any, TypeVar, cast

T = TypeVar("T")


class Stuck(Exception):
    """Somebody waits for what will never come, or goes round and round without waiting."""


class Host:
    """One simulated process: its callbacks, its tasks, and whether it may run."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.context = Context()
        self.context.run(HOST.set, self)
        self.ready: deque[Handle] = deque()
        self.tasks: dict[asyncio.Task[Any], None] = {}  # in the order of their making
        self.is_frozen = False
        self.is_queued = False

    def ended(self, task: "asyncio.Task[Any]") -> None:
        """A task has ended; what it failed with is nobody's, unless somebody awaits it."""
        self.tasks.pop(task, None)
        if not task.cancelled():
            task.exception()


UNWIND_ROUNDS = 100
TURNS_AT_ONCE_MAX = 1_000_000

HOST: ContextVar[Host] = ContextVar("host")


class Handle:
    """A callback that will run on its host, unless it is cancelled before."""

    __slots__ = ("args", "callback", "context", "host", "is_cancelled", "when_us")

    def __init__(
        self, callback: Callable[..., Any], args: tuple[Any, ...], context: Context, host: Host
    ) -> None:
        self.callback = callback
        self.args = args
        self.context = context
        self.host = host
        self.is_cancelled = False
        self.when_us = 0

    def cancel(self) -> None:
        self.is_cancelled = True

    def cancelled(self) -> bool:
        return self.is_cancelled

    def when(self) -> float:
        """As asyncio.TimerHandle: seconds of the loop's time."""
        return self.when_us / 1_000_000


class SimulatedLoop(asyncio.AbstractEventLoop):
    """The part of an event loop that a program without sockets uses. Time in microseconds."""

    def __init__(self, chance: Random) -> None:
        self.now_us = 0
        self.turns = 0
        self._turns_before = 0  # the time passed last
        self.world = Host("world")
        self.error: BaseException | None = None
        self._random = chance.random
        self._active: list[Host] = []
        self._timers: list[tuple[int, int, Handle]] = []
        self._numbers = 0
        self._hosts: dict[Host, None] = {}

    # What the simulation does to hosts

    def spawn(self, host: Host, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Start `work` as a task of that host."""
        return host.context.run(self.create_task, work)

    def freeze(self, host: Host) -> None:
        """SIGSTOP: what is due on it waits."""
        host.is_frozen = True
        if host.is_queued:
            host.is_queued = False
            self._active.remove(host)

    def thaw(self, host: Host) -> None:
        """SIGCONT: it goes on, with all that came due meanwhile."""
        host.is_frozen = False
        if host.ready and not host.is_queued:
            self._queue(host)

    def kill(self, host: Host) -> None:
        """End its tasks. Cut it off from the world first: it still unwinds, as no process would."""
        self.thaw(host)
        for task in list(host.tasks):
            task.cancel()

    def run_until(self, future: "asyncio.Future[T]") -> T:
        """Run until `future` is done. Raises what it raises, Stuck, and what a callback raised."""
        asyncio._set_running_loop(self)
        try:
            while not future.done() and self.error is None:
                self._turn()
        finally:
            asyncio._set_running_loop(None)
        if self.error is not None:
            raise self.error
        return future.result()

    def unwind(self) -> None:
        """Kill all hosts, and run until their tasks have ended: none is left for the collector."""
        asyncio._set_running_loop(self)
        try:
            for _ in range(UNWIND_ROUNDS):
                hosts = [host for host in self._hosts if host.tasks]
                if not hosts:
                    return
                for host in hosts:
                    self.kill(host)
                while self._active:
                    self._turn()
        finally:
            asyncio._set_running_loop(None)

    def fail(self, error: BaseException) -> None:
        """End the run: something is wrong with the program, or a law is broken."""
        if self.error is None:
            self.error = error

    def _turn(self) -> None:
        active = self._active
        if not active:
            self._pass_time()
            return
        count = len(active)
        host = active[int(self._random() * count)] if count > 1 else active[0]
        handle = host.ready.popleft()
        if not host.ready:
            host.is_queued = False
            active.remove(host)
        if handle.is_cancelled:
            return
        self.turns += 1
        if self.turns - self._turns_before > TURNS_AT_ONCE_MAX:
            raise Stuck(f"{host.name} runs on and on in one moment: {handle.callback}")
        try:
            handle.context.run(handle.callback, *handle.args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self.fail(error)

    def _pass_time(self) -> None:
        timers = self._timers
        while timers and timers[0][2].is_cancelled:
            heapq.heappop(timers)
        if not timers:
            raise Stuck("nothing is left to run")
        self.now_us = max(self.now_us, timers[0][0])
        self._turns_before = self.turns
        while timers and timers[0][0] <= self.now_us:
            handle = heapq.heappop(timers)[2]
            if not handle.is_cancelled:
                self._append(handle)

    def _append(self, handle: Handle) -> None:
        host = handle.host
        host.ready.append(handle)
        if not (host.is_queued or host.is_frozen):
            self._queue(host)

    def _queue(self, host: Host) -> None:
        host.is_queued = True
        self._active.append(host)

    # What asyncio asks of a loop

    def time(self) -> float:
        return self.now_us / 1_000_000

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> Handle:
        context = copy_context() if context is None else context
        handle = Handle(callback, args, context, context.get(HOST, self.world))
        self._append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., Any],
        *args: Any,
        context: Context | None = None,
    ) -> Handle:
        due_us = self.now_us + max(0, round(delay * 1_000_000))
        return self.call_at_us(due_us, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., Any],
        *args: Any,
        context: Context | None = None,
    ) -> Handle:
        return self.call_at_us(round(when * 1_000_000), callback, *args, context=context)

    def call_at_us(
        self,
        when_us: int,
        callback: Callable[..., Any],
        *args: Any,
        context: Context | None = None,
    ) -> Handle:
        """`call_at` in the loop's own unit."""
        context = copy_context() if context is None else context
        handle = Handle(callback, args, context, context.get(HOST, self.world))
        handle.when_us = when_us
        self._numbers += 1
        heapq.heappush(self._timers, (when_us, self._numbers, handle))
        return handle

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Any,
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> "asyncio.Task[Any]":
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name, context=context)
        host = HOST.get(self.world) if context is None else context.get(HOST, self.world)
        host.tasks[task] = None
        self._hosts[host] = None
        task.add_done_callback(host.ended)
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """What a real loop would log: a failed task that nobody looked at. Killed ones do."""

    def _timer_handle_cancelled(self, handle: Any) -> None:
        pass


def loop_now() -> SimulatedLoop:
    """The loop that runs, which is a simulated one."""
    return cast(SimulatedLoop, asyncio.get_running_loop())
