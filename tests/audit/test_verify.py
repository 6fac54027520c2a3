"""What `verify` holds of a sound journal, and that no change to one escapes it."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ladle.audit.errors import INCOMPLETE, VERIFIED, VIOLATION, SourceError
from ladle.audit.export import Export
from ladle.audit.export_rows import Wanted
from ladle.audit.files import FileSource
from ladle.audit.finding import Law
from ladle.audit.open import open_source
from ladle.audit.rows import differing_rows
from ladle.audit.source import Claim, Item
from ladle.audit.verify import Report, verify
from ladle.core.policies import POLICIES
from ladle.core.record import Entry, Kind, Record, canonical, chain_hash, digest_of
from ladle.core.rows import COLUMNS, TABLES
from ladle.core.view import View
from ladle.journal.chain import open_record, seal
from tests.audit.recorded import Held, Life, head_of, rows_of, sealed

PREFIX = 80
"""Records of the run that are enough to change one of."""


def judged(items: list[Item], **more: Any) -> Report:
    return verify(Held(items, **more))


def test_a_recorded_run_verifies(records: list[Record], view: View) -> None:
    report = judged(list(records), rows=rows_of(view, records))
    assert report.exit_code == VERIFIED
    assert report.derived == report.records == len(records) > 800
    assert report.rows == sum(len(rows) for rows in view.dump().values()) > 200
    assert report.unchecked == report.missing == []
    assert report.head == head_of(records)


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_a_run_under_each_policy_verifies(policy: str) -> None:
    """Also those that draw: the draw comes from the record."""
    life = Life(3, policy)
    life.run(250)
    records = sealed(life.cell.journal)
    report = judged(list(records), rows=rows_of(life.cell.view, records))
    assert (report.exit_code, report.derived) == (VERIFIED, len(records))
    assert sum(b'"winner"' in record.body for record in records) > 10


def test_so_does_its_database(database: Path, records: list[Record]) -> None:
    source = open_source(str(database))
    report = verify(source)
    source.close()
    assert (report.exit_code, report.derived, bool(report.rows)) == (VERIFIED, len(records), True)


@pytest.mark.parametrize("format_", ["jsonl", "csv", "parquet", "cloudevents"])
def test_so_does_its_export(format_: str, records: list[Record], tmp_path: Path) -> None:
    export = Export(tmp_path / "out", format_=format_, rows_per_file=300)
    export.add(records)
    export.finish(head_of(records))
    report = verify(open_source(str(tmp_path / "out")))
    assert (report.exit_code, report.derived) == (VERIFIED, len(records))


# --- a record is changed -------------------------------------------------------------------------


def spoiled(value: object, draw: st.DataObject) -> object:
    """The value with one bit, digit or character changed."""
    if isinstance(value, int):
        return value ^ (1 << draw.draw(st.integers(0, 40)))
    if isinstance(value, bytes):
        place = draw.draw(st.integers(0, len(value) - 1))
        return (
            value[:place]
            + bytes([value[place] ^ (1 << draw.draw(st.integers(0, 7)))])
            + (value[place + 1 :])
        )
    assert isinstance(value, str | None)
    if not value:
        return "x"
    place = draw.draw(st.integers(0, len(value) - 1))
    other = "0" if value[place] != "0" else "1"
    return value[:place] + other + value[place + 1 :]


@settings(max_examples=100, deadline=None)
@given(draw=st.data())
def test_a_changed_column_of_a_record_is_found(records: list[Record], draw: st.DataObject) -> None:
    """Whichever byte of whichever column; what the hash does not cover is derived again."""
    place = draw.draw(st.integers(0, PREFIX - 1))
    name = draw.draw(st.sampled_from([field.name for field in fields(Record)]))
    changed = replace(records[place], **{name: spoiled(getattr(records[place], name), draw)})
    items: list[Item] = [*records[:place], changed, *records[place + 1 : PREFIX]]
    report = judged(items)
    assert report.exit_code == VIOLATION
    first = report.findings.first
    assert first is not None
    assert first.offset in (place + 1, place + 2)


@pytest.mark.parametrize("format_", ["jsonl", "csv", "cloudevents"])
@settings(max_examples=60, deadline=None)
@given(draw=st.data())
def test_a_changed_byte_of_an_export_is_found(
    format_: str,
    records: list[Record],
    tmp_path_factory: pytest.TempPathFactory,
    draw: st.DataObject,
) -> None:
    """Without the manifest's checksums: the line alone tells."""
    lines = exported(format_, records[:40], tmp_path_factory)
    place = draw.draw(st.integers(0, len(lines) - 1))
    bit = 1 << draw.draw(st.integers(0, 7))
    file = tmp_path_factory.mktemp("flip") / "journal"
    file.write_bytes(lines[:place] + bytes([lines[place] ^ bit]) + lines[place + 1 :])
    try:
        code = verify(FileSource(file)).exit_code
    except SourceError as error:
        code = error.exit_code
    # The last byte is the line break: without it the record still is whole.
    assert code != VERIFIED or place == len(lines) - 1


