"""Memory does not grow with the length of the log, whatever it is read from."""

import tracemalloc
from pathlib import Path

import pytest

from ladle.audit.export import Export
from ladle.audit.open import open_source
from ladle.core.record import Record
from tests.audit.recorded import head_of

SHORT, LONG = 3, 30
"""How often the run stands in the file: 2,700 and 27,000 records."""


@pytest.mark.parametrize("format_", ["jsonl", "csv", "cloudevents"])
def test_reading_ten_times_as_much_takes_no_more_memory(
    format_: str, records: list[Record], tmp_path: Path
) -> None:
    peaks = []
    for times in (SHORT, LONG):
        export = Export(tmp_path / str(times), format_=format_)
        for _ in range(times):
            export.add(records)
        export.finish(head_of(records))
        source = open_source(str(tmp_path / str(times)))
        tracemalloc.start()
        read = sum(len(page) for page in source.pages())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert read == times * len(records)
    assert peaks[1] < peaks[0] * 1.2
