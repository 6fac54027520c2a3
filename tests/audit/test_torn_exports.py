"""What a copy or a crash left of an export is incomplete, whatever is asked of it."""

import gzip
from pathlib import Path

import pytest

from ladle.audit.export import Export
from ladle.core.record import Record
from tests.audit.recorded import head_of
from tests.audit.test_exit_codes import audit

COUNT = 60
WORDS = (("verify",), ("at", "59"), ("diff", "50", "59"), ("timeline", "room-1"))


def exported(records: list[Record], folder: Path, format_: str) -> Path:
    export = Export(folder, format_=format_)
    export.add(records[:COUNT])
    export.finish(head_of(records[:COUNT]))
    (file,) = (path for path in folder.iterdir() if path.name != "manifest.json")
    return file


def refused(source: Path) -> None:
    """Each command ends with 4, a sentence and what to do."""
    for words in WORDS:
        code, said, stderr = audit(*words, "--source", str(source))
        assert code == 4, (words, said)
        if words == ("verify",) and "error" not in said:
            assert said["violations"]["count"] == 0
            assert said["missing"]["said"]
        else:
            assert said["error"]["code"] == "incomplete"
            assert "try:" in stderr


@pytest.mark.parametrize("size", [0, 1, 4, 8, 11, 200, -1, -2, -4])
@pytest.mark.parametrize("format_", ["jsonl", "csv", "parquet", "cloudevents"])
def test_a_torn_export_is_incomplete(
    format_: str, size: int, records: list[Record], tmp_path: Path
) -> None:
    file = exported(records, tmp_path / "out", format_)
    whole = file.read_bytes()
    file.write_bytes(whole[:size])
    if size != -1 or format_ in ("csv", "parquet"):
        # Without its last line break a line of JSON still is a whole record.
        alone = file.rename(tmp_path / file.name)
        refused(alone)
        alone.rename(file)
        refused(file.parent)
    else:
        assert audit("verify", "--source", str(file.parent))[0] == 4


@pytest.mark.parametrize("size", [1, 2, 9, 10, 11, 300, -1, -8])
@pytest.mark.parametrize("format_", ["jsonl", "csv"])
def test_a_torn_gzipped_file_is_incomplete(
    format_: str, size: int, records: list[Record], tmp_path: Path
) -> None:
    file = tmp_path / "journal.gz"
    file.write_bytes(
        gzip.compress(exported(records, tmp_path / "out", format_).read_bytes())[:size]
    )
    refused(file)
