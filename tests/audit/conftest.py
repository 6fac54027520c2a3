"""One recorded run for all tests of the audit, and the same in a SQLite file."""

import asyncio
from pathlib import Path

import pytest

from ladle.core.record import Record
from ladle.core.view import View
from tests.audit.recorded import Life, sealed
from tests.audit.stored import copy_of, write_database

SEED = 7
STEPS = 900


@pytest.fixture(scope="session")
def life() -> Life:
    made = Life(SEED)
    made.run(STEPS)
    return made


@pytest.fixture(scope="session")
def records(life: Life) -> list[Record]:
    """Do not change them in place: `dataclasses.replace` makes another one."""
    return sealed(life.cell.journal)


@pytest.fixture(scope="session")
def view(life: Life) -> View:
    return life.cell.view


@pytest.fixture(scope="session")
def _recorded_database(tmp_path_factory: pytest.TempPathFactory, records: list[Record]) -> Path:
    # Folded anew: writing takes the view's list of changed rows.
    made = Life(SEED)
    made.run(STEPS)
    path = tmp_path_factory.mktemp("recorded") / "ladle.db"
    asyncio.run(write_database(f"sqlite:///{path}", made.cell.view, records))
    return path


@pytest.fixture
def database(_recorded_database: Path, tmp_path: Path) -> Path:
    """A file of its own for each test, which may spoil it."""
    return copy_of(_recorded_database, tmp_path)
