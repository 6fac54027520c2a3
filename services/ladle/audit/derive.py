"""Every record derived again: the pure core, the state before it, the recorded entry.

The decision is made anew on the state before the record and held against the recorded one; the
state then goes on with the recorded one. So a wrong decision is one difference, and not one in
every record after it.
"""

from collections.abc import Iterator
from typing import Any

import orjson

from ladle.audit.difference import first_difference
from ladle.audit.finding import Finding, Law
from ladle.core.apply import apply
from ladle.core.decide import decide
from ladle.core.record import SCHEMA_VERSION, Entry, Kind, Record, canonical
from ladle.core.view import View
from ladle.journal.chain import open_record
from ladle.journal.subjects import subjects

CHANGES_KEPT = 1_000
"""After so many records the view's list of changed rows is emptied; else it grows with the log."""


class Derivation:
    """The view, record after record. `stopped`: from which record on nothing is known, and why."""

    def __init__(self) -> None:
        self.view = View()
        self.records = 0
        self.stopped: tuple[int, str] | None = None

    def stop(self, offset: int, why: str) -> None:
        """The state before this record is not known: what follows cannot be derived."""
        if self.stopped is None:
            self.stopped = (offset, why)

    def step(self, record: Record) -> Iterator[Finding]:
        """Fold the next record, and say where the core comes to something else."""
        if self.stopped is not None:
            return
        try:
            opened = open_record(record)
            entry, recorded = opened.entry, opened.outcome
            derived = self._derived(entry, recorded)
            body = canonical(_body(entry, derived))
            named = subjects(entry, recorded)
        except Exception as error:
            # The entry stands in a record that anybody may have written: whatever the core says
            # to it is a finding and no failure of the audit.
            self.stop(record.offset, "the core cannot fold it")
            said = f"the core cannot fold it: {type(error).__name__}: {error}"
            yield Finding(Law.BODY, record.offset, said)
            return
        self.records += 1
        # An older record is held in the present format, to which its sealed bytes were brought up.
        is_present = record.schema_version == SCHEMA_VERSION
        if body != (record.body if is_present else canonical(_body(entry, recorded))):
            yield _differing(record, recorded, derived)
        if named != (record.room_id, record.server_id):
            yield Finding(
                Law.COLUMNS,
                record.offset,
                "room_id and server_id are not those of its body",
                "room_id, server_id",
                [record.room_id, record.server_id],
                list(named),
            )
        if self.records % CHANGES_KEPT == 0:
            self.view.take_changes()

    def _derived(self, entry: Entry, recorded: dict[str, Any]) -> dict[str, Any]:
        """What the core comes to; where it comes to a decision, its own one."""
        if entry.kind is not Kind.REQUEST or recorded.get("decision") is None:
            return apply(self.view, entry)
        decision = dict(decide(self.view, entry).record)
        derived = apply(self.view, entry, recorded)
        if "decision" in derived:
            derived["decision"] = decision
        return derived


def _body(entry: Entry, outcome: dict[str, Any]) -> dict[str, Any]:
    return {
        "origin": entry.origin,
        "inputs": entry.inputs,
        "payload": entry.payload,
        "outcome": outcome,
    }


def _differing(record: Record, recorded: dict[str, Any], derived: dict[str, Any]) -> Finding:
    # Through JSON, so that what the core says in tuples and enumerations compares as it is written.
    found = first_difference({"outcome": recorded}, {"outcome": _as_json(derived)})
    if found is None:
        said = "its bytes are not the canonical JSON of what they say"
        return Finding(Law.BODY, record.offset, said, "body")
    where, one, other = found
    said = "the core comes to another outcome"
    return Finding(Law.OUTCOME, record.offset, said, where, one, other)


def _as_json(value: dict[str, Any]) -> Any:
    return orjson.loads(canonical(value))
