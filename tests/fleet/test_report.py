"""The report is the object that scripts read: its shape is fixed here."""

import pytest

from ladle.fleet.compare import Comparison, Difference, Kind
from ladle.fleet.report import Allocations, Report, ServiceCounts, percentile

GOOD = Report(
    allocations=Allocations(attempted=9, placed=4, existing=2, moved=1, refused=1, errors=1),
    latency_p50_ms=1.5,
    latency_p99_ms=9.25,
    events_published=70,
    service=ServiceCounts(applied=68, duplicate=1, dead=1),
    comparison=Comparison(offset=1234, servers=3, rooms=5, differences=()),
)


def test_the_report_has_exactly_the_agreed_shape() -> None:
    assert GOOD.as_json() == {
        "allocations": {
            "attempted": 9,
            "placed": 4,
            "existing": 2,
            "moved": 1,
            "refused": 1,
            "errors": 1,
        },
        "latency_ms": {"p50": 1.5, "p99": 9.25},
        "events": {"published": 70, "applied": 68, "duplicate": 1, "dead": 1},
        "journal_offset": 1234,
        "view_matches_fleet": True,
    }
    assert GOOD.allocations.answered == GOOD.allocations.attempted
    assert GOOD.sentences() == []


def test_a_difference_is_shown() -> None:
    difference = Difference(Kind.ROOM_EXTRA, "s", "r", "", "s/w", "room r is not there")
    comparison = Comparison(1, 1, 1, (difference,))
    report = Report(Allocations(), 0, 0, 0, ServiceCounts(), comparison)
    assert report.as_json()["view_matches_fleet"] is False
    assert report.as_json()["differences"] == [difference.as_json()]
    assert report.sentences() == ["room r is not there"]


def test_a_broken_promise_is_a_difference_though_the_view_agrees() -> None:
    comparison = Comparison(1, 1, 1, ())
    report = Report(
        Allocations(), 0, 0, 0, ServiceCounts(), comparison, broken_promises=("told twice",)
    )
    assert report.as_json()["view_matches_fleet"] is False
    assert report.as_json()["differences"] == [{"kind": "broken-promise", "sentence": "told twice"}]


def test_counts_of_the_run_are_what_came_since_it_began() -> None:
    before = ServiceCounts(applied=10, duplicate=1, dead=2)
    assert ServiceCounts(25, 1, 3).since(before) == ServiceCounts(15, 0, 1)
    # A service that was restarted counts from zero; nothing may fall below it.
    assert ServiceCounts(4, 0, 0).since(before) == ServiceCounts(4, 0, 0)
    assert ServiceCounts(11, 0, 0).since(before) == ServiceCounts(11, 0, 0)


@pytest.mark.parametrize(
    ("values", "permille", "expected"),
    [
        ([], 500, 0.0),
        ([7.0], 990, 7.0),
        ([3.0, 1.0, 2.0], 500, 2.0),
        ([4.0, 3.0, 2.0, 1.0], 500, 2.0),
        ([float(value) for value in range(1, 101)], 990, 99.0),
        ([float(value) for value in range(1, 101)], 1000, 100.0),
    ],
)
def test_percentiles_are_by_nearest_rank(
    values: list[float], permille: int, expected: float
) -> None:
    assert percentile(values, permille) == expected
