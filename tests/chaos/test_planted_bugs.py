"""A simulation that reports "0 violations" is worth what it would have found."""

import pytest

from ladle.chaos.simulated.simulation import simulate
from ladle.commands.simulated_service import make_service
from tests.chaos.planted import PLANTS, Plant

SEEDS_MAX = 500
"""The hardest of them, a writer that does not stand down, takes sixteen."""


@pytest.mark.slow
@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same seeds for all; without the bug the first two thousand break no law."""
    plant(monkeypatch)
    outcomes = (simulate(seed, make_service) for seed in range(1, SEEDS_MAX + 1))
    assert any(outcome.violation for outcome in outcomes)
