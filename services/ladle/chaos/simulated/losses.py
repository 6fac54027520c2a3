"""Laws of a database that has lost records: who writes on says so, nobody else is refused."""

import re

from ladle.chaos.simulated.broker import Broker
from ladle.chaos.simulated.database import Database
from ladle.chaos.simulated.laws import Violation
from ladle.core.record import Kind
from ladle.journal.chain import open_record
from ladle.journal.store import Batch, Lease
from ladle_contracts.topology import Topology


class Losses:
    """What the broker's stream knows of records that the journal has lost.

    is_seen: do the clocks agree as well as the look at the stream needs it?
    """

    def __init__(
        self, database: Database, broker: Broker, topology: Topology, *, is_seen: bool
    ) -> None:
        self._database = database
        self._broker = broker
        self._topology = topology
        self._is_seen = is_seen
        self._own = re.compile(rf"{re.escape(topology.cell)}:([0-9]+):[0-9]+")
        self._unsaid = False
        self._known_until_us = -1
        self._revived: Lease | None = None
        self._looked_us: dict[str, int] = {}
        database.on_restore.append(self._on_restore)
        database.before_append.append(self._on_append)

    def begin_look(self, name: str) -> None:
        """A process opens the stream, to look whether records were lost."""
        self._looked_us[name] = self._broker.loop.now_us

    def may_refuse(self, name: str) -> bool:
        """Has the journal lost records that nobody had accepted when this process looked?"""
        return self._looked_us.get(name, -1) <= self._known_until_us or self._knows()

    def cut_short(self) -> None:
        """A look was not at the stream's end in time; it has said so, and keeps nobody off."""
        self._unsaid = False

    def _on_restore(self) -> None:
        self._known_until_us = self._broker.loop.now_us
        self._unsaid = self._is_seen and self._knows()
        # A writer that was cut off when the backup was made finds all as it left it, and goes on;
        # docs/running.md asks for all processes to be stopped.
        row, lost = self._database.row, self._database.lost
        terms = {record.term for records in lost.values() for record in records}
        self._revived = row if row is not None and row.term not in terms else None

    def _knows(self) -> bool:
        """Is an event on the stream that follows from a record which is not there?"""
        head, accepted = self._database.head.offset, self._accepted()
        log = self._broker.queues[self._topology.log].log
        for _, message in log[accepted + 1 :]:
            own = self._own.fullmatch(message.message_id or "")
            is_own = message.exchange == self._topology.placement_events and own is not None
            if own is not None and is_own and int(own[1]) > head:
                return True
        return False

    def _accepted(self) -> int:
        """The position up to which what stands on the stream counts no more."""
        said = [
            open_record(record).entry.payload["stream_position"]
            for record in self._database.anchors(Kind.LOSS_ACCEPTED)
        ]
        return max(said, default=-1)

    def _on_append(self, mine: Lease, batch: Batch) -> None:
        is_said = batch.records[0].kind == Kind.LOSS_ACCEPTED
        if is_said:
            self._known_until_us = self._broker.loop.now_us
        holds = self._revived
        if holds is not None and (holds.term, holds.holder) == (mine.term, mine.holder):
            self._unsaid = False
            return
        if self._unsaid and not is_said:
            raise Violation(
                "a journal that lost records is not written on unsaid",
                f"{mine} goes on at {batch.records[0].offset}",
            )
        self._unsaid = False
