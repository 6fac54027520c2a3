"""`ladle bench`: how fast it is here, as ratios inside one run."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ladle.commands.brokers import GivenBroker, NoBroker, find_broker
from ladle.commands.guard import command
from ladle.commands.output import UNREACHABLE, USAGE, fail, print_json, say, show

if TYPE_CHECKING:
    from ladle.lab.rounds import Figure

app = typer.Typer(
    no_args_is_help=True,
    help="Measure speed and size here. Figures are ratios inside one run: medians of "
    "interleaved rounds against a yardstick, as machines differ and are noisy.",
)

Rounds = Annotated[int, typer.Option(min=1, max=50, help="Interleaved rounds.")]
Json = Annotated[bool, typer.Option("--json", help="Print a list of figures as JSON.")]
Run = Callable[[str, Path], "list[Figure]"]


@app.command()
@command
def rpc(rounds: Rounds = 5, json_: Json = False) -> None:
    """Journaled allocate over RPC against a bare aio-pika echo, at 1, 16 and 256 outstanding.

    Example: ladle bench rpc --rounds 5 --json
    """
    from ladle.lab import rpc as bench

    _with_broker(lambda url, folder: bench.run(url, folder, rounds=rounds, progress=say), json_)


@app.command()
@command
def events(rounds: Rounds = 5, json_: Json = False) -> None:
    """Events journaled from the quorum inbox against a bare consumer that acks each.

    Example: ladle bench events
    """
    from ladle.lab import inbox as bench

    _with_broker(lambda url, folder: bench.run(url, folder, rounds=rounds, progress=say), json_)


@app.command()
@command
def decide(rounds: Rounds = 5, json_: Json = False) -> None:
    """One decision at 100 to 100,000 workers; needs no broker.

    Example: ladle bench decide
    """
    from ladle.lab import decide as bench

    _print(bench.run(rounds=rounds, progress=say), json_)


@app.command()
@command
def journal(
    seconds: Annotated[int, typer.Option(min=10, max=3600, help="Of statuses, in real time.")] = 60,
    json_: Json = False,
) -> None:
    """What the journal grows by: bytes a server and day, from 100 servers of four workers.

    Example: ladle bench journal --seconds 60
    """
    from ladle.lab import journal_size as bench

    _with_broker(lambda url, folder: bench.run(url, folder, seconds=seconds, progress=say), json_)


@app.command()
@command
def memory(json_: Json = False) -> None:
    """Resident memory of the service with 1,000 servers x 8 workers and 20,000 rooms.

    Example: ladle bench memory
    """
    from ladle.lab import memory as bench

    _with_broker(lambda url, folder: bench.run(url, folder, progress=say), json_)


@app.command()
@command
def soak(
    seconds: Annotated[int, typer.Option(min=15, max=86_400, help="Of steady demand.")] = 1800,
    servers: Annotated[int, typer.Option(min=1, max=2000, help="Servers of four workers.")] = 500,
    json_: Json = False,
) -> None:
    """A fleet at steady load: memory and latency of the last third against the second.

    The first third is for settling; requests alone are remembered for ten minutes.

    Example: ladle bench soak --seconds 3600 --servers 500
    """
    from ladle.lab import soak as bench

    _with_broker(
        lambda url, folder: bench.run(url, folder, seconds=seconds, servers=servers, progress=say),
        json_,
    )


@app.command()
@command
def replay(
    rounds: Rounds = 3,
    length: Annotated[
        list[int] | None,
        typer.Option(
            "--length", min=1_000, metavar="RECORDS", help="Of a log; 10,000 and 100,000 if none."
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """`audit verify` against what the live service writes; memory and `audit at` as a log grows.

    Example: ladle bench replay --length 10000 --length 100000 --length 1000000
    """
    from ladle.lab import replay as bench

    lengths = length or bench.LENGTHS
    _with_broker(
        lambda url, folder: bench.run(url, folder, rounds=rounds, progress=say, lengths=lengths),
        json_,
    )


def _with_broker(run: Run, json_: bool) -> None:
    from ladle.lab.processes import BenchError

    with tempfile.TemporaryDirectory(prefix="ladle-bench-") as name:
        folder = Path(name)
        broker = find_broker(folder)
        if isinstance(broker, GivenBroker) and broker.url.startswith("amqps://"):
            fail(USAGE, "LADLE_AMQP_URL: bench measures over amqp:// alone, its yardstick too")
        say(broker.starting)
        try:
            broker.start()
            figures = run(broker.url, folder)
        except NoBroker as error:
            fail(UNREACHABLE, str(error), error.advice)
        except BenchError as error:
            fail(UNREACHABLE, str(error), "run it again where nothing else keeps the machine busy")
        finally:
            broker.stop()
    _print(figures, json_)


def _print(figures: "list[Figure]", json_: bool) -> None:
    if json_:
        print_json([figure.as_json() for figure in figures])
        return
    table = Table(box=None, padding=(0, 1), header_style="bright_black")
    # A name that is cut off is that of several figures.
    table.add_column("figure", overflow="fold")
    for name in ("value", "unit", "yardstick", "ratio", "rounds"):
        table.add_column(name, justify="left" if name == "unit" else "right")
    for figure in figures:
        table.add_row(
            figure.name,
            _shown(figure.value),
            figure.unit,
            "" if figure.yardstick is None else _shown(figure.yardstick),
            "" if figure.ratio is None else f"{figure.ratio:.2f}",
            str(figure.rounds),
        )
    show(table)
    show(f"[dim]{os.cpu_count()} cores; medians of interleaved rounds[/]")


def _shown(value: float) -> str:
    """Bytes and rates have no decimals that mean anything."""
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.2f}"
