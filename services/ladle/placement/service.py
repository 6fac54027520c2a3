"""The placement service's life: standby, writer for a term, standby again or a clean end."""

import asyncio
import logging
import os
import socket
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn

from ladle.core.limits import RULES
from ladle.core.view import View
from ladle.journal.lease import LeaseKeeper
from ladle.journal.store import Lease, LeaseLost, Store, StoreBroken, StoreBusy
from ladle.placement.callers import Callers
from ladle.placement.declaring import Declaring, OverAmqp
from ladle.placement.health import HealthApp, HealthServer
from ladle.placement.loss import LossCheck, OpenLog, log_over_amqp
from ladle.placement.metrics import Metrics
from ladle.placement.settings import PlacementSettings
from ladle.placement.standby import Standby
from ladle.placement.stopping import unless_stopped, within
from ladle.placement.term import Term
from ladle.placement.view_metrics import ViewCollector
from ladle.placement.whose_journal import refuse_other_cell
from ladle_contracts.clock import Clock
from ladle_contracts.link import Link, LinkDown, LinkState
from ladle_contracts.topology import Topology

log = logging.getLogger("ladle.placement")

CONNECT_PAUSE_MS = 1_000

CLOSE_MS_MAX = 3_000
"""How long a stop waits for the broker to say goodbye."""

STANDBY_AFTER_MS = 1_000
"""A process that has not the lease by then is a standby, and answers reads."""


