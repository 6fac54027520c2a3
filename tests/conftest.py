"""Fixtures live in tests/fixtures, one file for each real part that tests run against."""

pytest_plugins = [
    "tests.fixtures.broker",
    "tests.fixtures.postgres",
    "tests.fixtures.service",
]
