"""`ladle dead-letters`: what was refused, why, and how to give it another try."""

import asyncio
from collections.abc import Awaitable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.table import Table
from rich.text import Text

from ladle.commands.advice import DECLARE_ADVICE, broker_advice
from ladle.commands.guard import command
from ladle.commands.output import NO, UNREACHABLE, fail, plain, print_json, show, visible

if TYPE_CHECKING:
    from ladle_contracts.settings import ClientSettings
    from ladle_contracts.topology import Topology

app = typer.Typer(
    no_args_is_help=True, help="What was refused, why, and how to give it another try."
)

T = TypeVar("T")
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Reason = Annotated[str | None, typer.Option(help="Only those refused for this reason.")]
BODY_SHOWN = 4_000


@app.command("list")
@command
def list_(
    reason: Reason = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 100,
    json_: Json = False,
) -> None:
    """List dead letters, oldest first; they stay where they are.

    Example: ladle dead-letters list --reason bad-data
    """
    from ladle.broker import dead_letters

    settings, topology = _where()
    found = _reached(
        dead_letters.letters(
            settings.url, topology, limit=limit, reason=reason, ssl_context=settings.ssl_context()
        )
    )
    if json_:
        print_json([_as_json(letter) for letter in found])
        return
    if not found:
        show(f"no dead letters{f' with the reason {reason}' if reason else ''}", markup=False)
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bright_black")
    for name in ("id", "reason", "key"):
        table.add_column(name, no_wrap=name != "key", overflow="fold")
    table.add_column("detail")
    for letter in found:
        # Whoever may publish here has written all of it.
        table.add_row(*map(plain, (letter.id, letter.reason, letter.routing_key, letter.detail)))
    show(table)
    if len(found) == limit:
        show(f"[dim]the oldest {limit}; more with --limit[/]")


@app.command("show")
@command
def show_(
    letter: Annotated[str, typer.Argument(metavar="ID", help="As `list` prints it.")],
    json_: Json = False,
) -> None:
    """Show one dead letter with its body.

    Example: ladle dead-letters show 3f9a1c20b7de
    """
    from ladle.broker import dead_letters

    settings, topology = _where()
    found = _reached(
        dead_letters.letter(settings.url, topology, letter, ssl_context=settings.ssl_context())
    )
    if found is None:
        fail(NO, f"no dead letter has the id {letter}", "list them: `ladle dead-letters list`")
    if json_:
        print_json(_as_json(found))
        return
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bright_black", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _as_json(found).items():
        if value not in (None, {}):
            table.add_row(name.replace("_", " "), Text(visible(_shown(value))))
    show(table)


@app.command()
@command
def requeue(
    letters: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="As `list` prints them.")
    ] = None,
    reason: Reason = None,
    all_: Annotated[bool, typer.Option("--all", help="Every one of them.")] = False,
    json_: Json = False,
) -> None:
    """Publish dead letters again where they came from, and drop them here.

    Example: ladle dead-letters requeue --reason unknown-type
    """
    from ladle.broker import dead_letters

    if not (letters or reason or all_):
        raise typer.BadParameter("name ids, or give --reason or --all")
    settings, topology = _where()
    ids = set(letters) if letters else None
    result = _reached(
        dead_letters.requeue(
            settings.url, topology, ids, reason=reason, ssl_context=settings.ssl_context()
        )
    )
    unknown = max(0, len(ids or ()) - result.done - len(result.refused))
    if json_:
        print_json(asdict(result) | {"unknown": unknown})
    else:
        show(f"{result.done} published again")
        for letter, why in result.refused.items():
            show(f"[red]{plain(letter)}[/] was not: {plain(why)}")
        if unknown:
            show(f"[red]{unknown}[/] of the ids named no dead letter")
    if result.refused or unknown:
        raise typer.Exit(NO)


def _where() -> "tuple[ClientSettings, Topology]":
    from ladle_contracts.settings import ClientSettings
    from ladle_contracts.topology import Topology

    settings = ClientSettings()
    return settings, Topology(settings.cell)


def _reached(work: Awaitable[T]) -> T:
    from ladle_contracts.link import LinkError, Refused

    async def run() -> T:
        return await work

    try:
        return asyncio.run(run())
    except Refused as error:
        fail(UNREACHABLE, str(error), broker_advice(error, DECLARE_ADVICE))
    except LinkError as error:
        fail(UNREACHABLE, str(error), broker_advice(error))


def _shown(value: object) -> str:
    """As much as fits a few screens; --json has the rest."""
    if isinstance(value, dict):
        return ", ".join(f"{name}={part}" for name, part in value.items())
    text = str(value)
    if len(text) <= BODY_SHOWN:
        return text
    return f"{text[:BODY_SHOWN]}... ({len(text):,} characters; all of it with --json)"


def _as_json(letter: Any) -> dict[str, Any]:
    """The body as text where it is text, else as hex."""
    shown = asdict(letter)
    for name, value in shown.items():
        if isinstance(value, bytes):
            try:
                shown[name] = value.decode()
            except UnicodeDecodeError:
                shown[name] = value.hex()
    return shown
