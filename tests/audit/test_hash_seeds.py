"""The same run under eight hash seeds: sets and dicts may iterate otherwise, a replay may not."""

import os
import subprocess
import sys

from ladle.audit.export_rows import Moment
from ladle.audit.replay import Replay
from ladle.audit.verify import verify
from tests.audit.recorded import Held, Life, rows_of, sealed

SEEDS = ("0", "1", "2", "3", "7", "42", "4242", "4294967295")
HALF = Moment(offset=150)


def digests() -> str:
    """Of the run as it was folded, of its records, of the verdict and of the state half way."""
    life = Life(11)
    life.run(300)
    records = sealed(life.cell.journal)
    report = verify(Held(list(records), rows_of(life.cell.view, records)))
    replay = Replay(Held(list(records)))
    replay.to(HALF)
    return " ".join(
        [
            life.cell.view.digest(),
            records[-1].hash,
            f"{report.exit_code}:{report.derived}",
            replay.view.digest(),
        ]
    )


def test_eight_hash_seeds_give_the_same_digests() -> None:
    """An audit on another machine must come to the same state, byte for byte."""
    found = set()
    for seed in SEEDS:
        done = subprocess.run(
            [sys.executable, "-c", f"from {__name__} import digests; print(digests())"],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": "."},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        found.add(done.stdout.strip())
    assert found == {digests()}
    assert " 0:" in digests()
