"""Signed checkpoints: who signed, what cannot be changed, and that a rewritten tail is found."""

import base64
import hashlib
import stat
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from ladle.audit.checkpoint import Checkpoint, Consistency, read, sign
from ladle.audit.notes import BadKey, BadNote, NotSigned, SigningKey, VerifierKey, open_note
from ladle.core.record import FIRST_PREV_HASH, digest_of
from ladle.journal.chain import rehash
from ladle.journal.store import Head
from tests.journal.making import head_of, records_after

EMPTY = Head(0, FIRST_PREV_HASH, 0)
KEY = SigningKey("ladle.example/eu", bytes(range(32)))
OTHER = SigningKey("ladle.example/eu", bytes(32))
JOURNAL = records_after(EMPTY, 12)

# The example of C2SP's signed-note and of Go's golang.org/x/mod/sumdb/note.
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETERS_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdn"
    "gotpRZb6KE6RyyBwJnAM=\n"
)


def point(offset, records=JOURNAL):
    return Checkpoint(KEY.name, offset, records[offset - 1].hash if offset else FIRST_PREV_HASH)


def consistency(old, new, records):
    check = Consistency(old, new)
    for begin in range(0, len(records), 5):
        check.add(records[begin : begin + 5])
    return check


def rewritten(records, at):
    """The journal with one record's content changed and every hash after it made anew."""
    made, before = list(records[: at - 1]), records[at - 2].hash if at > 1 else FIRST_PREV_HASH
    for record in records[at - 1 :]:
        body = record.body + b" " if record.offset == at else record.body
        new = replace(record, body=body, body_digest=digest_of(record.salt, body), prev_hash=before)
        new = replace(new, hash=rehash(new))
        made.append(new)
        before = new.hash
    return made


# Notes and keys.


def test_a_note_of_others_is_read():
    text = open_note(PETERS_NOTE, [VerifierKey.parse(PETER)])
    assert text == PETERS_NOTE.partition("\n\n")[0] + "\n"
    assert str(VerifierKey.parse(PETER)) == PETER


def test_a_checkpoint_by_hand():
    """With nothing of Ladle's: the text, the key id, the signature."""
    note = sign(head_of(JOURNAL[-1]), KEY)
    text, _, line = note.partition("\n\n")
    root = base64.b64encode(bytes.fromhex(JOURNAL[-1].hash)).decode()
    assert text == f"ladle.example/eu\n12\n{root}"
    dash, name, encoded = line.rstrip("\n").split(" ")
    assert (dash, name) == ("\u2014", "ladle.example/eu")
    public = KEY.verifier.public
    raw = base64.b64decode(encoded)
    assert raw[:4] == hashlib.sha256(b"ladle.example/eu\n\x01" + public).digest()[:4]
    Ed25519PublicKey.from_public_bytes(public).verify(raw[4:], f"{text}\n".encode())


def test_what_was_signed_is_read():
    for offset in (0, 1, 12):
        head = head_of(JOURNAL[offset - 1]) if offset else EMPTY
        assert read(sign(head, KEY), [KEY.verifier]) == point(offset)


@given(st.data())
def test_no_byte_of_a_checkpoint_can_be_changed(data):
    """A changed note is refused, or says the same: nobody is told another head."""
    note = sign(head_of(JOURNAL[-1]), KEY)
    place = data.draw(st.integers(0, len(note) - 1))
    character = data.draw(st.characters(codec="utf-8"))
    changed = note[:place] + character + note[place + 1 :]
    try:
        assert read(changed, [KEY.verifier]) == point(12)
    except BadNote:
        return


def test_another_key_of_the_same_name_does_not_count():
    note = sign(head_of(JOURNAL[-1]), OTHER)
    with pytest.raises(NotSigned):
        read(note, [KEY.verifier])
    both = note + sign(head_of(JOURNAL[-1]), KEY).partition("\n\n")[2]
    assert read(both, [KEY.verifier]) == read(both, [OTHER.verifier]) == point(12)


@pytest.mark.parametrize("note", ["", "a\n", "a\n\nb\n", "a\n\n\u2014 b\n", "a\n\n\u2014 b !\n"])
def test_what_is_no_note(note):
    with pytest.raises(BadNote):
        read(note, [KEY.verifier])


