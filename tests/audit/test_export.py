"""Exports: every format says the same, the manifest vouches for it, redaction keeps the chain."""

import csv
import errno
import gc
import hashlib
import io
import json
import tracemalloc

import pyarrow.parquet as pq
import pytest

from ladle.audit import export_files
from ladle.audit.export import Export, ExportRefused
from ladle.audit.export_files import FORMATS
from ladle.audit.export_rows import Moment, Wanted, row_of
from ladle.audit.files import FileSource
from ladle.audit.form import COLUMNS, fields_of, record_of
from ladle.audit.manifest import MANIFEST
from ladle.core.record import FIRST_PREV_HASH, Kind
from ladle.journal.chain import rehash, verify
from ladle.journal.store import Head
from tests.journal.making import AT_MS, head_of, record_after

EMPTY = Head(0, FIRST_PREV_HASH, 0)


def journal(count):
    """Records of several kinds, about rooms r0 to r2 or none, with text that needs care."""
    made, head = [], EMPTY
    for number in range(count):
        about = {"room_id": f"r{number % 3}"} if number % 2 else {"server_id": "sfu-1"}
        kind = Kind.REQUEST if number % 2 else Kind.EVENT
        payload = {"text": f'grüße, "{number}"\r\n\u2028', "number": number}
        record = record_after(head, payload=payload, kind=kind, **about)
        made.append(record)
        head = head_of(record)
    return made


