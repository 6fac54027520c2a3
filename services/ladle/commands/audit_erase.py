"""`ladle audit erase`: forget a room, and leave the chain whole."""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ladle.commands.advice import FOREIGN_ADVICE
from ladle.commands.audit_source import JsonOption, fail_audit
from ladle.commands.guard import check_database, command
from ladle.commands.output import many, plain, print_json, say, show

if TYPE_CHECKING:
    from ladle.audit.erase import Erased

NO, USAGE, UNREADABLE, INCOMPLETE, UNREACHABLE = 1, 2, 3, 4, 5
SAY_EVERY = 50_000


@command
def erase(
    room: Annotated[str, typer.Option("--room", metavar="ID", help="The room to forget.")],
    mentions: Annotated[
        bool,
        typer.Option(
            "--mentions", help="Erase other records that name it, too (servers' lists, ticks)."
        ),
    ] = False,
    reason: Annotated[
        str | None, typer.Option(help="Stands in the journal for good: name nobody in it.")
    ] = None,
    archive: Annotated[
        Path | None,
        typer.Option(
            "--archive", metavar="FOLDER", help="Erase in the journal's archived beginning, too."
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json_: JsonOption = False,
) -> None:
    """Take the content of a room's records out of the journal; it cannot be undone.

    The chain still verifies, and a record says which ones were erased. A writer that is active
    stands down for a moment and goes on. Exit code 1 where there is nothing to erase, 4 where
    records are in an archive that was not given: they may hold the room.

    Example: ladle audit erase --room standup --reason "request 17" --yes
    """
    from ladle.audit.erase import NotPublished, StillKnown
    from ladle.audit.errors import SourceError
    from ladle.journal.store import ForeignDatabase, SchemaTooNew, SchemaTooOld, StoreError
    from ladle.placement.settings import PlacementSettings

    if not yes and not (sys.stdin.isatty() and typer.confirm(f"Erase {room} for good?")):
        fail_audit(USAGE, "nothing was erased", "say --yes: it cannot be undone")
    check_database(PlacementSettings().database)
    try:
        erased = asyncio.run(_erase(room, mentions, reason, archive))
    except StillKnown as error:
        advice = "release it, and wait for ten minutes after its end: so long it is remembered"
        fail_audit(NO, str(error), advice)
    except NotPublished as error:
        fail_audit(NO, str(error), "let a placement service run until it has sent them")
    except SourceError as error:
        fail_audit(error.exit_code, f"nothing was erased: {error.said}", error.advice)
    except (SchemaTooNew, SchemaTooOld) as error:
        fail_audit(UNREADABLE, str(error), "run the Ladle that wrote it, or `ladle db upgrade`")
    except ForeignDatabase as error:
        fail_audit(UNREADABLE, str(error), FOREIGN_ADVICE)
    except StoreError as error:
        fail_audit(UNREACHABLE, str(error), "run it again: what was erased stays erased")
    except OSError as error:
        said = f"{error.filename or archive}: {error.strerror}"
        fail_audit(UNREACHABLE, said, "is the disk full? run it again: what was erased stays so")
    _tell(room, erased, mentions, json_)


async def _erase(room: str, mentions: bool, reason: str | None, archive: Path | None) -> "Erased":
    from ladle.audit.erase import Eraser
    from ladle.journal.alone import holder_name
    from ladle.journal.open import open_store
    from ladle.placement.settings import PlacementSettings
    from ladle_contracts.clock import SystemClock

    said = 0

    def progress(records: int) -> None:
        nonlocal said
        if records - said >= SAY_EVERY:
            said = records
            say(f"{records:,} records looked at")

    settings = PlacementSettings()
    store = open_store(settings.database)
    try:
        await store.open()
        eraser = Eraser(
            store,
            room,
            clock=SystemClock(),
            holder=holder_name("erase"),
            with_mentions=mentions,
            reason=reason,
            archive=archive,
            progress=progress,
        )
        return await eraser.run()
    finally:
        await store.close()


def _tell(room: str, erased: "Erased", mentions: bool, json_: bool) -> None:
    left = 0 if mentions else erased.mentions
    if json_:
        status = "incomplete" if erased.not_read else "ok"
        said: dict[str, Any] = {"status": status, "offset": erased.offset}
        said |= {"erased": erased.records, "archived": erased.archived, "mentions_left": left}
        print_json({**said, "not_read": erased.not_read})
    elif erased.offset is None:
        show(f"no record is about room {plain(room)}")
    else:
        files = f", {many(erased.archived, 'record')} of them in the archive"
        where = files if erased.archived else ""
        were = "1 record was" if erased.records == 1 else f"{erased.records:,} records were"
        show(f"{were} erased{where}; record {erased.offset} says so")
    if left and not json_:
        others = "1 other record names" if left == 1 else f"{left:,} other records name"
        show(f"{others} the room; --mentions erases that, too")
    if erased.not_read:
        if not json_:
            show(
                f"records 1 to {erased.not_read} are in an archive, and may hold the room: run it "
                "again with --archive and its folder"
            )
        raise typer.Exit(INCOMPLETE)
    if erased.offset is None:
        raise typer.Exit(NO)
