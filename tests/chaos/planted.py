"""Bugs planted one at a time: writer, lease, outbox, de-duplication, holds, liveness, both ends.

Each is a mistake that somebody could make in the code as it stands.
"""

from collections.abc import Callable
from typing import Any

import pytest

from ladle.audit import verify
from ladle.audit.walk import Walk
from ladle.core import liveness, received, timers
from ladle.core.load import Load
from ladle.core.record import Kind
from ladle.journal.store import Batch, CommitUnknown, Head, Lease, LeaseLost, Store, StoreBusy
from ladle.placement import loss, on_event, writer
from ladle.placement.aftermath import AfterCommit
from ladle.placement.batch import Arrival, OpenBatch
from ladle.placement.loss import LossCheck
from ladle.placement.outbox import Outbox
from ladle.placement.term import Term
from ladle.placement.timekeeper import Timekeeper
from ladle.placement.writer import Writer
from ladle_contracts import client_calls, publisher_pipeline
from ladle_contracts.clock import Clock
from ladle_contracts.publisher import MediaServerPublisher
from ladle_contracts.publisher_commands import CommandReader

Plant = Callable[[pytest.MonkeyPatch], None]


# --- the writer ----------------------------------------------------------------------------------


def acks_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    commit = Writer._commit

    async def acked_first(self: Writer, batch: OpenBatch) -> None:
        self._link.ack(batch.acks)
        await commit(self, batch)

    patch.setattr(Writer, "_commit", acked_first)


def replies_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    commit = Writer._commit

    async def answered_first(self: Writer, batch: OpenBatch) -> None:
        sent = writer.Sent()
        for waiting in batch.answers:
            self._answer(waiting, sent, 0.0)
        self._link.send(sent.replies)
        await commit(self, batch)

    patch.setattr(Writer, "_commit", answered_first)


def an_unknown_commit_is_taken_as_done(patch: pytest.MonkeyPatch) -> None:
    real = writer.commit

    async def hopeful(store: Store, lease: Lease, batch: Batch, before: Head, clock: Clock) -> None:
        try:
            await store.append(lease, batch)
        except CommitUnknown:
            return
        except StoreBusy:
            await real(store, lease, batch, before, clock)

    patch.setattr(writer, "commit", hopeful)


def a_refused_batch_is_dropped(patch: pytest.MonkeyPatch) -> None:
    """A value that no database takes: the batch goes, its messages are acked all the same."""

    async def dropped(self: Writer, batch: OpenBatch, error: Exception) -> None:
        await self._rewind([], None, "bad-data", error)
        self._link.ack([arrival.message for arrival in batch.arrivals])

    patch.setattr(Writer, "_rewind_for_refusal", dropped)


def changed_rows_are_forgotten_at_times(patch: pytest.MonkeyPatch) -> None:
    """Rows of what is folded while a commit runs; the tables lag behind the journal."""
    start = Writer._start_commit

    def forgets(self: Writer) -> None:
        if self._in_flight is not None and self.batch:
            self.view.take_changes()
        start(self)

    patch.setattr(Writer, "_start_commit", forgets)


def time_follows_the_wall_clock(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Timekeeper, "now_ms", lambda self: self._clock.unix_ms())


def an_outcome_is_written_in_other_bytes(patch: pytest.MonkeyPatch) -> None:
    """1 for true: equal in Python, another body and another hash."""
    real = writer.apply

    def numbers(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: numbers(each) for key, each in value.items()}
        if isinstance(value, list):
            return [numbers(each) for each in value]
        return int(value) if isinstance(value, bool) else value

    patch.setattr(writer, "apply", lambda *args: numbers(real(*args)))


# --- the lease -----------------------------------------------------------------------------------


def a_fenced_writer_helps_itself_to_the_new_lease(patch: pytest.MonkeyPatch) -> None:
    """Its batch goes in under the term of the writer that has taken over."""
    real = writer.commit

    async def stubborn(
        store: Store, lease: Lease, batch: Batch, before: Head, clock: Clock
    ) -> None:
        try:
            await real(store, lease, batch, before, clock)
        except LeaseLost:
            theirs = await store.lease()
            assert theirs is not None
            await store.append(theirs, batch)

    patch.setattr(writer, "commit", stubborn)


# --- the outbox ----------------------------------------------------------------------------------


def the_outbox_takes_an_error_for_a_confirm(patch: pytest.MonkeyPatch) -> None:
    async def settled(self: Outbox, message: Any, outbound: Any, error: Exception) -> bool:
        return True

    patch.setattr(Outbox, "_is_settled", settled)


def the_outbox_does_not_catch_up(patch: pytest.MonkeyPatch) -> None:
    """What an earlier term committed and could not publish any more."""

    async def nothing(self: Outbox) -> None:
        return

    patch.setattr(Outbox, "_catch_up", nothing)


def the_outbox_publishes_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    commit = Writer._commit

    async def published_first(self: Writer, batch: OpenBatch) -> None:
        self.aftermath.publish(batch.committed)
        await commit(self, batch)

    patch.setattr(Writer, "_commit", published_first)


# --- de-duplication ------------------------------------------------------------------------------


def a_repeated_event_is_folded_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(on_event, "is_duplicate_event", lambda *args: False)


def an_event_above_a_hole_is_taken_for_a_copy(patch: pytest.MonkeyPatch) -> None:
    """A watermark without the set above it: what comes late is dropped."""

    def highest(server: Any, sequence: int) -> bool:
        return sequence <= received.highest_received(server)

    patch.setattr(received, "is_received", highest)


def a_recalled_request_gets_another_answer(patch: pytest.MonkeyPatch) -> None:
    recorded = AfterCommit._recorded_reply

    async def neighbour(self: AfterCommit, offset: int) -> bytes:
        return await recorded(self, max(1, offset - 1))

    patch.setattr(AfterCommit, "_recorded_reply", neighbour)


def a_recalled_event_is_not_acked(patch: pytest.MonkeyPatch) -> None:
    """The copy stays with the broker, and comes again with each new connection, for ever."""
    call = on_event.OnEvent.__call__

    def kept(self: on_event.OnEvent, arrival: Arrival, to: Writer) -> None:
        before, records = len(to.batch.acks), len(to.batch.records)
        call(self, arrival, to)
        if len(to.batch.records) == records and arrival.message.redelivered:
            del to.batch.acks[before:]

    patch.setattr(on_event.OnEvent, "__call__", kept)


# --- holds and rooms -----------------------------------------------------------------------------


def capacity_leaks(patch: pytest.MonkeyPatch) -> None:
    account = Load.account

    def kept(self: Load, old: Any, new: Any) -> None:
        if new is not None:
            account(self, old, new)

    patch.setattr(Load, "account", kept)


def holds_never_run_out(patch: pytest.MonkeyPatch) -> None:
    next_due_ms = timers.next_due_ms

    def never(view: Any) -> int | None:
        return (
            None if any(each.held_until_ms for each in view.rooms.values()) else next_due_ms(view)
        )

    patch.setattr(writer, "next_due_ms", never)


# --- liveness ------------------------------------------------------------------------------------


def the_silence_of_the_bus_loses_servers(patch: pytest.MonkeyPatch) -> None:
    """Each server is judged by itself, as where nobody asks who else fell silent."""
    patch.setattr(liveness, "is_the_bus", lambda step, server: False)


# --- publisher and client ------------------------------------------------------------------------


def the_publisher_takes_an_unknown_outcome_for_a_confirm(patch: pytest.MonkeyPatch) -> None:
    failed = publisher_pipeline.Pipeline._failed

    async def fine(self: Any, item: Any, error: Exception) -> None:
        if isinstance(error, publisher_pipeline.LinkDown):
            await failed(self, item, error)
            return
        item.state = publisher_pipeline._State.CONFIRMED
        self._settle_head()

    patch.setattr(publisher_pipeline.Pipeline, "_failed", fine)


def the_publisher_uses_a_sequence_twice(patch: pytest.MonkeyPatch) -> None:
    """A status is said with the sequence of what was said before it."""
    status = MediaServerPublisher._status

    def twice(self: MediaServerPublisher, *, complete: bool) -> Any:
        self._sequence -= not complete and self._sequence > 3
        return status(self, complete=complete)

    patch.setattr(MediaServerPublisher, "_status", twice)


def a_command_is_not_acked(patch: pytest.MonkeyPatch) -> None:
    """It stays with the broker, and comes again with each new connection, for ever."""

    async def deaf(self: CommandReader) -> None:
        self._consumer = await self._consume()
        while not self._stopped:
            await self._handle(await self._arrived.get())

    patch.setattr(CommandReader, "run", deaf)


def the_client_asks_again_with_a_new_id(patch: pytest.MonkeyPatch) -> None:
    attempt = client_calls.Calls._attempt

    async def renamed(self: Any, call: Any) -> Any:
        if call.maybe_done:
            call.request_id = self._new_id()
        return await attempt(self, call)

    patch.setattr(client_calls.Calls, "_attempt", renamed)