def exported(folder, records, pages=3, **options):
    """The manifest of an export in `pages` pages."""
    export = Export(folder, **{"format_": "jsonl", **options})
    size = max(1, -(-len(records) // pages))
    for begin in range(0, len(records), size):
        export.add(records[begin : begin + size])
    return export.finish(head_of(records[-1]) if records else EMPTY)


def read_jsonl(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    for row in rows:
        for name in ("offset", "recorded_at_ms", "term", "schema_version"):
            row[name] = int(row[name])
        for name in ("room_id", "server_id"):
            row[name] = row[name] or None
    return rows


def read_events(path):
    return [event["data"] for event in read_jsonl(path)]


READERS = {
    "jsonl": read_jsonl,
    "csv": read_csv,
    "parquet": lambda path: pq.read_table(path).to_pylist(),
    "cloudevents": read_events,
}


def rows_of(folder, manifest):
    reader = READERS[manifest["encoding"]]
    return [row for file in manifest["files"] for row in reader(folder / file["name"])]


@pytest.mark.parametrize("format_", FORMATS)
def test_every_format_gives_the_records_back(tmp_path, format_):
    records = journal(20)
    manifest = exported(tmp_path / "out", records, format_=format_, rows_per_file=8)
    rows = rows_of(tmp_path / "out", manifest)
    assert [file["rows"] for file in manifest["files"]] == [8, 8, 4]
    assert [tuple(row) for row in rows] == [COLUMNS] * 20
    assert [record_of(row) for row in rows] == records


@pytest.mark.parametrize("format_", FORMATS)
def test_the_manifest_vouches_for_the_files(tmp_path, format_):
    records = journal(20)
    manifest = exported(tmp_path / "out", records, format_=format_, rows_per_file=8)
    assert manifest == json.loads((tmp_path / "out" / MANIFEST).read_text())
    for file in manifest["files"]:
        content = (tmp_path / "out" / file["name"]).read_bytes()
        assert (file["sha256"], file["bytes"]) == (
            hashlib.sha256(content).hexdigest(),
            len(content),
        )
    named = {file["name"] for file in manifest["files"]} | {MANIFEST}
    assert {path.name for path in (tmp_path / "out").iterdir()} == named
    spans = [(file["first_offset"], file["last_offset"]) for file in manifest["files"]]
    assert spans == [(1, 8), (9, 16), (17, 20)]
    assert (manifest["rows"], manifest["complete"], manifest["format_version"]) == (20, True, 1)
    assert manifest["head"] == {"offset": 20, "hash": records[-1].hash}


@pytest.mark.parametrize("format_", FORMATS)
def test_how_much_of_an_export_was_read_is_told_by_its_records(tmp_path, format_):
    """Not by bytes: of a Parquet file few are read before its first record, or most."""
    exported(tmp_path / "out", journal(20), format_=format_, rows_per_file=8)
    source = FileSource(tmp_path / "out")
    assert [source.share_read(offset) for offset in (0, 5, 20)] == [0, 0.25, 1]


@pytest.mark.parametrize("format_", FORMATS)
def test_redacted_the_chain_still_verifies_and_nothing_is_told(tmp_path, format_):
    records = journal(6)
    manifest = exported(tmp_path / "out", records, format_=format_, redact=True)
    rows = rows_of(tmp_path / "out", manifest)
    assert manifest["redacted"] is True
    head = FIRST_PREV_HASH
    for row, record in zip(rows, records, strict=True):
        kept = record_of(row)
        assert (kept.body, kept.salt, kept.room_id, kept.server_id) == (b"", b"", None, None)
        assert kept.body_digest == record.body_digest
        assert (kept.prev_hash, rehash(kept)) == (head, kept.hash)
        head = kept.hash
    told = b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
    for content in (b"text", b"r1", b"sfu-1", records[0].salt.hex().encode()):
        assert content not in told


def test_the_same_journal_gives_the_same_bytes_however_it_is_paged(tmp_path):
    records = journal(20)
    for format_ in FORMATS:
        one = exported(tmp_path / f"{format_}-1", records, 1, format_=format_, rows_per_file=7)
        many = exported(tmp_path / f"{format_}-9", records, 9, format_=format_, rows_per_file=7)
        assert one == many


def test_a_cloudevent_says_what_it_is(tmp_path):
    manifest = exported(tmp_path / "out", journal(2), format_="cloudevents", cell="eu")
    first, second = read_jsonl(tmp_path / "out" / manifest["files"][0]["name"])
    data = first.pop("data")
    assert data["offset"] == 1
    assert first == {
        "specversion": "1.0",
        "id": "eu:1",
        "source": "/ladle/eu/journal",
        "type": "ladle-journal-record",
        "time": "2025-11-22T09:00:00.000Z",
        "datacontenttype": "application/json",
        "subject": "sfu-1",
    }
    assert (second["id"], second["subject"]) == ("eu:2", "r1")


@pytest.mark.parametrize(
    ("wanted", "offsets"),
    [
        (Wanted(room_id="r1"), [2, 8]),
        (Wanted(server_id="sfu-1"), [1, 3, 5, 7, 9]),
        (Wanted(kinds=("request",)), [2, 4, 6, 8, 10]),
        (Wanted(kinds=("request", "event"), begin=Moment.parse("8")), [8, 9, 10]),
        (Wanted(begin=Moment.parse("3"), end=Moment.parse("5")), [3, 4, 5]),
        (Wanted(begin=Moment(unix_ms=AT_MS + 7)), [8, 9, 10]),
        (Wanted(end=Moment.parse("2025-11-22T09:00:00.001Z")), [1, 2]),
        (Wanted(room_id="nobody"), []),
    ],
)
def test_a_filter(tmp_path, wanted, offsets):
    records = journal(10)
    manifest = exported(tmp_path / "out", records, wanted=wanted)
    rows = rows_of(tmp_path / "out", manifest)
    assert [row["offset"] for row in rows] == offsets
    assert (manifest["complete"], manifest["rows"]) == (False, len(offsets))
    assert manifest["filters"] == wanted.as_dict() != {}
    assert manifest["head"]["offset"] == 10
    # A single record verifies by itself, wherever it stands.
    for row in rows:
        before = row["offset"] - 1
        assert verify([record_of(row)], after_offset=before, after_hash=row["prev_hash"]) is None


def test_reading_may_end_behind_the_last_offset_wanted():
    records = journal(5)
    wanted = Wanted(begin=Moment(offset=2), end=Moment(offset=3))
    assert [wanted.is_past(record) for record in records] == [False, False, False, True, True]
    assert wanted.first_offset() == 2
    assert not any(Wanted(end=Moment(unix_ms=1)).is_past(record) for record in records)


@pytest.mark.parametrize("text", ["yesterday", "-1", "2026-11-22", "1.5", ""])
def test_a_moment_is_an_offset_or_a_time(text):
    with pytest.raises(ValueError, match="neither an offset nor a time"):
        Moment.parse(text)


def test_an_empty_journal_exports_to_a_manifest(tmp_path):
    manifest = exported(tmp_path / "out", [])
    assert (manifest["rows"], manifest["files"]) == (0, [])
    assert manifest["head"] == {"offset": 0, "hash": FIRST_PREV_HASH}


def test_nothing_is_written_over(tmp_path):
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(ExportRefused):
        Export(tmp_path, format_="jsonl")
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize("format_", FORMATS)
def test_an_export_that_did_not_end_has_no_manifest(tmp_path, format_):
    export = Export(tmp_path / "out", format_=format_)
    export.add(journal(3))
    export.abandon()
    del export
    gc.collect()  # a writer that is thrown away must not write any more, nor complain
    assert not (tmp_path / "out" / MANIFEST).exists()


class FullDisk(io.RawIOBase):
    def write(self, data):
        raise OSError(errno.ENOSPC, "no space left on device")

    def close(self):
        raise OSError(errno.ENOSPC, "no space left on device")


def test_a_full_disk_is_said_once(tmp_path):
    export = Export(tmp_path / "out", format_="jsonl")
    export.add(journal(1))
    assert export._open is not None
    whole, export._open.file._file = export._open.file._file, FullDisk()
    with pytest.raises(OSError, match="no space"):
        export.add(journal(2))
    export.abandon()
    whole.close()
    assert not (tmp_path / "out" / MANIFEST).exists()


@pytest.mark.parametrize("at", ["a group", "the end"])
def test_a_full_disk_under_parquet_is_said_once(tmp_path, at, monkeypatch):
    """Arrow refuses a file that failed, and must not be asked again: nor by the collector."""
    if at == "a group":
        monkeypatch.setattr(export_files, "GROUP_ROWS_MAX", 2)
    export = Export(tmp_path / "out", format_="parquet")
    export.add(journal(1))
    assert export._open is not None
    whole, export._open.file._file = export._open.file._file, FullDisk()
    with pytest.raises(OSError, match="no space"):
        export.add(journal(2)) if at == "a group" else export.finish(EMPTY)
    export.abandon()
    whole.close()
    del export
    gc.collect()
    assert not (tmp_path / "out" / MANIFEST).exists()


@pytest.mark.parametrize("format_", ["jsonl", "csv", "cloudevents"])
def test_memory_does_not_grow_with_the_log(tmp_path, format_):
    """The peak of a long export is that of a short one: a page, and not a file, is held."""
    page = journal(200)

    def peak(name, pages):
        export = Export(tmp_path / name, format_=format_)
        tracemalloc.start()
        for _ in range(pages):
            export.add(page)
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        export.finish(EMPTY)
        return held

    peak("warm", 2)
    assert peak("long", 50) < 1.2 * peak("short", 5)


def test_a_row_group_is_bounded(tmp_path, monkeypatch):
    """It is what a reader of Parquet must hold at once."""
    monkeypatch.setattr(export_files, "GROUP_ROWS_MAX", 50)
    manifest = exported(tmp_path / "out", journal(120), pages=1, format_="parquet")
    metadata = pq.ParquetFile(tmp_path / "out" / manifest["files"][0]["name"]).metadata
    groups = [metadata.row_group(place).num_rows for place in range(metadata.num_row_groups)]
    assert groups == [50, 50, 20]


def test_an_erased_record_is_exported_as_what_is_left_of_it():
    record = journal(2)[1]
    record.body, record.salt, record.room_id = b"", b"", None
    row = row_of(record)
    assert (row["body"], row["salt"], row["room_id"]) == ("", "", None)
    assert row == fields_of(record) == row_of(record, redact=True)
    assert record_of(row) == record
