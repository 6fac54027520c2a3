"""Real chaos, short: faults of a seed under load, and what must be true of everything after it."""

from pathlib import Path
from typing import Any

import pytest

from ladle.broker.node import PackageMissing
from ladle.chaos.real.callers import Callers
from ladle.chaos.real.check import examine
from ladle.chaos.real.plan import ON_POSTGRES, ON_SQLITE, Kind, plan
from ladle.chaos.real.report import ChaosReport, nearest_rank
from ladle.chaos.real.run import ChaosOptions, NotEmpty, run
from ladle.commands.chaos import play_fleet
from ladle.core import record
from ladle.journal.chain import open_record
from ladle.journal.open import open_store
from ladle_contracts.replies import PlacedReply

SHORT_S = 25


async def played(options: ChaosOptions, folder: Path) -> tuple[ChaosReport, Callers]:
    said: list[str] = []
    try:
        report, callers = await run(options, folder, play_fleet, say=said.append)
    except PackageMissing as missing:
        pytest.skip(str(missing))
    assert report.violations == (), said
    assert report.acknowledged + report.failed == report.attempted
    assert report.acknowledged > 100
    return report, callers


@pytest.mark.broker
@pytest.mark.slow
async def test_faults_of_many_kinds(database_url: str, tmp_path: Path) -> None:
    """Nothing is lost, no room has two homes; and the checks find what is planted."""
    database = database_url
    options = ChaosOptions(seed=1, seconds=SHORT_S, database=database)
    report, callers = await played(options, tmp_path)
    assert len(report.faults) >= 3
    kinds = ON_SQLITE if database.startswith("sqlite") else ON_POSTGRES
    assert report.as_json()["faults_by_kind"].keys() <= {kind.value for kind in kinds}
    assert report.as_json()["lost"] == 0
    await planted_is_found(database, callers)
    with pytest.raises(NotEmpty):
        await run(options, tmp_path, play_fleet, say=print)


async def planted_is_found(database: str, callers: Callers) -> None:
    """One answer that the journal does not hold, one from behind its end, one second home."""
    room_id, (answer, *_) = next(iter(callers.answers.items()))
    whole = await examine(database, callers)
    assert whole.violations == ()

    async def with_one_more(**changed: Any) -> tuple[int, int]:
        more: PlacedReply = answer.model_copy(update=changed)
        callers.answers[room_id].append(more)
        found = await examine(database, callers)
        callers.answers[room_id].pop()
        return len(found.lost), len(found.duplicated)

    elsewhere = answer.server.model_copy(update={"server_id": "sfu-elsewhere"})
    assert await with_one_more(allocation_id="never", generation=answer.generation + 1) == (1, 0)
    behind = {"journal_offset": 10**9, "generation": answer.generation + 1}
    assert await with_one_more(**behind) == (2, 0)  # Neither in the journal nor in the view.
    assert await with_one_more(server=elsewhere) == (1, 1)


@pytest.mark.broker
@pytest.mark.slow
async def test_the_writer_is_killed_with_a_standby(database_url: str, tmp_path: Path) -> None:
    """No acknowledged allocation is lost, and no caller gets an error.

    Who writes next has waited for the lease: nobody takes it by the name of the one that died.
    """
    options = ChaosOptions(seed=1, seconds=0, database=database_url, failovers=3)
    report, _ = await played(options, tmp_path)
    assert (report.failed, report.processes) == (0, 2)
    assert [fault.kind for fault in report.faults] == [Kind.KILL] * 3
    holders = await writers(database_url)
    assert len(set(holders)) == len(holders) == 4


async def writers(database_url: str) -> list[str]:
    """The processes that wrote, a name for each term."""
    store = open_store(database_url)
    await store.open()
    try:
        records = await store.history(after_offset=0, limit=100, kinds=[record.Kind.WRITER_ACTIVE])
    finally:
        await store.close()
    return [open_record(each).entry.payload["holder"] for each in records]


@pytest.mark.parametrize("kinds", [ON_SQLITE, ON_POSTGRES])
def test_a_plan_is_that_of_its_seed(kinds: tuple[Kind, ...]) -> None:
    """Every kind once before any comes again."""
    first = [strike for strike, _ in zip(plan(3, kinds), range(len(kinds)), strict=False)]
    again = [strike for strike, _ in zip(plan(3, kinds), range(len(kinds)), strict=False)]
    assert first == again
    assert {strike.kind for strike in first} == set(kinds)
    other = [strike for strike, _ in zip(plan(4, kinds), range(len(kinds)), strict=False)]
    assert other != first


def test_percentiles_are_values() -> None:
    assert nearest_rank([], 50) == 0.0
    assert nearest_rank([3.0, 1.0, 2.0], 50) == 2.0
    assert nearest_rank([3.0, 1.0], 50) == 1.0
