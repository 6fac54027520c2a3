"""The core gives the same bytes on every machine: integers only, and no order from hashing."""

import ast

import pytest

from tests.house.sources import Module, modules

CORE = [module for module in modules() if module.name.startswith("ladle.core")]

# `hash` and `id` differ from process to process; the others reach outside.
FORBIDDEN_CALLS = {"hash", "id", "open", "print", "input", "eval", "exec", "__import__", "float"}


def calls(tree: ast.AST) -> set[tuple[str, int]]:
    return {
        (node.func.id, node.lineno)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }


def is_a_set(node: ast.expr) -> bool:
    """Whether an expression is a set on sight: `{...}`, `set(...)`, a set comprehension."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id in {"set", "frozenset"}
    return isinstance(node, ast.Set | ast.SetComp)


@pytest.mark.parametrize("module", CORE, ids=str)
def test_no_floating_point(module: Module) -> None:
    """Rounding differs with the order of additions; a replay would drift."""
    floats = [
        f"{module.path}:{node.lineno}"
        for node in ast.walk(module.tree)
        if (isinstance(node, ast.Constant) and isinstance(node.value, float))
        or (isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div))
    ]
    assert floats == []


@pytest.mark.parametrize("module", CORE, ids=str)
def test_nothing_from_the_process(module: Module) -> None:
    assert {call for call in calls(module.tree) if call[0] in FORBIDDEN_CALLS} == set()


@pytest.mark.parametrize("module", CORE, ids=str)
def test_no_loop_over_a_set(module: Module) -> None:
    """The order of a set of strings changes with every process."""
    loops = [
        f"{module.path}:{node.iter.lineno}"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.For | ast.comprehension) and is_a_set(node.iter)
    ]
    assert loops == []


def test_the_core_is_looked_at() -> None:
    assert len(CORE) > 10
