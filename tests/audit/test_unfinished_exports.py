"""An export without its manifest, or a file of it alone: never told as the whole journal."""

import json
from pathlib import Path

import pytest

from ladle.audit.export import Export
from ladle.core.record import Record
from tests.audit.recorded import head_of
from tests.audit.test_exit_codes import audit

COUNT = 60


@pytest.fixture
def exported(records: list[Record], tmp_path: Path) -> Path:
    folder = tmp_path / "export"
    export = Export(folder, format_="jsonl", rows_per_file=COUNT // 2)
    export.add(records[:COUNT])
    export.finish(head_of(records[:COUNT]))
    return folder


def test_a_folder_without_its_manifest_is_incomplete(exported: Path, tmp_path: Path) -> None:
    """What is there is checked all the same, and nothing is made of it that vouches for more."""
    (exported / "manifest.json").unlink()
    source = ("--source", str(exported))
    code, said, _ = audit("verify", *source)
    assert (code, said["status"], said["records"]) == (4, "incomplete", COUNT)
    assert said["violations"]["count"] == 0
    assert any("no manifest.json" in each for each in said["missing"]["said"])
    assert any("export once more" in each for each in said["missing"]["said"])
    for words in (("at", "9"), ("export", "--to", str(tmp_path / "second"))):
        code, said, _ = audit(*words, *source)
        assert (code, said["error"]["code"]) == (4, "incomplete")
        assert "no manifest.json" in said["error"]["message"]
        assert said["error"]["advice"]


def test_an_export_is_unfinished_from_its_first_moment_to_its_last(
    records: list[Record], tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    export = Export(folder, format_="jsonl")
    assert json.loads((folder / "manifest.json.part").read_text())["complete"] is False
    export.add(records[:COUNT])
    export.abandon()
    code, said, _ = audit("verify", "--source", str(folder))
    assert (code, said["error"]["code"]) == (4, "incomplete")
    assert "did not end" in said["error"]["message"]
    (file,) = folder.glob("*.jsonl")
    code, said, _ = audit("verify", "--source", str(file))
    assert (code, said["status"]) == (4, "incomplete")
    assert any("did not end" in each for each in said["missing"]["said"])


def test_an_export_that_wrote_nothing_leaves_its_folder_empty(tmp_path: Path) -> None:
    export = Export(tmp_path / "out", format_="jsonl")
    export.abandon()
    assert list((tmp_path / "out").iterdir()) == []


def test_a_finished_export_has_a_manifest_and_no_part_of_one(exported: Path) -> None:
    assert not (exported / "manifest.json.part").exists()
    assert audit("verify", "--source", str(exported))[1]["unchecked"] == []


@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_file_alone_does_not_tell_where_the_journal_ends(
    exported: Path, tmp_path: Path, elsewhere: bool
) -> None:
    file = min(exported.glob("*.jsonl"))
    if elsewhere:
        file = file.rename(tmp_path / file.name)
    code, said, _ = audit("verify", "--source", str(file))
    assert (code, said["records"]) == (0, COUNT // 2)
    (told,) = said["unchecked"]
    assert "whether the journal goes on" in told
    assert ("give its folder" in told) is not elsewhere
