"""The real code among simulated faults: the laws hold, a seed repeats, what fails is made small."""

import os
import subprocess
import sys
from collections.abc import Iterable, Sequence

import pytest

from ladle.chaos.simulated.faults import Fault
from ladle.chaos.simulated.report import command_of
from ladle.chaos.simulated.shrink import shrink
from ladle.chaos.simulated.simulation import STEPS, Outcome, simulate
from ladle.chaos.simulated.world import CRASH_STEPS
from ladle.commands.chaos_simulated import simulate_seeds
from ladle.commands.simulated_service import PROGRAMS
from ladle.placement.writer import Writer

SEEDS = range(1, 2_001)


def run(seed: int, steps: int = 60, only: Iterable[str] | None = None) -> Outcome:
    kinds = None if only is None else [Fault(kind) for kind in only]
    return simulate(seed, PROGRAMS, steps=steps, only=kinds)


@pytest.mark.slow
def test_the_laws_hold_whatever_goes_wrong() -> None:
    """On all cores; together they have every kind of fault, and a crash at every step."""
    said = simulate_seeds(SEEDS, STEPS, None, os.cpu_count() or 1).as_json()
    assert said["violations"] == []
    assert said["seeds"] == len(SEEDS)
    assert said["simulated_hours"] > len(SEEDS) / 100
    assert said["acknowledged"] > 20 * len(SEEDS)
    assert said["faults_by_kind"].keys() == {fault.value for fault in Fault}
    assert said["crashes_by_step"].keys() == set(CRASH_STEPS)
    assert said["terms"] > 2 * len(SEEDS)


@pytest.mark.parametrize(
    ("seed", "steps", "only"),
    [
        # A request that waited too long is answered and acked, and nothing of it is journaled.
        (1054, 6, "reorder,isolate"),
        # So is one that nobody could have read, which is found out only when it is its turn.
        (620, 28, "store-slow,freeze,isolate,broker-restart,poison"),
        # A room was created anew on a server whose worker had died while nobody heard it.
        (
            1391,
            60,
            "reorder,store-broken,crash,freeze,isolate,blackhole,partition,server-restart,"
            "worker-dies,poison",
        ),
    ],
    ids=["refused unrecorded", "refused unread", "created anew"],
)
def test_what_broke_a_law_once(seed: int, steps: int, only: str) -> None:
    """As the command that repeated it says; a seed means another run once its draws change."""
    assert run(seed, steps, only.split(",")).violation is None


def test_a_seed_is_the_same_run_in_every_process() -> None:
    """Another order of sets, other addresses of objects: the same trace, byte for byte."""

    def traces(hash_seed: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "tests.chaos.traces", "3", "9", "20"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    first = traces("0")
    assert first == traces("4711")
    assert len({line.split()[3] for line in first.splitlines()}) == 3
    here = run(3)
    assert here.trace in first
    assert here.head in first


def test_less_kinds_change_nothing_of_the_rest() -> None:
    """What a seed draws does not depend on what is left out; so a run can be made smaller."""
    everything, some = run(3, steps=2), run(3, steps=2, only=[Fault.CRASH, Fault.REORDER])
    assert set(some.faults) == {Fault.CRASH, Fault.REORDER} & set(everything.faults)
    assert set(run(3, steps=2, only=[]).struck) == set()


def acks_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    """The oldest mistake of all: the message is gone from the broker before it is durable."""
    commit = Writer._commit

    async def acked_first(self: Writer, batch: object) -> None:
        self._link.ack(batch.acks)  # type: ignore[attr-defined]
        await commit(self, batch)  # type: ignore[arg-type]

    patch.setattr(Writer, "_commit", acked_first)


def test_what_fails_is_made_smaller_and_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    acks_before_the_commit(monkeypatch)
    failed = next(outcome for outcome in map(run, range(1, 500)) if outcome.violation)
    assert failed.violation is not None
    assert failed.violation[0] == "nothing is acked before it is durable"
    smallest = shrink(failed, lambda steps, kinds: run(failed.seed, steps, kinds))
    assert smallest.violation is not None
    assert (smallest.steps, len(smallest.faults)) < (failed.steps, len(failed.faults))
    words = command_of(smallest).split()
    assert words[:5] == ["ladle", "chaos", "--simulated", "--first", str(failed.seed)]
    again = run(failed.seed, int(words[words.index("--steps") + 1]), kinds_in(words))
    assert again == smallest


def kinds_in(words: Sequence[str]) -> list[str]:
    only = words[words.index("--only") + 1]
    return [] if only == "none" else only.split(",")
