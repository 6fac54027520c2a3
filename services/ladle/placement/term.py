"""One term of the lease: load the view, write, hand over."""

import asyncio
import logging
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from ladle import __version__
from ladle.core.limits import NAMES as LIMIT_NAMES
from ladle.core.limits import RULES
from ladle.core.record import Kind
from ladle.core.view import View
from ladle.journal.store import Lease, Snapshot, Store
from ladle.placement.aftermath import AfterCommit
from ladle.placement.batch import Committed, WriterLimits
from ladle.placement.callers import Callers
from ladle.placement.declaring import Declaring
from ladle.placement.loss import LossCheck
from ladle.placement.metrics import Metrics
from ladle.placement.on_event import MARKER_BODY, MARKER_HEADER, OnEvent
from ladle.placement.on_query import OnQuery
from ladle.placement.on_request import OnRequest
from ladle.placement.outbox import Outbox
from ladle.placement.outgoing import encode_outbound
from ladle.placement.settings import PlacementSettings
from ladle.placement.snapshots import Snapshots
from ladle.placement.stopping import within
from ladle.placement.strangers import Strangers
from ladle.placement.whose_journal import refuse_other_cell
from ladle.placement.writer import Writer
from ladle_contracts.clock import Clock
from ladle_contracts.link import Consumer, Link, LinkError, Outgoing, Unroutable
from ladle_contracts.topology import Topology

log = logging.getLogger("ladle.placement")

CANCEL_MS_MAX = 2_000
"""How long the end of a term waits for the broker to stop its deliveries."""

MARKER_PAUSE_MS = 1_000
MARKER_AGAIN_MS = 30_000
"""A marker that somebody purged never comes back; a second one behind it does no harm."""


