"""The HTTP side: liveness, readiness, metrics and the contract, over a real socket."""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ladle.placement.health import HealthApp, HealthServer
from ladle.placement.metrics import Metrics
from ladle_contracts.asyncapi import document, document_yaml


class State:
    """What the service would say of itself."""

    def __init__(self) -> None:
        self.now: dict[str, Any] = {"ready": False, "role": "standby"}

    def __call__(self) -> dict[str, Any]:
        return self.now


@pytest.fixture
def state() -> State:
    return State()


@pytest.fixture
async def server(state: State) -> AsyncIterator[HealthServer]:
    metrics = Metrics()
    metrics.events.of("room-created", "applied").inc(3)
    server = HealthServer(HealthApp(metrics, state), host="127.0.0.1", port=0)
    await server.start()
    yield server
    await server.stop()


async def get(server: HealthServer, path: str, method: str = "GET") -> tuple[int, str, str]:
    """(status, content type, body)"""

    def ask() -> tuple[int, str, str]:
        request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status, answer.headers["content-type"], answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers["content-type"], error.read().decode()

    return await asyncio.to_thread(ask)


async def test_liveness_does_not_depend_on_the_broker(server: HealthServer) -> None:
    status, _, body = await get(server, "/livez")
    assert status == 200
    assert json.loads(body) == {"alive": True}


async def test_readiness_says_why(server: HealthServer, state: State) -> None:
    status, _, body = await get(server, "/readyz")
    assert status == 503
    assert json.loads(body)["role"] == "standby"
    state.now = {"ready": True, "role": "writer", "term": 7}
    status, _, body = await get(server, "/readyz")
    assert status == 200
    assert json.loads(body)["term"] == 7


async def test_metrics_are_prometheus_text(server: HealthServer) -> None:
    status, content_type, body = await get(server, "/metrics")
    assert status == 200
    assert content_type.startswith("text/plain")
    assert 'ladle_events_total{outcome="applied",type="room-created"} 3.0' in body


async def test_the_contract_is_served_as_it_is_committed(server: HealthServer) -> None:
    status, _, body = await get(server, "/asyncapi.yaml")
    assert status == 200
    assert body == document_yaml()
    status, content_type, page = await get(server, "/asyncapi")
    assert status == 200
    assert content_type.startswith("text/html")
    assert "<script" not in page
    for operation in document()["operations"]:
        assert f"<code>{operation}</code>" in page


async def test_what_is_not_there_names_what_is(server: HealthServer) -> None:
    status, _, body = await get(server, "/metric")
    assert status == 404
    assert "/metrics" in body
    assert (await get(server, "/livez", "POST"))[0] == 405
    assert (await get(server, "/livez", "HEAD"))[::2] == (200, "")


async def test_a_taken_port_names_the_setting(server: HealthServer, state: State) -> None:
    second = HealthServer(HealthApp(Metrics(), state), host="127.0.0.1", port=server.port)
    with pytest.raises(OSError, match="LADLE_HTTP_PORT"):
        await second.start()
