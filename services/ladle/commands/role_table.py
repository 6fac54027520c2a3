"""The matrix of `ladle broker check --users`: who may do what, and where that is not as meant."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

from ladle.broker.roles import User
from ladle.broker.trying import Tried

Found = Mapping[User, Sequence[Tried]]

WORDS = {True: "yes", False: "-", None: "?"}


def differences(found: Found) -> int:
    """How many cells are not as meant."""
    return sum(not cell.as_meant for cells in found.values() for cell in cells)


def as_json(found: Found) -> dict[str, Any]:
    """The matrix for programs."""
    return {
        "users": [
            {
                "name": user.name,
                "role": user.role.value,
                "servers": list(user.servers),
                "tried": [asdict(cell) | {"as_meant": cell.as_meant} for cell in cells],
            }
            for user, cells in found.items()
        ]
    }


def role_table(found: Found) -> Table:
    """A row an action, a column a user; what differs is red and says what was meant."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bright_black")
    table.add_column("may", no_wrap=True)
    for user in found:
        table.add_column(Text(f"{user.name}\n{user.role}"))
    for row in zip(*found.values(), strict=True):
        table.add_row(row[0].action, *(_cell(cell) for cell in row))
    return table


def _cell(cell: Tried) -> Text:
    said = WORDS[cell.may]
    if cell.as_meant:
        return Text(said, style="green" if cell.may else "bright_black")
    why = cell.detail or f"meant: {WORDS[cell.meant]}"
    return Text(f"{said} ({why})", style="bold red")
