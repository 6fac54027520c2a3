"""Keep the table of settings in docs/configuration.md equal to the settings classes.

`python tools/settings_table.py` rewrites the part between the two markers; with --check it says
what differs and ends with 1.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from ladle.placement.settings import PlacementSettings
from ladle_contracts.settings import ClientSettings

PAGE = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"
BEGIN = "<!-- settings: written by tools/settings_table.py -->"
END = "<!-- end of settings -->"
SECTIONS: tuple[tuple[str, str, type[BaseSettings], type[BaseSettings] | None], ...] = (
    ("Clients, publishers and services", "Read by everything.", ClientSettings, None),
    (
        "The placement service",
        "Read by `ladle placement`, beside those above.",
        PlacementSettings,
        ClientSettings,
    ),
)


def table() -> str:
    """The generated part of the page, without the markers."""
    parts = []
    for title, reader, settings, without in SECTIONS:
        inherited = set(without.model_fields) if without else set()
        rows = [
            _row(settings, name, field)
            for name, field in settings.model_fields.items()
            if name not in inherited
        ]
        head = "| variable | default | values | meaning |\n| --- | --- | --- | --- |"
        parts.append(f"## {title}\n\n{reader}\n\n{head}\n" + "\n".join(rows))
    return "\n\n".join(parts)


def variables() -> set[str]:
    """The names of all variables in the table."""
    return {
        _variable(settings, name)
        for _, _, settings, _ in SECTIONS
        for name in settings.model_fields
    }


def _variable(settings: type[BaseSettings], name: str) -> str:
    return f"{settings.model_config.get('env_prefix', '')}{name}".upper()


def _row(settings: type[BaseSettings], name: str, field: FieldInfo) -> str:
    schema = settings.model_json_schema()["properties"][name]
    cells = (
        f"`{_variable(settings, name)}`",
        _default(field),
        _values(schema),
        (field.description or "").strip(),
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(field: FieldInfo) -> str:
    default: Any = field.get_default(call_default_factory=True, validated_data={})
    if default is PydanticUndefined:
        return "must be set"
    if default is None or default == "":
        return ""
    if hasattr(default, "get_secret_value"):
        default = default.get_secret_value()
    if isinstance(default, bool):
        default = str(default).lower()
    return f"`{default}`"


def _values(schema: dict[str, Any]) -> str:
    choices = [part for part in schema.get("anyOf", [schema]) if part.get("type") != "null"]
    part = choices[0]
    if "enum" in part:
        return ", ".join(f"`{value}`" for value in part["enum"])
    kind = str(part.get("type", ""))
    if kind in {"integer", "number"}:
        low, high = part.get("minimum"), part.get("maximum")
        if low is not None and high is not None:
            return f"{low} to {high}"
        if low is not None:
            return f"from {low}"
        return f"up to {high}" if high is not None else kind
    if kind == "boolean":
        return "`true`, `false`"
    return "text"


def page_with(generated: str) -> str:
    """The page's text with the generated part in its place."""
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{generated}\n\n{END}{after}"


def main() -> int:
    """Write the page, or with --check compare it."""
    wanted = page_with(table())
    if "--check" in sys.argv[1:]:
        if wanted == PAGE.read_text(encoding="utf-8"):
            return 0
        sys.stderr.write(
            f"{PAGE.name} differs from the settings classes: run python tools/settings_table.py\n"
        )
        return 1
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
