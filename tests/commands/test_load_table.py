"""The sums below the load view, and its names on a narrow terminal."""

import pytest

from ladle.commands.load_table import print_view
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
