"""What every command does around its work: missing extras, bad settings, Ctrl-C."""

import logging
import sys
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import ParamSpec, TypeVar

import typer
from pydantic import ValidationError

from ladle.commands.output import INTERRUPTED, USAGE, err, fail, speaking_json
from ladle_contracts.tls import TlsFileError

P = ParamSpec("P")
R = TypeVar("R")

EXTRAS = {
    "cli": ("typer", "rich", "click", "yaml"),
    "service": (
        "faststream",
        "sqlmodel",
        "sqlalchemy",
        "aiosqlite",
        "alembic",
        "orjson",
        "sortedcontainers",
        "prometheus_client",
        "uvicorn",
        "uvloop",
    ),
    "postgres": ("asyncpg",),
    "audit": ("cryptography", "matplotlib", "pyarrow"),
}
"""Which extra brings which modules; what none of them names is a defect, not a missing extra."""

SETTINGS_ADVICE = "docs/configuration.md lists every variable"


def command(run: Callable[P, R]) -> Callable[P, R]:
    """A command whose failures a person can do something about.

    A missing library names its extra and a bad setting its variable (exit 2); Ctrl-C leaves with
    130 and no traceback. With --json a failure is an object on standard output as well.
    """

    @wraps(run)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        with speaking_json(bool(kwargs.get("json_"))):
            quiet_libraries()
            try:
                return run(*args, **kwargs)
            except ModuleNotFoundError as error:
                extra = extra_of(error.name)
                if extra is None:
                    raise
                fail(USAGE, f"{error.name} is not installed", f"pip install 'ladle[{extra}]'")
            except ValidationError as error:
                fail(USAGE, settings_errors(error), SETTINGS_ADVICE)
            except TlsFileError as error:
                fail(USAGE, str(error), SETTINGS_ADVICE)
            except KeyboardInterrupt:
                if err.is_terminal:
                    sys.stderr.write("\n")  # Behind the ^C that the terminal shows.
                raise typer.Exit(INTERRUPTED) from None

    return guarded


def quiet_libraries() -> None:
    """What the AMQP libraries log, the commands say themselves, and say what to do about it."""
    for name in ("aiormq", "aio_pika"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def extra_of(module: str | None) -> str | None:
    """The extra that brings a module, if one does."""
    top = (module or "").partition(".")[0]
    return next((extra for extra, modules in EXTRAS.items() if top in modules), None)


def require(extra: str) -> None:
    """For a command whose children need an extra; raises ModuleNotFoundError as they would."""
    for module in EXTRAS[extra]:
        import_module(module)


def check_database(url: str) -> None:
    """Leave with 2 where LADLE_DATABASE_URL is no database's or its extra is missing."""
    from ladle.journal.open import open_store
    from ladle.journal.store import StoreError

    try:
        open_store(url)  # Only made; `open` would connect.
    except StoreError as error:
        fail(USAGE, str(error), SETTINGS_ADVICE)


def settings_errors(error: ValidationError) -> str:
    """What is wrong with the environment, variable by variable."""
    said = []
    for problem in error.errors(include_url=False, include_input=False):
        text = problem["msg"].removeprefix("Value error, ")
        name = "_".join(str(part) for part in problem["loc"])
        if not name:
            # A check over several settings begins its sentence with the one to change.
            name, _, text = text.partition(": ")
        said.append(f"LADLE_{name.upper()}: {text}")
    return "; ".join(said)
