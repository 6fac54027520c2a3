"""Exports in Parquet, a batch of rows at a time; needs pyarrow, of the extra `audit`."""

from collections.abc import Iterator
from pathlib import Path

from ladle.audit.errors import Incomplete, Unreadable
from ladle.audit.form import COLUMNS, record_of
from ladle.audit.source import PAGE, Fault, Flaw, Item

MAGIC = b"PAR1"
BYTES_MIN = 12
"""Of a file without a row: it begins and ends with MAGIC, before which stands a length."""


def read_parquet(path: Path) -> Iterator[Item]:
    """The rows of a file as records; raises Incomplete where its end is missing, Unreadable."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with path.open("rb") as file:
        # Cut off behind its first four bytes, it ends as it should with those that it begins with.
        size = file.seek(0, 2)
        file.seek(-len(MAGIC), 2)
        if size < BYTES_MIN or file.read() != MAGIC:
            raise Incomplete(
                f"{path} has no end: a copy or a crash cut it off", "copy the file again"
            )
    try:
        with pq.ParquetFile(path) as parquet:
            if tuple(parquet.schema_arrow.names) != COLUMNS:
                raise Unreadable(
                    f"{path} is Parquet with other columns than a journal's",
                    "give a file of `ladle audit export`",
                )
            number = 0
            for batch in parquet.iter_batches(PAGE):
                for row in batch.to_pylist():
                    number += 1
                    yield _record(row, f"{path}, row {number}")
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        yield Flaw(Fault.DAMAGED, f"{path} cannot be read further: {error}")


def _record(row: dict[str, object], where: str) -> Item:
    try:
        return record_of(row)
    except ValueError as error:
        return Flaw(Fault.DAMAGED, f"{where} is no record: {error}")
