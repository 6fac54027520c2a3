"""Views made row by row, and requests about them, for the tests of load, index and decisions."""

import json
from typing import Any

from ladle.core.decide import Decision, decide
from ladle.core.record import Entry, Kind
from ladle.core.rows import Room, Router, Server, Worker, changed
from ladle.core.view import View


def fleet(*servers: str, workers: int = 1, capacity: int = 500, **columns: Any) -> View:
    """A view with these servers; "a@eu" is server a in region eu."""
    view = View()
    for spec in servers:
        add_server(view, spec, workers=workers, capacity=capacity, **columns)
    return view


def add_server(
    view: View, spec: str, *, workers: int = 1, capacity: int = 500, **columns: Any
) -> None:
    """One more server with workers "0", "1", ...; columns are of its row."""
    server_id, _, region = spec.partition("@")
    view.put(Server(server_id, region=region or None, **columns))
    for number in range(workers):
        view.put(Worker(server_id, str(number), capacity=capacity, lists_rooms=1))
    view.settle()


def set_worker(view: View, server_id: str, worker_id: str = "0", **columns: Any) -> None:
    """The worker's next status said so."""
    view.put(changed(view.workers[server_id, worker_id], **columns))
    view.settle()


def set_server(view: View, server_id: str, **columns: Any) -> None:
    """The server changed."""
    view.put(changed(view.servers[server_id], **columns))
    view.settle()


def put_router(
    view: View, room_id: str, server_id: str, worker_id: str | None = "0", **columns: Any
) -> Router:
    """A room's only router; columns are of its row."""
    view.put(Router(room_id, 0, server_id, worker_id, **columns))
    view.settle()
    return view.routers[room_id, 0]


def request(operation: str, *, offset: int = 1, request_id: str = "q", **body: Any) -> Entry:
    """A write request's entry, defaults filled in as the envelope does."""
    defaults: dict[str, dict[str, Any]] = {
        "allocate": {
            "room_id": None,
            "peers": 2,
            "publishers": None,
            "streams_per_publisher": 2,
            "regions": [],
            "region_mode": "prefer",
            "labels": {},
            "server_id": None,
            "avoid": [],
            "ttl_ms": None,
            "metadata": {},
        },
        "extend": {"publishers": None, "regions": []},
        "move": {"if_generation": 1, "reason": "test", "avoid": []},
    }
    payload = {
        "operation": operation,
        "request_id": request_id,
        "digest": "",
        "body": defaults[operation] | body,
    }
    return Entry(offset, 0, 1, Kind.REQUEST, {"user": "u"}, {"room_id": "made"}, payload)


def allocate(view: View, **body: Any) -> Decision:
    """The decision for an allocate request at the view's next record."""
    decision = decide(view, request("allocate", offset=view.offset + 1, **body))
    json.dumps(decision.record, allow_nan=False)
    return decision


def home(decision: Decision) -> tuple[str, str | None] | str:
    """Server and worker of the home, or the refusal's code."""
    if decision.error is not None:
        assert decision.routers == ()
        return str(decision.error["code"])
    (router,) = decision.routers
    return router.server_id, router.worker_id


def hold(view: View, room_id: str, decision: Decision) -> None:
    """Reserve what was decided, as the rules of the room do."""
    (placement,) = decision.routers
    view.offset += 1
    wish = decision.wish
    view.put(
        Room(
            room_id,
            peers=wish["peers"],
            publishers=wish["publishers"],
            streams=wish["streams"],
            reserved=wish["cost"],
        )
    )
    view.put(
        Router(
            room_id,
            placement.router,
            placement.server_id,
            placement.worker_id,
            cost=wish["cost"],
            reserved=wish["cost"],
            reserved_offset=view.offset,
        )
    )
    view.settle()


def reloaded(view: View) -> View:
    """The same view from its rows alone."""
    return View.load(view.dump(), offset=view.offset, recorded_at_ms=view.recorded_at_ms)
