"""All that a log says of one room, gathered in one pass along the chain, to explain it from.

So `ladle explain` tells of a room whose records left the database, or from an export alone, what
the service would have told.
"""

from collections.abc import Sequence
from typing import Any

import orjson

from ladle.audit.errors import Altered, Incomplete
from ladle.audit.source import Fault, Flaw, Source
from ladle.audit.verify import Progress, refuse_unknown
from ladle.audit.walk import Walk
from ladle.core.record import Record
from ladle.core.rows import COLUMNS
from ladle.journal.chain import content_of
from ladle.journal.store import Key, Values

VERIFY_ADVICE = "`ladle audit verify` tells all that is wrong with it"


class RoomLog:
    """What `journal.explain` asks, of records that name the room. Memory grows with those alone.

    archived: records up to this one are in an archive that was not given. Raises SourceError.
    """

    def __init__(
        self,
        source: Source,
        room_id: str,
        progress: Progress = lambda records, share: None,
    ) -> None:
        self._room_id = room_id
        self._row = _row_in(source, room_id)
        claim = source.claim()
        self.archived = claim.archived
        self._records: list[Record] = []
        after = max(claim.after_offset, claim.archived)
        walk = Walk(after, None if claim.archived else claim.after_hash,
                    sparse=claim.selected is not None)  # fmt: skip
        needle, count = orjson.dumps(room_id), 0
        for page in source.pages(after):
            for item in page:
                self._check(walk, item, source.name)
                if isinstance(item, Record) and (item.room_id == room_id or needle in item.body):
                    self._records.append(item)
            count += len(page)
            progress(count, source.share_read(walk.offset))

    async def history(
        self,
        *,
        after_offset: int,
        limit: int,
        room_id: str | None = None,
        server_id: str | None = None,
        kinds: Sequence[str] = (),
    ) -> list[Record]:
        """As a store's, of the records that name the room."""
        found = (
            record
            for record in self._records
            if record.offset > after_offset
            and room_id in (None, record.room_id)
            and server_id in (None, record.server_id)
            and (not kinds or record.kind in kinds)
        )
        return [record for _, record in zip(range(limit), found, strict=False)]

    async def record(self, offset: int) -> Record | None:
        """Of the room's records the one with this offset."""
        return next((record for record in self._records if record.offset == offset), None)

    async def row(self, table: str, key: Key) -> Values | None:
        """The room as the tables beside the log have it; else as it was when it last had a home."""
        return self._row or self._last_home()

    def _last_home(self) -> Values | None:
        for record in reversed(self._records):
            for event in reversed(content_of(record).get("outcome", {}).get("outbound", ())):
                data = event["data"]
                if (
                    event["what"] == "event"
                    and data.get("room_id") == self._room_id
                    and {"generation", "allocation_id"} <= data.keys()
                ):
                    return tuple(data.get(column) for column in COLUMNS["room"])
        return None

    @staticmethod
    def _check(walk: Walk, item: Record | Flaw, name: str) -> None:
        if isinstance(item, Flaw):
            lacks = item.fault in (Fault.TORN, Fault.MISSING)
            raise (Incomplete if lacks else Altered)(item.said, VERIFY_ADVICE)
        expected = walk.offset + 1
        for finding in walk.step(item):
            raise Altered(f"record {finding.offset}: {finding.said}", VERIFY_ADVICE)
        if walk.gaps.records:
            said = f"{name}: records {expected} to {item.offset - 1} are missing"
            raise Incomplete(said, VERIFY_ADVICE)
        refuse_unknown(item)


def _row_in(source: Source, room_id: str) -> Values | None:
    rows = source.rows()
    if rows is None:
        return None
    column = COLUMNS["room"].index("room_id")
    found: Any = (row for row in rows.snapshot.tables["room"] if row[column] == room_id)
    return next(found, None)
