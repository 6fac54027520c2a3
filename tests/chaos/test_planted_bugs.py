"""A simulation that reports "0 violations" is worth what it would have found."""

import pytest

from ladle.chaos.simulated.laws import NO_DEFECT
from ladle.chaos.simulated.simulation import simulate
from ladle.commands.simulated_service import PROGRAMS
from tests.chaos.planted import PLANTS, Plant

SEEDS_MAX = 500
"""Of all of them none has needed more than thirty."""


@pytest.mark.slow
@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the law that it breaks. The same seeds for all; without the bug the first two thousand
    break no law. Runs that end in an exception prove nothing and are passed over."""
    plant(monkeypatch)
    outcomes = (simulate(seed, PROGRAMS) for seed in range(1, SEEDS_MAX + 1))
    broken = (outcome.violation for outcome in outcomes if outcome.violation)
    found = next((each for each in broken if each[0] != NO_DEFECT), None)
    assert found is not None
    assert found[0] in PLANTS[plant], found
