"""`ladle bench journal`: bytes that the journal grows by, a server and day."""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from ladle.lab.bench_broker import bench_name, declared_cell
from ladle.lab.processes import Placement
from ladle.lab.rounds import Figure
from ladle.lab.synthetic import event, publish, register_fleet, server_ids, status
from ladle_contracts.topology import Topology

SERVERS, WORKERS = 100, 4
INTERVAL_S = 5
DAY_S = 86_400
QUIET_S = 2
"""Longer than plain statuses wait for company: what came before is in the journal."""
BYTES_MAX = 5_000_000
"""The promise: from 100 servers of four workers on, less than this a server and day."""

COLUMNS = (
    "length(body) + length(salt) + length(body_digest) + length(prev_hash) + length(hash)"
    " + length(kind) + ifnull(length(room_id), 0) + ifnull(length(server_id), 0) + 32"
)
"""What a record takes: its texts and blobs, and 32 bytes for its integers."""


def run(
    amqp_url: str,
    folder: Path,
    *,
    seconds: int,
    progress: Callable[[str], None],
    servers: int = SERVERS,
) -> list[Figure]:
    """Statuses of servers of four workers for `seconds`, in real time, spread as in life."""
    ids = server_ids(servers)
    with (
        declared_cell(amqp_url, bench_name(), ids) as cell,
        Placement(folder, name="journal", amqp_url=amqp_url, cell=cell, env={}) as service,
    ):
        register_fleet(
            amqp_url,
            Topology(cell),
            servers=servers,
            workers=WORKERS,
            interval_ms=INTERVAL_S * 1000,
        )
        time.sleep(QUIET_S)
        before = service.metric("ladle_journal_offset")
        asyncio.run(_statuses(amqp_url, cell, ids, seconds, progress))
        time.sleep(QUIET_S)
        grown, records = _bytes_after(service.database, int(before))
    per_day = grown / servers / seconds * DAY_S
    return [
        Figure("journal.bytes_per_server_day", per_day, "B", BYTES_MAX, per_day / BYTES_MAX, 1),
        Figure(
            "journal.statuses_per_record",
            servers * seconds / INTERVAL_S / max(1, records),
            "statuses",
            None,
            None,
            1,
        ),
    ]


async def _statuses(
    amqp_url: str, cell: str, ids: tuple[str, ...], seconds: int, progress: Callable[[str], None]
) -> None:
    """A fifth of the fleet each second, as servers started at different moments do."""
    started = time.monotonic()
    for second in range(seconds):
        due = ids[second % INTERVAL_S :: INTERVAL_S]
        sequence = 2 + second // INTERVAL_S
        await publish(
            amqp_url,
            (event(cell, one, sequence, status(WORKERS, 100 + second)) for one in due),
        )
        if second % 10 == 0:
            progress(f"{second} of {seconds} s")
        await asyncio.sleep(max(0.0, started + second + 1 - time.monotonic()))


def _bytes_after(database: Path, offset: int) -> tuple[int, int]:
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        row = connection.execute(
            f'SELECT sum({COLUMNS}), count(*) FROM journal WHERE "offset" > ?',
            (offset,),
        ).fetchone()
    connection.close()
    return int(row[0] or 0), int(row[1])
