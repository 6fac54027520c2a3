"""A room is explained from any log as the service explains it from its database."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ladle.audit.open import open_source
from ladle.audit.room_log import RoomLog
from ladle.commands.app import app
from ladle.journal.explain import Explanation, explanation
from ladle.journal.open import open_store
from tests.audit.recorded import ROOMS, Held, Life, sealed
from tests.audit.test_archive import archive, cuts, execute, file, signed

__all__ = ["file"]  # a fixture of the archive's own tests


def by_service(url: str, rooms: list[str]) -> dict[str, Explanation | None]:
    async def ask() -> dict[str, Explanation | None]:
        store = open_store(url)
        await store.open()
        try:
            return {room: await explanation(store, room) for room in rooms}
        finally:
            await store.close()

    return asyncio.run(ask())


def by_log(source: str, folder: Path | None, rooms: list[str]) -> dict[str, Explanation | None]:
    found = {}
    for room in rooms:
        log = open_source(source, folder)
        told = RoomLog(log, room)
        log.close()
        found[room] = asyncio.run(explanation(told, room))
    return found


def run(*words: str) -> tuple[int, Any, str]:
    result = CliRunner().invoke(app, [*words, "--json"])
    lines = result.stdout.splitlines()
    return result.exit_code, json.loads(lines[-1]) if lines else None, result.stderr


def test_every_log_tells_what_the_database_told(file: Any, tmp_path: Path) -> None:
    path, _, records = file
    url, folder, out = f"sqlite:///{path}", tmp_path / "archive", tmp_path / "out"
    rooms = sorted({record.room_id for record in records if record.room_id})[:8]
    told = by_service(url, rooms)
    assert sum(each is not None and len(each.lines) > 2 for each in told.values()) > 3
    assert run("audit", "export", "--to", str(out), "--source", url)[0] == 0
    archive(url, folder, signed(records))
    assert by_service(url, rooms) != told  # the database alone has forgotten
    assert by_log(url, folder, rooms) == told
    assert by_log(str(out), None, rooms) == told


def test_on_the_command_line(file: Any, tmp_path: Path) -> None:
    path, _, records = file
    url, folder = f"sqlite:///{path}", tmp_path / "archive"
    archive(url, folder, signed(records))
    first = next(record.room_id for record in records if record.room_id)
    pair = ("--source", url, "--archive", str(folder))
    code, said, _ = run("explain", first, *pair)
    assert (code, said["room_id"]) == (0, first)
    assert said["decided"]["offset"] <= cuts(records)[-1]
    assert run("explain", first, "--generation", str(said["generation"]), *pair)[1] == said
    code, said, stderr = run("explain", "nobody", "--source", url)
    assert (code, said["error"]["code"]) == (1, "unknown-room")
    assert "--archive" in stderr
    assert run("explain", "nobody", *pair)[0] == 1
    plain = CliRunner().invoke(app, ["explain", first, *pair])
    assert "asked to allocate it" in plain.stdout


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("UPDATE journal SET term = 9 WHERE offset = 30", 1),
        ("DELETE FROM journal WHERE offset = 30", 4),
    ],
    ids=["changed", "missing"],
)
def test_a_log_that_does_not_hold_explains_nothing(change: str, code: int, file: Any) -> None:
    path, _, records = file
    execute(path, change)
    room = next(record.room_id for record in records if record.room_id)
    found, said, stderr = run("explain", room, "--source", f"sqlite:///{path}")
    assert (found, said["status"]) == (code, "error")
    assert "verify" in stderr


@pytest.mark.parametrize("seed", range(1, 4))
def test_a_story_ends_where_the_room_is(seed: int) -> None:
    """Over where the view has the room no more, and only there, whatever happened to it."""
    life = Life(seed)
    life.run(900)
    records = sealed(life.cell.journal)
    told = 0
    for room in ROOMS:
        found = asyncio.run(explanation(RoomLog(Held(list(records)), room), room))
        if found is None or found.generation is None:
            continue
        told += 1
        aside = ("asked to", "said that", "its copy")
        fate = [line for line in found.lines if not any(words in line for words in aside)]
        is_over = bool(fate) and "has no home any more" in fate[-1]
        assert is_over == (life.cell.phase(room) == "nowhere"), (room, found.lines)
    assert told > 15
