"""What people read of the journal."""

from pathlib import Path
from typing import Any, cast

import pytest

from ladle.core.compact_status import pack
from ladle.core.record import FIRST_PREV_HASH, Entry, Kind, Record
from ladle.journal.chain import seal
from ladle.journal.store import Store
from ladle.placement.journal_answers import (
    PAGE_BYTES_MAX,
    explain,
    fleet_view_at,
    history,
    history_line,
)
from tests.journal.making import fresh_store
from tests.journal.small_writer import small_writer

WORKER = {
    "worker_id": "0",
    "state": "running",
    "consumers": 7,
    "producers": 6,
    "rooms": 5,
    "cpu_permille": 40,
    "memory_bytes": 9,
}


def test_statuses_that_share_a_record_are_read_with_their_names() -> None:
    status = {
        "type": "worker-status",
        "source_server_id": "sfu-eu-1",
        "incarnation": 1_763_802_000_000,
        "sequence": 2,
        "data": {"workers": [WORKER], "rooms": None, "complete": False},
    }
    entry = Entry(1, 1_763_802_000_000, 1, Kind.STATUSES, {}, {}, {"statuses": [pack(status)]})
    record = seal(entry, {"status": "applied"}, prev_hash=FIRST_PREV_HASH, salt=bytes(16))
    line = history_line(record)
    assert (line["kind"], line["status"]) == ("statuses", "applied")
    assert line["payload"] == {"statuses": [status]}


@pytest.mark.parametrize(
    ("kind", "payload", "outcome", "reason"),
    [
        (Kind.REQUEST, {"body": {"reason": "kernel"}}, {"status": "applied"}, "kernel"),
        (Kind.REQUEST, {"body": {"reason": None}}, {"status": "applied"}, None),
        (
            Kind.REQUEST,
            {"body": {"reason": "kernel"}},
            {"status": "refused", "reason": "unknown-server"},
            "unknown-server",
        ),
        (Kind.EVENT, {"data": {"reason": "preStop"}}, {"status": "applied"}, "preStop"),
        (Kind.EVENT, {"data": {"room_id": "r"}}, {"status": "applied"}, None),
        (Kind.REJECTED, {"reason": "bad-data"}, {"status": "refused"}, "bad-data"),
        (Kind.TICK, {}, {"status": "applied"}, None),
    ],
)
def test_a_line_says_why(
    kind: Kind, payload: dict[str, Any], outcome: dict[str, Any], reason: str | None
) -> None:
    """Why Ladle did nothing; else the reason that whoever asked for it gave."""
    entry = Entry(1, 1_763_802_000_000, 1, kind, {}, {}, payload)
    record = seal(entry, outcome, prev_hash=FIRST_PREV_HASH, salt=bytes(16))
    assert history_line(record).get("reason") == reason


class Journal:
    """A store of records with bodies of these sizes; the most bytes it gave out in one go."""

    def __init__(self, *sizes: int) -> None:
        self.records = [self._record(at, size) for at, size in enumerate(sizes, start=1)]
        self.most = 0

    @staticmethod
    def _record(offset: int, size: int) -> Record:
        entry = Entry(offset, 1, 1, Kind.EVENT, {}, {}, {"data": "x" * size})
        return seal(entry, {"status": "applied"}, prev_hash=FIRST_PREV_HASH, salt=bytes(16))

    async def history(self, *, after_offset: int, limit: int, **_: object) -> list[Record]:
        found = self.records[after_offset : after_offset + limit]
        self.most = max(self.most, sum(len(record.body) for record in found))
        return found

    async def pages(self, limit: int) -> list[list[int]]:
        """The offsets of each page until there are no more."""
        body: dict[str, Any] = {"after_offset": 0, "limit": limit, "room_id": None}
        body["server_id"] = None
        pages = []
        while True:
            answer = await history(cast(Store, self), body)
            pages.append([line["offset"] for line in answer["records"]])
            body["after_offset"] = answer["next_offset"]
            if not answer["more"]:
                return pages


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 32, 99, 100, 101, 250])
async def test_pages_of_records_are_as_long_as_asked_for(count: int) -> None:
    pages = await Journal(*[10] * count).pages(100)
    assert [offset for page in pages for offset in page] == list(range(1, count + 1))
    assert [len(page) for page in pages[:-1]] == [100] * (len(pages) - 1)
    assert len(pages) == max(1, -(-count // 100))


async def test_a_page_of_great_records_is_short() -> None:
    """A thousand complete statuses of 4 MB would be more than this process has."""
    journal = Journal(*[400_000] * 7, *[10] * 3, PAGE_BYTES_MAX * 4)
    assert await journal.pages(1_000) == [[1, 2, 3], [4, 5, 6], [7, 8, 9, 10, 11]]
    many = Journal(*[100_000] * 300)
    pages = await many.pages(1_000)
    assert [offset for page in pages for offset in page] == list(range(1, 301))
    assert many.most < 20 * 100_100


async def test_what_is_in_an_archive_is_said_to_be_there(tmp_path: Path) -> None:
    store = await fresh_store(f"sqlite:///{tmp_path}/ladle.db")
    try:
        writer = await small_writer(store)
        await writer.commit()
        writer.register("sfu-1")
        await writer.commit()
        asked = {"at_offset": 2, "region": None, "server_id": None}
        assert (await fleet_view_at(store, asked))["status"] == "ok"
        await store.drop_records(2)
        for offset in (2, 3):
            refused = await fleet_view_at(store, asked | {"at_offset": offset})
            assert refused["error"]["code"] == "unavailable"
            assert refused["error"]["details"] == {"archived": 2}
            assert "--archive" in refused["error"]["message"]
        unknown = await explain(store, {"room_id": "standup", "generation": None})
        assert unknown["error"]["code"] == "unknown-room"
        assert "records up to 2 are in an archive" in unknown["error"]["message"]
    finally:
        await store.close()
