"""From a folded entry to a journal record, one chained to the other."""

import os
from collections.abc import Mapping
from typing import Any

from ladle.core.record import Entry, Record
from ladle.journal.chain import seal
from ladle.journal.store import Head
from ladle.journal.subjects import subjects

SALT_BYTES = 16
SALTS_AT_ONCE = 256


class Scribe:
    """Writes records one after another; `offset` is the last one's, to which the next chains."""

    def __init__(self, head: Head) -> None:
        self.offset = head.offset
        self._hash = head.hash
        self._salts: list[bytes] = []

    def _salt(self) -> bytes:
        """Random bytes, fetched from the kernel for many records at once."""
        if not self._salts:
            pool = os.urandom(SALT_BYTES * SALTS_AT_ONCE)
            self._salts = [pool[at : at + SALT_BYTES] for at in range(0, len(pool), SALT_BYTES)]
        return self._salts.pop()

    @property
    def next_offset(self) -> int:
        return self.offset + 1

    def write(self, entry: Entry, outcome: Mapping[str, Any]) -> Record:
        """The record of `entry` and what came of it; becomes the last one."""
        room_id, server_id = subjects(entry, outcome)
        record = seal(
            entry,
            outcome,
            prev_hash=self._hash,
            salt=self._salt(),
            room_id=room_id,
            server_id=server_id,
        )
        self.offset, self._hash = record.offset, record.hash
        return record
