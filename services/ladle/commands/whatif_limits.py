"""`--limit name=value` of `ladle audit whatif`: their bounds, and which go together."""

from collections.abc import Mapping, Sequence

from ladle.audit.whatif import changeable
from ladle.commands.output import USAGE, fail
from ladle.core.limits import RULES, Limits
from ladle.placement.settings import PlacementSettings
from ladle_contracts.fields import HOLD_MS_MAX

HOUR_MS, DAY_MS, YEAR_MS = 3_600_000, 86_400_000, 31_536_000_000

BOUNDS: Mapping[str, tuple[int, int]] = {
    "rules": (1, RULES),
    "hold_ms_max": (1_000, HOLD_MS_MAX),
    "stale_intervals": (1, 1_000),
    "lost_intervals": (2, 10_000),
    "strand_ms": (1_000, DAY_MS),
    "stamp_ms": (1_000, DAY_MS),
    "forget_ms": (1_000, YEAR_MS),
    "request_ms": (1_000, DAY_MS),
    "event_id_ms": (1_000, DAY_MS),
    "hole_ms": (100, HOUR_MS),
    "reissue_ms": (100, HOUR_MS),
    "reissue_ms_max": (100, HOUR_MS),
    "capacity_low_consumers": (0, 10_000_000),
    "capacity_ok_consumers": (0, 10_000_000),
}
"""Least and most of the limits that are no settings of the service; those have their own."""

ASCENDING = (
    ("hold_ms", "hold_ms_max", 0),
    ("stale_intervals", "lost_intervals", 1),
    ("reissue_ms", "reissue_ms_max", 0),
    ("capacity_low_consumers", "capacity_ok_consumers", 0),
)
"""Of each pair the second is by so much above the first: what begins would end before, or at once,
and a server that turns stale and lost in the same moment has no next time to look at it."""


def limits_of(given: Sequence[str]) -> dict[str, int]:
    """`name=value` as typed, to whole numbers by name; leaves with 2 where one is none of them."""
    limits: dict[str, int] = {}
    for text in given:
        name, _, value = text.partition("=")
        if name not in changeable():
            fail(
                USAGE,
                f"--limit {text}: there is no such limit",
                f"one of {', '.join(changeable())}",
            )
        least, most = bounds_of(name)
        example = f"{name}={getattr(Limits(), name)} is what it is without a setting"
        if not (value.isascii() and value.isdigit()):
            said = f"--limit {text}: not a whole number; {name} is one from {least} to {most}"
            fail(USAGE, said, example)
        # As text first: Python turns no more than 4,300 digits into a number.
        if len(value.lstrip("0")) > len(str(most)) or not least <= int(value) <= most:
            fail(USAGE, f"--limit {text}: {name} is from {least} to {most}", example)
        if limits.get(name, int(value)) != int(value):
            fail(
                USAGE, f"--limit {text}: {name} was given before, as {limits[name]}", "give it once"
            )
        limits[name] = int(value)
    _check_order(limits)
    return limits


def bounds_of(name: str) -> tuple[int, int]:
    """The least and the most that the limit takes: as a setting of the service, where it is one."""
    if name in BOUNDS:
        return BOUNDS[name]
    found: dict[str, int] = {}
    for bound in PlacementSettings.model_fields[name].metadata:
        found |= {side: getattr(bound, side) for side in ("ge", "le") if hasattr(bound, side)}
    return found["ge"], found["le"]


def _check_order(limits: Mapping[str, int]) -> None:
    """A pair of which one was given is held against what the other is without a setting."""
    for low, high, apart in ASCENDING:
        if low not in limits and high not in limits:
            continue
        first, second = (limits.get(name, getattr(Limits(), name)) for name in (low, high))
        if first + apart > second:
            fail(
                USAGE,
                f"--limit {low}={first} is {'not below' if apart else 'above'} {high}={second}",
                f"give both: {low} {second - apart} or less, or {high} {first + apart} or more",
            )
