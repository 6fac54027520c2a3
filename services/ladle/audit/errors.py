"""Why a source cannot be audited, each with what to do about it and its exit code."""

from typing import ClassVar

VERIFIED, VIOLATION, USAGE, UNREADABLE, INCOMPLETE, UNREACHABLE = 0, 1, 2, 3, 4, 5
"""Exit codes of `ladle audit`."""


class SourceError(Exception):
    """The source cannot be audited. `advice`: what to do, one sentence."""

    exit_code: ClassVar[int]

    def __init__(self, said: str, advice: str) -> None:
        super().__init__(said)
        self.said = said
        self.advice = advice


class Altered(SourceError):
    """What is read cannot be what was written; a state folded from it would be invented."""

    exit_code = VIOLATION


class BadSource(SourceError):
    """The source, or what is asked of it, is none that Ladle knows."""

    exit_code = USAGE


class Unreadable(SourceError):
    """A file of another kind, or written by a program that this one does not know."""

    exit_code = UNREADABLE


class Incomplete(SourceError):
    """Records are missing: a torn tail, a gap, a segment that is not there."""

    exit_code = INCOMPLETE


class Unreachable(SourceError):
    """Nothing could be read: no such file, no connection, no permission."""

    exit_code = UNREACHABLE


class InUse(Unreachable):
    """Another process writes there; two at once would undo each other's work."""