def the_client_takes_any_answer(patch: pytest.MonkeyPatch) -> None:
    def first_come(self: Any, messages: list[Any]) -> None:
        for message in messages:
            if self._pending:
                waiting = self._pending.pop(next(iter(self._pending)))
                if not waiting.done():
                    waiting.set_result(message)

    patch.setattr(client_calls.Calls, "on_replies", first_come)


# --- what is stored ------------------------------------------------------------------------------


def a_lost_tail_is_not_looked_for(patch: pytest.MonkeyPatch) -> None:
    """Offsets and allocation ids are given a second time, and nobody says that records are gone."""

    async def fine(self: LossCheck, store: Store, head: Head) -> None:
        async with self._open_log(1) as stream:
            async for _ in stream.until_now("first"):
                pass

    patch.setattr(LossCheck, "look", fine)


def an_accepted_loss_is_asked_for_again(patch: pytest.MonkeyPatch) -> None:
    async def forgotten(store: Store) -> int:
        return -1

    patch.setattr(loss, "_accepted_before", forgotten)


def a_start_says_by_which_address(patch: pytest.MonkeyPatch) -> None:
    """With the password in it."""
    declare = Term._declare_a_start

    def told(self: Term) -> None:
        self.writer.note(Kind.WRITER_ACTIVE, {"holder": self._holder, "at": self._settings.url})
        declare(self)

    patch.setattr(Term, "_declare_a_start", told)


def an_audit_takes_the_chain_for_granted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Walk, "_holds", lambda self, record, hash_: True)


def an_audit_passes_by_the_rows(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(verify, "differing_rows", lambda view, rows: iter(()))


NOT_DURABLE = "nothing is acked before it is durable"
NOT_IN_THE_JOURNAL = "every acknowledged allocation is in the journal"
NOT_AT_REST = "after the faults stop, the view equals the servers' truth"
NOT_PUBLISHED = "the outbox loses nothing"
NOT_FOUND = "a flipped bit is found where it is"
NOT_ITS_ANSWER = "each caller gets the answer to its own question"

PLANTS: dict[Plant, set[str]] = {
    acks_before_the_commit: {NOT_DURABLE},
    replies_before_the_commit: {NOT_IN_THE_JOURNAL},
    an_unknown_commit_is_taken_as_done: {NOT_DURABLE, NOT_IN_THE_JOURNAL},
    a_refused_batch_is_dropped: {NOT_DURABLE},
    changed_rows_are_forgotten_at_times: {"the tables are the journal"},
    time_follows_the_wall_clock: {"time never goes back"},
    an_outcome_is_written_in_other_bytes: {"the same inputs give the same outcome"},
    a_fenced_writer_helps_itself_to_the_new_lease: {"an old term appends nothing"},
    the_outbox_takes_an_error_for_a_confirm: {NOT_PUBLISHED, NOT_AT_REST},
    the_outbox_does_not_catch_up: {NOT_PUBLISHED},
    the_outbox_publishes_before_the_commit: {"nothing is said before it is durable"},
    a_repeated_event_is_folded_again: {"duplicates change nothing"},
    an_event_above_a_hole_is_taken_for_a_copy: {NOT_DURABLE},
    a_recalled_request_gets_another_answer: {NOT_ITS_ANSWER},
    a_recalled_event_is_not_acked: {NOT_AT_REST},
    capacity_leaks: {"the view's laws"},
    holds_never_run_out: {NOT_AT_REST},
    the_silence_of_the_bus_loses_servers: {"a silent bus loses no server"},
    the_publisher_takes_an_unknown_outcome_for_a_confirm: {"what is confirmed is at the broker"},
    the_publisher_uses_a_sequence_twice: {NOT_AT_REST},
    a_command_is_not_acked: {NOT_AT_REST},
    the_client_asks_again_with_a_new_id: {"one call places one room"},
    the_client_takes_any_answer: {NOT_ITS_ANSWER},
    a_lost_tail_is_not_looked_for: {"a journal that lost records is not written on unsaid"},
    an_accepted_loss_is_asked_for_again: {"only a journal that lost records is refused"},
    a_start_says_by_which_address: {"no secret anywhere"},
    an_audit_takes_the_chain_for_granted: {NOT_FOUND},
    an_audit_passes_by_the_rows: {NOT_FOUND},
}
"""The laws that each may break. That the program met a defect is none of them: so ends what a
changed signature made of a plant, too."""
