"""Files that a newcomer can read in one go, functions that fit a screen."""

import ast

from tests.house.sources import modules

LINES_OF_A_FILE_MAX = 450
LINES_OF_A_FUNCTION_MAX = 60

# A migration is written once, in one piece, and never read as a program.
MIGRATIONS = "/migrations/versions/"


def test_files_are_small() -> None:
    long = {
        module.path: module.lines
        for module in modules()
        if module.lines > LINES_OF_A_FILE_MAX and MIGRATIONS not in module.path
    }
    assert long == {}


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """From the first statement on: the options of a command are its signature, read as a table."""
    return (function.end_lineno or 0) - function.body[0].lineno + 1


def test_functions_fit_a_screen() -> None:
    long = {
        f"{module.path}:{node.lineno} {node.name}": lines_of(node)
        for module in modules()
        if MIGRATIONS not in module.path
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and lines_of(node) > LINES_OF_A_FUNCTION_MAX
    }
    assert long == {}
