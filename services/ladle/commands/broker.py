"""`ladle broker`: the topology on RabbitMQ."""

import asyncio
from typing import Annotated

import typer

from ladle.commands.output import NO, SERVICE_MODULES, UNREACHABLE, fail, needs, out, print_json

app = typer.Typer(no_args_is_help=True, help="Declare and look at the topology on RabbitMQ.")


@app.command()
@needs("service", *SERVICE_MODULES)
def declare(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit 1 where something is missing.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Declare the cell's exchanges, queues and bindings; harmless to repeat.

    Example: ladle broker declare   (LADLE_AMQP_URL says on which broker)
    """
    from ladle.broker import declare as broker
    from ladle.placement.settings import PlacementSettings
    from ladle_contracts.link import LinkDown, Refused
    from ladle_contracts.topology import Topology

    settings = PlacementSettings()
    topology = Topology(settings.cell, quorum_requests=settings.requests_quorum)
    parts = topology.declarations()
    names = [x.name for x in parts.exchanges] + [q.name for q in parts.queues]
    try:
        if check:
            absent = asyncio.run(broker.missing(settings.url, topology))
        else:
            asyncio.run(broker.declare(settings.url, topology))
            absent = []
    except LinkDown as error:
        fail(UNREACHABLE, str(error), "check LADLE_AMQP_URL and that the broker runs")
    except Refused as error:
        fail(NO, str(error))
    if json_:
        print_json({"cell": settings.cell, "names": names, "missing": absent})
    elif absent:
        out.print(f"missing in cell {settings.cell}: {', '.join(absent)}")
    else:
        done = "are there" if check else "declared"
        out.print(f"cell {settings.cell}: {len(names)} exchanges and queues {done}")
    if absent:
        raise typer.Exit(NO)
