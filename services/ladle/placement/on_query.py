"""A reading request: answered at a committed offset, never journaled.

What the view answers (lookup, view, rooms) is read in the writer's order and sent after the batch
that it saw is durable. What the journal answers (decisions, history, explain, an older view) is
read from the store beside the writer, so that a long read delays nobody.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from ladle.core import queries
from ladle.core.view import View
from ladle.journal.store import Store, StoreError
from ladle.placement import journal_answers
from ladle.placement.batch import Arrival
from ladle.placement.callers import Callers
from ladle.placement.errands import Errands
from ladle.placement.refusals import (
    REFUSED,
    refuse_request,
    refuse_unanswerable,
    refuse_unrecordable,
)
from ladle.placement.replies import error_answer, may_answer, operation_label, reply_to, wire_reply
from ladle.placement.writer import Writer
from ladle_contracts.envelope import Request
from ladle_contracts.link import Link

log = logging.getLogger("ladle.queries")

AT_ONCE_MAX = 8
"""Reads of the journal at once: each holds up to a page of records in memory."""

FOLDS_MAX = 4
"""Views of the past asked for at once: one is folded, the others wait for their turn."""

FOLD_WAIT_S = 5.0
"""How long one waits for its turn: of a caller's usual 15 s; the fold takes the rest."""

Answer = dict[str, Any]

NO_FOLD_IN_TIME = error_answer(
    "unavailable",
    "other views of the past are being made here and take long: ask again, or without at_offset",
    retryable=True,
    retry_after_ms=5_000,
)

TOO_MANY_FOLDS = error_answer(
    "rate-limited",
    f"{FOLDS_MAX} views of the past are being made here: ask again, or without at_offset",
    retryable=True,
    retry_after_ms=2_000,
)

NOT_WRITING = error_answer(
    "unavailable",
    "nothing is written here now: the queue of writing requests is missing",
    retryable=True,
    retry_after_ms=2_000,
)


def from_view(view: View, request: Request) -> Answer | None:
    """The answer that the view alone gives; None where the journal must be asked."""
    body = request.body.model_dump(mode="json")
    if request.operation == "lookup":
        return queries.lookup(view, body["room_id"])
    if request.operation == "rooms":
        return queries.rooms(
            view,
            server_id=body["server_id"],
            state=body["state"],
            after=body["after"],
            limit=body["limit"],
        )
    at_offset = body.get("at_offset")
    if request.operation == "view" and (at_offset is None or at_offset == view.offset):
        return queries.fleet_view(view, region=body["region"], server_id=body["server_id"])
    return None


class JournalReads:
    """The reads of the journal of one process, bounded in number.

    A view of the past folds the journal from its beginning, on the same core as all else here. Two
    at once take twice as long as one: they run one after the other, so that the first answer comes
    early, and who would wait longer than a caller has patience is refused.
    """

    def __init__(self, store: Store, *, wait_s: float = FOLD_WAIT_S) -> None:
        self._store = store
        self._wait_s = wait_s
        self._slots = asyncio.Semaphore(AT_ONCE_MAX)
        self._fold = asyncio.Lock()
        self._folds = 0

    async def answer(self, request: Request) -> Answer:
        """What the journal says, or why it is not said now; raises nothing."""
        if request.operation != "view":
            async with self._slots:
                return await read_journal(self._store, request)
        if self._folds == FOLDS_MAX:
            return TOO_MANY_FOLDS
        self._folds += 1
        try:
            return await self._folded(request)
        finally:
            self._folds -= 1

    async def _folded(self, request: Request) -> Answer:
        try:
            async with asyncio.timeout(self._wait_s):
                await self._fold.acquire()
        except TimeoutError:
            return NO_FOLD_IN_TIME
        try:
            return await read_journal(self._store, request)
        finally:
            self._fold.release()


async def from_journal(store: Store, request: Request) -> Answer:
    """The answer that takes records; raises StoreError."""
    body = request.body.model_dump(mode="json")
    readers: dict[str, Callable[[], Awaitable[Answer]]] = {
        "decisions": lambda: journal_answers.decisions(store, body),
        "history": lambda: journal_answers.history(store, body),
        "explain": lambda: journal_answers.explain(store, body),
        "view": lambda: journal_answers.fleet_view_at(store, body),
    }
    return await readers[request.operation]()


async def read_journal(store: Store, request: Request) -> Answer:
    """As `from_journal`; what fails is logged, and answered as an error."""
    try:
        return await from_journal(store, request)
    except StoreError as error:
        log.warning("a read of the journal failed: %s", error)
        return error_answer("unavailable", "the journal cannot be read now", retryable=True)
    except Exception:  # Records that an older program wrote, or that were erased.
        log.exception("a read of the journal failed")
        return error_answer("internal", "what the journal holds cannot be read")


class OnQuery:
    """The handler of the queries queue while this process writes."""

    def __init__(self, store: Store, link: Link, callers: Callers) -> None:
        self._link = link
        self._callers = callers
        self._reads = JournalReads(store)
        self._errands = Errands("a read of the journal", log)

    def __call__(self, arrival: Arrival, writer: Writer) -> None:
        message = arrival.message
        if not may_answer(message.reply_to):
            refuse_unanswerable(arrival, writer, self._callers)
            return
        try:
            request, user = self._callers.read(message, arrival)
            self._callers.count(user, arrival)
        except REFUSED as error:
            refuse_request(arrival, writer, error)
            return
        if request.is_write:
            # The exchange found no queue for it: that was deleted, and will be declared again.
            writer.answer(
                arrival,
                NOT_WRITING,
                operation=request.operation,
                offset=writer.scribe.offset,
            )
            return
        offset = writer.scribe.offset
        min_offset = getattr(request.body, "min_offset", 0)
        if min_offset > offset:
            answer: Answer | None = behind(offset, min_offset)
        else:
            answer = from_view(writer.view, request)
        if answer is not None:
            writer.answer(arrival, answer, operation=request.operation, offset=offset)
            return
        writer.batch.after.append(lambda: self._errands.run(self._read(arrival, request, writer)))

    def refuse(self, arrival: Arrival, writer: Writer, reason: str, detail: str) -> None:
        """A read on which the view fails."""
        refuse_unrecordable(arrival, writer, reason, detail)

    async def settle(self) -> None:
        """Wait for the reads under way."""
        await self._errands.settle()

    async def close(self) -> None:
        """Cancel the reads under way; another process gets them."""
        await self._errands.close()

    async def _read(self, arrival: Arrival, request: Request, writer: Writer) -> None:
        offset = writer.committed.offset
        answer = await self._reads.answer(request)
        body = wire_reply(answer, term=writer.lease.term, offset=offset)
        self._link.send([reply_to(arrival.message, body)])
        self._link.ack([arrival.message])
        code = answer["error"]["code"] if answer["status"] == "error" else "ok"
        writer.metrics.requests.inc(operation_label(arrival.message), code)


def behind(offset: int, min_offset: int) -> Answer:
    """The refusal of a reader who has seen more of the journal than this process."""
    return error_answer(
        "unavailable",
        f"this process is at offset {offset}, behind min_offset {min_offset}",
        retryable=True,
        retry_after_ms=200,
        details={"offset": offset},
    )
