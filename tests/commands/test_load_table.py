"""The sums below the load view, and its names on a narrow terminal."""

import pytest

from ladle.commands import load_table, output
from ladle.commands.load_table import print_view
from ladle.commands.output import SafeConsole
from ladle.commands.screen import Screen
from tests.commands.test_screen import picture, server, view


@pytest.mark.parametrize(
    ("peers", "below", "in_top"),
    [
        (0, "nothing fits there now", "no room fits now"),
        (1, "the largest room that fits has 1 peer\n", "largest room: 1 peer\n"),
        (12, "the largest room that fits has 12 peers\n", "largest room: 12 peers\n"),
    ],
)
def test_what_still_fits_is_said_as_it_is(
    peers: int, below: str, in_top: str, capsys: pytest.CaptureFixture[str]
) -> None:
    reply = view(server("sfu-1", 500)).model_copy(update={"largest_room_peers": peers})
    print_view(reply)
    assert below in capsys.readouterr().out
    lines = picture(reply, [], Screen(120, 30)).splitlines()
    assert any(in_top in f"{line.rstrip()}\n" for line in lines)


@pytest.mark.parametrize(
    ("columns", "head"),
    [
        (120, "server region state rooms worker load % used seen cpu %"),
        (70, "server region state rooms worker % used seen cpu %"),
        (50, "server region state worker % used"),
        (30, "server worker % used"),
    ],
)
def test_a_narrow_terminal_keeps_names_and_figures(
    columns: int, head: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    narrow = SafeConsole(width=columns)
    for module in (load_table, output):
        monkeypatch.setattr(module, "out", narrow)
    monkeypatch.setenv("COLUMNS", str(columns))
    print_view(view(server("sfu-1", 500)))
    lines = capsys.readouterr().out.splitlines()
    assert " ".join(lines[0].split()) == head
    assert lines[1].startswith("sfu-1 ")
    assert not any("\u2026" in line for line in lines), "nothing is cut off"
