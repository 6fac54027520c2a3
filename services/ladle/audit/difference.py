"""Where two JSON values differ first: the path, and both sides."""

from typing import Any

ABSENT = "(absent)"


def first_difference(one: Any, other: Any, path: str = "") -> tuple[str, Any, Any] | None:
    """(path, one's value, other's value) of the first difference in the order of keys; None: equal.

    True and 1 differ, as they do in JSON.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        for name in sorted({*one, *other}):
            inner = f"{path}.{name}" if path else name
            found = first_difference(one.get(name, ABSENT), other.get(name, ABSENT), inner)
            if found is not None:
                return found
        return None
    if isinstance(one, list) and isinstance(other, list):
        for position in range(max(len(one), len(other))):
            left = one[position] if position < len(one) else ABSENT
            right = other[position] if position < len(other) else ABSENT
            found = first_difference(left, right, f"{path}[{position}]")
            if found is not None:
                return found
        return None
    if type(one) is type(other) and one == other:
        return None
    return path, one, other
