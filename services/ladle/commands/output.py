"""How commands speak: data on standard output, everything else on standard error."""

import json
from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn, ParamSpec, TypeVar

import typer
from pydantic import ValidationError
from rich.console import Console

P = ParamSpec("P")
R = TypeVar("R")

DONE, NO, USAGE, UNREACHABLE = 0, 1, 2, 3

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def print_json(data: Any) -> None:
    """One line of JSON on standard output, for programs."""
    typer.echo(json.dumps(data, separators=(",", ":"), ensure_ascii=False))


def fail(code: int, message: str, advice: str = "") -> NoReturn:
    """Say what is wrong and what to do, and leave with `code`."""
    err.print(f"[bold red]ladle:[/] {_plain(message)}")
    if advice:
        err.print(f"[dim]try:[/] {_plain(advice)}")
    raise typer.Exit(code)


def _plain(text: str) -> str:
    return text.replace("[", r"\[")


def settings_errors(error: ValidationError) -> str:
    """What is wrong with the environment, variable by variable."""
    lines = []
    for problem in error.errors(include_url=False, include_input=False):
        name = "LADLE_" + "_".join(str(part) for part in problem["loc"]).upper()
        lines.append(f"{name}: {problem['msg']}")
    return "; ".join(lines)


def needs(extra: str, *modules: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A command whose libraries stand in an extra: says which one, exit 2."""

    def decorate(command: Callable[P, R]) -> Callable[P, R]:
        @wraps(command)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return command(*args, **kwargs)
            except ModuleNotFoundError as error:
                if (error.name or "").partition(".")[0] not in modules:
                    raise
                fail(USAGE, f"{error.name} is not installed", f"pip install 'ladle[{extra}]'")
            except ValidationError as error:
                fail(USAGE, settings_errors(error), "docs/configuration.md lists every variable")

        return run

    return decorate


SERVICE_MODULES = (
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
)
