"""`ladle broker`: the topology on RabbitMQ, and who may do what there."""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ladle.commands.advice import broker_advice
from ladle.commands.guard import command
from ladle.commands.output import NO, UNREACHABLE, USAGE, fail, print_json, say, show
from ladle.commands.places import PLACE_ADVICE, trouble_with

if TYPE_CHECKING:
    from ladle.broker.roles import User
    from ladle.broker.users_file import Passwords
    from ladle.placement.settings import PlacementSettings
    from ladle_contracts.topology import Topology

app = typer.Typer(
    no_args_is_help=True, help="The cell's exchanges, queues, users and rights on RabbitMQ."
)

USERS_ADVICE = "a file that `ladle broker definitions --users FILE` made"

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Named = Annotated[list[str] | None, typer.Option(metavar="NAME", help="A user of this role.")]
Speaker = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME[=SERVER,...]", help="A user, and the servers it speaks for."),
]


@app.command()
@command
def declare(json_: Json = False) -> None:
    """Declare the cell's exchanges, queues and bindings; harmless to repeat.

    Example: ladle broker declare   (LADLE_AMQP_URL says on which broker)
    """
    from ladle.broker import declare as broker
    from ladle_contracts.link import LinkDown, Refused

    settings, topology = _settings()
    try:
        asyncio.run(broker.declare(settings.url, topology, ssl_context=settings.ssl_context()))
    except LinkDown as error:
        fail(UNREACHABLE, str(error), broker_advice(error))
    except Refused as error:
        fail(NO, str(error), broker_advice(error))
    names = _names(topology)
    if json_:
        print_json({"cell": topology.cell, "names": names, "missing": []})
    else:
        show(f"cell {topology.cell}: {len(names)} exchanges and queues declared")


@app.command()
@command
def definitions(
    users: Annotated[
        Path, typer.Option(help="Private file of users and passwords; made, and added to, here.")
    ],
    media_server: Speaker = None,
    gateway: Speaker = None,
    backend: Named = None,
    operator: Named = None,
    subscriber: Named = None,
    auditor: Named = None,
    placement: Named = None,
    administrator: Named = None,
    json_: Annotated[bool, typer.Option("--json", help="Without line breaks.")] = False,
) -> None:
    """Print a definitions file for RabbitMQ: users, rights, policies, exchanges, queues.

    Each user who is new to --users gets a password there; the definitions hold its hash alone.
    A media server without SERVER speaks for the one of its own name, a gateway for all. A user
    may ask (backend, operator), read the log (auditor) or Ladle's events (subscriber).

    Example: ladle broker definitions --users users.json --placement ladle --media-server sfu-1 \
    --backend meetings > definitions.json   (then: rabbitmqctl import_definitions definitions.json)
    """
    from ladle.broker.definitions import definitions as made
    from ladle.broker.roles import Role, users_of

    named = {
        Role.MEDIA_SERVER: media_server,
        Role.GATEWAY: gateway,
        Role.BACKEND: backend,
        Role.OPERATOR: operator,
        Role.SUBSCRIBER: subscriber,
        Role.AUDITOR: auditor,
        Role.PLACEMENT: placement,
        Role.ADMINISTRATOR: administrator,
    }
    try:
        added = [user for role, names in named.items() for user in users_of(role, names or ())]
    except ValueError as error:
        fail(USAGE, str(error))
    everyone = _with_passwords(users, added)
    settings, topology = _settings()
    document = made(topology, everyone, vhost=_vhost(settings.url))
    if json_:
        print_json(document)
    else:
        typer.echo(json.dumps(document, indent=2))


@app.command()
@command
def check(
    users: Annotated[
        Path | None,
        typer.Option(help="Also try what each user of this file may and may not do."),
    ] = None,
    json_: Json = False,
) -> None:
    """Say which exchanges and queues are missing, and change nothing; exit 1 where some are.

    With --users it connects as each user and tries every action, allowed or not, in a way that
    leaves no trace; exit 1 where one differs from what its role is meant to do.

    Example: ladle broker check --users users.json
    """
    if users is not None:
        _check_users(users, json_)
        return
    from ladle.broker import declare as broker
    from ladle_contracts.link import LinkDown

    settings, topology = _settings()
    try:
        absent = asyncio.run(
            broker.missing(settings.url, topology, ssl_context=settings.ssl_context())
        )
    except LinkDown as error:
        fail(UNREACHABLE, str(error), broker_advice(error))
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


def _check_users(path: Path, json_: bool) -> None:
    from ladle.broker.trying import try_users
    from ladle.commands.role_table import as_json, differences, role_table
    from ladle_contracts.link import LinkDown

    users = _read_users(path)
    settings, topology = _settings()
    say(f"trying {len(users)} users")
    try:
        found = asyncio.run(
            try_users(settings.url, topology, users, ssl_context=settings.ssl_context())
        )
    except LinkDown as error:
        fail(UNREACHABLE, str(error), broker_advice(error))
    wrong = differences(found)
    if json_:
        print_json({"cell": topology.cell, "differences": wrong, **as_json(found)})
    else:
        show(role_table(found))
        said = f"{wrong} differ from what is meant" if wrong else "all as meant"
        show(f"cell {topology.cell}: {sum(map(len, found.values()))} tried, {said}")
    if wrong:
        raise typer.Exit(NO)


def _with_passwords(path: Path, added: "list[User]") -> "Passwords":
    """The file's users and the added, whose passwords are written before anything is printed."""
    from ladle.broker import users_file
    from ladle.broker.roles import check_users

    try:
        known = users_file.read(path) if path.exists() else {}
        # One name in two options would get the rights of whichever comes last.
        check_users(added)
        everyone = users_file.together(known, added)
        if everyone != known:
            users_file.write(path, everyone)
            say(f"{path}: {len(everyone)} users, {len(everyone) - len(known)} of them new")
    except FileNotFoundError as error:
        fail(USAGE, f"--users: {trouble_with(path) or error}", PLACE_ADVICE)
    except ValueError as error:
        fail(USAGE, f"--users: {error}", USERS_ADVICE)
    if not everyone:
        fail(USAGE, "there are no users", "name some, as --media-server sfu-1 --backend meetings")
    return everyone


def _read_users(path: Path) -> "Passwords":
    from ladle.broker import users_file

    try:
        users = users_file.read(path)
    except FileNotFoundError:
        fail(USAGE, f"--users: {path} does not exist", USERS_ADVICE)
    except ValueError as error:
        fail(USAGE, f"--users: {error}", USERS_ADVICE)
    if not users:
        fail(USAGE, f"--users: {path} names no users", USERS_ADVICE)
    return users


def _vhost(url: str) -> str:
    """As AMQP addresses name it: no path, or `/` alone, is the vhost `/`."""
    from yarl import URL

    return URL(url).path[1:] or "/"


def _settings() -> "tuple[PlacementSettings, Topology]":
    from ladle.placement.settings import PlacementSettings
    from ladle_contracts.topology import Topology

    settings = PlacementSettings()
    return settings, Topology(settings.cell, quorum_requests=settings.requests_quorum)


def _names(topology: "Topology") -> list[str]:
    parts = topology.declarations()
    return [
        *(f"exchange {exchange.name}" for exchange in parts.exchanges),
        *(f"queue {queue.name}" for queue in parts.queues),
    ]
