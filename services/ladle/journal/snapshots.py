"""Snapshots: the view at an offset, kept beside the log, so that going back does not start at 1.

The text of a snapshot is what `View.digest` hashes: the canonical JSON of offset, time and all
rows. It is kept compressed, in parts, and a record of kind `snapshot` anchors its digest in the
chain. Nobody trusts one without: what is read is held against the anchor, and `ladle audit verify`
holds both against its own fold.
"""

import asyncio
import gzip
import hashlib
import logging
import zlib
from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from ladle.core.record import Kind, Record, canonical, digest_of
from ladle.core.rows import TABLES
from ladle.core.view import View
from ladle.journal.chain import content_of, rehash
from ladle.journal.store import Head, Steady, StoreError

log = logging.getLogger("ladle.snapshots")

PART_BYTES = 256 * 1024
"""Of text in a part: compressed in a millisecond or two, and stored in a commit as short."""

FIELDS = ("offset", "hash", "recorded_at_ms", "digest", "parts")


class BadSnapshot(ValueError):
    """The kept bytes are not the snapshot that the journal anchors."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """What a record of kind `snapshot` says: the view after record `offset`, whose hash is `hash`.

    digest: as `View.digest` gives it. parts: how many there are. anchored_at: the record's offset.
    """

    offset: int
    hash: str
    recorded_at_ms: int
    digest: str
    parts: int
    anchored_at: int


@dataclass(frozen=True, slots=True)
class Captured:
    """A snapshot that is made and not yet kept."""

    head: Head
    digest: str
    parts: Sequence[bytes]

    @property
    def payload(self) -> dict[str, Any]:
        """What the anchoring record says."""
        head = self.head
        values = (head.offset, head.hash, head.recorded_at_ms, self.digest, len(self.parts))
        return dict(zip(FIELDS, values, strict=True))


class Readable(Protocol):
    """The part of a store that snapshots are made of and read from."""

    def steady(self) -> AbstractAsyncContextManager[Steady]: ...

    async def anchors(self, kind: Kind) -> list[Record]: ...

    async def snapshot(self, offset: int) -> list[bytes]: ...


class Keepable(Protocol):
    """The part of a store that keeps snapshots."""

    async def keep_snapshot(self, offset: int, part: int, content: bytes) -> None: ...


async def capture(store: Readable) -> Captured:
    """The view as the tables hold it now; other tasks have their turn every few milliseconds.

    Reads in one transaction that locks out nobody, and compresses in a thread.
    """
    text = _Text()
    async with store.steady() as steady:
        head = steady.head
        numbers = {"offset": head.offset, "recorded_at_ms": head.recorded_at_ms}
        before = b"{"
        # In the order of canonical JSON, so that the text is the one that `View.digest` hashes.
        for name in sorted([*TABLES, *numbers]):
            text.add(before + canonical(name) + b":")
            before = b","
            if name in numbers:
                text.add(canonical(numbers[name]))
                continue
            between = b"["
            async for rows in steady.slices(name):
                if rows:
                    text.add(between + canonical(list(rows))[1:-1])
                    between = b","
                await text.cut()
            text.add(b"]" if between == b"," else b"[]")
        text.add(b"}")
    await text.cut(last=True)
    return Captured(head, text.digest, text.parts)


async def keep(store: Keepable, made: Captured) -> None:
    """Keep the parts, each in a transaction of its own. What is anchored afterwards is whole."""
    for number, part in enumerate(made.parts):
        await store.keep_snapshot(made.head.offset, number, part)


class _Text:
    """Text that is hashed as it grows, and compressed part by part."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self._hash = hashlib.sha256()
        self._open = bytearray()

    def add(self, piece: bytes) -> None:
        self._hash.update(piece)
        self._open += piece

    async def cut(self, *, last: bool = False) -> None:
        """End a part where it is long enough; `last`: in any case."""
        if last or len(self._open) >= PART_BYTES:
            part, self._open = bytes(self._open), bytearray()
            self.parts.append(await asyncio.to_thread(gzip.compress, part, 6, mtime=0))

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()


def unpacked(parts: Iterable[bytes]) -> bytes:
    """The text of a snapshot; raises BadSnapshot."""
    try:
        return b"".join(gzip.decompress(part) for part in parts)
    except (OSError, EOFError, zlib.error) as error:
        raise BadSnapshot(f"it cannot be unpacked: {error}") from error


def text_of(parts: Iterable[bytes], anchor: Anchor) -> bytes:
    """The text of a snapshot; raises BadSnapshot where it is not the anchored one."""
    text = unpacked(parts)
    digest = hashlib.sha256(text).hexdigest()
    if digest != anchor.digest:
        raise BadSnapshot(f"its digest is {digest}, record {anchor.anchored_at} anchors another")
    return text


def view_of(parts: Iterable[bytes], anchor: Anchor) -> View:
    """The view that a snapshot holds; raises BadSnapshot where it is not the anchored one."""
    told = orjson.loads(text_of(parts, anchor))
    return View.load(told, offset=told["offset"], recorded_at_ms=told["recorded_at_ms"])


def anchor_of(record: Record) -> Anchor | None:
    """What a record of kind `snapshot` anchors; None where it is not as it was sealed."""
    if rehash(record) != record.hash or digest_of(record.salt, record.body) != record.body_digest:
        return None
    try:
        payload = content_of(record)["payload"]
        told = {name: payload[name] for name in FIELDS}
    except (ValueError, KeyError, TypeError):
        return None
    kinds = {name: type(value) for name, value in told.items()}
    wanted = {name: str if name in ("hash", "digest") else int for name in FIELDS}
    return Anchor(**told, anchored_at=record.offset) if kinds == wanted else None


async def anchored(store: Readable) -> list[Anchor]:
    """All snapshots that the journal anchors, by offset, whether they are still kept or not."""
    found = [anchor_of(record) for record in await store.anchors(Kind.SNAPSHOT)]
    return sorted((each for each in found if each is not None), key=lambda each: each.offset)


async def nearest(store: Readable, offset: int) -> View | None:
    """The view of the newest good snapshot at or below `offset`; None where there is none."""
    for anchor in reversed(await anchored(store)):
        if anchor.offset > offset:
            continue
        try:
            parts = await store.snapshot(anchor.offset)
            if parts:
                return view_of(parts, anchor)
        except (BadSnapshot, StoreError) as error:
            log.warning("the snapshot of record %d is passed over: %s", anchor.offset, error)
    return None
