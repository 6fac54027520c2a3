"""`ladle placement`: the service itself."""

import asyncio
import gc
import signal
from typing import Annotated

import typer

from ladle.commands.advice import DATABASE_ADVICE, FOREIGN_ADVICE, NEWER_ADVICE, broker_advice
from ladle.commands.guard import SETTINGS_ADVICE, check_database, command
from ladle.commands.output import NO, UNREACHABLE, USAGE, fail

CELL_ADVICE = "a database for each cell, or LADLE_CELL as it was when this one was begun"
LISTEN_ADVICE = (
    "set LADLE_HTTP_PORT to a free port (0 takes any), LADLE_HTTP_HOST to an address of this "
    "machine, or LADLE_HTTP=false"
)
LOSS_ADVICE = (
    "restore a newer copy of the database; or, if those records are lost for good, start once with "
    "`ladle placement --accept-loss`"
)


@command
def placement(
    plain_logs: Annotated[
        bool, typer.Option("--plain-logs", help="Lines for a person instead of JSON.")
    ] = False,
    upgrade: Annotated[
        bool,
        typer.Option(
            help="Bring the database's schema up to date first; --no-upgrade leaves that to "
            "`ladle db upgrade`."
        ),
    ] = True,
    accept_loss: Annotated[
        bool,
        typer.Option(
            "--accept-loss",
            help="Write on although the broker knows of records that the journal has lost (a "
            "restored backup); the journal says so. For the first term of this process.",
        ),
    ] = False,
) -> None:
    """Run the placement service until SIGTERM or Ctrl-C.

    One process writes, others with the same database stand by. On SIGTERM it finishes the batch,
    answers, acks, gives the lease up and leaves with 0. It refuses to write, and leaves with 1,
    where the broker's stream holds events of records that the journal has not: a backup was
    restored. It leaves with 3 where the database fails it, or a newer Ladle writes there.

    Example: ladle placement --plain-logs
    """
    from ladle.placement import logs
    from ladle.placement.settings import PlacementSettings

    settings = PlacementSettings()
    check_database(settings.database)
    settings.ssl_context()  # Files that cannot be used: now, and not at the first connection.
    logs.configure(settings.log_level, plain=plain_logs)
    _run(settings, upgrade=upgrade, accept_loss=accept_loss)


def _run(settings: object, *, upgrade: bool, accept_loss: bool) -> None:
    import uvloop

    from ladle.journal.store import ForeignDatabase, SchemaTooNew, StoreBroken, StoreError
    from ladle.placement.loss import JournalBehind
    from ladle.placement.settings import PlacementSettings
    from ladle.placement.whose_journal import OtherCell
    from ladle_contracts.link import LinkError

    assert isinstance(settings, PlacementSettings)
    try:
        uvloop.run(_serve(settings, upgrade=upgrade, accept_loss=accept_loss))
    except JournalBehind as error:
        fail(NO, f"{error.code}: {error}", LOSS_ADVICE)
    except OtherCell as error:
        fail(USAGE, f"{error.code}: {error}", CELL_ADVICE)
    except SchemaTooNew as error:
        fail(UNREACHABLE, str(error), NEWER_ADVICE)
    except ForeignDatabase as error:
        fail(UNREACHABLE, str(error), FOREIGN_ADVICE)
    except StoreBroken as error:
        fail(UNREACHABLE, str(error), "free disk space or mend the disk, then start again")
    except StoreError as error:
        fail(UNREACHABLE, str(error), DATABASE_ADVICE)
    except LinkError as error:
        # What the broker holds or allows is not what this service declares: it says which.
        fail(UNREACHABLE, str(error), broker_advice(error))
    except ValueError as error:
        fail(USAGE, str(error), SETTINGS_ADVICE)
    except OSError as error:
        fail(UNREACHABLE, str(error), LISTEN_ADVICE)


async def _serve(settings: object, *, upgrade: bool, accept_loss: bool) -> None:
    from ladle.journal.open import open_store
    from ladle.journal.schema import upgrade as upgrade_schema
    from ladle.placement.build import make_link
    from ladle.placement.service import PlacementService
    from ladle.placement.settings import PlacementSettings
    from ladle_contracts.clock import SystemClock

    assert isinstance(settings, PlacementSettings)
    if upgrade:
        await upgrade_schema(settings.database)
    _collect_seldom()
    service = PlacementService(
        settings,
        store=open_store(settings.database),
        make_link=lambda: make_link(settings),
        clock=SystemClock(),
        accept_loss=accept_loss,
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await service.run(stop)


def _collect_seldom() -> None:
    """Let the cycle collector run seldom.

    The view is some hundred thousand small objects without cycles that live for hours; to walk
    them after every few thousand new ones, as the default has it, took a fifth of the service's
    time under load.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
