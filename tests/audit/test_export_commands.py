"""`ladle audit export`, `keygen`, `checkpoint`, `consistency` on a real database and on files."""

import asyncio
import json
import sqlite3

import pytest
import typer
from typer.testing import CliRunner

from ladle.audit.checkpoint import read
from ladle.audit.notes import VerifierKey
from ladle.commands import audit_erase, audit_export
from ladle.core.record import FIRST_PREV_HASH
from ladle.journal.store import Head
from tests.journal.making import batch_after, fresh_store, writer_of

EMPTY = Head(0, FIRST_PREV_HASH, 0)
COUNT = 2_500  # more than two pages of a source

app = typer.Typer()
for name in ("export", "keygen", "checkpoint", "consistency"):
    app.command(name)(getattr(audit_export, name))
app.command("erase")(audit_erase.erase)


@pytest.fixture
def database(tmp_path, monkeypatch):
    """A SQLite journal of COUNT records, named by the environment."""
    path = tmp_path / "ladle.db"
    monkeypatch.setenv("LADLE_DATABASE_URL", f"sqlite:///{path}")
    monkeypatch.setenv("LADLE_CELL", "eu")

    async def fill():
        store = await fresh_store(f"sqlite:///{path}")
        try:
            batch = batch_after(EMPTY, COUNT, settings={"cell": '"eu"'})
            await store.append(await writer_of(store), batch)
        finally:
            await store.close()

    asyncio.run(fill())
    return path


@pytest.fixture
def run():
    """(exit code, standard output) of a command; its standard error where it fails unexpectedly."""

    def run(*arguments, code=0):
        result = CliRunner().invoke(app, [str(each) for each in arguments])
        assert result.exit_code == code, result.output + repr(result.exception)
        return result.stdout

    return run


@pytest.fixture
def key(tmp_path, run):
    """(file of the signing key, verifier key)."""
    verifier = run("keygen", tmp_path / "key", "--name", "ladle.example/eu").strip()
    return tmp_path / "key", verifier


@pytest.mark.parametrize("format_", ["jsonl", "csv", "parquet", "cloudevents"])
def test_an_export_of_an_export_is_the_same(tmp_path, run, database, format_):
    """From the database, and from the files without one: byte for byte."""
    one = json.loads(run("export", "--to", tmp_path / "one", "--format", format_, "--json"))
    again = ("export", "--source", tmp_path / "one", "--to", tmp_path / "two")
    assert json.loads(run(*again, "--format", format_, "--json")) == one
    assert (one["rows"], one["cell"], one["complete"]) == (COUNT, "eu", True)
    assert one["head"]["offset"] == COUNT


def test_an_export_is_of_the_cell_of_its_journal(tmp_path, run, database, monkeypatch):
    """Whatever cell the one who exports is of: CloudEvents and manifest name the journal's."""
    monkeypatch.setenv("LADLE_CELL", "us")
    words = ("export", "--format", "cloudevents", "--json", "--to")
    assert json.loads(run(*words, tmp_path / "one"))["cell"] == "eu"
    (file,) = (tmp_path / "one").glob("*.jsonl")
    assert json.loads(file.read_bytes().splitlines()[0])["id"] == "eu:1"
    again = json.loads(run(*words, tmp_path / "two", "--source", tmp_path / "one"))
    assert again["cell"] == "eu"


def test_a_journal_of_another_cell_is_not_signed(run, database, key, monkeypatch):
    """Who named the wrong database would vouch for it for good."""
    monkeypatch.setenv("LADLE_CELL", "us")
    said = json.loads(run("checkpoint", "--key", key[0], "--json", code=2))
    assert "of cell eu, and LADLE_CELL says us" in said["error"]["message"]
    assert said["error"]["advice"]
    monkeypatch.delenv("LADLE_CELL")
    assert json.loads(run("checkpoint", "--key", key[0], "--json"))["cell"] == "eu"


def test_an_export_says_what_it_did(tmp_path, run, database):
    said = run("export", "--to", tmp_path / "out", "--from", "11", "--until", "20", "--redact")
    assert "10 records in 1 file and" in said
    assert "without content" in said
    assert f"ends at {COUNT}" in said


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--from", "yesterday"], 2),
        (["--kind", "gossip"], 2),
        (["--source", "nowhere.jsonl"], 5),
        (["--source", "mysql://x/y"], 2),
    ],
)
def test_what_cannot_be_exported(tmp_path, run, database, arguments, code):
    said = json.loads(run("export", "--to", tmp_path / "out", "--json", *arguments, code=code))
    assert said["error"]["code"] == {2: "usage", 5: "unreachable"}[code]


def test_a_folder_that_holds_something_is_left_alone(tmp_path, run, database):
    run("export", "--to", tmp_path, code=2)


def test_a_torn_export_cannot_be_exported_on(tmp_path, run, database):
    run("export", "--to", tmp_path / "one")
    (file,) = (tmp_path / "one").glob("*.jsonl")
    file.write_bytes(file.read_bytes()[:-100])
    run("export", "--source", tmp_path / "one", "--to", tmp_path / "two", code=4)
    assert not (tmp_path / "two" / "manifest.json").exists()


def test_a_checkpoint_of_the_head(run, database, key):
    file, verifier = key
    note = run("checkpoint", "--key", file)
    assert read(note, [VerifierKey.parse(verifier)]).offset == COUNT
    told = json.loads(run("checkpoint", "--key", file, "--json"))
    assert (told["note"], told["offset"], told["origin"]) == (note, COUNT, "ladle.example/eu")


