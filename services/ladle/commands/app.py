"""The command tree: names and order of `ladle --help`, nothing else."""

from typing import Annotated

import typer

from ladle import __version__
from ladle.commands import (
    audit,
    bench,
    broker,
    chaos,
    database,
    dead_letters,
    doctor,
    fleet,
    operations,
    placement,
    reading,
    top,
    up,
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help=(
        "Placement for fleets of mediasoup servers.\n\n"
        "Settings are LADLE_* variables (docs/configuration.md). Exit codes: 0 done, 1 the answer "
        "is no, 2 usage, 3 cannot reach or read something."
    ),
    epilog="Start with [bold]ladle up[/]: a broker, the service and a fleet to look at.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ladle {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version and leave."
        ),
    ] = False,
) -> None:
    """The options of `ladle` itself; its help stands above."""


RUN = "Run"
ASK = "Ask"
LOOK = "Look"
CARE = "Take care"

app.command(rich_help_panel=RUN)(up.up)
app.command(rich_help_panel=RUN)(placement.placement)
app.command(rich_help_panel=RUN)(fleet.fleet)
app.command(rich_help_panel=RUN)(doctor.doctor)

app.command(rich_help_panel=ASK)(operations.allocate)
app.command(rich_help_panel=ASK)(operations.extend)
app.command(rich_help_panel=ASK)(operations.move)
app.command(rich_help_panel=ASK)(operations.release)
app.command(rich_help_panel=ASK)(operations.drain)
app.command(rich_help_panel=ASK)(operations.undrain)

app.command(rich_help_panel=LOOK)(reading.lookup)
app.command(rich_help_panel=LOOK)(reading.view)
app.command(rich_help_panel=LOOK)(reading.rooms)
app.command(rich_help_panel=LOOK)(reading.explain)
app.command(rich_help_panel=LOOK)(top.top)


def _add_group(group: typer.Typer, name: str, example: str) -> None:
    """A group, whose help ends with an example as that of a command does."""
    what = group.info.help
    app.add_typer(
        group,
        name=name,
        rich_help_panel=CARE,
        short_help=what,
        help=f"{what}\n\nExample: ladle {name} {example}",
    )


_add_group(broker.app, "broker", "check")
_add_group(audit.app, "audit", "timeline standup --source sqlite:///ladle.db")
_add_group(database.app, "db", "upgrade")
_add_group(dead_letters.app, "dead-letters", "list --reason bad-data")
_add_group(bench.app, "bench", "decide --rounds 2")
app.command(rich_help_panel=CARE)(chaos.chaos)
