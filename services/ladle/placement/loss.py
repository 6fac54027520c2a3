"""Does the broker know more than the journal? Asked at the beginning of each term.

Ladle publishes what a record says only after the record is committed. So an own event on the stream
`placement.log` that follows from a record above the journal's head means that the database has lost
records: a backup was restored, a standby was promoted that had not everything. To write on would
give offsets and allocation ids a second time.
Source: docs/adr/0035-refuse-a-journal-that-lost-records.md.
"""

import asyncio
import logging
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from ladle.broker.connecting import connected
from ladle.broker.stream import Logged, Start, StreamReader, since
from ladle.core.record import Kind
from ladle.journal.chain import content_of
from ladle.journal.store import Head, LeaseLost, Store
from ladle_contracts.link import Refused
from ladle_contracts.topology import Topology

log = logging.getLogger("ladle.placement")

LOOK_MS_MAX = 5_000
"""For the whole look: a take-over must not wait for a long stream."""

CLOCKS_MS = 10_000
"""By how much the broker's clock and ours may differ."""


class Log(Protocol):
    """The stream while it is open: `broker.stream.StreamReader`, or a simulation's."""

    def until_now(self, start: Start) -> AsyncIterator[Logged]:
        """All from `start` on that is there. Raises Refused, LinkDown."""
        ...


OpenLog = Callable[[float], AbstractAsyncContextManager[Log]]
"""Opens it for so many seconds at most. Raises LinkDown."""


def log_over_amqp(
    url: str, topology: Topology, ssl_context: ssl.SSLContext | None = None
) -> OpenLog:
    """On a connection of its own, which ends with the look."""

    @asynccontextmanager
    async def opened(within_s: float) -> AsyncIterator[Log]:
        async with connected(url, ssl_context, within_s) as connection:
            yield StreamReader(connection, topology.log)

    return opened


class JournalBehind(Exception):
    """The journal has lost records that the broker knows of; writing on would use them twice."""

    code = "journal-behind"

    def __init__(self, loss: "Loss") -> None:
        super().__init__(
            f"the journal ends at record {loss.head}, and the broker's stream holds {loss.events} "
            f"events of later records, up to record {loss.last_offset}: records were lost, as "
            "after a backup was restored"
        )
        self.loss = loss


@dataclass(slots=True)
class Loss:
    """What the stream holds above the journal's head: events, the last of record `last_offset`.

    position: how far the stream was read. is_whole: to its end, so that all events are counted.
    """

    head: int
    events: int = 0
    last_offset: int = 0
    position: int = -1
    is_whole: bool = False

    @property
    def payload(self) -> dict[str, Any]:
        """What the record of an accepted loss says."""
        return {
            "head": self.head,
            "last_offset": self.last_offset,
            "events": self.events,
            "is_whole": self.is_whole,
            "stream_position": self.position,
        }


class LossCheck:
    """`look` before a term writes. accept: take what the first whole look finds as it is, and say
    so in the journal; later ones refuse, for nobody has seen what they find."""

    def __init__(self, open_log: OpenLog, topology: Topology, *, accept: bool = False) -> None:
        self._open_log = open_log
        self._topology = topology
        self._accept = accept
        self._own = re.compile(rf"{re.escape(topology.cell)}:([0-9]{{1,16}}):[0-9]{{1,16}}")

    async def look(self, store: Store, head: Head) -> dict[str, Any] | None:
        """None where nothing was lost; the payload of `loss-accepted` where that was accepted.

        head: as it was loaded. Raises JournalBehind, LinkDown, StoreError; LeaseLost where another
        writer went on from there while this one was held up. A stream that is missing, may not be
        read, or is longer than there is time is no reason not to start: it is said, and the term
        begins.
        """
        loss = Loss(head.offset)
        passed = await _accepted_before(store)
        ms_max = LOOK_MS_MAX
        try:
            # Time for saying goodbye comes on top: a look that is too long is not a broken link.
            async with self._open_log(2 * ms_max / 1000 + 5) as stream:
                await self._read(stream, _start(head), loss, passed, ms_max)
                if loss.events and self._accept and not loss.is_whole:
                    # All that is there counts no more, also what there was no time to read.
                    async with asyncio.timeout(ms_max / 1000):
                        async for logged in stream.until_now("last"):
                            loss.position = logged.position
        except Refused as error:
            log.warning("whether the journal lost records was not checked: %s", error)
        if not loss.events:
            self._accept = self._accept and not loss.is_whole
            return None
        if (await store.head()).offset > head.offset:
            # Another has taken the lease meanwhile, and those are its events.
            raise LeaseLost(f"another writer went on from record {head.offset}")
        accept, self._accept = self._accept, False
        if not accept:
            raise JournalBehind(loss)
        log.warning("accepted the loss of records", extra=loss.payload)
        return loss.payload

    async def _read(self, stream: Log, start: Start, loss: Loss, passed: int, ms_max: int) -> None:
        try:
            async with asyncio.timeout(ms_max / 1000):
                async for logged in stream.until_now(start):
                    self._take(loss, logged, passed)
                loss.is_whole = True
        except TimeoutError:
            log.warning(
                "the stream was not read to its end in %d ms: whether the journal lost records "
                "was checked up to position %d of it", ms_max, loss.position,
            )  # fmt: skip

    def _take(self, loss: Loss, logged: Logged, passed: int) -> None:
        loss.position = logged.position
        message = logged.message
        # Only Ladle may publish there; a server may write what it likes into its own events.
        if message.exchange != self._topology.placement_events or logged.position <= passed:
            return
        own = self._own.fullmatch(message.message_id or "")
        if own is not None and int(own[1]) > loss.head:
            loss.events += 1
            loss.last_offset = max(loss.last_offset, int(own[1]))


def _start(head: Head) -> Start:
    return since(max(0, head.recorded_at_ms - CLOCKS_MS)) if head.offset else "first"


async def _accepted_before(store: Store) -> int:
    """The position in the stream up to which losses were accepted; -1 where none was."""
    accepted = -1
    for record in await store.anchors(Kind.LOSS_ACCEPTED):
        said = content_of(record).get("payload", {}).get("stream_position")
        if isinstance(said, int):
            accepted = max(accepted, said)
    return accepted
