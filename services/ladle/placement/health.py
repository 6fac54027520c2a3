"""The small HTTP side of the service: /livez, /readyz, /metrics and the AsyncAPI page.

Liveness is "the event loop turns": it does not depend on the broker, for restarting the process
would not mend the broker. Readiness does, and on the view having caught up; a standby is ready.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from ladle.placement.contract_page import contract_page
from ladle.placement.metrics import Metrics
from ladle_contracts.asyncapi import document_yaml

log = logging.getLogger("ladle.http")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Readiness = Callable[[], dict[str, Any]]
Answer = tuple[int, str, bytes]


class HealthApp:
    """An ASGI application; `readiness()` gives {"ready": bool, "role": str, ...}."""

    def __init__(self, metrics: Metrics, readiness: Readiness) -> None:
        self._metrics = metrics
        self._readiness = readiness
        self._routes: dict[str, Callable[[], Answer]] = {
            "/livez": lambda: (200, "application/json", b'{"alive": true}'),
            "/readyz": self._readyz,
            "/metrics": lambda: (200, CONTENT_TYPE_LATEST, generate_latest(metrics.registry)),
            "/asyncapi.yaml": lambda: (200, "application/yaml", document_yaml().encode()),
            "/asyncapi": lambda: (200, "text/html; charset=utf-8", contract_page().encode()),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        route = self._routes.get(scope["path"])
        if scope["method"] not in ("GET", "HEAD"):
            status, content_type, body = 405, "text/plain", b"only GET\n"
        elif route is None:
            known = ", ".join(sorted(self._routes))
            status, content_type, body = 404, "text/plain", f"try one of: {known}\n".encode()
        else:
            status, content_type, body = route()
        headers = [
            (b"content-type", content_type.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        body = b"" if scope["method"] == "HEAD" else body
        await send({"type": "http.response.body", "body": body})

    def _readyz(self) -> Answer:
        state = self._readiness()
        status = 200 if state["ready"] else 503
        return status, "application/json", json.dumps(state).encode()


class HealthServer:
    """Runs the application on its own port in the service's event loop."""

    def __init__(self, app: HealthApp, *, host: str, port: int) -> None:
        config = uvicorn.Config(
            app, host=host, port=port, log_config=None, access_log=False, lifespan="off"
        )
        self._server = uvicorn.Server(config)
        # Signals belong to the service: it must finish its batch first.
        self._server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        self._task: asyncio.Task[None] | None = None
        self.port = port

    async def start(self) -> None:
        """Listen; raises OSError naming the address where it is taken."""
        self._task = asyncio.create_task(self._serve())
        while not self._server.started:
            if self._task.done():
                await self._task
                raise self._taken()
            await asyncio.sleep(0.01)
        self.port = self._server.servers[0].sockets[0].getsockname()[1]
        log.info("http", extra={"host": self._server.config.host, "port": self.port})

    async def _serve(self) -> None:
        try:
            await self._server._serve()
        except SystemExit as error:
            raise self._taken() from error

    def _taken(self) -> OSError:
        config = self._server.config
        return OSError(f"LADLE_HTTP_PORT: cannot listen on {config.host}:{config.port}")

    async def stop(self) -> None:
        """Close the port."""
        if self._task is not None:
            self._server.should_exit = True
            await asyncio.wait([self._task], timeout=5)
            self._task = None
