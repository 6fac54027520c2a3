"""What was said on the broker's stream, to files of CloudEvents with a manifest.

Each line is the event as it was said, in structured mode, with two attributes more: where it
stood on the stream, and whom the broker vouched for.
"""

from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from ladle.audit.export import ROWS_PER_FILE, ExportRefused, FileEntry
from ladle.audit.export_files import HashingFile
from ladle.audit.export_rows import Moment
from ladle.audit.manifest import (
    FORMAT_VERSION,
    STREAM_FORMAT,
    begin_manifest,
    end_manifest,
    forget_begun,
)
from ladle.audit.said import Said, said_of
from ladle_contracts.envelope import SOURCE_PREFIX, Event
from ladle_contracts.link import Message
from ladle_contracts.times import to_rfc3339
from ladle_contracts.topology import Topology

POSITION, USER = "streamposition", "brokeruser"
"""Extension attributes of CloudEvents: lower-case letters and digits alone."""


@dataclass(frozen=True, slots=True)
class WantedWords:
    """Which sayings are taken; a moment's offset is a position. Bounds are inclusive."""

    room: str | None = None
    server: str | None = None
    begin: Moment | None = None
    end: Moment | None = None

    def takes(self, said: Said) -> bool:
        """Is it one of them? One without a time is within no bound of time."""
        return (
            said.is_about(self.room, self.server)
            and _ordered(self.begin, said, 1)
            and _ordered(self.end, said, -1)
        )

    def as_dict(self) -> dict[str, Any]:
        """For the manifest; only what was asked for."""
        begin, end = (None if m is None else str(m) for m in (self.begin, self.end))
        told = {"room_id": self.room, "server_id": self.server, "from": begin, "until": end}
        return {name: value for name, value in told.items() if value is not None}


def _ordered(bound: Moment | None, said: Said, sign: int) -> bool:
    if bound is None:
        return True
    if bound.offset is not None:
        return sign * (said.position - bound.offset) >= 0
    return said.time_ms is not None and sign * (said.time_ms - (bound.unix_ms or 0)) >= 0


@dataclass(slots=True)
class _Open:
    name: str
    file: HashingFile
    first: int
    last: int
    rows: int = 0


@dataclass(slots=True)
class StreamExport:
    """`hear` the stream's messages in order, then `finish`; or `abandon`: no manifest, no export.

    Raises ExportRefused unless `folder` is new or empty.
    """

    folder: Path
    topology: Topology
    wanted: WantedWords = field(default_factory=WantedWords)
    rows_per_file: int = ROWS_PER_FILE
    rows: int = 0
    first: int | None = None
    last: int | None = None
    refused: Counter[str] = field(default_factory=Counter)
    _open: _Open | None = None
    _files: list[FileEntry] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if any(self.folder.iterdir()):
            raise ExportRefused(f"{self.folder} is not empty")
        begin_manifest(self.folder, STREAM_FORMAT)

    def hear(self, position: int, message: Message) -> None:
        """Write it if it is wanted. What the contract refuses is counted: it is no event."""
        self.first = position if self.first is None else self.first
        self.last = position
        said = said_of(position, message, self.topology)
        if said is None:
            return
        if said.refused is not None:
            self.refused[str(said.refused.reason)] += 1
        elif self.wanted.takes(said):
            self._write(said)

    def finish(self) -> dict[str, Any]:
        """Close the files and write the manifest, which is returned."""
        self._close()
        manifest = {
            "format": STREAM_FORMAT,
            "format_version": FORMAT_VERSION,
            "encoding": "cloudevents",
            "cell": self.topology.cell,
            "filters": self.wanted.as_dict(),
            "rows": self.rows,
            "refused": dict(sorted(self.refused.items())),
            "stream": {"name": self.topology.log, "first": self.first, "last": self.last},
            "files": [asdict(entry) for entry in self._files],
        }
        end_manifest(self.folder, manifest)
        return manifest

    def abandon(self) -> None:
        """Close what is open; there is no manifest, and that says enough. Never raises."""
        current, self._open = self._open, None
        if current is not None:
            with suppress(OSError):
                current.file.close()
        forget_begun(self.folder)

    def _write(self, said: Said) -> None:
        current = self._open
        if current is None:
            name = f"stream-{said.position:012d}.cloudevents.jsonl"
            file = HashingFile(self.folder / name)
            current = self._open = _Open(name, file, said.position, said.position)
        current.file.write(orjson.dumps(line_of(said, self.topology)) + b"\n")
        current.rows += 1
        current.last = said.position
        self.rows += 1
        if current.rows >= self.rows_per_file:
            self._close()

    def _close(self) -> None:
        current, self._open = self._open, None
        if current is not None:
            file = current.file
            file.flush()
            entry = (current.name, current.rows, current.first, current.last)
            self._files.append(FileEntry(*entry, file.size, file.sha256))
            file.close()


def line_of(said: Said, topology: Topology) -> dict[str, Any]:
    """The event in structured mode, whichever it came in; what is not known is left out."""
    event = said.event
    assert event is not None
    line: dict[str, Any] = {
        "specversion": "1.0",
        POSITION: said.position,
        "id": event.id,
        "source": topology.own_source,
        "type": event.type,
        "subject": said.data.get("room_id"),
        "time": None if event.time_ms is None else to_rfc3339(event.time_ms),
        USER: said.message.user_id,
    }
    if isinstance(event, Event):
        line |= {
            "source": f"{SOURCE_PREFIX}{event.server_id}",
            "incarnation": event.incarnation,
            "sequence": event.sequence,
            "onbehalfof": event.on_behalf_of,
        }
    line["data"] = said.data
    return {name: value for name, value in line.items() if value is not None}