def test_a_checkpoint_of_an_export_is_that_of_the_database(tmp_path, run, database, key):
    run("export", "--to", tmp_path / "out", "--redact")
    (file,) = (tmp_path / "out").glob("*.jsonl")
    notes = {run("checkpoint", "--key", key[0], "--source", place) for place in (database, file)}
    assert len(notes) == 1


def grow(path, count, at=None):
    """More records; `at`: made behind that record, with those that were there thrown away."""

    async def append():
        store = await fresh_store(f"sqlite:///{path}")
        try:
            head = await store.head()
            await store.append(await writer_of(store, "later"), batch_after(head, count, term=2))
        finally:
            await store.close()

    if at is not None:
        with sqlite3.connect(path) as connection:
            connection.execute('DELETE FROM "journal" WHERE "offset" > ?', (at,))
    asyncio.run(append())


def test_a_journal_that_grew_is_consistent(tmp_path, run, database, key):
    file, verifier = key
    old, new, pub = tmp_path / "old", tmp_path / "new", tmp_path / "pub"
    old.write_text(run("checkpoint", "--key", file))
    pub.write_text(verifier)
    grow(database, 1_200)
    new.write_text(run("checkpoint", "--key", file))
    assert "grew from 2500 to 3700" in run("consistency", old, new, "--key", verifier)
    told = json.loads(run("consistency", old, "--key", pub, "--json"))
    assert (told["old"]["offset"], told["new"]["offset"], told["records"]) == (2500, 3700, 3700)


def test_a_journal_that_was_written_anew_is_not(tmp_path, run, database, key):
    file, verifier = key
    old = tmp_path / "old"
    old.write_text(run("checkpoint", "--key", file))
    grow(database, 600, at=2_400)
    said = json.loads(run("consistency", old, "--key", verifier, "--json", code=1))
    assert said["error"]["code"] == "violation"
    assert "record 2500" in said["error"]["message"]


def test_a_record_below_the_older_checkpoint_is_proved_as_well(tmp_path, run, database, key):
    """Its hash stands as it was signed, and all between the two notes; only its content differs."""
    file, verifier = key
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text(run("checkpoint", "--key", file))
    grow(database, 100)
    new.write_text(run("checkpoint", "--key", file))
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE journal SET body = X'7B7D' WHERE offset = 7")
    connection.close()
    said = json.loads(run("consistency", old, new, "--key", verifier, "--json", code=1))
    assert "record 7: its content is not what was sealed" in said["error"]["message"]


def test_a_journal_without_its_beginning_proves_no_checkpoint(tmp_path, run, database, key):
    file, verifier = key
    old = tmp_path / "old"
    old.write_text(run("checkpoint", "--key", file))
    with sqlite3.connect(database) as connection:
        connection.execute("DELETE FROM journal WHERE offset < 5")
    connection.close()
    said = json.loads(run("consistency", old, "--key", verifier, "--json", code=4))
    assert "records 1 to 4 are missing" in said["error"]["message"]
    assert said["error"]["advice"]


def test_a_journal_that_lost_its_tail_is_incomplete(tmp_path, run, database, key):
    file, verifier = key
    old = tmp_path / "old"
    old.write_text(run("checkpoint", "--key", file))
    grow(database, 10, at=2_000)
    run("consistency", old, "--key", verifier, code=4)


def test_a_note_that_somebody_changed(tmp_path, run, database, key):
    file, verifier = key
    note = run("checkpoint", "--key", file)
    changed = tmp_path / "changed"
    changed.write_text(note.replace("\n2500\n", "\n2499\n"))
    run("consistency", changed, "--key", verifier, code=1)
    stranger = run("keygen", tmp_path / "other", "--name", "ladle.example/eu").strip()
    (tmp_path / "note").write_text(note)
    run("consistency", tmp_path / "note", "--key", stranger, code=1)
    run("consistency", tmp_path / "note", code=2)
    run("consistency", tmp_path / "missing", "--key", verifier, code=5)


def test_a_key_is_never_written_over(run, key):
    before = key[0].read_text()
    run("keygen", key[0], "--name", "another", code=2)
    run("keygen", key[0].with_name("new"), "--name", "two words", code=2)
    assert key[0].read_text() == before


def test_erasing_by_command(run, database):
    """Nothing is about that room; and nothing is erased where nobody says yes."""
    run("erase", "--room", "standup", code=2)
    nothing = ("erased", "archived", "mentions_left", "not_read")
    said = json.loads(run("erase", "--room", "standup", "--yes", "--json", code=1))
    assert said == {"status": "ok", "offset": None, **dict.fromkeys(nothing, 0)}


def test_what_was_erased_is_told(tmp_path, run, monkeypatch):
    monkeypatch.setenv("LADLE_DATABASE_URL", f"sqlite:///{tmp_path}/ladle.db")

    async def fill():
        store = await fresh_store(f"sqlite:///{tmp_path}/ladle.db")
        try:
            batch = batch_after(EMPTY, 3, room_id="standup", outcome={"outbound": []})
            await store.append(await writer_of(store), batch)
        finally:
            await store.close()

    asyncio.run(fill())
    assert "3 records were erased; record 4 says so" in run("erase", "--room", "standup", "--yes")
    run("export", "--to", tmp_path / "out")
    (file,) = (tmp_path / "out").glob("*.jsonl")
    rows = [json.loads(line) for line in file.read_bytes().splitlines()]
    assert [row["body"] == "" for row in rows] == [True, True, True, False]
    assert json.loads(rows[3]["body"])["payload"] == {"records": [[1, 3]]}
    assert rows[3]["kind"] == "erased"
