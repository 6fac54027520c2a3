"""The manifest of an export or an archive: its files, and what they should hold."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from ladle.audit.errors import Incomplete, Unreachable, Unreadable
from ladle.audit.source import Claim, Origin
from ladle.journal.store import Head

MANIFEST = "manifest.json"
UNFINISHED = "manifest.json.part"
"""There from the first moment of an export to its last: who finds it knows that it did not end."""

FORMAT = "ladle-journal-export"
ARCHIVE_FORMAT = "ladle-journal-archive"
"""An archive is the beginning of a journal; the same fields, and files that are added to it."""

STREAM_FORMAT = "ladle-stream-export"
"""What was said on the broker's stream: events and no records, and no journal."""

FORMAT_VERSION = 1
ENDINGS = (".jsonl", ".csv", ".parquet", ".jsonl.gz", ".csv.gz")
STREAM_ADVICE = "it holds what was said, and no records: give the journal, or an export of it"
AGAIN_ADVICE = "export once more, into a new folder"
GOES_ON_UNTOLD = "whether the journal goes on behind its end"
MANIFEST_ADVICE = "get the export again, whole; or name one of its files to read that one alone"


@dataclass(frozen=True, slots=True)
class Listed:
    """A file of the log. size and sha256 are None where no manifest vouches for it."""

    path: Path
    first_offset: int | None = None
    last_offset: int | None = None
    size: int | None = None
    sha256: str | None = None


def files_of(folder: Path) -> tuple[list[Listed], Claim]:
    """The files of a folder in the order of the log, and what its manifest claims.

    Without a manifest: all files with an export's ending, by name, and that they may be too few.
    Raises SourceError.
    """
    manifest = folder / MANIFEST
    if not manifest.exists():
        if (folder / UNFINISHED).exists():
            raise Incomplete(f"{folder} is an export that did not end", AGAIN_ADVICE)
        found = sorted(path for path in folder.iterdir() if path.name.endswith(ENDINGS))
        if not found:
            raise Unreadable(f"{folder} holds no file of an export", "give the export's folder")
        return [Listed(path) for path in found], Claim(lacks=_no_manifest_in(folder))
    told = read_manifest(folder, FORMAT, ARCHIVE_FORMAT)
    try:
        return [_listed(folder, file) for file in told["files"]], _claim(told)
    except (ValueError, KeyError, TypeError) as error:
        raise _no_manifest(manifest, error) from error


def file_alone(path: Path) -> tuple[list[Listed], Claim]:
    """One file by itself, and what it cannot tell: where the journal ends."""
    if (path.parent / UNFINISHED).exists() and not (path.parent / MANIFEST).exists():
        lacks = Incomplete(f"{path} is of an export that did not end", AGAIN_ADVICE)
        return [Listed(path)], Claim(lacks=lacks)
    where = "give its folder" if (path.parent / MANIFEST).exists() else "no manifest is beside it"
    said = f"{GOES_ON_UNTOLD}, which a file alone does not tell: {where}"
    return [Listed(path)], Claim(untold=said)


def _no_manifest_in(folder: Path) -> Incomplete:
    return Incomplete(
        f"{folder} has no {MANIFEST}, which an export writes last and which says what it holds",
        "get it from where the files were copied, or export once more",
    )


def begin_manifest(folder: Path, format_: str) -> None:
    """Say that an export has begun in the folder; raises OSError."""
    told = {"format": format_, "format_version": FORMAT_VERSION, "complete": False}
    (folder / UNFINISHED).write_text(json.dumps(told) + "\n", encoding="utf-8")


def end_manifest(folder: Path, told: Mapping[str, Any]) -> None:
    """The manifest, in one piece, in place of the one that says that it has begun; OSError."""
    text = json.dumps(told, indent=2, ensure_ascii=False) + "\n"
    unfinished = folder / UNFINISHED
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, folder / MANIFEST)


def forget_begun(folder: Path) -> None:
    """Leave the folder as empty as it was, where nothing was exported into it. Never raises."""
    with suppress(OSError):
        if [path.name for path in folder.iterdir()] == [UNFINISHED]:
            (folder / UNFINISHED).unlink()


def read_manifest(folder: Path, *formats: str) -> dict[str, Any]:
    """What the manifest in `folder` says, which is of one of these formats; raises SourceError."""
    manifest = folder / MANIFEST
    try:
        told: dict[str, Any] = orjson.loads(manifest.read_bytes())
        if told["format"] == STREAM_FORMAT:
            raise Unreadable(f"{folder} is an export of the broker's stream", STREAM_ADVICE)
        if told["format"] not in formats or type(told["format_version"]) is not int:
            raise ValueError("it is that of something else")
        if told["format_version"] > FORMAT_VERSION:
            raise Unreadable(
                f"{manifest} is of format version {told['format_version']}, this program knows "
                f"{FORMAT_VERSION}",
                "audit it with a newer Ladle",
            )
    except OSError as error:
        raise Unreachable(f"{manifest}: {error}", "check who may read it") from error
    except (ValueError, KeyError, TypeError) as error:
        raise _no_manifest(manifest, error, *formats) from error
    return told


def _no_manifest(manifest: Path, error: Exception, *formats: str) -> Unreadable:
    if formats == (ARCHIVE_FORMAT,):
        advice = "give the folder that `ladle db archive` wrote to; an export goes with --source"
        return Unreadable(f"{manifest} is no manifest of an archive: {error!r}", advice)
    return Unreadable(f"{manifest} is no manifest of an export: {error!r}", MANIFEST_ADVICE)


def _listed(folder: Path, file: dict[str, Any]) -> Listed:
    name = str(file["name"])
    if Path(name).name != name:
        raise ValueError(f"the file name {name!r} leads elsewhere")
    return Listed(
        folder / name,
        int(file["first_offset"]),
        int(file["last_offset"]),
        int(file["bytes"]),
        str(file["sha256"]),
    )


def _claim(told: dict[str, Any]) -> Claim:
    """A selection where records were left out; else a whole log, or what its gaps left of one."""
    head = Head(int(told["head"]["offset"]), str(told["head"]["hash"]), 0)
    filters = told["filters"]
    gaps = tuple((int(first), int(last)) for first, last in told.get("gaps", ()))
    cell, redacted = str(told.get("cell", "default")), bool(told.get("redacted"))
    origin = Origin(cell, dict(filters), redacted, gaps, head)
    goes_on = told.get("goes_on", told["format"] == ARCHIVE_FORMAT)
    untold = GOES_ON_UNTOLD if goes_on is None else None
    if filters or not (told["complete"] or "gaps" in told):
        named = ", ".join(f"{name} {value}" for name, value in sorted(filters.items()))
        return Claim(selected=named or "a filter", untold=untold, origin=origin)
    return Claim(
        head=head,
        snapshots=tuple(int(offset) for offset in told.get("snapshots", ())),
        goes_on=bool(goes_on),
        untold=untold,
        origin=origin,
    )
