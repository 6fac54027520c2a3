"""`ladle db archive`: the beginning of a journal goes from the database to compressed files."""

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ladle.commands.audit_export import checkpoint_in, verifier_key
from ladle.commands.audit_source import JsonOption, fail_audit
from ladle.commands.guard import check_database, command
from ladle.commands.output import NO, USAGE, fail, many, plain, print_json, say, show
from ladle.commands.places import PLACE_ADVICE, trouble_with

if TYPE_CHECKING:
    from ladle.audit.archive import Archived
    from ladle.audit.checkpoint import Checkpoint

UNREADABLE, UNREACHABLE = 3, 5
SAY_EVERY = 50_000


@command
def archive(
    to: Annotated[
        Path,
        typer.Option("--to", metavar="FOLDER", help="A new folder, or this journal's archive."),
    ],
    checkpoint: Annotated[
        Path,
        typer.Option(
            "--checkpoint", metavar="FILE", help="A signed note; only what it vouches for may go."
        ),
    ],
    key: Annotated[
        str, typer.Option("--key", metavar="KEY", help="Its verifier key, or a file with it.")
    ],
    through: Annotated[
        int | None,
        typer.Option("--through", metavar="OFFSET", min=1, help="Archive no record above this."),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Move the journal's oldest records to compressed files; a record anchors their digests.

    What goes lies below a signed checkpoint, is confirmed by the broker, and ends at a snapshot, so
    that all that stays can be folded without the archive. Records leave the database only when the
    files are on the disk and read back. `ladle audit --archive FOLDER` reads both as one log. A
    writer that is active stands down for a moment and goes on. Exit codes are those of `ladle
    audit`; 1 also where nothing may be archived.

    Example: ladle db archive --to archive --checkpoint 2026-11-22.checkpoint --key ladle.pub
    """
    from ladle.audit.archive import NothingToArchive
    from ladle.audit.errors import SourceError
    from ladle.journal.store import SchemaTooNew, SchemaTooOld, StoreError
    from ladle.placement.settings import PlacementSettings

    settings = PlacementSettings()
    check_database(settings.database)
    if why := trouble_with(to / "manifest"):
        fail(USAGE, f"--to: {why}", PLACE_ADVICE)
    signed = checkpoint_in(checkpoint, verifier_key(key))
    try:
        done = asyncio.run(_archive(settings.database, to, signed, through))
    except NothingToArchive as error:
        fail(NO, str(error), error.advice)
    except SourceError as error:
        fail_audit(error.exit_code, error.said, error.advice)
    except (SchemaTooNew, SchemaTooOld) as error:
        fail_audit(UNREADABLE, str(error), "run the Ladle that wrote it, or `ladle db upgrade`")
    except StoreError as error:
        fail_audit(UNREACHABLE, str(error), "run it again: nothing is lost, and it goes on")
    except OSError as error:
        said = f"{error.filename or to}: {error.strerror}"
        fail_audit(UNREACHABLE, said, "is the disk full? run it again: nothing is lost")
    _tell(done, to, json_)


async def _archive(url: str, to: Path, signed: "Checkpoint", through: int | None) -> "Archived":
    from ladle.audit.archive import Archiver
    from ladle.journal.alone import holder_name
    from ladle.journal.open import open_store
    from ladle_contracts.clock import SystemClock

    said = 0

    def progress(records: int, of: int) -> None:
        nonlocal said
        if records - said >= SAY_EVERY:
            said = records
            say(f"{records:,} of {of:,} records written")

    store = open_store(url)
    try:
        await store.open()
        archiver = Archiver(
            store,
            to,
            signed,
            clock=SystemClock(),
            holder=holder_name("archive"),
            through=through,
            progress=progress,
        )
        return await archiver.run()
    finally:
        await store.close()


def _tell(done: "Archived", to: Path, json_: bool) -> None:
    size = sum(segment.bytes for segment in done.segments)
    if json_:
        told: dict[str, Any] = asdict(done)
        print_json({"status": "ok", **told, "folder": str(to)})
        return
    show(
        f"records {done.first_offset} to {done.last_offset} are in "
        f"{many(len(done.segments), 'segment')} of {size:,} bytes in {plain(str(to))}; record "
        f"{done.said_by} anchors them"
    )
    show(f"{many(done.dropped, 'record')} and {many(done.snapshots, 'snapshot')} left the database")
