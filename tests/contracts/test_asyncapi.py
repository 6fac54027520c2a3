"""asyncapi.yaml, schemas/ and examples/: true to the code, and enough for other languages."""

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from ladle_contracts import generate
from ladle_contracts.asyncapi import document, document_yaml
from ladle_contracts.envelope import (
    decode_command,
    decode_event,
    decode_own_event,
    decode_reply,
    decode_request,
)
from ladle_contracts.examples import examples
from ladle_contracts.link import Outgoing
from ladle_contracts.requests import READS, WRITES
from ladle_contracts.schemas import Kind, kinds, reached, refs_of, standalone
from ladle_contracts.topology import Topology
from tests.contracts.messages import delivered
from tests.contracts.test_event_envelope import BAD_ATTRIBUTES
from tests.contracts.test_request_envelope import BAD_BODIES

CONTRACTS = Path(__file__).parents[2] / "contracts"
ASYNCAPI_SCHEMA = json.loads(
    (Path(__file__).parent / "asyncapi-3.0.0.schema.json").read_text(encoding="utf-8")
)
KINDS = list(kinds())


@cache
def validator(kind: Kind) -> jsonschema.Draft202012Validator:
    schema = standalone(kind)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(
        schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )


def by_name(full_name: str) -> Kind:
    (found,) = (kind for kind in KINDS if kind.full_name == full_name)
    return found


# Drift


def test_what_is_committed_is_what_the_code_says() -> None:
    """If this fails: `python -m ladle_contracts.asyncapi`, and commit what it writes."""
    assert generate.drift(CONTRACTS) == []


def test_drift_is_found_and_mended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = ["--to", str(tmp_path)]
    assert generate.main([*to, "--check"]) == 1
    assert "asyncapi.yaml is not what the code says" in capsys.readouterr().err
    assert generate.main(to) == 0
    assert generate.main([*to, "--check"]) == 0
    (tmp_path / "schemas" / "event.room-created.json").write_text("{}", encoding="utf-8")
    (tmp_path / "examples" / "event.room-sold.json").write_text("{}", encoding="utf-8")
    assert generate.drift(tmp_path) == [
        "examples/event.room-sold.json",
        "schemas/event.room-created.json",
    ]
    assert len(generate.write(tmp_path)) == 2
    assert generate.main([*to, "--check"]) == 0


def test_a_standalone_schema_holds_what_it_reaches_and_no_more() -> None:
    every: dict[str, dict[str, Any]] = {
        "A": {"$ref": "#/$defs/B"},
        "B": {"items": [{"$ref": "#/$defs/A"}]},
        "C": {},
    }
    assert reached("A", every) == {"A", "B"}
    assert reached("C", every) == {"C"}


# The document


def test_the_document_is_asyncapi_3() -> None:
    jsonschema.Draft7Validator.check_schema(ASYNCAPI_SCHEMA)
    jsonschema.Draft7Validator(ASYNCAPI_SCHEMA).validate(plain(document()))


def test_the_validator_would_notice() -> None:
    broken = plain(document())
    broken["operations"]["request.allocate"]["reply"]["channel"] = "replies"
    assert not jsonschema.Draft7Validator(ASYNCAPI_SCHEMA).is_valid(broken)


def test_yaml_and_document_are_the_same() -> None:
    assert yaml.safe_load(document_yaml("eu")) == plain(document("eu"))


def test_every_reference_leads_somewhere() -> None:
    whole = document()
    refs = set(refs_of(whole))
    assert len(refs) > 100
    for ref in refs:
        target: Any = whole
        for step in ref.removeprefix("#/").split("/"):
            target = target[step]
        assert isinstance(target, dict)


def test_every_message_and_operation_is_there() -> None:
    whole = document()
    names = [kind.full_name for kind in KINDS]
    assert list(whole["components"]["messages"]) == names
    assert list(whole["operations"]) == [name for name in names if not name.startswith("reply.")]
    for kind in KINDS:
        assert kind.model.__name__ in whole["components"]["schemas"]


