"""Journals of every released format: they verify for good, and a planted change in one is found."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ladle.audit.errors import VERIFIED, VIOLATION, Unreadable
from ladle.audit.export_rows import Moment
from ladle.audit.files import FileSource
from ladle.audit.finding import Law
from ladle.audit.replay import Replay
from ladle.audit.source import Claim, Segment
from ladle.audit.verify import verify
from ladle.core.record import FIRST_PREV_HASH, SCHEMA_VERSION, Entry, Kind, Record, canonical
from ladle.journal import upcasting
from ladle.journal.chain import content_of, seal
from tests.audit.golden_journals import FOLDER
from tests.audit.recorded import Held

VERSIONS = sorted(path.stem for path in FOLDER.glob("v*.json"))


def test_the_present_format_has_a_golden_journal() -> None:
    """Who raises the version runs `python -m tests.audit.golden_journals`, and keeps the others."""
    assert f"v{SCHEMA_VERSION}" in VERSIONS
    assert len(VERSIONS) == SCHEMA_VERSION
    assert [f"kept-{version}" for version in VERSIONS] == KEPT


@pytest.mark.parametrize("version", VERSIONS)
def test_a_golden_journal_verifies(version: str) -> None:
    known = json.loads((FOLDER / f"{version}.json").read_text())
    source = FileSource(FOLDER / f"{version}.jsonl.gz")
    report = verify(source)
    assert report.exit_code == VERIFIED
    assert report.unchecked == [source.claim().untold], "only what no file alone can tell"
    assert report.records == report.derived == known["records"]
    assert report.head.hash == known["head"]
    replay = Replay(source)
    replay.to(Moment(offset=known["records"]))
    assert replay.view.digest() == known["digest"]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_planted_change_in_a_golden_journal_is_found(version: str) -> None:
    """Chained anew by whoever planted it: only the core tells."""
    report = verify(FileSource(FOLDER / f"{version}.planted.jsonl.gz"))
    assert (report.exit_code, set(report.findings.counts)) == (VIOLATION, {Law.OUTCOME})
    assert report.findings.first is not None
    assert report.findings.first.where == "outcome.decision.winner.worker_id"


# --- one that was kept for long ------------------------------------------------------------------

KEPT = sorted(path.stem for path in FOLDER.glob("kept-v*.json"))


def held(name: str, known: dict[str, Any]) -> Held:
    """As an export and an archive claim it: where to take digests, and which files there are."""
    pages = FileSource(FOLDER / f"{name}.jsonl.gz").pages()
    records = [item for page in pages for item in page if isinstance(item, Record)]
    segments = tuple(Segment(**each) for each in known["segments"])
    return Held([*records], claim=Claim(snapshots=tuple(known["snapshots"]), segments=segments))


@pytest.mark.parametrize("name", KEPT)
def test_a_journal_that_was_kept_for_long_verifies(name: str) -> None:
    known = json.loads((FOLDER / f"{name}.json").read_text())
    report = verify(held(name, known))
    assert (report.exit_code, report.unchecked) == (VERIFIED, [])
    assert (report.snapshots, report.segments) == (len(known["snapshots"]), len(known["segments"]))
    assert (report.records, report.head.hash) == (known["records"], known["head"])
    assert known["losses"]
    replay = Replay(held(name, known))
    replay.to(Moment(offset=known["records"]))
    assert replay.view.digest() == known["digest"]


@pytest.mark.parametrize("name", KEPT)
def test_what_it_anchors_otherwise_is_found(name: str) -> None:
    """A made-up state; and a segment that is not the anchored one."""
    known = json.loads((FOLDER / f"{name}.json").read_text())
    report = verify(held(f"{name}.planted", known))
    assert (report.exit_code, set(report.findings.counts)) == (VIOLATION, {Law.SNAPSHOT})
    assert report.findings.first is not None
    assert report.findings.first.where == "payload.digest"
    known["segments"][0]["sha256"] = "0" * 64
    report = verify(held(name, known))
    assert (report.exit_code, set(report.findings.counts)) == (VIOLATION, {Law.ARCHIVE})


@pytest.mark.parametrize("name", KEPT)
def test_the_same_of_the_next_format_is_refused_where_that_begins(name: str) -> None:
    known = json.loads((FOLDER / f"{name}.json").read_text())
    version = int(name.removeprefix("kept-v")) + 1
    first = 2 * known["records"] // 3 + 1
    if version <= SCHEMA_VERSION:
        pytest.skip("the next format of then is known by now")
    with pytest.raises(Unreadable, match=f"record {first} .* version {version};"):
        verify(held(f"{name}.future", known))
    with pytest.raises(Unreadable, match=f"record {first} .* version {version};"):
        Replay(held(f"{name}.future", known)).to(Moment(offset=known["records"]))


# --- a fictitious older format: a field had another name -----------------------------------------


def as_version_0(records: list[Record]) -> list[Record]:
    """The same run as a program would have written it whose outcomes had `result` for `status`."""
    old: list[Record] = []
    before = FIRST_PREV_HASH
    for record in records:
        body = content_of(record)
        body["outcome"]["result"] = body["outcome"].pop("status")
        entry = Entry(
            record.offset, record.recorded_at_ms, record.term, Kind(record.kind),
            body["origin"], body["inputs"], body["payload"], schema_version=0,
        )  # fmt: skip
        names = {"room_id": record.room_id, "server_id": record.server_id}
        old.append(seal(entry, body["outcome"], prev_hash=before, salt=record.salt, **names))
        before = old[-1].hash
    return old


def step_to_1(kind: str, body: dict[str, Any]) -> dict[str, Any]:
    body["outcome"]["status"] = body["outcome"].pop("result")
    return body


@pytest.fixture
def with_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(upcasting.STEPS, 0, step_to_1)


@pytest.mark.usefixtures("with_step")
def test_an_older_journal_is_brought_up_and_derived(records: list[Record], view: Any) -> None:
    report = verify(Held([*as_version_0(records)]))
    assert (report.exit_code, report.derived) == (VERIFIED, len(records))
    replay = Replay(Held([*as_version_0(records)]))
    replay.to(Moment(offset=len(records)))
    assert replay.view.digest() == view.digest()


@pytest.mark.usefixtures("with_step")
def test_a_journal_may_begin_in_an_older_format_and_go_on_in_this_one(
    records: list[Record],
) -> None:
    """What a user has who upgraded: the chain goes through both."""
    journal = as_version_0(records[:300])
    for record in records[300:]:
        body = content_of(record)
        entry = Entry(
            record.offset, record.recorded_at_ms, record.term, Kind(record.kind),
            body["origin"], body["inputs"], body["payload"],
        )  # fmt: skip
        names = {"room_id": record.room_id, "server_id": record.server_id}
        before = journal[-1].hash
        journal.append(seal(entry, body["outcome"], prev_hash=before, salt=record.salt, **names))
    report = verify(Held([*journal]))
    assert (report.exit_code, report.derived) == (VERIFIED, len(records))


@pytest.mark.usefixtures("with_step")
def test_a_decision_in_an_older_journal_is_derived_too(records: list[Record]) -> None:
    """Bringing it up must not make everything look right."""
    place, body = next(
        (place, content_of(record))
        for place, record in enumerate(records)
        if "decision" in content_of(record)["outcome"]
    )
    body["outcome"]["decision"]["offset_seen"] = -1
    changed = [
        *records[:place],
        replace(records[place], body=canonical(body)),
        *records[place + 1 :],
    ]
    report = verify(Held([*as_version_0(changed)]))
    assert (report.exit_code, set(report.findings.counts)) == (VIOLATION, {Law.OUTCOME})


def test_a_version_without_a_step_is_refused(records: list[Record]) -> None:
    with pytest.raises(Unreadable, match="schema version 0"):
        verify(Held([*as_version_0(records[:5])]))
    with pytest.raises(Unreadable, match="schema version 0"):
        Replay(Held([*as_version_0(records[:5])])).to(Moment(offset=5))


@pytest.mark.usefixtures("with_step")
def test_a_step_is_given_only_what_was_sealed(records: list[Record]) -> None:
    (old,) = as_version_0(records[:1])
    forged = replace(old, body=old.body.replace(b'"applied"', b'"ignored"'))
    assert forged.body != old.body
    with pytest.raises(ValueError, match="not what was sealed"):
        content_of(forged)


def test_steps_are_taken_one_after_another(
    records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[tuple[int, str]] = []

    def step(version: int) -> upcasting.Step:
        def one(kind: str, body: dict[str, Any]) -> dict[str, Any]:
            taken.append((version, kind))
            return {**body, "version": version + 1}

        return one

    (old,) = as_version_0(records[:1])
    monkeypatch.setattr(upcasting, "SCHEMA_VERSION", 3)
    for version in (0, 2):
        monkeypatch.setitem(upcasting.STEPS, version, step(version))
    with pytest.raises(upcasting.UnknownVersion):
        content_of(old)
    assert taken == [], "a way with a gap is no way"
    monkeypatch.setitem(upcasting.STEPS, 1, step(1))
    assert content_of(old)["version"] == 3
    assert taken == [(0, old.kind), (1, old.kind), (2, old.kind)]


def test_golden_files_are_small() -> None:
    assert all(path.stat().st_size < 100_000 for path in Path(FOLDER).iterdir())
