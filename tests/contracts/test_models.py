"""The models: what holds for all of them, and the edges of single ones."""

import json
import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from ladle_contracts.commands import COMMANDS
from ladle_contracts.events import (
    EVENTS,
    RoomCreated,
    RoomLoad,
    ServerDescription,
    ServerRegistered,
    Turn,
    WorkerDescription,
    WorkerState,
    WorkerStatus,
)
from ladle_contracts.fields import Wire
from ladle_contracts.own_events import OWN_EVENTS
from ladle_contracts.requests import OPERATIONS, REPLIES, ErrorReply
from ladle_contracts.violation import Reason, violation_of

MODELS: list[type[Wire]] = [
    *EVENTS.values(),
    *OWN_EVENTS.values(),
    *COMMANDS.values(),
    *OPERATIONS.values(),
    *REPLIES.values(),
    ErrorReply,
]

STATE = {
    "worker_id": "0",
    "state": "running",
    "consumers": 1,
    "producers": 2,
    "rooms": 3,
    "cpu_permille": 1000,
    "memory_bytes": 2**40,
}
ROOM = {"room_id": "a", "worker_id": "0", "peers": 0, "consumers": 0}


def sentence(model: type[Wire], raw: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as refused:
        model.model_validate(raw)
    return violation_of(refused.value, Reason.BAD_DATA).detail


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_model_is_documented_frozen_and_open(model: type[Wire]) -> None:
    assert model.__doc__
    assert model.model_config["frozen"] is True
    assert model.model_config["extra"] == "ignore"


def test_frozen() -> None:
    created = RoomCreated(room_id="a")
    with pytest.raises(ValidationError, match="frozen"):
        created.room_id = "b"  # type: ignore[misc]


def test_defaults_of_a_server_are_those_of_the_contract() -> None:
    assert ServerDescription(host="a").model_dump() == {
        "host": "a",
        "port": 443,
        "ws_url_template": None,
        "service_url": None,
        "region": None,
        "zone": None,
        "labels": {},
        "protocol": "mediasoup",
        "media_ip": None,
        "udp_ports": None,
        "turn": None,
        "places_workers": True,
        "status_interval_ms": 5000,
        "liveness": "heartbeat",
        "contract_version": 1,
        "external_id": None,
    }
    assert WorkerDescription(worker_id="0").capacity_consumers == 500


@pytest.mark.parametrize(
    ("server", "says"),
    [
        ({}, "host: is missing"),
        ({"host": "a b"}, "host: must match"),
        ({"host": "a", "port": 0}, "port: must be >= 1"),
        ({"host": "a", "port": 65_536}, "port: must be <= 65535"),
        ({"host": "a", "region": ""}, "region: must match"),
        ({"host": "a", "liveness": "ping"}, "liveness: must be 'heartbeat' or 'probe'"),
        ({"host": "a", "places_workers": 1}, "places_workers: must be true or false"),
        ({"host": "a", "status_interval_ms": 0}, "status_interval_ms: must be >= 100"),
        ({"host": "a", "media_ip": "localhost"}, "media_ip: must match"),
        ({"host": "a", "udp_ports": [1]}, "udp_ports: must have at least 2 entries"),
        ({"host": "a", "udp_ports": [1, 2, 3]}, "udp_ports: must have at most 2 entries"),
        ({"host": "a", "udp_ports": [2, 1]}, "udp_ports: the first port must be <= the second"),
        ({"host": "a", "turn": []}, "turn: must be an object"),
        ({"host": "a", "turn": {"urls": [], "realm": "r", "key_id": "k"}}, "turn.urls: must have"),
        ({"host": "a", "ws_url_template": ""}, "ws_url_template: must have at least 1 char"),
        ({"host": "a", "protocol": "x\ud800"}, "protocol: must be a string without lone surr"),
    ],
)
def test_servers_that_are_refused(server: dict[str, Any], says: str) -> None:
    assert sentence(ServerDescription, server).startswith(says)


def test_a_whole_server() -> None:
    server = ServerDescription(
        host="[2001:db8::1]",
        media_ip="2001:db8::1",
        udp_ports=[40_000, 40_000],
        turn=Turn(urls=["turn:a:3478"], realm="r", key_id="k1"),
        labels={"gpu": "none"},
    )
    assert ServerDescription.model_validate(server.model_dump()) == server


@pytest.mark.parametrize(
    ("model", "raw", "says"),
    [
        (
            ServerRegistered,
            {"server": {"host": "a"}, "workers": [{"worker_id": "0"}, {"worker_id": "0"}]},
            "workers: a worker_id stands there twice",
        ),
        (ServerRegistered, {"workers": []}, "server: is missing"),
        (ServerRegistered, {"server": {"host": "a"}}, "workers: is missing"),
        (
            ServerRegistered,
            {"server": {"host": "a"}, "workers": [{"worker_id": "0", "capacity_consumers": 0}]},
            "workers.0.capacity_consumers: must be >= 1",
        ),
        (WorkerStatus, {"workers": [STATE, STATE]}, "workers: a worker_id stands there twice"),
        (WorkerStatus, {"workers": [{"worker_id": "0"}]}, "workers.0.state: is missing"),
        (WorkerStatus, {"workers": [STATE | {"consumers": -1}]}, "workers.0.consumers: must be >"),
        (
            WorkerStatus,
            {"workers": [STATE | {"cpu_permille": 1001}]},
            "workers.0.cpu_permille: must be <= 1000",
        ),
        (WorkerStatus, {"workers": [STATE | {"state": "idle"}]}, "workers.0.state: must be 'runn"),
        (WorkerStatus, {"workers": [], "rooms": [ROOM, ROOM]}, "rooms: a room stands there twice"),
        (
            WorkerStatus,
            {"workers": [], "complete": True},
            "complete: a complete status must list its rooms",
        ),
        (WorkerStatus, {"workers": [], "rooms": 1, "complete": True}, "rooms: must be a list"),
    ],
)
def test_events_that_are_refused(model: type[Wire], raw: dict[str, Any], says: str) -> None:
    assert sentence(model, raw).startswith(says)


def test_a_room_may_stand_on_two_workers() -> None:
    status = WorkerStatus.model_validate(
        {"workers": [STATE], "rooms": [ROOM, ROOM | {"worker_id": "1"}], "complete": True}
    )
    assert status.workers == [WorkerState.model_validate(STATE)]
    assert status.rooms is not None
    assert [room.worker_id for room in status.rooms] == ["0", "1"]
    assert isinstance(status.rooms[0], RoomLoad)


def test_an_error_of_a_kind_without_a_sentence_keeps_pydantics() -> None:
    class Odd(Wire):
        seconds: float

    assert sentence(Odd, {"seconds": "x"}).startswith("seconds: Input should be a valid number")


def test_dumps_are_plain_json() -> None:
    """The journal takes dumps as they are: no enums, tuples or datetimes may hide in them."""
    status = WorkerStatus.model_validate({"workers": [STATE], "rooms": [ROOM]})
    assert json.loads(json.dumps(status.model_dump())) == status.model_dump()


@pytest.mark.parametrize("name", ["ContractViolation", "Topology"])
def test_the_package_hands_out_its_names(name: str) -> None:
    import ladle_contracts

    assert getattr(ladle_contracts, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing"):
        _ = ladle_contracts.nothing


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, ladle_contracts; sys.exit(bool({'pydantic', 'aio_pika'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
