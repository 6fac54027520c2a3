"""What must be true of a journal after whatever was done, held against what callers were told."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from ladle.chaos.real.callers import Callers
from ladle.core.record import FIRST_PREV_HASH, Record
from ladle.core.view import View
from ladle.journal.chain import verify
from ladle.journal.fold import check, loaded
from ladle.journal.open import open_store
from ladle.journal.store import Store
from ladle_contracts.replies import PlacedReply
from ladle_contracts.times import to_rfc3339

PAGE = 2_000

PLACED = ("placed", "existing", "moved")


@dataclass(frozen=True, slots=True)
class Findings:
    """Each a sentence; `recovered` are allocations that stand though their caller was not told."""

    lost: tuple[str, ...]
    duplicated: tuple[str, ...]
    unexpected: tuple[str, ...]
    recovered: int

    @property
    def violations(self) -> tuple[str, ...]:
        return (*self.lost, *self.duplicated, *self.unexpected)


async def examine(database: str, callers: Callers) -> Findings:
    """Read the whole journal of a stopped service; raises StoreError where it cannot be read."""
    store = open_store(database)
    try:
        await store.open()
        records = await all_records(store)
        unexpected = []
        if broken := verify(records, after_offset=0, after_hash=FIRST_PREV_HASH):
            unexpected.append(f"the chain breaks at offset {broken.offset}: {broken.law}")
        consistency = await check(store)
        if not consistency.holds:
            unexpected.append(f"tables and journal differ: {consistency.differing}")
        view = loaded(await store.load())
    finally:
        await store.close()
    lost, wrong = _against_the_journal(records, callers)
    return Findings(
        lost=(*lost, *_not_in_the_view(view, callers)),
        duplicated=tuple(_two_homes(callers)),
        unexpected=(*unexpected, *wrong),
        recovered=_recovered(records, callers),
    )


async def all_records(store: Store) -> list[Record]:
    records: list[Record] = []
    while page := await store.records(len(records), PAGE):
        records += page
    return records


def _against_the_journal(records: list[Record], callers: Callers) -> tuple[list[str], list[str]]:
    """Answers that no record holds, and answers whose record says something else."""
    lost, wrong = [], []
    for room_id, answers in callers.answers.items():
        for answer in answers:
            if answer.journal_offset > len(records):
                lost.append(f"{room_id}: the journal ends before offset {answer.journal_offset}")
                continue
            record = records[answer.journal_offset - 1]
            reply = _reply(record)
            if _said(reply) != (room_id, answer.allocation_id, answer.outcome, _server(answer)):
                lost.append(f"{room_id}: record {record.offset} holds another answer, {reply}")
            elif record.term != answer.term:
                wrong.append(f"{room_id}: term {answer.term} answered for term {record.term}")
    return lost, wrong


def _reply(record: Record) -> Mapping[str, Any]:
    reply: Mapping[str, Any] = orjson.loads(record.body).get("outcome", {}).get("reply") or {}
    return reply


def _said(reply: Mapping[str, Any]) -> tuple[Any, ...]:
    server = reply.get("server") or {}
    return (
        reply.get("room_id"),
        reply.get("allocation_id"),
        reply.get("outcome"),
        server.get("server_id"),
    )


def _server(answer: PlacedReply) -> str:
    return answer.server.server_id


def _two_homes(callers: Callers) -> list[str]:
    """In one generation a room has one home and one allocation."""
    found = []
    for room_id, answers in callers.answers.items():
        homes = defaultdict(set)
        for answer in answers:
            home = (_server(answer), answer.server.worker_id, answer.allocation_id)
            homes[answer.generation].add(home)
        found += [
            f"{room_id} has {len(each)} homes in generation {generation}: {sorted(each)}"
            for generation, each in homes.items()
            if len(each) > 1
        ]
    return found


def _not_in_the_view(view: View, callers: Callers) -> list[str]:
    """Where the last answer's hold runs, the room must be where it said."""
    found, now = [], to_rfc3339(view.recorded_at_ms)
    for room_id, answers in callers.answers.items():
        last = max(answers, key=lambda answer: answer.journal_offset)
        if last.held_until is not None and last.held_until <= now:
            continue
        room = view.rooms.get(room_id)
        if room is None:
            found.append(f"{room_id}: held until {last.held_until}, and not in the view")
        elif room.generation > last.generation and room_id in callers.failures:
            continue  # Asked for once more, moved, and the answer did not come in time.
        elif (room.allocation_id, room.generation) != (last.allocation_id, last.generation):
            found.append(f"{room_id}: the view has generation {room.generation}, another home")
    return found


def _recovered(records: list[Record], callers: Callers) -> int:
    """Placed in the journal for a caller who was not told so in time."""
    untold = callers.failures.keys() - callers.answers.keys()
    return sum(
        record.room_id in untold and _reply(record).get("outcome") == "placed" for record in records
    )
