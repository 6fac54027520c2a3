"""What moves on a terminal: keys, the line of progress, and Ctrl-C at a question."""

import asyncio
import io
import logging
import signal
import socket

import pytest

from ladle.commands.fleet_screen import ProgressLine, progress_text
from ladle.commands.output import SafeConsole, hanging
from ladle.commands.screen import Screen, first_shown, rows_for_servers
from ladle.commands.top import SORTS, _Watch, on_key
from ladle.fleet.run import Progress
from tests.commands.conftest import Ladle
from tests.commands.test_screen import server, view

SMALL = Screen(80, 24)


@pytest.fixture
async def watch() -> _Watch:
    watched = _Watch(1.0, None, "load")
    watched.view = view(*(server(f"sfu-{number:02}", number) for number in range(40)))
    return watched


async def test_keys_scroll_and_stop_at_both_ends(watch: _Watch) -> None:
    page, last = rows_for_servers(SMALL), 40 - rows_for_servers(SMALL)
    for key, first in (
        ("k", 0),
        ("j", 1),
        ("\x1b[B", 2),
        ("\x1b[A", 1),
        (" ", 1 + page),
        ("\x1b[6~", 1 + 2 * page),
        *(("\x1b[6~", last) for _ in range(5)),
        ("k", last - 1),
        ("\x1b[5~", last - 1 - page),
        ("?", last - 1 - page),
    ):
        on_key(watch, key, SMALL)
        assert watch.first == min(first, last), key
    assert first_shown(3, Screen(80, 24, first=7)) == 0


async def test_keys_sort_and_leave(watch: _Watch) -> None:
    for expected in (*SORTS[1:], SORTS[0]):
        on_key(watch, "s", SMALL)
        assert watch.sort == expected
    assert not watch.stop.is_set()
    on_key(watch, "q", SMALL)
    assert watch.stop.is_set()


def progress(**more: int | str | None) -> Progress:
    values: dict[str, int | str | None] = dict.fromkeys(
        ("rooms", "peers", "consumers", "asked", "placed", "existing", "moved", "refused"), 0
    )
    values |= {"errors": 0, "published": 0, "servers": 3, "servers_running": 2}
    values |= {"phase": "running", "elapsed_s": 7}
    return Progress(**(values | more))  # type: ignore[arg-type]


def test_progress_says_first_what_is_wrong() -> None:
    assert progress_text(progress(asked=5)) == "running 7 s  2/3 servers  0 rooms  0 peers  5 asked"
    ill = progress_text(progress(phase="settling", errors=2, differences=4, moved=1))
    assert ill.startswith("settling 7 s  2 errors  4 differences  2/3 servers")
    assert ill.endswith("1 moved")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_has_one_line_that_warnings_stand_above() -> None:
    stream = Terminal()
    line = ProgressLine(stream)
    line.tell(progress(asked=1))
    line.handle(logging.makeLogRecord({"msg": "no answer", "levelno": logging.WARNING}))
    line.tell(progress(asked=2))
    line.end()
    line.end()
    first, second = stream.getvalue().split("no answer\n")
    assert first.count("\n") == 0
    assert first.endswith("\r\x1b[K"), "the line is gone before the warning comes"
    assert second.count("\n") == 1


def test_elsewhere_it_is_a_line_now_and_then() -> None:
    stream = io.StringIO()
    line = ProgressLine(stream)
    for number in range(20):
        line.tell(progress(asked=number))
    line.end()
    assert stream.getvalue() == progress_text(progress(asked=0)) + "\n"


def test_sentences_hang_and_ids_stay_whole() -> None:
    assert hanging("one two three", 8) == "one two\n  three"
    assert hanging("room-with-a-long-name is here", 10).startswith("room-with-a-long-name\n")


async def test_ctrl_c_at_a_question_leaves_quietly() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        ladle = Ladle({"LADLE_AMQP_URL": f"amqp://guest:guest@127.0.0.1:{port}/"})
        process = ladle.started("view")
        silent.settimeout(30)
        # Once it is connected it waits for a broker that never says a word.
        connection, _ = await asyncio.to_thread(silent.accept)
        with connection:
            process.send_signal(signal.SIGINT)
            out, err = await asyncio.to_thread(process.communicate, timeout=30)
    assert (process.returncode, out, err) == (130, "", "")


def test_a_dumb_terminal_is_written_to_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("FORCE_COLOR", "1")
    for term, moves in (("dumb", False), ("xterm", True)):
        monkeypatch.setenv("TERM", term)
        monkeypatch.setattr("ladle.commands.fleet_screen.err", SafeConsole(stderr=True))
        stream = Terminal()
        line = ProgressLine(stream)
        line.tell(Progress("running", 1.0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
        assert ("\r" in stream.getvalue()) is moves


def test_top_does_not_start_where_it_could_draw_nothing(
    nowhere: Ladle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rich.console.Console.is_terminal", property(lambda self: True))
    said = nowhere("top", TERM="dumb")
    assert said.code == 2
    assert "ladle top --once" in said.err
