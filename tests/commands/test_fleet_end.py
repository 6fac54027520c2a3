"""The end of `ladle fleet`: what was not read is said to be so, and is no zero."""

import pytest

from tests.commands.conftest import Ladle

SHORT = (
    *("fleet", "--servers", "1", "--workers", "1", "--duration", "0.5", "--rate", "8"),
    *("--patience-ms", "0", "--settle-timeout", "0.2"),
    *("--metrics-url", "http://127.0.0.1:9/metrics"),
)


@pytest.mark.broker
def test_without_a_service_nothing_is_made_up(ladle: Ladle) -> None:
    assert ladle("broker", "declare").code == 0

    said = ladle(*SHORT)
    assert said.code == 3
    assert "the service's counts: not read" in said.out
    assert "the view was not read" in said.out
    assert "matches" not in said.out
    assert "http://127.0.0.1:9/metrics" in said.err
    assert said.err.splitlines()[-1].startswith("try: check that the placement service runs")

    result = ladle(*SHORT, "--json")
    assert result.code == 3
    assert len(result.out.splitlines()) == 1
    told = result.json()
    assert told["events"]["published"] > 0
    assert [told["events"][name] for name in ("applied", "duplicate", "dead")] == [None] * 3
    assert (told["journal_offset"], told["view_matches_fleet"]) == (None, None)
