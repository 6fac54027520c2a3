"""Logs are for machines first: one JSON object a line, with the fields that were given."""

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest

from ladle.placement import logs


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What a service that logs at `info` writes to standard error."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    noisy = {name: logging.getLogger(name).level for name in logs.NOISY}
    monkeypatch.setattr("sys.stderr", io.StringIO())
    logs.configure("info")
    assert isinstance(sys.stderr, io.StringIO)
    yield sys.stderr
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in noisy.items():
        logging.getLogger(name).setLevel(before)


def lines(said: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in said.getvalue().splitlines()]


def test_fields_stand_beside_the_message(said: io.StringIO) -> None:
    logging.getLogger("ladle.lease").info("took the lease\nof %s", "a", extra={"term": 7})
    (line,) = lines(said)
    assert (line["message"], line["term"]) == ("took the lease\nof a", 7)
    assert (line["level"], line["logger"]) == ("info", "ladle.lease")
    assert str(line["at"]).endswith("+00:00")


def test_a_traceback_stays_in_its_line(said: io.StringIO) -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("ladle.writer").exception("folding failed")
    (line,) = lines(said)
    assert "ValueError: broken" in str(line["exception"])


def test_libraries_say_only_what_went_wrong(said: io.StringIO) -> None:
    """uvicorn and Alembic greet whoever starts them; no colour codes for a terminal either."""
    for name in ("uvicorn.error", "alembic.runtime.plugins", "aiormq.connection"):
        logging.getLogger(name).info("hello")
    logging.getLogger("uvicorn.error").error("broken", extra={"color_message": "\x1b[31mbroken"})
    (line,) = lines(said)
    assert line["message"] == "broken"
    assert "color_message" not in line
