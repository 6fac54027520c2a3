"""SQLite and PostgreSQL: the same journal, the same verdict, and nobody's writing is disturbed."""

import asyncio
from collections.abc import Iterator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from ladle.audit.database import DatabaseSource
from ladle.audit.errors import VERIFIED, Unreadable
from ladle.audit.export_rows import Moment
from ladle.audit.replay import Replay
from ladle.audit.verify import verify
from ladle.core.record import Record
from ladle.core.view import View
from ladle.journal.schema import upgrade
from tests.audit.conftest import SEED, STEPS
from tests.audit.recorded import Life, head_of
from tests.audit.stored import write_database


@pytest.fixture
def source(database_url: str, records: list[Record]) -> Iterator[DatabaseSource]:
    """The recorded run in a database, once of each kind."""
    made = Life(SEED)
    made.run(STEPS)
    asyncio.run(write_database(database_url, made.cell.view, records))
    opened = DatabaseSource(database_url)
    yield opened
    opened.close()


def test_a_run_verifies_and_replays_the_same(
    source: DatabaseSource, records: list[Record], view: View
) -> None:
    report = verify(source)
    assert report.exit_code == VERIFIED
    assert (report.derived, report.head) == (len(records), head_of(records))
    assert report.rows == sum(len(rows) for rows in view.dump().values())
    replay = Replay(source)
    replay.to(Moment(offset=len(records)))
    assert replay.view.digest() == view.digest()


def test_the_source_cannot_write(source: DatabaseSource) -> None:
    async def write() -> None:
        async with source._reads._engine.begin() as connection:
            await connection.execute(text('DELETE FROM "journal"'))

    with pytest.raises(SQLAlchemyError, match="read"):
        source._runner.run(write())
    assert verify(source).exit_code == VERIFIED


def test_an_empty_journal_verifies(database_url: str) -> None:
    asyncio.run(upgrade(database_url))
    opened = DatabaseSource(database_url)
    report = verify(opened)
    opened.close()
    assert (report.exit_code, report.records, report.rows) == (VERIFIED, 0, 0)


def test_a_journal_of_another_schema_is_refused(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(upgrade(database_url))
    monkeypatch.setattr("ladle.journal.schema.VERSION", 0)
    with pytest.raises(Unreadable, match="this program knows 0"):
        DatabaseSource(database_url)
