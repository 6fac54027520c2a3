"""`--source amqp://...` on a real broker, after a real service wrote; and what refuses it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ladle.commands.app import app
from ladle_contracts.envelope import encode_own_event
from ladle_contracts.link import Outgoing
from ladle_contracts.topology import Topology
from tests.fixtures.service import running_service
from tests.placement.test_lost_records import place, publishing


async def audit(cell: str, *words: str) -> tuple[int, Any, str]:
    arguments = ["audit", *words, "--json"]
    environment = {"LADLE_CELL": cell}
    result = await asyncio.to_thread(CliRunner().invoke, app, arguments, env=environment)
    lines = result.stdout.splitlines()
    return result.exit_code, json.loads(lines[-1]) if lines else None, result.stderr


@pytest.mark.broker
async def test_what_was_said_is_checked_told_and_exported(
    broker_url: str, cell: str, tmp_path: Path
) -> None:
    topology = Topology(cell)
    bad = Outgoing(topology.media_events, "room-created.sfu-1", b"{torn", persistent=True)
    async with running_service(broker_url, cell, f"sqlite:///{tmp_path}/ladle.db") as running:
        await place(running, "standup", "retro")
        async with publishing(broker_url) as publish:
            await publish(bad)
    source = ("--source", broker_url)

    code, said, _ = await audit(cell, "verify", *source)
    assert (code, said["status"], said["violations"]["count"]) == (4, "incomplete", 0)
    assert (said["missing"], said["refused"]) == ([], {"bad-envelope": 1})
    assert said["lives"] == 1
    assert said["own_events"] >= 3
    assert "guest" not in said["source"]

    code, told, _ = await audit(cell, "timeline", "standup", *source)
    assert code == 0
    assert "room-allocated" in [word["what"] for word in told["words"]]
    positions = [word["position"] for word in told["words"]]
    assert positions == sorted(positions)
    assert (await audit(cell, "timeline", "nobody", *source))[0] == 1

    to = tmp_path / "said"
    words = ("export", "--format", "cloudevents", "--to", str(to), *source)
    code, manifest, _ = await audit(cell, *words)
    assert (code, manifest["format"]) == (0, "ladle-stream-export")
    assert manifest["rows"] == said["events"] + said["own_events"] + said["copies"]
    assert (await audit(cell, *words))[0] == 2  # never over what is there

    # Somebody with the service's rights says a thing twice, and not the same.
    other = encode_own_event(
        "room-ended", {"room_id": "standup"}, offset=1, index=0, time_ms=0, cell=cell
    )
    async with publishing(broker_url) as publish:
        await publish(other)
    code, said, _ = await audit(cell, "verify", *source)
    assert (code, said["violations"]["by_law"]) == (1, {"order": 1})


@pytest.mark.broker
async def test_a_stream_that_cannot_be_read_is_unreachable(broker_url: str, cell: str) -> None:
    for url, name in (("amqp://guest:guest@127.0.0.1:9/", cell), (broker_url, f"{cell}-none")):
        for words in (("verify",), ("timeline", "standup")):
            code, said, stderr = await audit(name, *words, "--source", url)
            assert (code, said["error"]["code"]) == (5, "unreachable")
            assert "LADLE_CELL" in stderr


async def test_other_commands_refuse_it_as_well() -> None:
    url = "amqp://guest:secret@127.0.0.1:9/"
    for words, variable in (
        (["explain", "standup", "--why-not", "sfu-1", "--source", url, "--json"], {}),
        (["audit", "erase", "--room", "standup", "--yes", "--json"], {"LADLE_DATABASE_URL": url}),
    ):
        result = await asyncio.to_thread(CliRunner().invoke, app, words, env=variable)
        said = json.loads(result.stdout)["error"]
        assert (result.exit_code, said["code"]) == (2, "usage")
        assert said["advice"]
        assert "secret" not in result.stderr


REFUSED = [
    ("at", "9"),
    ("diff", "8", "9"),
    ("whatif", "--policy", "pack"),
    ("checkpoint", "--key", "{key}"),
    ("export", "--to", "{to}"),
    ("export", "--to", "{to}", "--format", "cloudevents", "--redact"),
    ("export", "--to", "{to}", "--format", "cloudevents", "--kind", "event"),
    ("verify", "--against-stream"),
    ("verify", "--archive", "{to}"),
    ("timeline", "standup", "--source", "amqp://host:port/"),
]


@pytest.mark.parametrize("words", REFUSED, ids=" ".join)
async def test_what_the_stream_cannot_answer_is_refused_with_advice(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    """Before anybody connects: port 9 would be exit code 5."""
    key = tmp_path / "key"
    keygen = ["audit", "keygen", str(key), "--name", "ladle.example.org/eu"]
    assert CliRunner().invoke(app, keygen).exit_code == 0
    given = [word.format(key=key, to=tmp_path / "to") for word in words]
    source = () if "--source" in words else ("--source", "amqp://guest:secret@127.0.0.1:9/")
    code, said, stderr = await audit("default", *given, *source)
    assert (code, said["error"]["code"]) == (2, "usage")
    assert said["error"]["advice"]
    assert "try:" in stderr
    assert "secret" not in stderr
    assert not (tmp_path / "to").exists()
