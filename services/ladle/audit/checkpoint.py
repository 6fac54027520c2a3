"""Checkpoints: the journal's head, signed, to be kept where the journal's keeper cannot reach it.

The chain finds what was changed in a journal; it cannot find a tail that was rewritten from some
record on with every hash made new. Who holds a checkpoint from before can: the record at its
offset no longer has its hash.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ladle.audit.notes import BadNote, SigningKey, VerifierKey, open_note
from ladle.core.record import FIRST_PREV_HASH, Record, digest_of
from ladle.journal.chain import rehash
from ladle.journal.store import Head

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """origin: which journal; offset: of its last record, so its size; hash: that record's."""

    origin: str
    offset: int
    hash: str

    @property
    def text(self) -> str:
        """Three lines, as C2SP's tlog-checkpoint has them: origin, size, root in base64."""
        root = base64.b64encode(bytes.fromhex(self.hash)).decode("ascii")
        return f"{self.origin}\n{self.offset}\n{root}\n"

    def as_dict(self) -> dict[str, str | int]:
        return {"origin": self.origin, "offset": self.offset, "hash": self.hash}


def sign(head: Head, key: SigningKey) -> str:
    """The note that says: the journal that `key` is named after ended here."""
    return key.sign(Checkpoint(key.name, head.offset, head.hash).text)


def read(note: str, keys: Sequence[VerifierKey]) -> Checkpoint:
    """The checkpoint in a note that one of the keys has signed; BadNote, NotSigned.

    Lines behind the third are extensions of others and are passed over; they are signed, too.
    """
    lines = open_note(note, keys).split("\n")
    if len(lines) < 4 or not lines[0] or _SIZE.fullmatch(lines[1]) is None:
        raise BadNote("signed, but no checkpoint: origin, size and root are its first three lines")
    try:
        root = base64.b64decode(lines[2], validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadNote("the root of the checkpoint is not base64") from error
    if len(root) != 32:
        raise BadNote("the root of the checkpoint is not a SHA-256")
    return Checkpoint(lines[0], int(lines[1]), root.hex())


@dataclass(frozen=True, slots=True)
class Differs:
    """Where the journal is not what a checkpoint says, or its chain does not hold in between.

    missing: records are not there, which is no proof that anything was changed.
    """

    offset: int
    said: str
    missing: bool = False


class Consistency:
    """Does the chain lead from the first record by `old` to `new`? Give it all records in order.

    Checks each of them: numbers without a gap, hash of its fields, link to the one before, digest
    of its content where that was not erased. Constant memory.

    From the first one on: what stands in a record is proved by hashing it anew, and a signed hash
    alone would vouch for whatever is put below it.
    """

    def __init__(self, old: Checkpoint, new: Checkpoint) -> None:
        self.old = old
        self.new = new
        self.records = 0
        self.found: Differs | None = self._at_once()
        self._offset = 0
        self._hash = FIRST_PREV_HASH

    @property
    def reached(self) -> int:
        """The last record that was seen, if it held."""
        return self._offset

    @property
    def is_over(self) -> bool:
        """Nothing more needs to be read."""
        return self.found is not None or self._offset >= self.new.offset

    @property
    def holds(self) -> bool:
        """True where the chain was followed to the end; also False where records are missing."""
        return self.found is None and self._offset >= self.new.offset

    def add(self, records: Iterable[Record]) -> None:
        """The next records; those behind `new` are left alone."""
        for record in records:
            if self.is_over:
                return
            self.found = self._step(record)
            if self.found is None:
                self._offset, self._hash = record.offset, record.hash
                self.records += 1

    def _at_once(self) -> Differs | None:
        """What the two checkpoints alone show."""
        old, new = self.old, self.new
        if old.origin != new.origin:
            return Differs(0, f"they are of two journals: {old.origin} and {new.origin}")
        if old.offset > new.offset:
            return Differs(
                new.offset, f"the newer one ends at {new.offset}, before the older at {old.offset}"
            )
        if old.offset == new.offset and old.hash != new.hash:
            return Differs(old.offset, "they give one record two hashes: the journal was forked")
        for each in (old, new):
            if each.offset == 0 and each.hash != FIRST_PREV_HASH:
                return Differs(0, "an empty journal ends in 64 zeros")
        return None

    def _step(self, record: Record) -> Differs | None:
        offset = record.offset
        if offset > self._offset + 1:
            first, last = self._offset + 1, offset - 1
            which = f"records {first} to {last} are" if last > first else f"record {first} is"
            return Differs(offset, f"{which} missing before it", True)
        if offset <= self._offset:
            return Differs(offset, f"it comes after record {self._offset}")
        if rehash(record) != record.hash:
            return Differs(offset, "its hash is not that of its fields")
        if record.prev_hash != self._hash:
            return Differs(offset, "it does not follow from the record before it")
        erased = not record.body and not record.salt
        if not erased and digest_of(record.salt, record.body) != record.body_digest:
            return Differs(offset, "its content is not what was sealed")
        for checkpoint, name in ((self.old, "older"), (self.new, "newer")):
            if offset == checkpoint.offset and record.hash != checkpoint.hash:
                return Differs(offset, f"its hash is not that of the {name} checkpoint")
        return None
