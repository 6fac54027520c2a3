"""Writes what other languages read: asyncapi.yaml, schemas/*.json, examples/*.json.

They are committed, so that a reader needs no Python; `--check` finds where they differ from the
code (`python -m ladle_contracts.asyncapi --check`).
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ladle_contracts.asyncapi import document_yaml
from ladle_contracts.examples import examples
from ladle_contracts.link import Outgoing
from ladle_contracts.schemas import kinds, standalone

FOLDER = Path(__file__).parent.parent
"""The folder that holds the package; in a clone of the project that is contracts/."""

_HEADER = "# Made by `python -m ladle_contracts.asyncapi`; change the models, not this file.\n"
_OWNED = ("schemas", "examples")


def files() -> dict[str, str]:
    """The text of every generated file by its path below the folder."""
    made = {"asyncapi.yaml": _HEADER + document_yaml()}
    for kind in kinds():
        made[f"schemas/{kind.full_name}.json"] = _pretty(standalone(kind))
    for name, message in examples().items():
        made[f"examples/{name}.json"] = _pretty(as_json(message))
    return made


def as_json(message: Outgoing) -> dict[str, Any]:
    """A published message with all that AMQP carries beside the body; `expiration` is in ms."""
    properties = {
        "content_type": message.content_type,
        "delivery_mode": 2 if message.persistent else 1,
        "type": message.type,
        "message_id": message.message_id,
        "correlation_id": message.correlation_id,
        "reply_to": message.reply_to,
        "expiration": None if message.expiration_ms is None else str(message.expiration_ms),
        "user_id": message.user_id,
    }
    return {
        "exchange": message.exchange,
        "routing_key": message.routing_key,
        "mandatory": message.mandatory,
        "properties": {name: value for name, value in properties.items() if value is not None},
        "headers": dict(message.headers),
        "body": json.loads(message.body),
    }


def drift(folder: Path) -> list[str]:
    """Paths that are missing, differ, or should not be there, sorted."""
    wanted = files()
    odd = {path for path, text in wanted.items() if _read(folder / path) != text}
    for owned in _OWNED:
        found = {f"{owned}/{file.name}" for file in (folder / owned).glob("*.json")}
        odd |= found - wanted.keys()
    return sorted(odd)


def write(folder: Path) -> list[str]:
    """Make the folder as the code says; returns the paths that changed."""
    wanted, changed = files(), drift(folder)
    for path in changed:
        target = folder / path
        if path in wanted:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(wanted[path], encoding="utf-8")
        else:
            target.unlink()
    return changed


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0: written, or (`--check`) nothing differs; 1: something differs."""
    parser = argparse.ArgumentParser(
        prog="python -m ladle_contracts.asyncapi", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 on drift")
    parser.add_argument("--to", type=Path, default=FOLDER, metavar="FOLDER", help="where they are")
    chosen = parser.parse_args(arguments)
    if not chosen.check:
        for path in write(chosen.to):
            sys.stderr.write(f"wrote {path}\n")
        return 0
    odd = drift(chosen.to)
    for path in odd:
        sys.stderr.write(f"{path} is not what the code says\n")
    if odd:
        sys.stderr.write("run `python -m ladle_contracts.asyncapi` and commit what it writes\n")
    return 1 if odd else 0


def _read(file: Path) -> str | None:
    return file.read_text(encoding="utf-8") if file.is_file() else None


def _pretty(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
