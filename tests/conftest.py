"""Fixtures live in tests/fixtures, one file for each real part that tests run against."""

from hypothesis import settings

# No example is judged by a clock: these machines are shared. (With CI=true Hypothesis brings a
# profile of its own, with neither deadline nor chance.)
settings.register_profile("ladle", deadline=None)
if settings.get_current_profile_name() == "default":
    settings.load_profile("ladle")

pytest_plugins = [
    "tests.fixtures.broker",
    "tests.fixtures.postgres",
    "tests.fixtures.service",
]
