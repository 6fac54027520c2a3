"""How commands speak: data on standard output, everything else on standard error."""

import json
import os
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, NoReturn

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.segment import Segment

from ladle.commands.signs import writes

DONE, NO, USAGE, UNREACHABLE = 0, 1, 2, 3
INTERRUPTED = 130
"""As a shell reports a program that Ctrl-C ended."""

PIPE_WIDTH = 10_000
"""Where nobody reads along, no cell is cut off or folded: what `grep` and `awk` see is whole."""

_CODES = {NO: "no", USAGE: "usage", UNREACHABLE: "unreachable"}

# Line feeds are the console's own; it has made spaces of tabs.
_SIGNS = {code: chr(0x2400 + code) for code in range(0x20) if code not in b"\n\t"}
_SIGNS |= {0x7F: "\u2421"} | dict.fromkeys(range(0x80, 0xA0), "\ufffd")


class SafeConsole(Console):
    """A console on which only it draws: control characters in what is printed become signs.

    A dead letter's body, say, is a stranger's, and a terminal obeys whoever it hears.
    """

    def __init__(self, *, stderr: bool = False, width: int | None = None) -> None:
        super().__init__(stderr=stderr, width=width, highlight=False)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield segment._replace(text=visible(segment.text))


out = SafeConsole()
err = SafeConsole(stderr=True)

_as_json: ContextVar[bool] = ContextVar("as_json", default=False)


@contextmanager
def speaking_json(wanted: bool) -> Iterator[None]:
    """Inside, a failure is also printed as a JSON object, where `wanted`."""
    before = _as_json.set(wanted)
    try:
        yield
    finally:
        _as_json.reset(before)


def has_width() -> bool:
    """Is there a width to fit into? In a pipe, where nobody names one, there is none."""
    return out.is_terminal or "COLUMNS" in os.environ


def show(what: RenderableType, *, markup: bool = True) -> None:
    """Data for a person: fits the terminal; in a pipe lines are as long as they are."""
    if has_width():
        out.print(what, markup=markup)
    elif isinstance(what, str):
        out.print(what, markup=markup, soft_wrap=True)
    else:
        wide = SafeConsole(width=PIPE_WIDTH)
        with wide.capture() as caught:
            wide.print(what)
        # Without the spaces that make all lines as long as the longest.
        lines = "\n".join(line.rstrip() for line in caught.get().splitlines())
        # Named, since what Click finds by itself is UTF-8 where standard output is ASCII.
        typer.echo(lines, file=sys.stdout)


def hanging(sentence: str, width: int) -> str:
    """Wrapped at words, further lines indented: each sentence begins at the margin."""
    return textwrap.fill(
        sentence, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def say(text: str) -> None:
    """Progress of long work, on standard error; whose terminal may be gone by now."""
    with suppress(OSError):
        err.print(f"[dim]{plain(text)}[/]", soft_wrap=not err.is_terminal)


def print_json(data: Any) -> None:
    """One line of JSON on standard output, for programs: whole in any encoding."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    typer.echo(text if writes(text) else json.dumps(data, separators=(",", ":")))


def fail(
    code: int, message: str, advice: str = "", *, error: Mapping[str, Any] | None = None
) -> NoReturn:
    """Say what is wrong and what to do, and leave with `code`.

    With --json the same stands on standard output as an object like a refusal on the wire:
    {"status": "error", "error": {"code", "retryable", "message", ...}}. `error`: the refusal.
    """
    complain(message, advice)
    if _as_json.get():
        fields: dict[str, Any] = {
            "code": _CODES.get(code, "failed"),
            "retryable": False,
            "message": message,
        }
        fields |= error or {}
        if advice:
            fields["advice"] = advice
        print_json({"status": "error", "error": fields})
    raise typer.Exit(code)


def complain(message: str, advice: str = "") -> None:
    """What is wrong and what to do, on standard error."""
    soft = not err.is_terminal
    err.print(f"[bold red]ladle:[/] {plain(message)}", soft_wrap=soft)
    if advice:
        advise(advice)


def advise(advice: str) -> None:
    """What to do about it, on standard error."""
    err.print(f"[dim]try:[/] {plain(advice)}", soft_wrap=not err.is_terminal)


def many(count: int, noun: str) -> str:
    """`1 room`, `1,200 rooms`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def plain(text: str) -> str:
    """Text that Rich prints as it stands, brackets included."""
    return escape(visible(text))


def visible(text: str) -> str:
    """With signs for control characters, which Rich counts as nothing: it would cut the line."""
    return text.translate(_SIGNS)
