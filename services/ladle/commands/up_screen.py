"""What `ladle up` says once everything is there: what is where, and how to look."""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from rich.table import Table

from ladle.commands.brokers import Broker
from ladle.commands.output import err, plain

SECRET = re.compile(r"([?&](?:ssl)?password=)[^&]*")
EXPORTED = ("LADLE_AMQP_URL", "LADLE_DATABASE_URL")


def say_where(broker: Broker, env: Mapping[str, str], http: str, folder: Path, fleet: str) -> None:
    """On standard error: people read it, programs read the result."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    database = without_password(env["LADLE_DATABASE_URL"])
    table.add_row("broker", f"{plain(without_password(broker.url))}  [dim]{broker.how}[/]")
    table.add_row("journal", plain(database.removeprefix("sqlite+aiosqlite:///")))
    table.add_row("placement", f"{http}  [dim]/readyz /metrics /asyncapi[/]")
    table.add_row("fleet", fleet)
    table.add_row("logs", plain(str(folder)))
    err.print(table)
    err.print("\nLook, in a second terminal:\n", style="bold")
    for name in EXPORTED:
        # What the caller's environment has may hold a secret, and is known there.
        if os.environ.get(name) != env[name]:
            _as_typed(f"export {name}={shlex.quote(env[name])}")
    program = typed_program()
    for arguments in ("top", "allocate standup --peers 4", "explain standup"):
        _as_typed(f"{program} {arguments}")
    err.print("\n[bold]Ctrl-C[/] stops all of it.\n")


def _as_typed(line: str) -> None:
    """One line, however long: it is there to be copied."""
    err.print(f"  {plain(line)}", soft_wrap=True)


def typed_program() -> str:
    """How this program is called here: by its name where that finds it, else by its path."""
    called = Path(sys.argv[0])
    found = shutil.which(called.name)
    if found and Path(found).resolve() == called.resolve():
        return called.name
    return str(called) if called.name == "ladle" else "ladle"


def without_password(url: str) -> str:
    """The URL with its passwords hidden, that of a key among them, for people's eyes and logs."""
    without = SECRET.sub(r"\1***", url)
    head, at, tail = without.rpartition("@")
    scheme, slashes, user = head.partition("://")
    if not (at and slashes and ":" in user):
        return without
    return f"{scheme}://{user.partition(':')[0]}:***@{tail}"
