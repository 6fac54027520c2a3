"""From a folded entry to a journal record, one chained to the other."""

import os
from collections.abc import Mapping
from typing import Any

from ladle.core.record import Entry, Record
from ladle.journal.chain import seal
from ladle.journal.store import Head

SALT_BYTES = 16
SALTS_AT_ONCE = 256


class Scribe:
    """Writes records one after another; holds the head that the next one chains to."""

    def __init__(self, head: Head) -> None:
        self.head = head
        self._salts: list[bytes] = []

    def _salt(self) -> bytes:
        """Random bytes, fetched from the kernel for many records at once."""
        if not self._salts:
            pool = os.urandom(SALT_BYTES * SALTS_AT_ONCE)
            self._salts = [pool[at : at + SALT_BYTES] for at in range(0, len(pool), SALT_BYTES)]
        return self._salts.pop()

    @property
    def next_offset(self) -> int:
        return self.head.offset + 1

    def write(self, entry: Entry, outcome: Mapping[str, Any]) -> Record:
        """The record of `entry` and what came of it; becomes the head."""
        room_id, server_id = subjects(entry, outcome)
        record = seal(
            entry,
            outcome,
            prev_hash=self.head.hash,
            salt=self._salt(),
            room_id=room_id,
            server_id=server_id,
        )
        self.head = Head(record.offset, record.hash, record.recorded_at_ms)
        return record


def subjects(entry: Entry, outcome: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The room and the server that a record is about, for the journal's look-up columns."""
    payload = entry.payload
    data = payload.get("data") or payload.get("body") or {}
    room_id = data.get("room_id") or entry.inputs.get("room_id")
    server_id = payload.get("source_server_id") or data.get("server_id")
    reply = outcome.get("reply")
    if reply:
        room_id = reply.get("room_id") or room_id
        server = reply.get("server")
        if server:
            server_id = server.get("server_id") or server_id
    return room_id, server_id
