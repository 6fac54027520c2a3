"""What people read of the journal."""

from ladle.core.compact_status import pack
from ladle.core.record import FIRST_PREV_HASH, Entry, Kind
from ladle.journal.chain import seal
from ladle.placement.journal_answers import history_line

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
