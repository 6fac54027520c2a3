"""`ladle doctor`: is what Ladle needs there, and does it answer?"""

import asyncio
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from ladle.commands.output import NO, SERVICE_MODULES, needs, out, print_json

MARKS = {"ok": "[green]ok[/]  ", "note": "[yellow]note[/]", "bad": "[red]bad[/] "}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `state`: ok, note (works without it) or bad; `advice`: what to do."""

    what: str
    state: str
    found: str
    advice: str = ""


@needs("service", *SERVICE_MODULES)
def doctor(
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Look at this machine, the broker and the database; exit 1 where something is wrong.

    Example: ladle doctor
    """
    findings = asyncio.run(_look())
    if json_:
        print_json({"findings": [asdict(f) for f in findings]})
    else:
        for finding in findings:
            out.print(f"{MARKS[finding.state]} [bold]{finding.what:<10}[/] {finding.found}")
            if finding.advice:
                out.print(f"     {'':<10} [dim]{finding.advice}[/]")
    if any(finding.state == "bad" for finding in findings):
        raise typer.Exit(NO)


async def _look() -> list[Finding]:
    from ladle.placement.settings import PlacementSettings

    settings = PlacementSettings()
    findings = [_python(), *_programs()]
    findings += await _broker(settings.url, settings.cell, settings.requests_quorum)
    findings += await _database(settings.database)
    return findings


def _python() -> Finding:
    return Finding("python", "ok", ".".join(map(str, sys.version_info[:3])))


def _programs() -> list[Finding]:
    from ladle.commands.brokers import docker_works

    server = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    found = [
        Finding("rabbitmq", "ok", f"{server} (for `ladle up`)")
        if server.exists()
        else Finding(
            "rabbitmq",
            "note",
            "no package on this machine",
            "`ladle up` needs it, or Docker, or LADLE_AMQP_URL: apt-get install rabbitmq-server",
        )
    ]
    if docker_works():
        found.append(Finding("docker", "ok", "engine and compose answer"))
    else:
        client = "client without engine or compose" if shutil.which("docker") else "not there"
        found.append(Finding("docker", "note", client))
    return found


async def _broker(url: str, cell: str, quorum: bool) -> list[Finding]:
    from ladle.broker.declare import missing
    from ladle.commands.up import without_password
    from ladle_contracts.link import LinkError
    from ladle_contracts.topology import Topology

    shown = without_password(url)
    try:
        absent = await missing(url, Topology(cell, quorum_requests=quorum), timeout_s=5)
    except LinkError as error:
        return [Finding("broker", "bad", f"{shown}: {error}", "check LADLE_AMQP_URL")]
    found = [Finding("broker", "ok", shown)]
    if absent:
        names = ", ".join(absent[:4]) + (", ..." if len(absent) > 4 else "")
        found.append(
            Finding("topology", "bad", f"cell {cell} lacks {names}", "run `ladle broker declare`")
        )
    else:
        found.append(Finding("topology", "ok", f"cell {cell} is declared"))
    return found


async def _database(url: str) -> list[Finding]:
    from sqlalchemy.exc import SQLAlchemyError

    from ladle.commands.up import without_password
    from ladle.journal import schema
    from ladle.journal.open import open_store
    from ladle.journal.store import StoreError

    shown = without_password(url)
    try:
        version = await schema.current(url)
        if version is None:
            return [Finding("database", "bad", f"{shown}: no tables yet", "run `ladle db upgrade`")]
        store = open_store(url)
        await store.open()
        try:
            head, lease = await store.head(), await store.lease()
        finally:
            await store.close()
    except (StoreError, SQLAlchemyError, OSError) as error:
        return [Finding("database", "bad", f"{shown}: {error}", "check LADLE_DATABASE_URL")]
    writer = lease.holder if lease and lease.holder else "nobody"
    return [
        Finding("database", "ok", f"{shown}, schema {version}, journal at {head.offset}"),
        Finding("writer", "ok" if writer != "nobody" else "note", f"{writer} holds the lease"),
    ]
