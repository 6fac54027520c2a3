"""RFC 3339 in, integers inside."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ladle_contracts.times import of_datetime, to_ms, to_rfc3339

YEAR_9999_MS = 253_402_300_799_999


@pytest.mark.parametrize(
    ("text", "unix_ms"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-11-22T09:00:00Z", 1795338000000),
        ("2026-11-22T09:00:00.5Z", 1795338000500),
        ("2026-11-22T09:00:00.123999999Z", 1795338000123),
        ("2026-11-22T10:00:00+01:00", 1795338000000),
        ("2026-11-22t09:00:00z", 1795338000000),
    ],
)
def test_reads_rfc_3339(text: str, unix_ms: int) -> None:
    assert to_ms(text) == unix_ms


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-11-22",
        "2026-11-22T09:00:00",
        "2026-11-22 09:00:00Z",
        "20261122T090000Z",
        "2026-13-22T09:00:00Z",
        "2026-11-22T09:00:60Z",
        "2026-11-22T09:00:00Zx",
        "2026-11-22T09:00:00.Z",
        "1969-12-31T23:59:59Z",
        "٢٠٢٦-11-22T09:00:00Z",
    ],
)
def test_refuses_other_forms_of_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"must"):
        to_ms(text)


@given(st.integers(0, YEAR_9999_MS))
def test_a_time_written_is_the_time_read(unix_ms: int) -> None:
    """Nothing is lost between two servers: milliseconds survive."""
    assert to_ms(to_rfc3339(unix_ms)) == unix_ms


@pytest.mark.parametrize("unix_ms", [-1, YEAR_9999_MS + 1, 2**63])
def test_refuses_times_that_rfc_3339_cannot_say(unix_ms: int) -> None:
    with pytest.raises(ValueError, match=r"1970|9999"):
        to_rfc3339(unix_ms)


def test_a_moment_without_zone_is_utc() -> None:
    assert of_datetime(datetime(2026, 11, 22, 9)) == 1795338000000  # noqa: DTZ001 - on purpose
    assert of_datetime(datetime(2026, 11, 22, 9, tzinfo=UTC)) == 1795338000000
    assert of_datetime(datetime(2026, 11, 22, 9, tzinfo=timezone(timedelta(hours=1)))) == (
        1795338000000 - 3_600_000
    )
