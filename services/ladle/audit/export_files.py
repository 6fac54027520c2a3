"""The files of an export: one writer a format, each fed a page of rows at a time.

A writer holds no more than a page (Parquet: a row group) in memory, and the file's SHA-256 is
computed while it is written, not by reading it again.
"""

import csv
import hashlib
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import orjson

from ladle.audit.export_rows import Row
from ladle.audit.form import COLUMNS, INTEGERS
from ladle_contracts.times import to_rfc3339

GROUP_ROWS_MAX = 10_000
GROUP_BYTES_MAX = 16 * 1024 * 1024
"""A row group of Parquet ends at either; it is what a reader must hold at once, too."""

EVENT_TYPE = "ladle-journal-record"


class HashingFile(io.RawIOBase):
    """A new file that knows the SHA-256 and the number of the bytes written to it."""

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("xb")
        self._sha256 = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.size

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self._file.write(view)
        self._sha256.update(view)
        self.size += view.nbytes
        return view.nbytes

    def flush(self) -> None:
        if not self._file.closed:
            self._file.flush()

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()

    def sync(self) -> None:
        """Wait until the disk has it, and let the next reader read it from there."""
        self._file.flush()
        os.fsync(self._file.fileno())
        os.posix_fadvise(self._file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()


class Writes(Protocol):
    """What takes bytes: a file, or a compressor before one."""

    def write(self, data: bytes, /) -> Any: ...


class RowWriter(Protocol):
    """Writes rows to one file, in order. `close` ends the format, not the file."""

    def write(self, rows: Sequence[Row]) -> None: ...

    def close(self) -> None: ...


class JsonLines:
    """One JSON object a line, the columns as its keys."""

    def __init__(self, file: Writes, cell: str) -> None:
        self._file = file

    def write(self, rows: Sequence[Row]) -> None:
        self._file.write(b"".join(orjson.dumps(row) + b"\n" for row in rows))

    def close(self) -> None:
        """Nothing ends a file of lines."""


class CloudEventLines:
    """One CloudEvent 1.0 (structured JSON) a line; `data` is the row."""

    def __init__(self, file: HashingFile, cell: str) -> None:
        self._file = file
        self._cell = cell

    def write(self, rows: Sequence[Row]) -> None:
        self._file.write(
            b"".join(orjson.dumps(cloud_event(row, self._cell)) + b"\n" for row in rows)
        )

    def close(self) -> None:
        """Nothing ends a file of lines."""


def cloud_event(row: Row, cell: str) -> dict[str, Any]:
    """The row as a CloudEvent, in the one way in which it is written."""
    event = {
        "specversion": "1.0",
        "id": f"{cell}:{row['offset']}",
        "source": f"/ladle/{cell}/journal",
        "type": EVENT_TYPE,
        "time": to_rfc3339(row["recorded_at_ms"]),
        "datacontenttype": "application/json",
        "data": row,
    }
    subject = row["room_id"] or row["server_id"]
    return event if subject is None else {**event, "subject": subject}


class Csv:
    """RFC 4180 with a header; what is not there is empty."""

    def __init__(self, file: HashingFile, cell: str) -> None:
        self._file = file
        self._write_lines([dict(zip(COLUMNS, COLUMNS, strict=True))])

    def write(self, rows: Sequence[Row]) -> None:
        self._write_lines(rows)

    def _write_lines(self, rows: Sequence[Row]) -> None:
        text = io.StringIO(newline="")
        csv.writer(text).writerows([list(row.values()) for row in rows])
        self._file.write(text.getvalue().encode())

    def close(self) -> None:
        """Nothing ends a file of lines."""


class Parquet:
    """Columns, zstd-compressed, in row groups of bounded size. Needs pyarrow."""

    def __init__(self, file: HashingFile, cell: str) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._schema = pa.schema(
            [(name, pa.int64() if name in INTEGERS else pa.string()) for name in COLUMNS]
        )
        self._table = pa.Table
        self._writer = pq.ParquetWriter(file, self._schema, compression="zstd")
        self._rows: list[Row] = []
        self._bytes = 0

    def write(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self._rows.append(row)
            self._bytes += len(row["body"])
            if len(self._rows) >= GROUP_ROWS_MAX or self._bytes >= GROUP_BYTES_MAX:
                self._write_group()

    def close(self) -> None:
        if self._writer.is_open:
            with self._given_up_on_failure():
                self._write_group()
                self._writer.close()

    def _write_group(self) -> None:
        rows, self._rows, self._bytes = self._rows, [], 0
        if rows:
            with self._given_up_on_failure():
                self._writer.write_table(self._table.from_pylist(rows, schema=self._schema))

    @contextmanager
    def _given_up_on_failure(self) -> Iterator[None]:
        """Arrow neither goes on with a file that failed nor closes it, and would say so again."""
        try:
            yield
        except OSError:
            self._writer.is_open = False
            raise


FORMATS: Mapping[str, tuple[str, Callable[[HashingFile, str], RowWriter]]] = {
    "jsonl": (".jsonl", JsonLines),
    "csv": (".csv", Csv),
    "parquet": (".parquet", Parquet),
    "cloudevents": (".cloudevents.jsonl", CloudEventLines),
}
"""Format -> the ending of its files, and what writes them (file, cell)."""
