"""The golden journals: two of each released format, and the same with a planted change.

The second was kept for long: snapshots, an archived beginning, a loss that was accepted.
Of it there is one of the next format as well, which must be refused.

`python -m tests.audit.golden_journals` writes those of the present format, where there are none.
A journal of a released format is never written again: it is what users have on their disks.
"""

import gzip
import json
from pathlib import Path

import orjson

from ladle.audit.form import fields_of
from ladle.core.compact_status import pack
from ladle.core.record import SCHEMA_VERSION, Kind, Record
from ladle.journal.chain import content_of, open_record
from tests.audit.recorded import Life, sealed

FOLDER = Path(__file__).parent / "golden"
SEED = 20_261
STEPS = 90
POLICIES = ("least-loaded", "pack", "two-choice", "region-first")


def lived() -> Life:
    """A run under each policy in turn, in which every kind of record comes at least once."""
    life = Life(SEED)
    cell = life.cell
    cell.fold(Kind.WRITER_ACTIVE, {"holder": "golden", "version": "0"})
    cell.fold(Kind.CAUGHT_UP, {})
    for policy in POLICIES:
        cell.fold(Kind.SETTINGS, {"policy": policy})
        life.run(STEPS)
        cell.fold(Kind.STATUSES, {"statuses": [packed(life, name) for name in life.lives]})
    cell.fold(Kind.BUS_UP, {})
    cell.fold(Kind.CAUGHT_UP, {})
    cell.fold(Kind.CLOCK_STEP, {"recorded_ms": cell.now_ms, "utc_ms": cell.now_ms + 60_000})
    cell.fold(Kind.ERASED, {"records": []})
    return life


def packed(life: Life, name: str) -> list[object]:
    """A plain status of a server, as records of several have it."""
    key = (name, life.lives[name])
    sequence = life.cell.sequences[key] = life.cell.sequences.get(key, 0) + 1
    worker = {"state": "running", "producers": 1, "rooms": 1, "memory_bytes": 1 << 20}
    workers = [
        {**worker, "worker_id": each, "consumers": sequence % 90, "cpu_permille": 300}
        for each in "01"
    ]
    payload = {
        "source_server_id": name,
        "incarnation": life.lives[name],
        "sequence": sequence,
        "data": {"workers": workers},
    }
    return pack(payload)


def planted(life: Life) -> list[Record]:
    """Another worker than the core chose, in one decision; chained anew, so no hash tells."""
    journal = list(life.cell.journal)
    place, (entry, outcome) = next(
        (place, each)
        for place, each in enumerate(journal)
        if place > len(journal) // 2 and (each[1].get("decision") or {}).get("winner")
    )
    changed = orjson.loads(orjson.dumps(outcome))
    winner = changed["decision"]["winner"]
    winner["worker_id"] = "1" if winner["worker_id"] == "0" else "0"
    journal[place] = (entry, changed)
    return sealed(journal)


def kept() -> Life:
    """A run whose journal says how it was kept: each kind of record that anchors something."""
    life = Life(SEED + 1)
    cell = life.cell
    cell.fold(Kind.WRITER_ACTIVE, {"holder": "golden", "version": "0"})
    cell.fold(Kind.CAUGHT_UP, {})
    life.run(STEPS)
    anchor(life)
    life.run(STEPS)
    anchor(life)
    head = sealed(cell.journal)[cell.view.offset // 2 - 1]
    segment = {
        "name": "journal-000000000001.jsonl.gz",
        "first_offset": 1,
        "last_offset": head.offset,
        "bytes": 4_711,
        "sha256": head.hash,
    }
    checkpoint = {"origin": "golden", "offset": head.offset, "hash": head.hash}
    told = {"last_offset": head.offset, "hash": head.hash, "checkpoint": checkpoint}
    cell.fold(Kind.ARCHIVED, {**told, "segments": [segment]})
    life.run(STEPS // 3)
    lost = {"head": cell.view.offset, "last_offset": cell.view.offset + 7, "events": 3}
    cell.fold(Kind.LOSS_ACCEPTED, {**lost, "is_whole": True, "stream_position": 900})
    life.run(STEPS // 3)
    return life


def anchor(life: Life) -> None:
    """The record of a snapshot of the state as it is."""
    last = sealed(life.cell.journal)[-1]
    payload = {
        "offset": last.offset,
        "hash": last.hash,
        "recorded_at_ms": last.recorded_at_ms,
        "digest": life.cell.view.digest(),
        "parts": 1,
    }
    life.cell.fold(Kind.SNAPSHOT, payload)


def planted_anchor(life: Life) -> list[Record]:
    """The anchor of a state that never was; chained anew."""
    journal = list(life.cell.journal)
    place = next(p for p, (entry, _) in enumerate(journal) if entry.kind is Kind.SNAPSHOT)
    entry, outcome = journal[place]
    payload = {**entry.payload, "digest": "0" * 64}
    journal[place] = (entry._replace(payload=payload), outcome)
    return sealed(journal)


def of_the_future(life: Life) -> list[Record]:
    """The last third as the next format would have it, chained as it must be."""
    journal = list(life.cell.journal)
    for place in range(2 * len(journal) // 3, len(journal)):
        entry, outcome = journal[place]
        journal[place] = (entry._replace(schema_version=SCHEMA_VERSION + 1), outcome)
    return sealed(journal)


def write(path: Path, records: list[Record]) -> None:
    """As an export writes it, packed; the same bytes each time."""
    lines = b"".join(orjson.dumps(fields_of(record)) + b"\n" for record in records)
    path.write_bytes(gzip.compress(lines, mtime=0))


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    main_kept()
    name = f"v{SCHEMA_VERSION}"
    if (FOLDER / f"{name}.json").exists():
        raise SystemExit(f"{name} is there already; a golden journal is never written over")
    life = lived()
    records = sealed(life.cell.journal)
    write(FOLDER / f"{name}.jsonl.gz", records)
    write(FOLDER / f"{name}.planted.jsonl.gz", planted(life))
    known = {
        "records": len(records),
        "head": records[-1].hash,
        "kinds": sorted({record.kind for record in records}),
        "digest": life.cell.view.digest(),
        "decisions": sum("decision" in open_record(record).outcome for record in records),
    }
    (FOLDER / f"{name}.json").write_text(json.dumps(known, indent=2) + "\n")


def main_kept() -> None:
    """The second one; where it is there, it stays."""
    name = f"kept-v{SCHEMA_VERSION}"
    if (FOLDER / f"{name}.json").exists():
        return
    life = kept()
    records = sealed(life.cell.journal)
    write(FOLDER / f"{name}.jsonl.gz", records)
    write(FOLDER / f"{name}.planted.jsonl.gz", planted_anchor(life))
    write(FOLDER / f"{name}.future.jsonl.gz", of_the_future(life))
    by_kind = {
        kind.value: [content_of(r)["payload"] for r in records if r.kind == kind]
        for kind in (Kind.SNAPSHOT, Kind.ARCHIVED, Kind.LOSS_ACCEPTED)
    }
    known = {
        "records": len(records),
        "head": records[-1].hash,
        "digest": life.cell.view.digest(),
        "snapshots": [payload["offset"] for payload in by_kind["snapshot"]],
        "segments": by_kind["archived"][0]["segments"],
        "losses": by_kind["loss-accepted"],
    }
    (FOLDER / f"{name}.json").write_text(json.dumps(known, indent=2) + "\n")


if __name__ == "__main__":
    main()
