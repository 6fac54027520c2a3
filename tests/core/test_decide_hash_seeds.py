"""Decisions under other hash seeds: sets and dicts may iterate otherwise, answers may not."""

import os
import subprocess
import sys
from hashlib import sha256

from ladle.core.record import canonical
from tests.core.placing import add_server, allocate, fleet, hold, reloaded, set_worker

POLICIES = ["least-loaded", "pack", "two-choice", "region-first"]
LABELS = ['{"gpu":"yes","tier":"1"}', '{"gpu":"yes"}', "{}"]
WISHES = [
    {},
    {"labels": {"gpu": "yes"}},
    {"labels": {"tier": "1", "gpu": "yes"}, "regions": ["us", "eu"]},
    {"avoid": ["s-3", "s-1", "s-7"]},
    {"regions": ["asia"], "region_mode": "require"},
]


def digest() -> str:
    """Of forty decisions with each policy on a fleet with ties everywhere."""
    records = []
    for policy in POLICIES:
        view = fleet()
        view.set_state("policy", policy)
        for number in range(12):
            region = ["eu", "us", "asia"][number % 3]
            add_server(view, f"s-{number}@{region}", workers=3, labels=LABELS[number % 3])
        set_worker(view, "s-2", cpu_permille=900)
        for number in range(40):
            wish = WISHES[number % len(WISHES)]
            decision = allocate(view, peers=6, request_id=f"q{number}", **wish)
            assert decision == allocate(reloaded(view), peers=6, request_id=f"q{number}", **wish)
            records.append(dict(decision.record))
            if decision.error is None:
                hold(view, f"room-{number}", decision)
    return sha256(canonical(records)).hexdigest()


def test_decisions_do_not_depend_on_the_hash_seed():
    """An audit on another machine must come to the same homes."""
    digests = set()
    for seed in ("0", "1", "4242"):
        done = subprocess.run(
            [sys.executable, "-c", f"from {__name__} import digest; print(digest())"],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": "."},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        digests.add(done.stdout.strip())
    assert digests == {digest()}
