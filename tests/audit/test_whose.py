"""Whose journal a source holds is what its records say, then its tables or its manifest."""

from dataclasses import replace

import pytest

from ladle.audit.source import Claim, Origin
from ladle.audit.whose import cell_of
from ladle.core.record import FIRST_PREV_HASH, Entry, Kind, Record
from ladle.journal.chain import seal
from ladle.journal.store import Head
from tests.audit.recorded import Held


def settings(offset: int, **payload: object) -> Record:
    entry = Entry(offset, 0, 1, Kind.SETTINGS, {}, {}, payload)
    return seal(entry, {"outbound": []}, prev_hash=FIRST_PREV_HASH, salt=b"0" * 16)


FROM_EXPORT = Claim(origin=Origin("us", {}, False, (), Head(9, FIRST_PREV_HASH, 0)))
ERASED = replace(settings(1, cell="eu"), body=b"", salt=b"")


@pytest.mark.parametrize(
    ("records", "claim", "cell"),
    [
        ([settings(1, cell="eu")], Claim(), "eu"),
        ([settings(1, cell="eu")], FROM_EXPORT, "eu"),
        ([settings(5, cell="eu")], FROM_EXPORT, "eu"),
        ([settings(1, rules=3)], Claim(), "default"),
        ([settings(5, rules=3)], FROM_EXPORT, "us"),
        ([settings(5, rules=3)], Claim(), None),
        ([settings(5, rules=3)], Claim(cell="eu"), "eu"),
        ([ERASED], FROM_EXPORT, "us"),
        ([], Claim(), None),
    ],
)
def test_the_cell_of_a_journal(records: list[Record], claim: Claim, cell: str | None) -> None:
    assert cell_of(Held([*records], claim=claim)) == cell
