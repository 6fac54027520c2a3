"""The script of faults: repeatable, in order, at the rate asked for, each kind by itself."""

from itertools import islice, takewhile

import pytest

from ladle.fleet.faults import Fault, FaultKind, faults_of
from ladle.fleet.options import Faults

ALL = Faults(crash_every_s=5, worker_death_every_s=2, deploy_every_s=10, partition_every_s=4)


def first(faults: Faults, seed: int, count: int = 200) -> list[Fault]:
    return list(islice(faults_of(faults, seed), count))


def test_the_same_seed_is_the_same_script() -> None:
    assert first(ALL, 4) == first(ALL, 4)
    assert first(ALL, 4) != first(ALL, 5)


def test_faults_come_in_order_and_at_their_rates() -> None:
    within = list(takewhile(lambda fault: fault.at_ms < 1_000_000, faults_of(ALL, 1)))
    assert [fault.at_ms for fault in within] == sorted(fault.at_ms for fault in within)
    counts = {kind: sum(fault.kind is kind for fault in within) for kind in FaultKind}
    assert counts[FaultKind.CRASH] == pytest.approx(200, rel=0.25)
    assert counts[FaultKind.WORKER_DEATH] == pytest.approx(500, rel=0.25)
    assert counts[FaultKind.DEPLOY] == pytest.approx(100, rel=0.25)
    assert counts[FaultKind.PARTITION] == pytest.approx(250, rel=0.25)


def test_no_fault_is_switched_on_by_default() -> None:
    assert first(Faults(), 1) == []


def test_one_kind_does_not_move_another() -> None:
    crashes = [fault for fault in first(ALL, 1, 500) if fault.kind is FaultKind.CRASH]
    alone = first(Faults(crash_every_s=5), 1, len(crashes))
    assert alone == crashes
