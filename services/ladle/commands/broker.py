"""`ladle broker`: the topology on RabbitMQ."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from ladle.commands.asking import BROKER_ADVICE
from ladle.commands.guard import command
from ladle.commands.output import NO, UNREACHABLE, fail, print_json, show

if TYPE_CHECKING:
    from ladle_contracts.topology import Topology

app = typer.Typer(no_args_is_help=True, help="The cell's exchanges and queues on RabbitMQ.")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
@command
def declare(json_: Json = False) -> None:
    """Declare the cell's exchanges, queues and bindings; harmless to repeat.

    Example: ladle broker declare   (LADLE_AMQP_URL says on which broker)
    """
    from ladle.broker import declare as broker
    from ladle_contracts.link import LinkDown, Refused

    url, topology = _where()
    try:
        asyncio.run(broker.declare(url, topology))
    except LinkDown as error:
        fail(UNREACHABLE, str(error), BROKER_ADVICE)
    except Refused as error:
        fail(NO, str(error))
    names = _names(topology)
    if json_:
        print_json({"cell": topology.cell, "names": names, "missing": []})
    else:
        show(f"cell {topology.cell}: {len(names)} exchanges and queues declared")


@app.command()
@command
def check(json_: Json = False) -> None:
    """Say which exchanges and queues are missing, and change nothing; exit 1 where some are.

    Example: ladle broker check --json
    """
    from ladle.broker import declare as broker
    from ladle_contracts.link import LinkDown

    url, topology = _where()
    try:
        absent = asyncio.run(broker.missing(url, topology))
    except LinkDown as error:
        fail(UNREACHABLE, str(error), BROKER_ADVICE)
    names = _names(topology)
    if json_:
        print_json({"cell": topology.cell, "names": names, "missing": absent})
    elif absent:
        show(f"cell {topology.cell} lacks {len(absent)} of {len(names)}:")
        for name in absent:
            show(f"  {name}")
        show("[dim]declare them: ladle broker declare[/]")
    else:
        show(f"cell {topology.cell}: all {len(names)} exchanges and queues are there")
    if absent:
        raise typer.Exit(NO)


def _where() -> "tuple[str, Topology]":
    from ladle.placement.settings import PlacementSettings
    from ladle_contracts.topology import Topology

    settings = PlacementSettings()
    return settings.url, Topology(settings.cell, quorum_requests=settings.requests_quorum)


def _names(topology: "Topology") -> list[str]:
    parts = topology.declarations()
    return [
        *(f"exchange {exchange.name}" for exchange in parts.exchanges),
        *(f"queue {queue.name}" for queue in parts.queues),
    ]
