"""`ladle dead-letters`: what was refused, why, and how to give it another try."""

import asyncio
from collections.abc import Awaitable
from dataclasses import asdict
from typing import Annotated, Any, TypeVar

import typer
from rich.table import Table

from ladle.commands.output import NO, SERVICE_MODULES, UNREACHABLE, fail, needs, out, print_json

app = typer.Typer(
    no_args_is_help=True, help="What was refused, why, and how to give it another try."
)

T = TypeVar("T")
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Reason = Annotated[str | None, typer.Option(help="Only those refused for this reason.")]
BODY_SHOWN = 4_000


@app.command("list")
@needs("service", *SERVICE_MODULES)
def list_(
    reason: Reason = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 100,
    json_: Json = False,
) -> None:
    """List dead letters, oldest first; they stay where they are.

    Example: ladle dead-letters list --reason bad-data
    """
    from ladle.broker import dead_letters

    url, topology = _where()
    found = _reached(dead_letters.letters(url, topology, limit=limit, reason=reason))
    if json_:
        print_json([_as_json(letter) for letter in found])
        return
    if not found:
        out.print("no dead letters")
        return
    table = Table(box=None, padding=(0, 1), header_style="bright_black")
    for name in ("id", "reason", "from", "detail"):
        table.add_column(name, no_wrap=name != "detail")
    for letter in found:
        where = f"{letter.exchange}/{letter.routing_key}"
        table.add_row(letter.id, letter.reason, where, letter.detail)
    out.print(table)


@app.command()
@needs("service", *SERVICE_MODULES)
def show(
    letter: Annotated[str, typer.Argument(metavar="ID", help="As `list` prints it.")],
    json_: Json = False,
) -> None:
    """Show one dead letter with its body.

    Example: ladle dead-letters show 3f9a1c20b7de
    """
    from ladle.broker import dead_letters

    url, topology = _where()
    found = _reached(dead_letters.letter(url, topology, letter))
    if found is None:
        fail(NO, f"no dead letter has the id {letter}", "ladle dead-letters list")
    if json_:
        print_json(_as_json(found))
        return
    for name, value in _as_json(found).items():
        out.print(f"[bright_black]{name:<14}[/] ", end="")
        out.print(str(value)[:BODY_SHOWN], markup=False, soft_wrap=True)


@app.command()
@needs("service", *SERVICE_MODULES)
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
    url, topology = _where()
    ids = set(letters) if letters else None
    result = _reached(dead_letters.requeue(url, topology, ids, reason=reason))
    if json_:
        print_json(asdict(result))
    else:
        out.print(f"{result.done} published again")
        for letter, why in result.refused.items():
            out.print(f"[red]{letter}[/] was not: {why}")
    if result.refused or (ids and result.done < len(ids)):
        raise typer.Exit(NO)


def _where() -> tuple[str, Any]:
    from ladle_contracts.settings import ClientSettings
    from ladle_contracts.topology import Topology

    settings = ClientSettings()
    return settings.url, Topology(settings.cell)


def _reached(work: Awaitable[T]) -> T:
    from ladle_contracts.link import LinkError

    async def run() -> T:
        return await work

    try:
        return asyncio.run(run())
    except LinkError as error:
        fail(UNREACHABLE, str(error), "check LADLE_AMQP_URL and `ladle doctor`")


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
