"""Who may import whom. Each rule keeps a promise that a reader of one part relies on."""

import subprocess
import sys

import pytest

from tests.house.sources import Module, imports, modules

MODULES = modules()

SERVICES = ("placement", "gateway", "audit", "fleet", "lab", "chaos")
COMMAND = ("cli", "commands")

# A part and the parts that it may import; its own modules always.
MAY_IMPORT = {
    "ladle_contracts": set(),
    "core": {"ladle_contracts"},
    "journal": {"ladle_contracts", "core"},
    "broker": {"ladle_contracts", "core"},
    **{service: {"ladle_contracts", "core", "journal", "broker"} for service in SERVICES},
    **{part: {"ladle_contracts", "core", "journal", "broker", *SERVICES} for part in COMMAND},
}
MAY_IMPORT["cli"].add("commands")

# The core computes: what could read a clock, a file, the network, the environment or a random
# number is not among these. `json` and `orjson` write canonical bytes.
CORE_MAY_USE = {
    *("__future__", "bisect", "collections", "dataclasses", "enum", "functools", "hashlib"),
    *("heapq", "itertools", "json", "math", "operator", "re", "typing", "types"),
    *("orjson", "sortedcontainers", "ladle", "ladle_contracts"),
}
# The models describe: no broker library, so that a reader in another process pays for none.
MODELS_MAY_USE = {
    *("__future__", "collections", "dataclasses", "datetime", "enum", "functools", "hashlib"),
    *("itertools", "json", "math", "re", "string", "types", "typing"),
    *("annotated_types", "pydantic", "pydantic_core", "typing_extensions", "ladle_contracts"),
}
MODELS = {
    *("events", "requests", "replies", "commands", "own_events", "fields", "envelope"),
    *("cloudevents", "strict_json", "topology", "violation", "times", "own_messages"),
    "validating",
}


def part_of(name: str) -> str | None:
    """The part that a dotted name belongs to; None for what is not the project's own."""
    first, _, rest = name.partition(".")
    if first == "ladle_contracts":
        return "ladle_contracts"
    if first != "ladle":
        return None
    return rest.partition(".")[0]


def foreign(module: Module, allowed: set[str]) -> list[str]:
    """Imports of a module outside `allowed` top-level names."""
    return [
        f"{module.path}:{line}: {name}"
        for name, line in imports(module)
        if name.partition(".")[0] not in allowed
    ]


def test_every_part_has_its_rule() -> None:
    """A new part takes its place in the order before it is used."""
    parts = {part_of(module.name) for module in MODULES} - {"", "__main__"}
    assert parts - MAY_IMPORT.keys() == set()
    assert {"ladle_contracts", "core", "journal", "broker", "placement"} <= parts


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_part_imports_only_what_stands_before_it(module: Module) -> None:
    part = part_of(module.name) or ""
    if not part:  # ladle/__init__.py belongs to all parts, and imports none.
        assert [name for name, _ in imports(module) if part_of(name)] == []
        return
    wrong = [
        f"{module.path}:{line}: {part} imports {name}"
        for name, line in imports(module)
        if part_of(name) not in {None, part, "", "__version__", *MAY_IMPORT[part]}
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "module", [each for each in MODULES if part_of(each.name) == "core"], ids=str
)
def test_the_core_reads_nothing_from_outside(module: Module) -> None:
    assert foreign(module, CORE_MAY_USE) == []


@pytest.mark.parametrize(
    "module",
    [each for each in MODULES if each.name.removeprefix("ladle_contracts.") in MODELS],
    ids=str,
)
def test_the_models_need_no_broker(module: Module) -> None:
    assert foreign(module, MODELS_MAY_USE) == []


def test_the_contracts_need_no_service() -> None:
    """The light install has three libraries; what they bring is all that contracts may use."""
    service_only = {"faststream", "sqlmodel", "sqlalchemy", "aiosqlite", "alembic", "orjson"}
    service_only |= {"sortedcontainers", "prometheus_client", "uvicorn", "uvloop", "typer", "rich"}
    used = {
        name.partition(".")[0]
        for module in MODULES
        if part_of(module.name) == "ladle_contracts"
        for name, _ in imports(module)
    }
    assert used & service_only == set()


@pytest.mark.parametrize("package", ["ladle_contracts", "ladle"])
def test_importing_a_package_imports_nothing_heavy(package: str) -> None:
    """A program that wants one model does not load a broker library, nor the other way round."""
    heavy = ("pydantic", "aio_pika", "aiormq", "asyncio", "ssl", "sqlalchemy", "faststream")
    code = f"import sys, {package}; print(*[name for name in {heavy!r} if name in sys.modules])"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.split() == []
