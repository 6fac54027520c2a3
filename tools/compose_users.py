"""Keep the broker's users in compose.yaml equal to the roles of `ladle broker definitions`.

`python tools/compose_users.py` rewrites the content of the config `rabbitmq-definitions`; with
--check it says what differs and ends with 1. Unlike the command it leaves the password to Compose,
which fills in a variable, and gives each user its rights in every cell, for the cell of
compose.yaml is a variable too. Exchanges and queues are left to the placement service, which
declares its cell's.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from ladle.broker.definitions import definitions
from ladle.broker.roles import Role, User
from ladle_contracts.topology import Topology

PAGE = Path(__file__).resolve().parent.parent / "compose.yaml"
BEGIN = "  rabbitmq-definitions:\n    content: |\n"
END = "\nvolumes:\n"
INDENT = " " * 6

USERS = (
    User("admin", Role.ADMINISTRATOR),
    User("ladle", Role.PLACEMENT),
    User("fleet", Role.GATEWAY),
)
FILLED_IN = "${BROKER_PASSWORD:-ladle}"

CELL = "cell"
"""Stands for any cell until the names are made; rights are regular expressions."""
ANY_CELL = r"([a-z0-9-]+\.)?"


def content() -> str:
    """The definitions, as Compose fills them in: a doubled dollar is one in the file."""
    made = definitions(Topology(CELL), dict.fromkeys(USERS, ""))
    users = [
        {"name": user["name"], "password": FILLED_IN, "tags": user["tags"]}
        for user in made["users"]
    ]
    parts: dict[str, list[dict[str, Any]]] = {
        "vhosts": made["vhosts"],
        "users": users,
        "permissions": [_in_any_cell(right) for right in made["permissions"]],
        # A topic right names one exchange: that of the default cell.
        "topic_permissions": [_in_any_cell(right) for right in made["topic_permissions"]],
        "policies": [_in_any_cell(policy) for policy in made["policies"]],
    }
    text = json.dumps(parts, indent=2) + "\n"
    return text.replace("$", "$$").replace(FILLED_IN.replace("$", "$$"), FILLED_IN)


def _in_any_cell(row: dict[str, Any]) -> dict[str, Any]:
    """Of regular expressions the cell becomes any, of names the one without a prefix."""
    return {
        name: _anywhere(value).removeprefix(f"{CELL}.") if isinstance(value, str) else value
        for name, value in row.items()
    }


def _anywhere(pattern: str) -> str:
    """`^(cell\\.a|cell\\.b|c)$` as `^(c|ANY_CELL(a|b))$`: the prefix stands there once."""
    own = rf"{CELL}\."
    if not pattern.startswith("^(") or own not in pattern:
        return pattern.replace(own, ANY_CELL)
    parts = pattern.removeprefix("^(").removesuffix(")$").split("|")
    others = [part for part in parts if not part.startswith(own)]
    ours = "|".join(part.removeprefix(own) for part in parts if part.startswith(own))
    return f"^({'|'.join([*others, f'{ANY_CELL}({ours})'])})$"


def page() -> str:
    """compose.yaml with the content in its place."""
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest[rest.index(END) :]
    indented = "".join(f"{INDENT}{line}\n" for line in content().splitlines())
    return f"{before}{BEGIN}{indented}{after}"


def main() -> int:
    """Write compose.yaml, or with --check compare it."""
    wanted = page()
    if "--check" in sys.argv[1:]:
        if wanted == PAGE.read_text(encoding="utf-8"):
            return 0
        sys.stderr.write(f"{PAGE.name} differs from the roles: run python tools/compose_users.py\n")
        return 1
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
