"""What a reader is told to type exists: commands, options, make targets."""

import re
import shlex
from typing import Any

import pytest
import typer.main

from ladle.commands.app import app
from ladle.journal.schema import VERSION
from tests.house.sources import ROOT, tracked_files

PAGES = [
    path for path in tracked_files() if path.suffix == ".md" and "node_modules" not in path.parts
]
FENCED = re.compile(r"^```[a-z]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
# Typer brings its own copy of click: a group is what has `commands`.
ROOT_COMMAND: Any = typer.main.get_command(app)


def typed(program: str) -> list[tuple[str, list[str]]]:
    """(page, words) of every line in the code blocks of all pages that calls a program."""
    found = []
    for path in PAGES:
        for block in FENCED.findall(path.read_text(encoding="utf-8")):
            # A line that ends in a backslash goes on in the next.
            for line in block.replace("\\\n", " ").splitlines():
                command = line.strip().removeprefix("$ ")
                if command.startswith(f"{program} "):
                    words = shlex.split(command, comments=True)
                    found.append((str(path.relative_to(ROOT)), words[1:]))
    return found


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The command that words name, and the words that are left; raises KeyError for no command."""
    command = ROOT_COMMAND
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        command, words = command.commands[words[0]], words[1:]
    return command, words


@pytest.mark.parametrize(("page", "words"), typed("ladle"), ids=str)
def test_a_command_in_the_pages_exists(page: str, words: list[str]) -> None:
    command, rest = command_of(words)
    known = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    options = {word.partition("=")[0] for word in rest if word.startswith("-")}
    assert options - known == set(), f"{page}: ladle {' '.join(words)}"


@pytest.mark.parametrize(("page", "words"), typed("make"), ids=str)
def test_a_make_target_in_the_pages_exists(page: str, words: list[str]) -> None:
    targets = re.findall(
        r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert words[0] in targets, page


def test_the_tour_is_read() -> None:
    assert len([page for page, _ in typed("ladle") if page == "README.md"]) >= 8
    assert ("README.md", ["run"]) in typed("make")


def test_outputs_in_the_pages_show_the_schema_of_today() -> None:
    page = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    shown = re.findall(r"(?:, schema |^already at version )([0-9]+)", page, re.MULTILINE)
    assert shown
    assert set(shown) == {str(VERSION)}


def test_the_tour_asks_for_rooms_that_a_running_fleet_has_room_for() -> None:
    """After minutes of `make run` the largest room that fits has 7 to 12 peers."""
    tour = [words for page, words in typed("ladle") if page == "README.md"]
    asked = [
        (words[1], int(words[words.index("--peers") + 1]))
        for words in tour
        if words[0] == "allocate"
    ]
    assert {room: peers for room, peers in asked if room != "all-hands"} == {
        "standup": 4,
        "planning": 4,
    }


def all_commands() -> list[tuple[str, Any]]:
    def below(name: str, command: Any) -> list[tuple[str, Any]]:
        if not hasattr(command, "commands"):
            return [(name, command)]
        return [(name, command)] + [
            found
            for part, inner in command.commands.items()
            for found in below(f"{name} {part}", inner)
        ]

    # The program itself tells where to start, in its last line.
    return below("ladle", ROOT_COMMAND)[1:]


@pytest.mark.parametrize(("name", "command"), all_commands(), ids=str)
def test_every_command_helps_with_an_example(name: str, command: Any) -> None:
    assert command.help
    assert f"Example: {name}" in command.help
