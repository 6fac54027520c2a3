"""Laws that each commit keeps, held against a second fold of the same journal.

The fold beside the writer is given the inputs alone and derives every outcome anew: what the
writer recorded, and the rows that it stored, must be the same.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ladle.chaos.simulated import view_laws
from ladle.chaos.simulated.database import Database
from ladle.chaos.simulated.laws import Tally, Violation, refuse_secret
from ladle.core.apply import apply
from ladle.core.record import FIRST_PREV_HASH, Kind, Record, canonical
from ladle.core.view import View
from ladle.core.words import Administration, Liveness
from ladle.journal.chain import open_record, verify
from ladle.journal.store import Batch, Lease

Life = tuple[str, int, int]
"""server_id, incarnation, sequence: one event."""

Question = tuple[str, str, str]
"""user, operation, request_id."""


AFTER_GOODBYE = "after-goodbye"
"""Why an event was ignored that came late, and of which each copy is: it is not received."""


class JournalLaws:
    """Watches a database. Raises Violation out of the append that broke a law."""

    def __init__(self, database: Database, tally: Tally) -> None:
        self.rejected: set[str] = set()
        self.strangers: set[str] = set()
        self.sent: set[tuple[int, int]] = set()
        self.silent_together: frozenset[str] = frozenset()
        self._asked: set[Question] = set()
        self._called: set[str] = set()
        self._excused: set[str] = set()  # calls of which a refusal may be lost
        self._durable: set[Life] = set()
        self._was_complete: dict[tuple[str, int], int] = {}
        self._database = database
        self._tally = tally
        self._begin()
        database.before_append.append(self.on_append)
        database.on_take.append(self.on_take)
        database.on_restore.append(self.go_back)

    def _begin(self) -> None:
        """At an empty journal."""
        self.view = View()
        self.events: set[Life] = set()
        self.questions: dict[Question, tuple[int, int]] = {}  # offset, and until when it counts
        self.calls: dict[str, tuple[int, int]] = {}
        self.complete: dict[tuple[str, int], int] = {}
        self.outbound: list[tuple[int, int]] = []
        self.promises: dict[str, int] = {}
        self.releases: set[str] = set()
        self._applied: dict[Life, int] = {}
        self._hash = FIRST_PREV_HASH

    def go_back(self) -> None:
        """The journal has lost its last records. What was acked for their sake stays so."""
        self._durable |= self.events
        for life, sequence in self.complete.items():
            self._was_complete[life] = max(self._was_complete.get(life, 0), sequence)
        self._asked |= self.questions.keys()
        self._excused |= self._called
        silent, self.silent_together = self.silent_together, frozenset()
        events = self._tally.events
        self._begin()
        for record in self._database.records:
            self._fold(record)
            self._hash = record.hash
        self.view.take_changes()
        self._tally.events, self.silent_together = events, silent

    def on_take(self, lease: Lease) -> None:
        self._tally.terms += 1

    def on_append(self, mine: Lease, batch: Batch) -> None:
        row = self._database.row
        if row is None or (row.term, row.holder) != (mine.term, mine.holder):
            raise Violation("an old term appends nothing", f"{mine} appends while {row} holds")
        broken = verify(batch.records, after_offset=self.view.offset, after_hash=self._hash)
        if broken is not None:
            raise Violation("offsets without a gap, chain unbroken", str(broken))
        for record in batch.records:
            if record.term != mine.term:
                raise Violation("an old term appends nothing", f"{record.term} under {mine}")
            refuse_secret(f"record {record.offset}", record.body)
            self._fold(record)
        self._hash = batch.records[-1].hash
        if batch.changes.rows != self.view.take_changes():
            raise Violation("the tables are the journal", f"rows at offset {self.view.offset}")
        self._tally.commits += 1
        self._tally.records += len(batch.records)
        self.check_rows()

    def check_rows(self, *, whole: bool = False) -> None:
        """One home a room, no negative counter, sums that agree."""
        try:
            if whole:
                view_laws.check(self.view)
            else:
                view_laws.check_rows(self.view)
        except AssertionError as error:
            raise Violation("the view's laws", f"at {self.view.offset}: {error!r}") from error

    def _fold(self, record: Record) -> None:
        opened = open_record(record)
        entry, outcome = opened.entry, opened.outcome
        if entry.recorded_at_ms < self.view.recorded_at_ms:
            raise Violation("time never goes back", f"at offset {entry.offset}")
        winner = (outcome.get("decision") or {}).get("winner")
        if winner is not None and outcome["decision"]["operation"] != "extend":
            self._winner_could_take_it(record.offset, winner, outcome["decision"]["wish"]["cost"])
        again = apply(self.view, entry)
        # Bytes, for 1 == True == 1.0; a copy of the journal elsewhere must hash to the same head.
        if canonical(again) != canonical(outcome):
            raise Violation(
                "the same inputs give the same outcome", f"at offset {entry.offset} ({entry.kind})"
            )
        for index in range(len(outcome["outbound"])):
            self.outbound.append((entry.offset, index))
            self.sent.add((entry.offset, index))
        LOOK[entry.kind](self, record.offset, entry.origin, entry.payload, outcome)
        self._holds_are_kept(entry.recorded_at_ms, outcome["outbound"])
        self._nobody_is_lost_for_the_bus(outcome["outbound"])

    def _winner_could_take_it(self, offset: int, winner: Mapping[str, Any], cost: int) -> None:
        """In the view that the decision saw, looked at without the index and the sums."""
        view = self.view
        server = view.servers.get(winner["server_id"])
        worker = view.workers.get((winner["server_id"], winner["worker_id"]))
        law = "nothing is placed on what was draining, lost or full"
        if server is None or worker is None:
            raise Violation(law, f"offset {offset}: {winner['server_id']} is unknown")
        if server.liveness != Liveness.UP or server.administration != Administration.OPEN:
            raise Violation(law, f"offset {offset}: {server.liveness}, {server.administration}")
        if worker.state != "running" or view_laws.used(view, worker) + cost > worker.capacity:
            raise Violation(law, f"offset {offset}: {worker} carries no {cost} more")

    def _holds_are_kept(self, now_ms: int, outbound: Iterable[Mapping[str, Any]]) -> None:
        for each in outbound:
            data = each["data"]
            if each["what"] != "event" or each["type"] != "allocation-expired":
                continue
            promised_ms = self.promises.get(data["allocation_id"], 0)
            if now_ms < promised_ms and data["allocation_id"] not in self.releases:
                raise Violation(
                    "an answered room stays where it was told",
                    f"{data['allocation_id']} expired {promised_ms - now_ms} ms too early",
                )

    def _nobody_is_lost_for_the_bus(self, outbound: Iterable[Mapping[str, Any]]) -> None:
        for each in outbound:
            if each["what"] != "event" or each["type"] != "server-lost":
                continue
            data = each["data"]
            if data["server_id"] in self.silent_together and data["reason"] == "silent":
                raise Violation("a silent bus loses no server", data["server_id"])

    # What the records say

    def see_event(
        self,
        offset: int,
        origin: Mapping[str, Any],
        payload: Mapping[str, Any],
        outcome: Mapping[str, Any],
    ) -> None:
        if payload["sequence"] is None:
            self.strangers.add(payload["id"])
            return
        if payload["type"] == "worker-status" and payload["data"]["complete"]:
            life = payload["source_server_id"], payload["incarnation"]
            self.complete[life] = max(self.complete.get(life, 0), payload["sequence"])
        event = payload["source_server_id"], payload["incarnation"], payload["sequence"]
        self._see(event, offset, outcome.get("reason"))

    def is_durable(self, life: Life) -> bool:
        """It stands in the journal, or a complete status does that said all it could say.

        What stood there before an older backup was restored counts: it was acked for that.
        """
        complete = max(self.complete.get(life[:2], 0), self._was_complete.get(life[:2], 0))
        return life in self.events or life in self._durable or life[2] <= complete

    def is_recorded(self, question: Question) -> bool:
        """Likewise."""
        return question in self.questions or question in self._asked

    def see_statuses(
        self,
        offset: int,
        origin: Mapping[str, Any],
        payload: Mapping[str, Any],
        outcome: Mapping[str, Any],
    ) -> None:
        reasons = dict(outcome.get("ignored", ()))
        for position, (server_id, incarnation, sequence, _) in enumerate(payload["statuses"]):
            self._see((server_id, incarnation, sequence), offset, reasons.get(position))

    def _see(self, life: Life, offset: int, reason: str | None) -> None:
        """A copy of what the view has received leaves no trace; of another it may."""
        self.events.add(life)
        self._tally.events += 1
        server = self.view.servers.get(life[0])
        if server is None or server.incarnation != life[1] or reason == AFTER_GOODBYE:
            return
        if life in self._applied:
            raise Violation(
                "duplicates change nothing",
                f"{life} stands at {self._applied[life]} and at {offset}",
            )
        self._applied[life] = offset

    def see_request(
        self,
        offset: int,
        origin: Mapping[str, Any],
        payload: Mapping[str, Any],
        outcome: Mapping[str, Any],
    ) -> None:
        question = (origin["user"], payload["operation"], payload["request_id"])
        now_ms, window_ms = self.view.recorded_at_ms, self.view.limits.request_ms
        before, until_ms = self.questions.get(question, (0, 0))
        if now_ms < until_ms:
            raise Violation(
                "the same request id gets the same answer", f"{question} at {before} and {offset}"
            )
        reply = outcome["reply"]
        self.questions[question] = (offset, now_ms + window_ms)
        body = payload["body"]
        call = (body.get("metadata") or {}).get("call")
        if call is not None:
            self._called.add(call)
        if call is not None and reply["status"] == "ok" and call not in self._excused:
            before, until_ms = self.calls.get(call, (0, 0))
            if now_ms < until_ms:
                raise Violation("one call places one room", f"call {call}: {before} and {offset}")
            self.calls[call] = (offset, now_ms + window_ms)
        if reply["status"] == "ok" and reply.get("held_until_ms"):
            self.promises[reply["allocation_id"]] = reply["held_until_ms"]
        if payload["operation"] == "release":
            self.releases.add(body["allocation_id"])

    def see_rejected(
        self,
        offset: int,
        origin: Mapping[str, Any],
        payload: Mapping[str, Any],
        outcome: Mapping[str, Any],
    ) -> None:
        self.rejected.add(payload["digest"])

    def see_nothing(
        self,
        offset: int,
        origin: Mapping[str, Any],
        payload: Mapping[str, Any],
        outcome: Mapping[str, Any],
    ) -> None:
        """Notes of the writer itself."""


LOOK = {
    Kind.EVENT: JournalLaws.see_event,
    Kind.STATUSES: JournalLaws.see_statuses,
    Kind.REQUEST: JournalLaws.see_request,
    Kind.REJECTED: JournalLaws.see_rejected,
    **dict.fromkeys(
        (
            *(Kind.TICK, Kind.SETTINGS, Kind.WRITER_ACTIVE, Kind.BUS_UP),
            *(Kind.CAUGHT_UP, Kind.CLOCK_STEP, Kind.ERASED, Kind.LOSS_ACCEPTED),
        ),
        JournalLaws.see_nothing,
    ),
}