@pytest.mark.parametrize("operation", [*WRITES, *READS])
def test_every_request_says_how_it_is_answered(operation: str) -> None:
    reply = document()["operations"][f"request.{operation}"]["reply"]
    assert reply["address"]["location"] == "$message.header#/reply_to"
    assert [one["$ref"].rsplit("/", 1)[1] for one in reply["messages"]] == [
        f"reply.{operation}",
        "reply.error",
    ]


@pytest.mark.parametrize("cell", ["default", "eu"])
def test_every_exchange_queue_and_binding_is_there(cell: str) -> None:
    topology = Topology(cell)
    declared = topology.declarations()
    bound = [channel["bindings"]["amqp"] for channel in channels(cell) if "bindings" in channel]
    exchanges = {one["exchange"]["name"]: one for one in bound if one["is"] == "routingKey"}
    queues = {one["queue"]["name"]: one for one in bound if one["is"] == "queue"}
    assert exchanges.keys() == {exchange.name for exchange in declared.exchanges}
    for exchange in declared.exchanges:
        assert exchanges[exchange.name]["exchange"]["type"] == exchange.kind
        assert exchanges[exchange.name].get("x-arguments", {}) == exchange.arguments
    commands = topology.command_queue("{server_id}")
    assert queues.keys() == {queue.name for queue in declared.queues} | {commands}
    for queue in declared.queues:
        assert queues[queue.name]["x-arguments"] == queue.arguments
        assert queues[queue.name]["x-bindings"] == [
            {"exchange": binding.exchange, "routingKey": binding.key}
            for binding in declared.bindings
            if binding.queue == queue.name
        ]
    assert queues[commands]["x-bindings"] == [
        {"exchange": topology.media_commands, "routingKey": "*.{server_id}"}
    ]


def channels(cell: str) -> Iterator[dict[str, Any]]:
    yield from document(cell)["channels"].values()


def plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


# Examples and schemas


def test_every_kind_of_message_has_an_example() -> None:
    assert sorted(examples()) == sorted(kind.full_name for kind in KINDS)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.full_name)
def test_examples_obey_their_schema(kind: Kind) -> None:
    body = json.loads(examples()[kind.full_name].body)
    validator(kind).validate(body)
    assert not validator(kind).is_valid({}) or kind.full_name in OPEN_TO_ALL


OPEN_TO_ALL = {f"request.{name}" for name in ("allocate", "view", "rooms", "decisions", "history")}
"""Requests without a required field: the empty object asks for all the defaults."""


@pytest.mark.parametrize(("name", "message"), examples().items())
def test_examples_are_read_by_the_code(name: str, message: Outgoing) -> None:
    group, _, operation = name.partition(".")
    received = delivered(message)
    if group == "reply":
        decode_reply(operation, received)
    else:
        decoders: dict[str, Any] = {
            "event": decode_event,
            "request": decode_request,
            "command": decode_command,
            "own-event": decode_own_event,
        }
        decoded = decoders[group](received)
        assert operation in (getattr(decoded, "type", None), getattr(decoded, "operation", None))


PYTHON_ONLY = (
    "publishers: must be <=",  # JSON Schema cannot compare two fields,
    "metadata: must be at most",  # nor count bytes;
    "peers: must be an integer",  # and 4.0 is an integer to it.
)


@pytest.mark.parametrize(
    ("operation", "body", "says"),
    [bad for bad in BAD_BODIES if not bad[2].startswith(PYTHON_ONLY)],
)
def test_schemas_refuse_what_the_models_refuse(
    operation: str, body: dict[str, Any], says: str
) -> None:
    """A client that checks against the schema is not surprised by Ladle."""
    assert not validator(by_name(f"request.{operation}")).is_valid(body), says


LENIENT = ("sequence: incarnation and", "source: source and", "onbehalfof")


@pytest.mark.parametrize(
    ("event", "says"),
    [(event, says) for event, _, says in BAD_ATTRIBUTES if not says.startswith(LENIENT)],
)
def test_schemas_refuse_bad_attributes(event: dict[str, Any], says: str) -> None:
    assert not validator(by_name("event.room-created")).is_valid(event), says


def test_the_module_is_the_command(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "ladle_contracts.asyncapi", "--check", "--to", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 1
    assert "commit what it writes" in run.stderr