class PlacementService:
    """One placement process. `run` returns after `stop` is set and everything is handed back."""

    def __init__(
        self,
        settings: PlacementSettings,
        *,
        store: Store,
        make_link: Callable[[], Link],
        clock: Clock,
        metrics: Metrics | None = None,
        accept_loss: bool = False,
        declaring: Declaring | None = None,
        open_log: OpenLog | None = None,
        rules: int = RULES,
    ) -> None:
        """accept_loss: write on where the journal has lost records that the broker knows of.

        open_log: opens the broker's stream, which tells so; None: over AMQP, as set.
        rules: the edition of the rules by which this program writes.
        """
        self.settings = settings
        self.topology = Topology(settings.cell, quorum_requests=settings.requests_quorum)
        self.metrics = metrics or Metrics()
        self.holder = settings.holder or default_holder()
        self.http: HealthServer | None = None
        self.term: Term | None = None
        self.standby: Standby | None = None
        self._store = store
        self._make_link = make_link
        self._clock = clock
        self._declaring = declaring or OverAmqp(settings)
        self._link: Link | None = None
        self._keeper: LeaseKeeper | None = None
        self._down_since_ms: int | None = None
        self._is_blocked = False
        self._is_ours = False
        self._rules = rules
        self._loss_check = LossCheck(
            open_log or log_over_amqp(settings.url, self.topology, settings.ssl_context()),
            self.topology,
            accept=accept_loss,
        )
        self.metrics.register(ViewCollector(self._view))

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop`.

        Raises StoreBroken, SchemaTooNew, JournalBehind, OtherCell: what restarting may not mend.
        """
        try:
            await self._start_http()
            await self._store.open()
            while not stop.is_set():
                try:
                    await self._look_whose_journal()
                    await self._connect(stop)
                    await self._serve_a_term(stop)
                except LeaseLost as error:
                    log.warning("stood down: %s", error)
                except (StoreBusy, LinkDown) as error:
                    # The database or the broker is away: begin anew when it is back.
                    log.warning("stood down, and trying again: %s", error)
                    await self._pause(stop)
                finally:
                    await self._disconnect(stop)
        finally:
            await self._store.close()
            if self.http is not None:
                await self.http.stop()
            log.info("stopped")

    async def _look_whose_journal(self) -> None:
        """Once: a standby would answer from another cell's view, and write into it in the end."""
        if not self._is_ours:
            refuse_other_cell(await self._store.load(), self.settings.cell)
            self._is_ours = True

    def readiness(self) -> dict[str, Any]:
        """For /readyz: a writer that has caught up, or a standby that has a view; all below there.

        A broker that blocks publishers (its memory or disk alarm) takes no answer.
        """
        broker = self._link is not None and self._link.is_up and not self._is_blocked
        database = self._keeper is not None and self._keeper.reaches_store
        below = broker and database
        state: dict[str, Any] = {"broker": broker, "database": database, "holder": self.holder}
        if self.term is None:
            view = None if self.standby is None else self.standby.follower.view
            offset = None if view is None else view.offset
            return {
                **state,
                "role": "standby",
                "offset": offset,
                "ready": below and view is not None,
            }
        return {
            **state,
            "role": "writer",
            "term": self.term.lease.term,
            "offset": self.term.writer.committed.offset,
            "caught_up": self.term.caught_up,
            "ready": below and self.term.caught_up,
        }

    def _view(self) -> View | None:
        """What this process believes, for /metrics: the writer's view or the standby's."""
        if self.term is not None:
            return self.term.writer.view
        return None if self.standby is None else self.standby.follower.view

    async def _start_http(self) -> None:
        if self.settings.http:
            self.http = HealthServer(
                HealthApp(self.metrics, self.readiness),
                host=self.settings.http_host,
                port=self.settings.http_port,
            )
            await self.http.start()

    async def _connect(self, stop: asyncio.Event) -> None:
        """Declare and connect; waits for a broker that is not there yet, and says so once."""
        said = False
        while not stop.is_set():
            link = self._make_link()
            try:
                if not await unless_stopped(stop, self._open(link)):
                    await self._close(link, stop)
                    return
            except (LinkDown, OSError) as error:
                await self._close(link, stop)
                if not said:
                    log.warning("no broker yet, trying on: %s", error)
                    said = True
                await self._pause(stop)
                continue
            self._link, self._down_since_ms, self._is_blocked = link, None, False
            link.watch(partial(self._on_link_state, link))
            if not link.is_up:  # Lost again before anybody watched.
                self._down_since_ms = self._clock.monotonic_ms()
            return

    async def _open(self, link: Link) -> None:
        await self._declaring.cell(self.topology)
        await link.open()

    async def _close(self, link: Link, stop: asyncio.Event) -> None:
        """Close a link; from a stop on only for a moment, for the broker may be silent."""
        await within(CLOSE_MS_MAX, "closing the connections", link.close(), after=stop)

    async def _pause(self, stop: asyncio.Event) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), CONNECT_PAUSE_MS / 1000)

    async def _disconnect(self, stop: asyncio.Event) -> None:
        link, self._link = self._link, None
        if link is not None:
            await self._close(link, stop)

    def _on_link_state(self, link: Link, state: LinkState, reason: str) -> None:
        if link is not self._link:  # Closed by ourselves.
            return
        log.log(
            logging.INFO if state in (LinkState.UP, LinkState.UNBLOCKED) else logging.WARNING,
            "broker %s",
            state,
            extra={"reason": reason},
        )
        if state is LinkState.DOWN:
            self._down_since_ms = self._clock.monotonic_ms()
        elif state is LinkState.UP:
            self._down_since_ms = None
            if self.term is not None:
                self.term.on_bus_up()
        else:
            self._is_blocked = state is LinkState.BLOCKED

    async def _serve_a_term(self, stop: asyncio.Event) -> None:
        """Wait for the lease, write while it lasts, give it up at the end."""
        keeper = LeaseKeeper(
            self._store,
            holder=self.holder,
            lease_ms=self.settings.lease_ms,
            clock=self._clock,
        )
        self._keeper = keeper
        lease = await self._acquire(keeper, stop)
        if lease is None or self._link is None:
            return
        beating = asyncio.create_task(keeper.run(lease))
        try:
            await self._write(self._new_term(lease, self._link), beating, stop)
        except StoreBroken:
            log.exception("the journal cannot be written; not retrying")
            raise
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)
            await keeper.give_up(lease)

    def _new_term(self, lease: Lease, link: Link) -> Term:
        return Term(
            settings=self.settings,
            topology=self.topology,
            store=self._store,
            link=link,
            declaring=self._declaring,
            clock=self._clock,
            metrics=self.metrics,
            lease=lease,
            holder=self.holder,
            loss_check=self._loss_check,
            rules=self._rules,
        )

    async def _write(
        self, term: Term, beating: "asyncio.Task[NoReturn]", stop: asyncio.Event
    ) -> None:
        try:
            if await unless_stopped(stop, term.start()):
                self.term = term
                self._say_active(1, term.lease.term)
                await self._until_over(term, beating, stop)
        finally:
            self.term = None
            self._say_active(0, term.lease.term)
            # Beating goes on meanwhile: what is in the batch is still to be committed.
            await term.end(clean=stop.is_set(), grace_ms=self.settings.stop_grace_ms)

    async def _acquire(self, keeper: LeaseKeeper, stop: asyncio.Event) -> Lease | None:
        """The lease, or None where `stop` came first. Only a connected process takes it."""
        waiting = asyncio.create_task(keeper.acquire(may_take=self._is_connected))
        stopping = asyncio.create_task(stop.wait())
        reading = asyncio.create_task(self._answer_reads())
        try:
            await asyncio.wait([waiting, stopping], return_when=asyncio.FIRST_COMPLETED)
            return await waiting if waiting.done() else None
        finally:
            for task in (waiting, stopping, reading):
                task.cancel()
            await asyncio.gather(waiting, stopping, reading, return_exceptions=True)

    async def _answer_reads(self) -> None:
        """Answer reads while another process writes; cancelled when this one does."""
        if self._link is None:
            return
        # A lease that is free is taken at the first look: there is no need to begin then.
        await self._clock.sleep(STANDBY_AFTER_MS)
        self.standby = standby = Standby(
            store=self._store,
            link=self._link,
            clock=self._clock,
            metrics=self.metrics,
            topology=self.topology,
            callers=Callers.of(self.settings, self._clock),
        )
        try:
            await standby.run(self.settings.queries_prefetch)
        finally:
            self.standby = None
            await standby.end()

    def _is_connected(self) -> bool:
        return self._link is not None and self._link.is_up

    async def _until_over(
        self, term: Term, beating: "asyncio.Task[NoReturn]", stop: asyncio.Event
    ) -> None:
        """Until a stop, a lost lease, a failed commit, or a broker that stays away."""
        stopping = asyncio.create_task(stop.wait())
        broker = asyncio.create_task(self._broker_gone())
        watched: list[asyncio.Future[Any]] = [stopping, broker, beating, term.over]
        try:
            await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            for future in (term.over, beating, broker):
                if future.done():
                    await future
        finally:
            for task in (stopping, broker):
                task.cancel()
            await asyncio.gather(stopping, broker, return_exceptions=True)

    async def _broker_gone(self) -> None:
        """A writer whom nobody can reach blocks those who can be reached."""
        bound_ms = 2 * self.settings.lease_ms
        while True:
            await self._clock.sleep(self.settings.lease_ms // 3)
            since = self._down_since_ms
            if since is not None and self._clock.monotonic_ms() - since >= bound_ms:
                raise LeaseLost(f"no broker for {bound_ms} ms; giving the lease up")

    def _say_active(self, active: int, term: int) -> None:
        self.metrics.writer_active.set(active)
        self.metrics.writer_term.set(term)


def default_holder() -> str:
    """A name for the lease row that no other process has and that a person can place."""
    return f"{socket.gethostname()[:60]}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
