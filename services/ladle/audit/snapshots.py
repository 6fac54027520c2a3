"""Snapshots against the fold: what a record anchors, and what is kept, is the state that was."""

from collections.abc import Iterator, Sequence

from ladle.audit.errors import Altered
from ladle.audit.finding import Finding, Law
from ladle.audit.source import Source
from ladle.core.record import Record
from ladle.core.view import View
from ladle.journal.snapshots import Anchor, anchor_of


class SnapshotCheck:
    """Takes the digest where a snapshot was made, and holds it against the anchor behind it.

    offsets: where to take it, as the source tells. Memory grows with snapshots, not with records.
    """

    def __init__(self, offsets: Sequence[int]) -> None:
        self._wanted = frozenset(offsets)
        self._seen: dict[int, tuple[str, str]] = {}
        self._not_known = 0
        self.compared = 0

    def note(self, view: View, record: Record) -> None:
        """The view stands behind this record."""
        if record.offset in self._wanted and view.offset == record.offset:
            self._seen[record.offset] = (record.hash, view.digest())

    def took(self, anchor: Anchor) -> None:
        """The state behind this snapshot's record is known to be the anchored one."""
        self._seen[anchor.offset] = (anchor.hash, anchor.digest)

    def anchor(self, record: Record) -> Iterator[Finding]:
        """What a record of kind `snapshot` says that is not so."""
        anchor = anchor_of(record)
        if anchor is None or anchor.offset not in self._seen:
            # One that was changed or erased is found as such.
            self._not_known += 1
            return
        self.compared += 1
        said = f"it anchors a snapshot of record {anchor.offset} that is not the state there"
        hash_, digest = self._seen[anchor.offset]
        for where, one, other in (("hash", anchor.hash, hash_), ("digest", anchor.digest, digest)):
            if one != other:
                where = f"payload.{where}"
                yield Finding(Law.SNAPSHOT, record.offset, said, where, one, other)

    def kept(self, source: Source) -> Iterator[Finding]:
        """Kept snapshots that are not the anchored ones."""
        for anchor in source.snapshots():
            try:
                source.hold(anchor)
            except Altered as error:
                yield Finding(Law.SNAPSHOT, anchor.offset, error.said)

    @property
    def passed_over(self) -> str | None:
        """A sentence on the anchors that could not be held against a state; None if all were."""
        if not self._not_known:
            return None
        which = "1 anchor" if self._not_known == 1 else f"{self._not_known:,} anchors"
        return (
            f"{which} of snapshots not held against the state: it was not derived there, or the "
            "source did not say beforehand where to look"
        )
