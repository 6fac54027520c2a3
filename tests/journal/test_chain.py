"""The record's bytes and the chain: what an auditor recomputes."""

import hashlib
import json
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ladle.core.record import FIRST_PREV_HASH, Entry, Kind
from ladle.journal.chain import open_record, seal, verify
from ladle.journal.store import Batch, Changes, Head
from tests.journal.making import SALT, fresh_store, record_after, records_after, writer_of

EMPTY = Head(0, FIRST_PREV_HASH, 0)

KEYS = st.text("abcXYZ019._/-", min_size=1, max_size=8)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
LEAVES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)


@given(
    payload=st.dictionaries(KEYS, JSON, max_size=4), outcome=st.dictionaries(KEYS, JSON, max_size=4)
)
def test_a_body_is_canonical_json(payload, outcome):
    """Python's own encoder writes the same bytes; what RFC 8785 asks for is spelled out here."""
    entry = Entry(1, 2, 3, Kind.EVENT, {"user": "u"}, {"room_id": "r"}, payload)
    record = seal(entry, outcome, prev_hash=FIRST_PREV_HASH, salt=SALT)
    whole = {
        "origin": entry.origin,
        "inputs": entry.inputs,
        "payload": payload,
        "outcome": outcome,
    }
    assert (
        record.body
        == json.dumps(
            whole, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        ).encode()
    )
    opened = open_record(record)
    assert (opened.entry, opened.outcome) == (entry, outcome)


def test_the_hash_by_hand():
    """As docs/journal.md tells it, with nothing of Ladle's."""
    record = record_after(EMPTY, payload={"a": "grüße"})
    digest = hashlib.sha256(record.salt + record.body).hexdigest()
    seven = {
        "offset": 1,
        "recorded_at_ms": record.recorded_at_ms,
        "term": 1,
        "kind": "tick",
        "schema_version": 1,
        "body_digest": digest,
        "prev_hash": "0" * 64,
    }
    line = json.dumps(seven, sort_keys=True, separators=(",", ":"))
    assert record.hash == hashlib.sha256(line.encode()).hexdigest()


def test_a_chain_that_holds():
    records = records_after(EMPTY, 5)
    assert verify(records, after_offset=0, after_hash=FIRST_PREV_HASH) is None
    part = records[2:]
    assert verify(part, after_offset=2, after_hash=records[1].hash) is None
    assert verify([], after_offset=0, after_hash=FIRST_PREV_HASH) is None


CHANGES = {
    "recorded_at_ms": 1,
    "term": 9,
    "kind": "event",
    "schema_version": 2,
    "body": b"{}",
    "salt": b"x",
    "body_digest": "f" * 64,
    "prev_hash": "f" * 64,
    "hash": "f" * 64,
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_field_is_found(name):
    records = records_after(EMPTY, 5)
    records[2] = replace(records[2], **{name: CHANGES[name]})
    found = verify(records, after_offset=0, after_hash=FIRST_PREV_HASH)
    assert found is not None
    assert found.offset == 3


@pytest.mark.parametrize(
    ("order", "offset"), [([0, 2, 3], 3), ([0, 2, 1], 3), ([0, 1, 1], 2), ([1, 2], 2)]
)
def test_a_missing_a_swapped_and_a_doubled_record_are_found(order, offset):
    records = records_after(EMPTY, 4)
    found = verify([records[n] for n in order], after_offset=0, after_hash=FIRST_PREV_HASH)
    assert found is not None
    assert found.offset == offset


def test_the_columns_for_queries_are_not_under_the_hash():
    """They are copies of what the body says; an audit checks them against it."""
    records = records_after(EMPTY, 2, room_id="standup")
    records[0] = replace(records[0], room_id=None)
    assert verify(records, after_offset=0, after_hash=FIRST_PREV_HASH) is None


def hand_made_check():
    """The program that docs/journal.md prints."""
    page = (Path(__file__).parents[2] / "docs/journal.md").read_text(encoding="utf-8")
    return page.partition("```python\n")[2].partition("```")[0]


def checked_by_hand(path):
    return subprocess.run(
        (sys.executable, "-c", hand_made_check(), path), capture_output=True, text=True
    )


async def test_the_check_in_the_docs_agrees(tmp_path):
    store = await fresh_store(f"sqlite:///{tmp_path}/ladle.db")
    records = records_after(EMPTY, 5)
    await store.append(await writer_of(store), Batch(records, Changes()))
    await store.close()
    checked = checked_by_hand(tmp_path / "ladle.db")
    assert (checked.stdout, checked.stderr) == (f"5 {records[-1].hash}\n", "")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("UPDATE journal SET body = x'7b7d' WHERE offset = 3", "the body of 3 was changed"),
        ("UPDATE journal SET term = 2 WHERE offset = 3", "record 3 was changed"),
        ("DELETE FROM journal WHERE offset = 3", "the chain breaks at 4"),
    ],
)
async def test_the_check_in_the_docs_finds_a_change(tmp_path, change, says):
    store = await fresh_store(f"sqlite:///{tmp_path}/ladle.db")
    await store.append(await writer_of(store), Batch(records_after(EMPTY, 5), Changes()))
    await store.close()
    with sqlite3.connect(tmp_path / "ladle.db") as connection:
        connection.execute(change)
    connection.close()
    checked = checked_by_hand(tmp_path / "ladle.db")
    assert checked.returncode == 1
    assert says in checked.stderr
