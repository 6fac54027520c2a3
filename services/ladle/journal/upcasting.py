"""Records of older formats, brought up to the present one, a version at a time.

A released format stays readable for good: who changes what a body says raises
`core.record.SCHEMA_VERSION` and adds the step from the version before to `STEPS`. A step is given
what the record's exact bytes said once they were held against their digest, and never touches them:
the chain is that of the record as it was written. A version without a way up is refused, for what a
field of another format meant can only be guessed.
"""

from collections.abc import Callable
from typing import Any

from ladle.core.record import SCHEMA_VERSION, Record, digest_of

Body = dict[str, Any]

Step = Callable[[str, Body], Body]
"""(kind, body of one version) -> the body of the next version; the given one may be changed."""

STEPS: dict[int, Step] = {}
"""By the version from which a step leads to the next one. Nothing is older than version 1."""


class UnknownVersion(ValueError):
    """The record is of a format that this program has no way to read."""

    def __init__(self, offset: int, version: int) -> None:
        super().__init__(
            f"record {offset} is of schema version {version}; this program knows up to version "
            f"{SCHEMA_VERSION}"
        )
        self.version = version


def is_known(version: int) -> bool:
    """Is it the present version, or do steps lead up to it without a gap?"""
    if version == SCHEMA_VERSION:
        return True  # Nearly every record's.
    return version < SCHEMA_VERSION and all(
        each in STEPS for each in range(version, SCHEMA_VERSION)
    )


def bring_up(record: Record, body: Body) -> Body:
    """What the record's body says, in the present format.

    body: the record's bytes as read. Raises UnknownVersion, and ValueError where the bytes of an
    older record are not those that were sealed: a step must not make sense of what nobody wrote.
    """
    version = record.schema_version
    if version == SCHEMA_VERSION:
        return body
    if not is_known(version):
        raise UnknownVersion(record.offset, version)
    if digest_of(record.salt, record.body) != record.body_digest:
        raise ValueError(f"the content of record {record.offset} is not what was sealed")
    for each in range(version, SCHEMA_VERSION):
        body = STEPS[each](record.kind, body)
    return body
