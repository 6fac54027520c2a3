"""The picture of `ladle top`: what an operator must be able to see in it."""

from io import StringIO

from rich.console import Console

from ladle.commands.bars import bar, permille_of
from ladle.commands.screen import Screen, frame
from ladle_contracts.requests import DecisionRecord, ViewReply


def server(server_id: str, used: int, **more: object) -> dict[str, object]:
    worker = {
        "worker_id": "0",
        "state": "running",
        "capacity": 500,
        "observed": used,
        "used": used,
        "headroom": 500 - used,
        "cpu_permille": 0,
        "rooms": 1,
    }
    return {
        "server_id": server_id,
        "liveness": "up",
        "administration": "open",
        "region": "eu",
        "incarnation": 1,
        "silent_ms": 0,
        "rooms": 1,
        "workers": [worker],
    } | more


def view(*servers: dict[str, object]) -> ViewReply:
    return ViewReply.model_validate(
        {
            "status": "ok",
            "term": 7,
            "journal_offset": 1234,
            "offset": 1234,
            "servers": list(servers),
            "totals": {
                "servers": len(servers),
                "workers": len(servers),
                "rooms": 2,
                "capacity": 500 * len(servers),
                "observed": 0,
                "used": 250,
            },
            "largest_room_peers": 16,
        }
    )


def picture(reply: ViewReply, decisions: list[DecisionRecord], screen: Screen) -> str:
    console = Console(file=StringIO(), width=screen.width, height=screen.height)
    console.print(frame(reply, decisions, screen))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_an_operator_sees_what_is_wrong_without_colour() -> None:
    shown = picture(
        view(
            server("sfu-fine", 100),
            server("sfu-quiet", 200, liveness="stale", silent_ms=17_000),
            server("sfu-gone", 0, liveness="lost"),
            server("sfu-leaving", 300, administration="draining"),
            server("sfu-new", 0, share_permille=125),
            server("sfu-restless", 0, flaps=3, damped_until_ms=1_763_802_000_000),
        ),
        [],
        Screen(120, 30),
    )
    assert "offset 1,234" in shown
    assert "1 stale" in shown
    assert "1 lost" in shown
    assert "? 17 s" in shown
    assert "✗ lost" in shown
    assert "▒ draining" in shown
    assert "◔ new" in shown
    assert "~ damped" in shown
    assert "▒▒▒" in shown, "a draining server's bar is hatched"
    assert "16 peers" in shown


def test_the_fullest_server_stands_first_and_scrolling_hides_it() -> None:
    servers = [server(f"sfu-{n:02}", n * 10) for n in range(30)]
    lines = picture(view(*servers), [], Screen(100, 24)).splitlines()
    first = next(line for line in lines if "sfu-" in line)
    assert "sfu-29" in first
    assert "1 to 12 of 30" in next(line for line in lines if "servers by load" in line)
    scrolled = picture(view(*servers), [], Screen(100, 24, first=5))
    assert "sfu-29" not in scrolled
    assert "sfu-24" in scrolled


def test_a_refusal_says_what_the_servers_fell_to() -> None:
    decision = DecisionRecord(
        offset=9,
        recorded_at="2026-11-22T09:00:00.000Z",
        operation="allocate",
        room_id="standup",
        outcome="no-capacity",
        decision={"wish": {"peers": 16}, "fell": {"draining": 2, "full": 9, "stale": 0}},
    )
    shown = picture(view(server("sfu-1", 500)), [decision], Screen(120, 30))
    assert "standup" in shown
    assert "16 peers" in shown
    assert "no-capacity" in shown
    assert "2 draining, 9 full" in shown
    assert "stale" not in shown.split("decisions")[1]


def test_trouble_is_shown_over_the_last_good_picture() -> None:
    shown = picture(view(server("sfu-1", 10)), [], Screen(100, 30, trouble="no answer in time"))
    assert "not up to date: no answer in time" in shown
    assert "sfu-1" in shown


def test_an_empty_fleet_says_so() -> None:
    shown = picture(view(), [], Screen(100, 30))
    assert "no server has registered yet" in shown
    assert "none yet" in shown


def test_a_bar_is_as_long_as_it_says() -> None:
    assert bar(0, 8).plain == "········"
    assert bar(1000, 8).plain == "████████"
    assert bar(500, 8).plain == "████····"
    assert bar(5000, 8).plain == "████████"
    assert len(bar(1, 8).plain) == 8
    assert bar(1, 8).plain[0] != "·", "a little is not nothing"
    assert permille_of(0, 0) == 0
    assert permille_of(3, 0) == 1000
    assert permille_of(1, 3) == 334
