"""The snippets of the two pages run as they stand, against a real broker."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from ladle.broker.declare import declare
from ladle_contracts.topology import Topology
from tests.ends.responder import Responder
from tests.ends.test_amqp_link import linked

pytestmark = pytest.mark.broker

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
OUTPUT = {
    "publisher.md": [r"room-deleted: confirmed\n", r"life \d{13}, [1-9]\d* events confirmed\n"],
    "client.md": [
        r"placed: standup at sfu-1\ngeneration 1, held\n",
        r"retro\n",
        r"nothing for a second\n",
        r"sfu-1\n",
    ],
}
SNIPPETS = [
    pytest.param(block, expected, id=f"{page} {number}")
    for page, outputs in OUTPUT.items()
    for number, (block, expected) in enumerate(
        zip(BLOCK.findall((DOCS / page).read_text(encoding="utf-8")), outputs, strict=True), 1
    )
]


@pytest.mark.parametrize(("snippet", "expected"), SNIPPETS)
async def test_a_snippet_runs(snippet: str, expected: str, broker_url: str, cell: str) -> None:
    await declare(broker_url, Topology(cell))
    async with linked(broker_url) as link:
        await Responder(link, cell).start()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-W",
            "error",
            "-c",
            snippet,
            env={**os.environ, "LADLE_AMQP_URL": broker_url, "LADLE_CELL": cell},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            printed, complaints = await process.communicate()
    assert process.returncode == 0, complaints.decode()
    assert re.fullmatch(expected, printed.decode()), printed.decode()
