"""Exports of one record a line: JSON, CSV, CloudEvents. Each line is read strictly, or is damaged.

No body has a raw line break in it, so a line is a record in all three; what is torn or damaged
reaches no further than its line.
"""

import csv
import io
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import orjson

from ladle.audit.errors import Unreadable
from ladle.audit.export_files import cloud_event
from ladle.audit.form import COLUMNS, INTEGERS, record_of
from ladle.audit.manifest import STREAM_ADVICE
from ladle.audit.source import Fault, Flaw, Item
from ladle.core.record import Record

LINE_BYTES_MAX = 64 * 1024 * 1024
"""No record is that long; a file without line breaks must not fill the memory."""

CSV_HEADER = ",".join(COLUMNS).encode() + b"\r\n"
NOT_ITS_WAY = "it is not written as an export writes it"
BEGINNINGS = (b'{"offset":', b'{"specversion":', CSV_HEADER)
"""How the three begin; a file that is no more than a part of one was cut off there."""

KIND_ADVICE = "give a database URL, an export of `ladle audit export` or its folder"

Decode = Callable[[bytes], Record]


def read_lines(file: BinaryIO, where: str, decode: Decode) -> Iterator[Item]:
    """The records of a file, line by line. `where` names it. Raises Unreadable for another kind."""
    number = 0
    while line := file.readline(LINE_BYTES_MAX):
        number += 1
        if len(line) == LINE_BYTES_MAX:
            raise Unreadable(f"{where} has a line of {LINE_BYTES_MAX} bytes", KIND_ADVICE)
        if number == 1 and line == CSV_HEADER:
            continue
        try:
            yield decode(line)
        except ValueError as error:
            if not line.endswith(b"\n"):
                said = f"{where} ends in the middle of line {number}: a copy or a crash cut it off"
                yield Flaw(Fault.TORN, said)
                return
            yield Flaw(Fault.DAMAGED, f"{where}, line {number} is no record: {error}")


def decoder_for(first_line: bytes, where: str) -> Decode:
    """How the lines of a file are read, as its first one shows; raises Unreadable."""
    if first_line.startswith(b'"') or first_line[:7] == b"offset,":
        if first_line.strip() != CSV_HEADER.strip():
            raise Unreadable(f"{where} is CSV, but its header is not a journal's", KIND_ADVICE)
        return from_csv
    if b'"streamposition"' in first_line[:64]:
        raise Unreadable(f"{where} is an export of the broker's stream", STREAM_ADVICE)
    if b'"specversion"' in first_line[:64]:
        return from_cloudevent
    if first_line.startswith(b"{") and any(f'"{c}"'.encode() in first_line for c in COLUMNS):
        return from_json
    raise Unreadable(f"{where} is no journal: it begins with {first_line[:40]!r}", KIND_ADVICE)


def from_json(line: bytes) -> Record:
    """The record in a line of JSON; raises ValueError."""
    fields = orjson.loads(line)
    if type(fields) is not dict:
        raise ValueError("it is no JSON object")
    record = record_of(fields)
    # A changed byte that leaves the values as they are (a blank, an escape) is a change, too.
    if orjson.dumps(fields) != line.rstrip(b"\n"):
        raise ValueError(NOT_ITS_WAY)
    return record


def from_cloudevent(line: bytes) -> Record:
    """The record in a CloudEvent; raises ValueError."""
    event = orjson.loads(line)
    if type(event) is not dict or type(event.get("data")) is not dict:
        raise ValueError("it is no CloudEvent with a record in it")
    record = record_of(event["data"])
    cell = str(event.get("id")).rpartition(":")[0]
    if orjson.dumps(cloud_event(event["data"], cell)) != line.rstrip(b"\n"):
        raise ValueError(NOT_ITS_WAY)
    return record


def from_csv(line: bytes) -> Record:
    """The record in a line of CSV; raises ValueError."""
    csv.field_size_limit(LINE_BYTES_MAX)
    try:
        (row,) = csv.reader([line.decode()], strict=True)
    except csv.Error as error:
        raise ValueError(str(error)) from None
    if len(row) != len(COLUMNS):
        raise ValueError(f"it has {len(row)} columns")
    fields: dict[str, Any] = dict(zip(COLUMNS, row, strict=True))
    for name in INTEGERS:
        if not fields[name].isdecimal() or not fields[name].isascii():
            raise ValueError(f"{name} is no whole number")
        fields[name] = int(fields[name])
    for name in ("room_id", "server_id"):
        fields[name] = fields[name] or None
    text = io.StringIO(newline="")
    csv.writer(text).writerow(list(fields.values()))
    # Its last column is a text: without the line's end nobody knows whether it is all of it.
    if text.getvalue().encode() != line:
        raise ValueError(NOT_ITS_WAY)
    return record_of(fields)
