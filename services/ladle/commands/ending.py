"""How `ladle` ends: one exit code for each way, and none of them by accident.

A command leaves with a code of its own (`output.fail`). What is left is decided here, once for all
of them: a mistake in the words, a reader who went away, a full disk behind `>`, a defect. The codes
of the last two are those of sysexits.h, so that none is taken for an audit's verdict.
"""

import errno
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import typer
from typer.rich_utils import rich_format_error

from ladle.commands.output import INTERRUPTED, USAGE, complain, print_json

DEFECT = 70
"""EX_SOFTWARE: what nobody foresaw."""

NOT_WRITTEN = 74
"""EX_IOERR: what was to be told could not be written."""

NOBODY_READS = 141
"""As a shell reports a program that SIGPIPE ended: 128 + 13. Its output is cut off, as wanted."""

_UsageError: Any = typer.BadParameter.__base__


def run(app: Callable[..., Any], words: Sequence[str]) -> int:
    """Run the command that `words` name; its exit code, all of its output written."""
    with_json = "--json" in words
    try:
        code = app(words, prog_name="ladle", standalone_mode=False) or 0
        sys.stdout.flush()
    except _UsageError as error:
        return _usage(error, with_json=with_json)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except SystemExit:
        # So Rich and Typer end where the reader has gone; no command of Ladle's leaves so.
        return _without_output(NOBODY_READS)
    except BrokenPipeError:
        return _without_output(NOBODY_READS)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
            complain(f"cannot write: {error.strerror}", "make room where the output goes")
            return _without_output(NOT_WRITTEN)
        return _defect(error, with_json=with_json)
    except Exception as error:
        return _defect(error, with_json=with_json)
    return code


def _usage(error: Any, *, with_json: bool) -> int:
    """A mistake in the words, as Typer found it."""
    rich_format_error(error)
    if with_json:
        _print_error("usage", error.format_message())
    return USAGE


def _defect(error: Exception, *, with_json: bool) -> int:
    traceback.print_exception(error)
    said = f"a defect of ladle, {type(error).__name__}: {error}"
    complain(said, "report it with the lines above and what was asked")
    if with_json:
        _print_error("internal", said)
    return DEFECT


def _print_error(code: str, message: str) -> None:
    with suppress(OSError):
        error = {"code": code, "retryable": False, "message": message}
        print_json({"status": "error", "error": error})
        sys.stdout.flush()


def _without_output(code: int) -> int:
    """Nothing more is written, not even what the interpreter flushes at its end."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return code
