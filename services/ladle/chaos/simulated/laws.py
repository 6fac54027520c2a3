"""What a broken law is, and what all those who watch the laws know of the run."""

from collections.abc import Callable
from dataclasses import dataclass, field

SECRET = "s3cret-of-the-simulation"  # noqa: S105 -- there is nothing behind it
"""The password in every URL that a simulated process is given."""

NO_DEFECT = "the program has no defect that it meets"


class Violation(Exception):
    """Something happened that Ladle promises never to do. `law` names the promise."""

    def __init__(self, law: str, what: str) -> None:
        super().__init__(f"{law}: {what}")
        self.law = law
        self.what = what


def refuse_secret(where: str, said: bytes) -> None:
    """Raise Violation where the password stands in what is stored, sent or logged."""
    if SECRET.encode() in said:
        raise Violation("no secret anywhere", where)


@dataclass(slots=True)
class Tally:
    """What a run did, for its report."""

    records: int = 0
    commits: int = 0
    terms: int = 0
    attempted: int = 0
    acknowledged: int = 0
    refused: int = 0
    unknown: int = 0
    events: int = 0
    crashes: dict[str, int] = field(default_factory=dict)
    answers: dict[str, int] = field(default_factory=dict)


OnViolation = Callable[[Violation], None]
