"""The laws are looked at as often as they say."""

import pytest

from ladle.chaos.simulated import view_laws
from ladle.chaos.simulated.simulation import simulate
from ladle.commands.simulated_service import PROGRAMS
from ladle.core.view import View


def test_the_rows_are_checked_at_every_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once each, and once more at the end; no record is committed that was not looked at."""
    seen: list[int] = []
    check_rows = view_laws.check_rows

    def noted(view: View) -> None:
        seen.append(view.offset)
        check_rows(view)

    monkeypatch.setattr(view_laws, "check_rows", noted)
    outcome = simulate(3, PROGRAMS, steps=5)
    assert outcome.violation is None
    assert len(seen) == outcome.tally["commits"] + 1
    assert seen == sorted(seen)
    assert seen[-1] == outcome.tally["records"]