@pytest.mark.parametrize(
    "text", ["a\nb\nc\n", "a\n1\nYQ==\n", "a\n01\n" + "A" * 43 + "=\n", "a\n1\n"]
)
def test_what_is_signed_and_no_checkpoint(text):
    with pytest.raises(BadNote):
        read(KEY.sign(text), [KEY.verifier])


def test_a_key_file(tmp_path):
    key = SigningKey.generate("ladle.example/eu")
    path = tmp_path / "key"
    key.write(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SigningKey.parse(path.read_text()) == key
    assert VerifierKey.parse(str(key.verifier)) == key.verifier
    assert key != SigningKey.generate("ladle.example/eu")
    assert key.seed.hex() not in repr(key)
    with pytest.raises(FileExistsError):
        SigningKey.generate("another").write(path)


def test_what_is_no_key():
    public = str(KEY.verifier)
    for text in ("", "a+b", public.replace("+", "+0", 1), public[:-4], public + "+x"):
        with pytest.raises(BadKey):
            VerifierKey.parse(text)
        with pytest.raises(BadKey):
            SigningKey.parse(text)
    for name in ("", "a b", "a+b", "a\nb"):
        with pytest.raises(BadKey):
            SigningKey.generate(name)


# Consistency.


@pytest.mark.parametrize(("old", "new"), [(0, 0), (0, 12), (1, 1), (1, 12), (5, 9), (12, 12)])
def test_a_journal_that_only_grew(old, new):
    check = consistency(point(old), point(new), JOURNAL)
    assert (check.holds, check.found) == (True, None)
    assert check.records == new


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12))
def test_a_tail_that_was_rewritten_with_a_good_chain_is_found(one, other, at):
    """The chain of the rewritten journal is flawless; only the checkpoint from before tells."""
    forged = rewritten(JOURNAL, at)
    old, new = sorted((one, other))
    check = consistency(point(old), point(new, forged), forged)
    assert check.holds is (old < at)
    if old >= at:
        assert check.found is not None
        assert check.found.offset == old


@given(st.data())
def test_whatever_was_changed_up_to_the_newer_one_is_found(data):
    """Before the older one as well: its signed hash says nothing of what is put below it."""
    at = data.draw(st.integers(1, 9))
    field = data.draw(st.sampled_from(["recorded_at_ms", "term", "body", "prev_hash", "hash"]))
    record = JOURNAL[at - 1]
    value = getattr(record, field)
    changed = value + 1 if isinstance(value, int) else value[:-1] + value[:1]
    if changed == value:
        return
    records = [replace(r, **{field: changed}) if r.offset == at else r for r in JOURNAL]
    check = consistency(point(4), point(9), records)
    assert not check.holds
    assert check.found is not None
    assert check.found.offset == at


def test_a_record_that_is_missing_and_an_end_that_is():
    gap = consistency(point(3), point(9), [r for r in JOURNAL if r.offset != 6])
    assert gap.found is not None
    assert (gap.holds, gap.found.offset, gap.found.said) == (
        False,
        7,
        "record 6 is missing before it",
    )
    begun = consistency(point(3), point(9), JOURNAL[4:])
    assert begun.found is not None
    assert begun.found.missing
    assert begun.found.said == "records 1 to 4 are missing before it"
    short = consistency(point(3), point(9), JOURNAL[:7])
    assert (short.holds, short.found, short.reached) == (False, None, 7)


def test_erased_content_leaves_the_chain_whole():
    records = [replace(r, body=b"", salt=b"") if r.offset == 5 else r for r in JOURNAL]
    assert consistency(point(3), point(9), records).holds


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (point(5), replace(point(9), origin="another"), "two journals"),
        (point(9), point(5), "before the older"),
        (point(5), replace(point(5), hash=JOURNAL[5].hash), "forked"),
        (replace(point(0), hash=JOURNAL[0].hash), point(5), "64 zeros"),
    ],
)
def test_two_checkpoints_that_cannot_both_be_true(old, new, said):
    check = Consistency(old, new)
    assert check.found is not None
    assert said in check.found.said
    assert (check.is_over, check.holds) == (True, False)
