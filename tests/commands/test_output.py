"""What strangers wrote is printed as it stands: it neither styles, nor draws, nor is cut off."""

import json
import os
import subprocess
import sys

import pytest
from rich.table import Table
from rich.text import Text

from ladle.commands.home import print_home
from ladle.commands.output import err, fail, plain, say, show, visible
from ladle_contracts.examples import examples
from ladle_contracts.replies import PlacedReply

HOSTILE = "\x1b[31mred\x00\x9b2J\x7f"
SEEN = "␛[31mred␀\ufffd2J␡"


@pytest.mark.parametrize("text", ["[/]", "[bold]x", "a[b]c", r"\[x]", "[fd00::1]"])
def test_brackets_and_backslashes_are_text(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    show(f"[bold]{plain(text)}[/] {plain(text)}")
    table = Table.grid()
    table.add_row(plain(text))
    show(table)
    assert capsys.readouterr().out.split("\n") == [f"{text} {text}", text, ""]


def test_nobody_draws_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    for text in (plain(HOSTILE), Text(visible(HOSTILE))):
        table = Table.grid()
        table.add_row(text)
        show(table)
        assert capsys.readouterr().out == f"{SEEN}\n"
    show(Text(HOSTILE))
    assert "\x1b" not in capsys.readouterr().out, "also where it was forgotten"


def test_nor_by_what_is_said_beside_the_data(capsys: pytest.CaptureFixture[str]) -> None:
    say(HOSTILE)
    with pytest.raises(BaseException, match="1"):
        fail(1, HOSTILE, HOSTILE)
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert said.count(SEEN) == 3


def test_the_console_itself_still_draws() -> None:
    """Signs stand for what others wrote, not for what Rich writes."""
    with err.capture() as caught:
        err.print("[bold]x[/]\ty\nz", style="red")
    assert caught.get() == "x       y\nz\n"


def test_in_a_pipe_nothing_is_cut_off_or_folded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    table = Table(box=None)
    for _ in range(3):
        table.add_column(overflow="fold")
    table.add_row("a" * 128, "b" * 128, "c" * 600)
    show(table)
    cells = capsys.readouterr().out.split()
    assert [len(cell) for cell in cells] == [128, 128, 600]


@pytest.mark.parametrize("address", ["wss://[fd00::1]:443/?roomId=x", "wss://h/[/]x[bold]y"])
def test_an_address_is_whole(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    reply = PlacedReply.model_validate_json(examples()["reply.allocate"].body)
    server = reply.server.model_copy(update={"ws_url": address})
    print_home(reply.model_copy(update={"server": server}))
    assert address in capsys.readouterr().out
    server = server.model_copy(update={"ws_url": "", "host": "[fd00::1]"})
    print_home(reply.model_copy(update={"server": server}))
    assert "[fd00::1]:" in capsys.readouterr().out


PRINTS = r"""
import sys
from ladle.cli import speak_any_encoding
speak_any_encoding()
from ladle.commands.bars import bar
from ladle.commands.output import print_json, say, show
show(bar(550, 10)); show("r\u00f6m \u20ac \udcff"); say("\u2713")
print_json("r\u00f6m \u20ac \udcff")
"""


@pytest.mark.parametrize(
    ("encoding", "drawn", "text"),
    [
        ("ascii", "######....", "r?m ? ?"),
        ("latin-1", "######\u00b7\u00b7\u00b7\u00b7", "r\u00f6m ? ?"),
        (
            "utf-8",
            "\u2588\u2588\u2588\u2588\u2588\u258c\u00b7\u00b7\u00b7\u00b7",
            "r\u00f6m \u20ac ?",
        ),
    ],
)
def test_what_an_encoding_lacks_ends_no_command(encoding: str, drawn: str, text: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PRINTS],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode(encoding).splitlines()
    assert lines[:2] == [drawn, text]
    assert json.loads(lines[2]) == "r\u00f6m \u20ac \udcff", "data is whole all the same"
