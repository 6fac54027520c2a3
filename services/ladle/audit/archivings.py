"""What records of kind `archived` say: which records are in an archive, and in which files.

The record holds the digest of each segment, so the chain vouches for the archive. A segment that
no record names, of records that the database no longer has, is one that nobody answers for.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ladle.audit.finding import Finding, Law
from ladle.audit.source import Claim, Segment
from ladle.core.record import Kind, Record, digest_of
from ladle.journal.chain import content_of, rehash


@dataclass(frozen=True, slots=True)
class Archiving:
    """Records up to `last_offset`, whose hash is `hash`, are in an archive. said_by: the record."""

    last_offset: int
    hash: str
    segments: tuple[Segment, ...]
    said_by: int


Anchored = Mapping[int, tuple[int, Segment]]
"""First record of a segment -> the record that named it last, and the file as it says."""


class HasAnchors(Protocol):
    async def anchors(self, kind: Kind) -> list[Record]: ...


def archiving_of(record: Record) -> Archiving | None:
    """What the record says; None where it is not as it was sealed."""
    if rehash(record) != record.hash or digest_of(record.salt, record.body) != record.body_digest:
        return None
    try:
        payload: dict[str, Any] = content_of(record)["payload"]
        segments = tuple(Segment(**each) for each in payload["segments"])
        last, hash_ = payload["last_offset"], payload["hash"]
        if type(last) is not int or type(hash_) is not str or segments[-1].last_offset != last:
            return None
    except (ValueError, KeyError, TypeError, IndexError):
        return None
    return Archiving(last, hash_, segments, record.offset)


async def last_archiving(store: HasAnchors) -> Archiving | None:
    """How far records were archived, as the newest record of the kind says."""
    found = [archiving_of(record) for record in await store.anchors(Kind.ARCHIVED)]
    told = [each for each in found if each is not None]
    return max(told, key=lambda each: (each.last_offset, each.said_by), default=None)


async def anchored_files(store: HasAnchors) -> Anchored:
    """The segments as the newest record that names each has them."""
    files: dict[int, tuple[int, Segment]] = {}
    for record in await store.anchors(Kind.ARCHIVED):
        told = archiving_of(record)
        for each in told.segments if told else ():
            files[each.first_offset] = (record.offset, each)
    return files


class ArchiveCheck:
    """Holds the files of an archive against the records that name them last."""

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        self._listed = {each.first_offset: each for each in claim.segments or ()}
        self._named: dict[int, tuple[int, Segment]] = {}
        self.compared = 0

    def record(self, record: Record) -> Iterator[Finding]:
        """What a record of kind `archived` says that is not so."""
        told = archiving_of(record)
        if told is None:
            # Where its seal is broken as well, that is told on its own.
            said = "it does not say which records were archived"
            yield Finding(Law.ARCHIVE, record.offset, said)
            return
        # The last word counts: erasing writes segments anew, and anchors them anew.
        self._named |= {each.first_offset: (record.offset, each) for each in told.segments}

    def absorb(self, before: "ArchiveCheck") -> None:
        """Add what the check of an earlier part was told; the last word counts here too."""
        self._named = before._named | self._named
        self.compared += before.compared

    def end(self) -> Iterator[Finding]:
        """Files that are not the anchored ones, or that nobody answers for.

        The latter only where the database no longer has their records.
        """
        for first, segment in self._listed.items():
            if first in self._named:
                self.compared += 1
                yield from _differences(segment, *self._named[first])
            elif self._claim.begins > first:
                said = f"no record anchors {segment.name}, and its records left the database"
                yield Finding(Law.ARCHIVE, first, said)


def _differences(listed: Segment, said_by: int, anchored: Segment) -> Iterator[Finding]:
    """At most one: the file is the anchored one, or it is not."""
    for where in ("last_offset", "bytes", "sha256"):
        one, other = getattr(listed, where), getattr(anchored, where)
        if one != other:
            said = f"the archive's file {listed.name} is not the one that was anchored"
            yield Finding(Law.ARCHIVE, said_by, said, where, one, other)
            return
