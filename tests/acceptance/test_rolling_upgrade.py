"""Old and new version side by side: the new one brings the schema up under the old writer."""

from pathlib import Path

import pytest

from ladle.core import limits
from ladle.core.record import Kind
from ladle.journal import schema
from ladle.journal.chain import open_record
from ladle.journal.open import open_store
from ladle_contracts.client import PlacementClient
from tests.acceptance.promises import (
    Promises,
    answered,
    asking,
    heard_events,
    servers,
    the_journal_holds,
)
from tests.fixtures import older_placement
from tests.fixtures.placement_process import placement_process

pytestmark = [pytest.mark.broker, pytest.mark.slow]

CALL_MS = 60_000


async def editions(database_url: str) -> list[int]:
    """Of the rules, in the order in which the journal went on by them."""
    store = open_store(database_url)
    await store.open()
    try:
        settings = await store.history(after_offset=0, limit=100, kinds=[Kind.SETTINGS])
    finally:
        await store.close()
    said = [open_record(record).entry.payload for record in settings]
    return [each["rules"] for each in said if "rules" in each]


async def test_a_newer_version_takes_over_from_an_older_one_under_load(
    broker_url: str, cell: str, database_url: str, tmp_path: Path
) -> None:
    """The old writer appends nothing more, ends with 3 and says why; callers notice no error."""
    settings = {
        "amqp_url": broker_url,
        "cell": cell,
        "database_url": database_url,
        "lease_ms": 1_000,
    }
    promises = Promises()
    for folder in ("old", "older", "new"):
        (tmp_path / folder).mkdir()
    older = (older_placement.__file__,)
    async with placement_process(tmp_path / "old", program=older, **settings) as old:
        await old.ready()
        assert await schema.current(database_url) == older_placement.OLDER
        async with (
            placement_process(tmp_path / "older", program=older, **settings) as standby,
            PlacementClient.connect(broker_url, cell=cell, timeout_ms=CALL_MS) as client,
            heard_events(broker_url, cell) as heard,
            servers(broker_url, cell, 2, status_interval_ms=600_000),
        ):
            await standby.ready("standby")
            async with asking(client, promises):
                await answered(promises, 20)
                async with placement_process(tmp_path / "new", **settings) as new:
                    await new.ready()
                    for process in (old, standby):
                        assert await process.ended() == 3
                        assert "run a newer Ladle" in process.tail()
                    await answered(promises, 20, within_s=CALL_MS / 1_000)
                    assert await schema.current(database_url) == schema.VERSION
                    assert await new.terminate() == 0
        await the_journal_holds(database_url, promises, heard=heard, cell=cell)
        assert await editions(database_url) == [limits.RULES - 1, limits.RULES]
    assert promises.errors == []