class Term:
    """What one writer holds between taking the lease and giving it up."""

    def __init__(
        self,
        *,
        settings: PlacementSettings,
        topology: Topology,
        store: Store,
        link: Link,
        declaring: Declaring,
        clock: Clock,
        metrics: Metrics,
        lease: Lease,
        holder: str,
        loss_check: LossCheck | None = None,
        rules: int = RULES,
    ) -> None:
        """loss_check: what holds the journal against the broker's stream; None: nothing does.

        rules: the edition of the rules by which the journal goes on.
        """
        self.lease = lease
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._settings = settings
        self._topology = topology
        self._store = store
        self._link = link
        self._declaring = declaring
        self._clock = clock
        self._metrics = metrics
        self._holder = holder
        self._loss_check = loss_check
        self._rules = rules
        self._strangers = Strangers(clock)
        self._loaded = False
        self._consumers: list[Consumer] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._on_event = OnEvent(settings.identities)
        self._on_request = OnRequest(Callers.of(settings, clock))
        self._on_query = OnQuery(store, link, Callers.of(settings, clock))
        self.writer: Writer
        self._after: AfterCommit
        self._outbox: Outbox

    @property
    def caught_up(self) -> bool:
        """Has the marker come back since the writer or its connection came up?"""
        return self._on_event.marker is None

    async def start(self) -> None:
        """Load the view, say in the journal that this writer is active, consume.

        Raises JournalBehind where the broker knows of later records than the journal has, OtherCell
        where it is another cell's.
        """
        snapshot = await self._store.load()
        refuse_other_cell(snapshot, self._topology.cell)
        head = snapshot.head
        check = self._loss_check
        accepted = None if check is None else await check.look(self._store, head)
        view = View.load(snapshot.tables, offset=head.offset, recorded_at_ms=head.recorded_at_ms)
        self._build(view, snapshot)
        self._loaded = True
        self.writer.failed.add_done_callback(self._on_writer_failed)
        if accepted is not None:
            self.writer.note(Kind.LOSS_ACCEPTED, accepted)
        self._declare_a_start()
        await self.writer.drain()
        self._spawn(self.writer.run_timers())
        self._spawn(self._outbox.run())
        self._spawn(self._snapshots().run())
        self._set_marker()
        await self._consume()
        log.info(
            "writing",
            extra={"term": self.lease.term, "offset": head.offset, "holder": self._holder},
        )

    def _build(self, view: View, snapshot: Snapshot) -> None:
        """Outbox, aftermath and writer, at the head that was loaded."""
        head = snapshot.head
        self._outbox = Outbox(
            store=self._store,
            link=self._link,
            lease=self.lease,
            cursor=snapshot.outbox,
            head_offset=head.offset,
            encode=self._encode,
            declare_queue=self._declare_for_command,
            clock=self._clock,
            metrics=self._metrics,
        )
        self._after = AfterCommit(
            store=self._store,
            link=self._link,
            clock=self._clock,
            topology=self._topology,
            metrics=self._metrics,
            outbox=self._outbox,
            declare=self._declare_queues,
        )
        self.writer = Writer(
            view=view,
            head=head,
            lease=self.lease,
            store=self._store,
            link=self._link,
            clock=self._clock,
            metrics=self._metrics,
            aftermath=self._after,
            limits=WriterLimits(
                self._settings.batch_records_max,
                self._settings.statuses_wait_ms,
                self._settings.statuses_max,
                self._settings.requests_wait_ms,
            ),
        )

    def _snapshots(self) -> Snapshots:
        writer = self.writer
        return Snapshots(
            self._store,
            every=self._settings.snapshot_records,
            clock=self._clock,
            committed=lambda: writer.committed.offset,
            note=writer.note,
        )

    def _declare_a_start(self) -> None:
        """Who writes from here on, and under which limits: inputs like any other."""
        writer = self.writer
        writer.note(Kind.WRITER_ACTIVE, {"holder": self._holder, "version": __version__})
        wanted = {
            name: value
            for name, value in self._settings.model_dump().items()
            if name in LIMIT_NAMES
        } | {"rules": self._rules}
        differing = {
            name: value
            for name, value in wanted.items()
            if getattr(writer.view.limits, name) != value
        }
        if differing:
            writer.note(Kind.SETTINGS, differing)

    async def _consume(self) -> None:
        settings, topology, writer = self._settings, self._topology, self.writer
        on_events = writer.receiver(self._on_event)
        on_requests = writer.receiver(self._on_request, requests=True)
        on_queries = writer.receiver(self._on_query, requests=True)
        for queue, on_messages, prefetch in (
            (topology.inbox, on_events, settings.inbox_prefetch),
            (topology.requests, on_requests, settings.requests_prefetch),
            (topology.queries, on_queries, settings.queries_prefetch),
        ):
            self._consumers.append(await self._link.consume(queue, on_messages, prefetch=prefetch))

    def on_bus_up(self) -> None:
        """The connection is back: silence meant nothing while it was away."""
        self.writer.note(Kind.BUS_UP, {})
        self._set_marker()

    def _set_marker(self) -> None:
        self._on_event.marker = uuid.uuid4().hex
        self._spawn(self._publish_marker(self._on_event.marker))

    async def _publish_marker(self, marker: str) -> None:
        """Put the marker behind everything that waits in the inbox; again until it is back."""
        while self._on_event.marker == marker:
            message = Outgoing(
                exchange="",
                routing_key=self._topology.inbox,
                body=MARKER_BODY,
                headers={MARKER_HEADER: marker},
                persistent=True,
                mandatory=True,
            )
            try:
                await self._link.publish(message)
            except LinkError as error:
                log.debug("the marker was not taken: %s", error)
                await self._clock.sleep(MARKER_PAUSE_MS)
            else:
                await self._clock.sleep(MARKER_AGAIN_MS)

    def _encode(self, item: Committed, index: int, outbound: Mapping[str, Any]) -> Outgoing:
        behind_ms = self._clock.unix_ms() - self.writer.timekeeper.now_ms()
        return encode_outbound(item, index, outbound, self._topology.cell, behind_ms=behind_ms)

    async def _declare_queues(self, server_ids: Sequence[str]) -> None:
        await self._declaring.command_queues(self._topology, server_ids)

    async def _declare_for_command(self, server_id: str) -> None:
        """A command found no queue. Raises Unroutable where too many unknown servers have one."""
        is_known = server_id in self.writer.view.servers
        if not is_known and not self._strangers.admit(server_id):
            raise Unroutable(f"{server_id} never registered, and neither did many others")
        await self._declare_queues([server_id])

    def _on_writer_failed(self, failed: "asyncio.Future[None]") -> None:
        if failed.cancelled() or self.over.done():
            return
        if error := failed.exception():
            self.over.set_exception(error)

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.append(task)
        task.add_done_callback(self._on_task_done)

    def _on_task_done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.remove(task)
        if task.cancelled() or self.over.done():
            return
        if error := task.exception():
            self.over.set_exception(error)

    async def end(self, *, clean: bool, grace_ms: int) -> None:
        """Stop deliveries; after a clean stop finish the batch, answer, ack, empty the outbox.

        Raises what the last batch failed with, once everything has ended.
        """
        await within(CANCEL_MS_MAX, "stopping the deliveries", self._cancel_consumers())
        try:
            if clean and self._loaded and not self.over.done():
                await self._finish(grace_ms)
        finally:
            await self._let_go()

    async def _cancel_consumers(self) -> None:
        cancelled = await asyncio.gather(
            *(consumer.cancel() for consumer in self._consumers), return_exceptions=True
        )
        for error in filter(None, cancelled):
            log.debug("a consumer was gone already: %s", error)

    async def _finish(self, grace_ms: int) -> None:
        try:
            async with asyncio.timeout(grace_ms / 1000):
                await self.writer.drain()
                await self._on_query.settle()
                await self._after.settle()
                await self._outbox.settle()
        except TimeoutError:
            log.warning("stopped before the outbox was empty; the next writer goes on with it")

    async def _let_go(self) -> None:
        """End what still runs; an append under way has its end, for it may have happened."""
        if self._loaded:
            await self.writer.close()
            await self._after.close()
        await self._on_query.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self.over.done():
            self.over.exception()  # Seen: whoever waited for the end of the term has it already.
