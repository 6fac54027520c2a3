"""Output on terminals and in files that are not UTF-8: signs that they lack become plain ones."""

import codecs
import sys

HANDLER = "ladle-signs"

_LIKE = {
    "█▉▊▋▌": "#",
    "▍▎▏": "-",
    "▒": "%",
    "·": ".",
    "─━╌╭╮╰╯┌┐└┘├┤": "-",
    "│┃": "|",
    "●": "*",
    "◔": "o",
    "✗×": "x",
    "≤": "<",
    "…": "~",
    "«»“”": '"',
    "‘’": "'",
    "–—": "-",
}
_PLAIN = {sign: plain for signs, plain in _LIKE.items() for sign in signs}


def speak_any_encoding() -> None:
    """Let standard output and error write any text in their encoding, cell for cell, with no error.

    A name with letters that an encoding lacks would else end a command in the middle of its work.
    """
    codecs.register_error(HANDLER, _plainer)
    for stream in (sys.stdout, sys.stderr):
        # Absent in a process without a console, and other things in tests.
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors=HANDLER)


def writes(text: str) -> bool:
    """Can standard output write this text as it is?"""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _plainer(error: UnicodeError) -> tuple[str, int]:
    """What is written for signs that cannot be: one for each, `?` where none is like it."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_PLAIN.get(sign, "?") for sign in lacking), error.end
