"""Files as a source: an export's folder or a single file, in any of its formats, gzipped or not."""

import gzip
import zlib
from collections.abc import Iterator
from hashlib import sha256
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import Any

from ladle.audit.errors import Incomplete, Unreachable, Unreadable
from ladle.audit.lines import BEGINNINGS, KIND_ADVICE, LINE_BYTES_MAX, decoder_for, read_lines
from ladle.audit.manifest import MANIFEST, Listed, file_alone, files_of
from ladle.audit.parquet import MAGIC as PARQUET
from ladle.audit.parquet import read_parquet
from ladle.audit.source import PAGE, Claim, Fault, Flaw, Item, Rows
from ladle.core.record import Record
from ladle.core.view import View
from ladle.journal.snapshots import Anchor

GZIP = b"\x1f\x8b"
AGAIN_ADVICE = "copy or export it again"
CHUNK = 1 << 20


class FileSource:
    """One file, or all of a folder in the order of its manifest. Raises SourceError."""

    def __init__(self, path: Path, files: list[Listed] | None = None) -> None:
        """files: only these of the folder, whatever its manifest lists."""
        self.name = str(path)
        if path.name == MANIFEST:
            path = path.parent
        try:
            if files is not None:
                self._files, self._claim = files, Claim()
            else:
                self._files, self._claim = files_of(path) if path.is_dir() else file_alone(path)
            self._bytes = sum(
                file.path.stat().st_size for file in self._files if file.path.exists()
            )
            if not path.exists():
                raise FileNotFoundError(2, "there is no such file or folder")
        except OSError as error:
            raise Unreachable(f"{path}: {error.strerror}", "check path and rights") from error
        self._read = 0

    def claim(self) -> Claim:
        """What the manifest says; of a single file, what it cannot tell."""
        return self._claim

    def rows(self) -> Rows | None:
        """An export has no view beside it."""
        return None

    def pages(self, after_offset: int = 0) -> Iterator[list[Item]]:
        self._read = 0
        page: list[Item] = []
        for file in self._files:
            if file.last_offset is not None and file.last_offset <= after_offset:
                continue
            for item in self._items(file):
                if isinstance(item, Record) and item.offset <= after_offset:
                    continue
                page.append(item)
                if len(page) == PAGE:
                    yield page
                    page = []
        if page:
            yield page

    def snapshots(self) -> list[Anchor]:
        """An export has the records that anchor them, and not their content."""
        return []

    def hold(self, anchor: Anchor) -> None:
        raise LookupError(f"{self.name} holds no snapshot of record {anchor.offset}")

    def view_of(self, anchor: Anchor) -> View:
        raise LookupError(f"{self.name} holds no snapshot of record {anchor.offset}")

    def share_read(self, offset: int) -> float | None:
        """By offsets where a manifest tells them: a Parquet file's end, say, is read first."""
        first = self._files[0].first_offset if self._files else None
        last = self._files[-1].last_offset if self._files else None
        if first is not None and last is not None:
            return min(1.0, max(0, offset - first + 1) / (last - first + 1))
        return min(1.0, self._read / self._bytes) if self._bytes else None

    def close(self) -> None:
        """Nothing is open between two reads."""

    def _items(self, file: Listed) -> Iterator[Item]:
        """What a file holds; then whether it is the file that the manifest vouches for."""
        if not file.path.exists():
            held = f", with records {file.first_offset} to {file.last_offset},"
            yield Flaw(Fault.MISSING, f"the file {file.path}{held} is not there")
            return
        try:
            with file.path.open("rb", buffering=0) as opened:
                counted = _Counted(opened, self)
                buffered = BufferedReader(counted, CHUNK)
                yield from _told_as_torn(file, _read(file.path, buffered))
                # What a reader leaves unread (behind a tear) is under the checksum as well.
                while buffered.read(CHUNK):
                    pass
        except OSError as error:
            raise Unreachable(
                f"{file.path}: {error}", "check the disk, or copy it again"
            ) from error
        if file.sha256 is None:
            return
        if file.size is not None and counted.size < file.size:
            said = f"{file.path} has {counted.size} of the {file.size} bytes that it should have"
            yield Flaw(Fault.TORN, said)
        elif counted.sha256 != file.sha256:
            said = f"{file.path} is not the file of the manifest: its SHA-256 is another"
            yield Flaw(Fault.CHANGED, said)

    def count(self, size: int) -> None:
        """So many bytes more were read."""
        self._read += size


class _Counted(RawIOBase):
    """A file that hashes what is read of it, each byte once."""

    def __init__(self, file: Any, source: FileSource) -> None:
        self._file = file
        self._source = source
        self._hash = sha256()
        self.size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = self._file.readinto(buffer) or 0
        self._hash.update(memoryview(buffer)[:size])
        self.size += size
        self._source.count(size)
        return size

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


def _read(path: Path, buffered: "BufferedReader[Any]") -> Iterator[Item]:
    where = str(path)
    start = buffered.peek(16)
    _refuse_stump(start, where)
    if start.startswith(PARQUET):
        # Its reader jumps about in the file; the checksum is taken of `buffered` afterwards.
        yield from read_parquet(path)
        return
    if start.startswith(GZIP):
        yield from _gunzipped(buffered, where)
    else:
        yield from _lines(buffered, where)


def _told_as_torn(file: Listed, items: Iterator[Item]) -> Iterator[Item]:
    """The items; where so little of a listed file is left that it cannot be read, that is torn.

    Its size in the manifest tells that from a file of another kind; which bytes are missing is
    told behind it.
    """
    try:
        yield from items
    except (Incomplete, Unreadable) as error:
        if file.size is None or file.path.stat().st_size >= file.size:
            raise
        yield Flaw(Fault.TORN, error.said)


def _refuse_stump(start: bytes, where: str) -> None:
    """Raise Incomplete where all that is left of a file is less than what it begins with."""
    if not start:
        raise Incomplete(f"{where} is empty", AGAIN_ADVICE)
    if any(len(start) < len(b) and b.startswith(start) for b in (PARQUET, GZIP, *BEGINNINGS)):
        said = f"{where} ends after {len(start)} bytes: a copy or a crash cut it off"
        raise Incomplete(said, AGAIN_ADVICE)


def _gunzipped(buffered: "BufferedReader[Any]", where: str) -> Iterator[Item]:
    try:
        with gzip.open(buffered) as unzipped:
            yield from _lines(BufferedReader(unzipped, CHUNK), where)
    except EOFError:
        yield Flaw(Fault.TORN, f"{where} ends in the middle: a copy or a crash cut it off")
    except (gzip.BadGzipFile, zlib.error) as error:
        yield Flaw(Fault.DAMAGED, f"{where} cannot be unpacked further: {error}")


def _lines(buffered: "BufferedReader[Any]", where: str) -> Iterator[Item]:
    start = buffered.peek(1)
    _refuse_stump(start, where)
    first = start.split(b"\n", 1)[0]
    if len(first) >= LINE_BYTES_MAX:
        raise Unreadable(f"{where} has no lines", KIND_ADVICE)
    yield from read_lines(buffered, where, decoder_for(first, where))
