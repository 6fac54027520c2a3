"""One JSON object a line on standard error: for machines first, and readable at 3 a.m."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {
    *("message", "asctime", "taskName"),
    "color_message",  # uvicorn's message again, for a terminal
}

NOISY = (
    *("aiormq", "aio_pika", "faststream", "sqlalchemy", "aiosqlite", "asyncio"),
    *("alembic.runtime.plugins", "uvicorn"),
)
"""Libraries that tell at `info` what is of no use to who runs this service."""


class JsonFormatter(logging.Formatter):
    """Fields given as `extra=` stand beside `at`, `level`, `logger` and `message`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update((k, v) for k, v in record.__dict__.items() if k not in _STANDARD)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def configure(level: str = "info", *, plain: bool = False) -> None:
    """Send every logger of the process to standard error; `plain` is for a person's terminal."""
    handler = logging.StreamHandler(sys.stderr)
    if plain:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    else:
        handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in NOISY:
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
