"""`ladle doctor`: is what Ladle needs there, and does it answer?"""

import asyncio
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ladle.commands.advice import broker_advice
from ladle.commands.brokers import docker_works
from ladle.commands.guard import command
from ladle.commands.output import NO, plain, print_json, show
from ladle.commands.places import PLACE_ADVICE, trouble_with
from ladle.commands.up_screen import without_password
from ladle_contracts.client import PlacementClient
from ladle_contracts.errors import PlacementError, ServiceAbsent
from ladle_contracts.link import LinkError
from ladle_contracts.tls import TlsFileError
from ladle_contracts.topology import Topology

if TYPE_CHECKING:
    from ladle.placement.settings import PlacementSettings

MARKS = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "bad": "[bold red]bad[/]"}
TIMEOUT_MS = 5_000


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `state`: ok, note (works without it) or bad; `advice`: what to do."""

    what: str
    state: str
    found: str
    advice: str = ""


@command
def doctor(
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Look at this machine, the broker, the database and the service; exit 1 where one is ill.

    Example: ladle doctor
    """
    findings = asyncio.run(_look())
    well = not any(finding.state == "bad" for finding in findings)
    if json_:
        print_json({"well": well, "findings": [asdict(finding) for finding in findings]})
    else:
        show(_table(findings))
    if not well:
        raise typer.Exit(NO)


def _table(findings: list[Finding]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        table.add_row(MARKS[finding.state], finding.what, plain(finding.found))
        if finding.advice:
            table.add_row("", "", f"[dim]try:[/] {plain(finding.advice)}")
    return table


async def _look() -> list[Finding]:
    from ladle.placement.settings import PlacementSettings

    settings = PlacementSettings()
    findings = [_python(), _rabbitmq_package(), await asyncio.to_thread(_docker)]
    broker = await _broker(settings)
    findings += broker
    findings += await _database(settings.database)
    if broker[0].state == "ok":
        findings.append(await _service(settings))
    return findings


def _python() -> Finding:
    return Finding("python", "ok", ".".join(map(str, sys.version_info[:3])))


def _rabbitmq_package() -> Finding:
    server = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    if server.exists():
        return Finding("rabbitmq", "ok", f"{server}, for `ladle up`")
    return Finding(
        "rabbitmq",
        "note",
        "no package on this machine",
        "`ladle up` needs it, or Docker, or LADLE_AMQP_URL: apt-get install rabbitmq-server",
    )


def _docker() -> Finding:
    if docker_works():
        return Finding("docker", "ok", "engine and compose answer")
    there = shutil.which("docker") is not None
    return Finding("docker", "note", "client without engine or compose" if there else "not there")


async def _broker(settings: "PlacementSettings") -> list[Finding]:
    from ladle.broker.declare import missing

    shown = without_password(settings.url)
    topology = Topology(settings.cell, quorum_requests=settings.requests_quorum)
    try:
        absent = await missing(
            settings.url,
            topology,
            ssl_context=settings.ssl_context(),
            timeout_s=TIMEOUT_MS / 1000,
        )
    except (LinkError, TlsFileError) as error:
        otherwise = "check LADLE_AMQP_URL, and that the broker runs"
        return [Finding("broker", "bad", f"{shown}: {error}", broker_advice(error, otherwise))]
    found = [Finding("broker", "ok", shown)]
    if absent:
        names = ", ".join(absent[:4]) + (", ..." if len(absent) > 4 else "")
        advice = "ladle broker declare; a placement service does so as well"
        found.append(Finding("topology", "bad", f"cell {settings.cell} lacks {names}", advice))
    else:
        found.append(Finding("topology", "ok", f"cell {settings.cell} is declared"))
    return found


async def _database(url: str) -> list[Finding]:
    from ladle.journal import schema
    from ladle.journal.open import open_store
    from ladle.journal.store import StoreError

    shown = without_password(url)
    upgrade = "ladle db upgrade; a placement service does so as well"
    try:
        version = await schema.current(url)
        if version is None and (why := _no_place(url)):
            return [Finding("database", "bad", f"{shown}: {why}", PLACE_ADVICE)]
        if version is None:
            return [Finding("database", "bad", f"{shown}: no tables yet", upgrade)]
        if version < schema.VERSION:
            older = f"{shown}: schema {version}, this program's is {schema.VERSION}"
            return [Finding("database", "bad", older, upgrade)]
        store = open_store(url)
        try:
            await store.open()
            head, lease = await store.head(), await store.lease()
        finally:
            await store.close()
    except (StoreError, OSError) as error:
        # Most errors begin with the URL.
        said = str(error).removeprefix(f"LADLE_DATABASE_URL, {shown}: ")
        advice = "check LADLE_DATABASE_URL, and that the database runs and lets this machine in"
        return [Finding("database", "bad", f"{shown}: {said}", advice)]
    database = Finding("database", "ok", f"{shown}, schema {version}, journal at {head.offset}")
    if lease and lease.holder:
        return [database, Finding("writer", "ok", f"{lease.holder} holds the lease")]
    return [database, Finding("writer", "note", "nobody holds the lease", "ladle placement")]


def _no_place(url: str) -> str | None:
    """Why there can be no SQLite file where LADLE_DATABASE_URL says; None of any other."""
    from ladle.journal.url import SqliteUrl, parse

    target = parse(url)
    return trouble_with(target.path) if isinstance(target, SqliteUrl) else None


async def _service(settings: "PlacementSettings") -> Finding:
    """Whether anybody answers on this broker and cell, as any client would ask."""
    try:
        async with PlacementClient.connect(
            settings.url,
            ssl_context=settings.ssl_context(),
            cell=settings.cell,
            timeout_ms=min(TIMEOUT_MS, settings.request_timeout_ms),
        ) as client:
            view = await client.view()
    except (PlacementError, LinkError, OSError) as error:
        otherwise = "start one: ladle placement; or look at its logs and /readyz"
        # A cell that nobody declared is declared by the service that is missing.
        absent = isinstance(error, ServiceAbsent)
        advice = otherwise if absent else broker_advice(error, otherwise)
        return Finding("service", "bad", str(error), advice)
    return Finding(
        "service",
        "ok",
        f"answers: term {view.term}, offset {view.offset}, {view.totals.servers} servers, "
        f"{view.totals.rooms} rooms",
    )