@settings(max_examples=30, deadline=None)
@given(draw=st.data())
def test_a_changed_byte_of_a_parquet_export_is_found(
    records: list[Record], tmp_path_factory: pytest.TempPathFactory, draw: st.DataObject
) -> None:
    """By the manifest: a Parquet file has bytes, statistics, that no record is read from."""
    folder = tmp_path_factory.mktemp("parquet") / "out"
    export = Export(folder, format_="parquet")
    export.add(records[:40])
    export.finish(head_of(records[:40]))
    (file,) = folder.glob("*.parquet")
    content = bytearray(file.read_bytes())
    content[draw.draw(st.integers(0, len(content) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    file.write_bytes(content)
    try:
        code = verify(FileSource(folder)).exit_code
    except SourceError as error:
        code = error.exit_code
    assert code != VERIFIED


def exported(format_: str, records: list[Record], folders: pytest.TempPathFactory) -> bytes:
    """The one file of an export."""
    folder = folders.mktemp("export") / "out"
    export = Export(folder, format_=format_)
    export.add(records)
    export.finish(head_of(records))
    (file,) = folder.glob("journal-*")
    return file.read_bytes()


@settings(max_examples=50, deadline=None)
@given(place=st.integers(0, PREFIX - 2), other=st.integers(0, PREFIX - 2))
def test_a_record_removed_inserted_or_swapped_is_found(
    records: list[Record], place: int, other: int
) -> None:
    prefix: list[Item] = list(records[:PREFIX])
    removed = judged(prefix[:place] + prefix[place + 1 :])
    assert removed.exit_code == INCOMPLETE
    assert removed.gaps.ranges == [(place + 1, place + 1)]
    inserted = judged([*prefix[:place], prefix[other], *prefix[place:]])
    assert inserted.exit_code == VIOLATION
    if place != other:
        swapped = list(prefix)
        swapped[place], swapped[other] = prefix[other], prefix[place]
        assert judged(swapped).exit_code == VIOLATION


def test_a_removed_record_whose_followers_are_renumbered_is_found(records: list[Record]) -> None:
    items: list[Item] = list(records[:20])
    items += [replace(record, offset=record.offset - 1) for record in records[21:40]]
    report = judged(items)
    assert report.findings.first is not None
    assert report.findings.first.offset == 21


def test_a_tail_rewritten_with_a_sound_chain_is_found_by_the_core(records: list[Record]) -> None:
    """Whoever can hash can chain; but not come to what the core does not come to."""
    place = next(
        n for n, r in enumerate(records) if b'"decision"' in r.body and b'"winner"' in r.body
    )
    opened = open_record(records[place])
    outcome = {**opened.outcome, "decision": {**opened.outcome["decision"], "fitted": 77}}
    rewritten = [resealed(records[place], outcome, records[place - 1].hash)]
    for record in records[place + 1 : PREFIX]:
        body = open_record(record)
        rewritten.append(resealed(record, body.outcome, rewritten[-1].hash))
    report = judged([*records[:place], *rewritten])
    first = report.findings.first
    assert first is not None
    assert (first.law, first.offset) == (Law.OUTCOME, place + 1)
    assert (first.where, first.recorded) == ("outcome.decision.fitted", 77)
    assert first.derived == opened.outcome["decision"]["fitted"]
    assert report.findings.count == 1, "what follows is as it was"


def resealed(record: Record, outcome: dict[str, Any], prev_hash: str) -> Record:
    return seal(
        open_record(record).entry,
        outcome,
        prev_hash=prev_hash,
        salt=record.salt,
        room_id=record.room_id,
        server_id=record.server_id,
    )


def test_several_differences_are_counted_and_the_first_is_told(records: list[Record]) -> None:
    items: list[Item] = list(records)
    for place in (50, 300, 700):
        items[place] = replace(records[place], body_digest="0" * 64, hash="1" * 64)
    report = judged(items)
    assert report.findings.first is not None
    assert report.findings.first.offset == 51
    assert report.findings.counts[Law.HASH] == 3
    assert report.findings.counts[Law.DIGEST] == 3
    assert report.findings.counts[Law.CHAIN] == 3, "the follower's prev_hash is another"


# --- the end -------------------------------------------------------------------------------------


def test_a_missing_tail_is_no_tampering(records: list[Record]) -> None:
    report = judged(list(records[:-3]), claim=Claim(head=head_of(records)))
    assert report.exit_code == INCOMPLETE
    assert "the last 3 are missing" in report.missing[0]


def test_another_end_than_was_told_is_found(records: list[Record]) -> None:
    told = replace(head_of(records), hash="0" * 64)
    report = judged(list(records), claim=Claim(head=told))
    assert report.findings.counts == {Law.HEAD: 1}


def test_tables_that_know_of_more_than_the_journal_are_a_lost_tail(
    records: list[Record], view: View
) -> None:
    rows = replace(rows_of(view, records), newest_offset=len(records) + 4)
    report = judged(list(records), rows=rows)
    assert report.exit_code == INCOMPLETE
    assert "its tail is lost" in report.missing[0]


# --- rows ----------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(draw=st.data())
def test_a_changed_row_of_the_view_is_found(
    records: list[Record], view: View, draw: st.DataObject
) -> None:
    """Any column of any row of any table; also a row that is gone."""
    rows = rows_of(view, records)
    tables = {name: list(table) for name, table in rows.snapshot.tables.items()}
    name = draw.draw(st.sampled_from(sorted(name for name, table in tables.items() if table)))
    place = draw.draw(st.integers(0, len(tables[name]) - 1))
    column = draw.draw(st.integers(-1, len(COLUMNS[name]) - 1))
    if column < 0:
        del tables[name][place]
    else:
        row = list(tables[name][place])
        row[column] = spoiled(row[column], draw)
        tables[name][place] = tuple(row)
    spoiled_rows = replace(rows, snapshot=replace(rows.snapshot, tables=tables))
    found = list(differing_rows(view, spoiled_rows))
    assert [finding.law for finding in found] in ([Law.ROWS], [Law.ROWS] * 2)
    assert str(found[0].where).startswith(f"{name} ")


def test_verify_holds_the_rows_against_the_fold(records: list[Record], view: View) -> None:
    rows = rows_of(view, records)
    tables = {**rows.snapshot.tables, "room": rows.snapshot.tables["room"][1:]}
    less = replace(rows, snapshot=replace(rows.snapshot, tables=tables))
    report = judged(list(records), rows=less)
    assert report.exit_code == VIOLATION
    assert report.findings.counts == {Law.ROWS: 1}
    assert report.findings.first is not None
    assert report.findings.first.said == "the row is missing in the table"


def test_the_key_of_a_row_is_its_first_columns() -> None:
    """By which rows are held against each other."""
    for name, table in TABLES.items():
        assert COLUMNS[name][: len(table.KEY)] == table.KEY


# --- what cannot be checked ----------------------------------------------------------------------


def test_erased_content_leaves_the_chain_and_is_said(records: list[Record], view: View) -> None:
    items: list[Item] = [*records, answering(records, [[101, 101]])]
    items[100] = replace(records[100], body=b"", salt=b"", room_id=None, server_id=None)
    report = judged(items, rows=rows_of(view, records))
    assert report.exit_code == VERIFIED
    assert (report.derived, report.erased, report.rows) == (100, 1, None)
    assert any("from record 101" in said for said in report.unchecked)
    assert any("tables were not compared" in said for said in report.unchecked)


def answering(records: list[Record], spans: object) -> Record:
    """The next record, which says that these were erased."""
    last = records[-1]
    entry = Entry(
        last.offset + 1, last.recorded_at_ms, last.term, Kind.ERASED, {}, {}, {"records": spans}
    )
    return seal(entry, {"status": "applied"}, prev_hash=last.hash, salt=bytes(16))


def test_content_that_nobody_erased_is_found(records: list[Record]) -> None:
    """Taken away with its salt, as an erasure would: only the record that says so is missing."""
    items: list[Item] = list(records[:PREFIX])
    for place in (40, 41, 50):
        items[place] = replace(records[place], body=b"", salt=b"", room_id=None, server_id=None)
    report = judged([*items, answering(records[:PREFIX], [[42, 42], [51, 51]])])
    assert (report.exit_code, report.findings.counts) == (VIOLATION, {Law.ERASED: 1})
    assert report.findings.first is not None
    assert report.findings.first.offset == 41
    report = judged([*items, answering(records[:PREFIX], "all of them")])
    assert report.findings.counts == {Law.BODY: 1, Law.ERASED: 2}


def test_a_redacted_source_has_nothing_that_could_answer(records: list[Record]) -> None:
    nothing = {"body": b"", "salt": b"", "room_id": None, "server_id": None}
    report = judged([replace(record, **nothing) for record in records])
    assert (report.exit_code, report.erased) == (VERIFIED, len(records))
    assert any("redacted" in said for said in report.unchecked)


def test_content_without_its_salt_is_no_erasure(records: list[Record]) -> None:
    items: list[Item] = list(records[:PREFIX])
    items[50] = replace(records[50], body=b"")
    assert judged(items).findings.counts[Law.DIGEST] == 1


def test_a_selection_is_checked_record_by_record(records: list[Record], tmp_path: Path) -> None:
    export = Export(tmp_path / "out", format_="jsonl", wanted=Wanted(kinds=("request",)))
    export.add(records)
    export.finish(head_of(records))
    report = verify(open_source(str(tmp_path / "out")))
    assert (report.exit_code, report.derived) == (VERIFIED, 0)
    assert "selection" in report.unchecked[0]


def test_bytes_that_only_look_canonical_are_found(records: list[Record]) -> None:
    """The same JSON in other bytes, with a chain made to fit."""
    record = records[-1]
    body = record.body.replace(b'":', b'": ', 1)
    digest = digest_of(record.salt, body)
    hash_ = chain_hash(
        offset=record.offset,
        recorded_at_ms=record.recorded_at_ms,
        term=record.term,
        kind=record.kind,
        schema_version=record.schema_version,
        body_digest=digest,
        prev_hash=record.prev_hash,
    )
    assert canonical(open_record(record).outcome) in record.body
    spaced = replace(record, body=body, body_digest=digest, hash=hash_)
    report = judged([*records[:-1], spaced])
    assert report.findings.counts == {Law.BODY: 1}
