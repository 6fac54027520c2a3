"""Erased records: which ones a record of kind `erased` vouches for.

A record without content is an erased one only if a later record says so. Without that, somebody
took content away and nobody answers for it.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Span = tuple[int, int]
"""First and last offset, both inclusive."""


def spans_of(offsets: Iterable[int]) -> list[Span]:
    """Ascending offsets as the fewest spans."""
    spans: list[Span] = []
    for offset in offsets:
        if spans and spans[-1][1] == offset - 1:
            spans[-1] = (spans[-1][0], offset)
        else:
            spans.append((offset, offset))
    return spans


def spans_in(payload: Mapping[str, Any]) -> Iterator[Span]:
    """What the payload of an `erased` record names; raises KeyError, TypeError, ValueError."""
    for first, last in payload["records"]:
        if not (type(first) is type(last) is int and 0 < first <= last):
            raise ValueError(f"no span of offsets: {first!r} to {last!r}")
        yield (first, last)


class Erasures:
    """Which erased records nobody answers for. Memory grows with spans, not with records."""

    def __init__(self) -> None:
        self._seen: list[Span] = []
        self._named: list[Span] = []

    def saw(self, offset: int) -> None:
        """This record has no content; offsets ascend."""
        if self._seen and self._seen[-1][1] == offset - 1:
            self._seen[-1] = (self._seen[-1][0], offset)
        else:
            self._seen.append((offset, offset))

    def named(self, payload: Mapping[str, Any]) -> None:
        """An `erased` record names these; raises as `spans_in`."""
        self._named.extend(spans_in(payload))

    def unanswered(self) -> list[Span]:
        """Erased records that no `erased` record names, as spans."""
        named = iter([*_merged(self._named), (2**63, 2**63)])
        first, last = next(named)
        found: list[Span] = []
        for begin, end in self._seen:
            while begin <= end:
                if last < begin:
                    first, last = next(named)
                elif first <= begin:
                    begin = last + 1
                else:
                    found.append((begin, min(end, first - 1)))
                    begin = first
        return found


def _merged(spans: Iterable[Span]) -> list[Span]:
    merged: list[Span] = []
    for first, last in sorted(spans):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged
