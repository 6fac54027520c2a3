"""What an export says of its source: which records it did not have, and what was left out."""

from collections.abc import Mapping, Sequence
from typing import Any

from ladle.audit.export_rows import Wanted
from ladle.audit.source import Claim
from ladle.core.record import Record
from ladle.journal.store import Head


class Origins:
    """Sees all that is read, wanted or not; offsets must follow one another where they are wanted.

    claim: of the source; None for records that nobody says anything of.
    """

    def __init__(self, wanted: Wanted, claim: Claim | None = None) -> None:
        self._wanted = wanted
        self._claim = claim or Claim()
        self._next = wanted.first_offset()
        self.gaps: list[tuple[int, int]] = []
        # Of a whole log gaps are seen again; of a selection nothing else knows of them.
        if self._claim.origin is not None and self._claim.selected is not None:
            self.gaps += self._claim.origin.gaps

    def saw(self, records: Sequence[Record]) -> None:
        """The next records of the source, in order. Of a selection nothing follows from a skip."""
        if self._claim.selected is not None:
            return
        end = self._wanted.last_offset()
        for record in records:
            first_unwanted = record.offset if end is None else min(record.offset, end + 1)
            if first_unwanted > self._next:
                self.gaps.append((self._next, first_unwanted - 1))
            self._next = max(self._next, record.offset + 1)

    def as_dict(self, redact: bool) -> dict[str, Any]:
        """Fields of the manifest."""
        claim, origin = self._claim, self._claim.origin
        goes_on = None if claim.untold is not None else claim.goes_on
        whole = self._wanted.is_everything and claim.selected is None and not self.gaps
        return {
            "redacted": redact or (origin is not None and origin.redacted),
            "filters": joined(origin.filters if origin else {}, self._wanted.as_dict()),
            # Only an export of everything is a chain; of the others, each record alone verifies.
            "complete": whole and goes_on is False,
            "gaps": [list(gap) for gap in self.gaps],
            "goes_on": goes_on,
        }

    def head(self, last_read: Head) -> Head:
        """The journal's last record, wanted or not, as far as the source knows of it."""
        if self._claim.head is not None:
            return self._claim.head
        return self._claim.origin.head if self._claim.origin is not None else last_read


def joined(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """The filters of an export of an export, both of which hold; where they differ, one by one."""
    both: dict[str, Any] = {**first, **second}
    for name in first.keys() & second.keys():
        one, other = first[name], second[name]
        if name == "kinds":
            both[name] = [kind for kind in one if kind in other]
        elif one != other:
            both[name] = [*(one if isinstance(one, list) else [one]), other]
    return both
