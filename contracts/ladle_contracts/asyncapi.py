"""The AsyncAPI 3.0 document of the contract, built from models, topology and examples.

`python -m ladle_contracts.asyncapi` writes asyncapi.yaml, schemas/ and examples/ beside the
package's folder (or into `--to FOLDER`); `--check` writes nothing and exits 1 where the files there
differ. The document is said from Ladle's side: it receives events and requests, and sends the rest.
"""

import json
from typing import Any

from ladle_contracts.examples import examples
from ladle_contracts.link import Outgoing
from ladle_contracts.requests import WRITES
from ladle_contracts.schemas import Kind, body_schema, definitions, kinds
from ladle_contracts.topology import (
    COMMAND_QUEUE_EXPIRES_MS,
    DEFAULT_CELL,
    Binding,
    Exchange,
    Queue,
    Topology,
)

Document = dict[str, Any]

CONTRACT_VERSION = "1.0.0"
_BINDING = {"bindingVersion": "0.3.0"}
_REPLIES = "replies"

_DESCRIPTION = """\
Media servers say what happens on them, backends ask where rooms should be, Ladle answers, says what
it did, and tells servers what to do.

Names carry the cell as a prefix (`eu.media.events`) unless it is `default`, whose names stand here.
Events, commands and Ladle's own events are CloudEvents 1.0 in structured JSON
(`application/cloudevents+json`); of media servers binary mode is read too (headers
`cloudEvents_<name>`, `cloudEvents:<name>` or `ce-<name>`, the body is the data). Requests and
replies are plain JSON. Unknown fields are ignored. Integers have at most 53 bits. A body has at
most 256 kB (262,144 bytes; `worker-status`: 4 MB), no key twice, no NaN, no NUL, no lone surrogate.

A request carries `reply_to` (`amq.rabbitmq.reply-to`, or a queue named `reply.*`),
`correlation_id`, `expiration` (the caller's time-out in ms) and the header `request_id`; a retry
with the same `request_id` and body within ten minutes gets the same answer.
"""

_TITLES = {
    "event": "of media servers",
    "request": "of backends",
    "reply": "of Ladle to a backend",
    "command": "of Ladle to a media server",
    "own-event": "of Ladle to whom it may concern",
}


def document(cell: str = DEFAULT_CELL) -> Document:
    """The whole document of one cell, as plain data."""
    topology = Topology(cell)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Ladle",
            "version": CONTRACT_VERSION,
            "description": _DESCRIPTION,
            "license": {
                "name": "Apache-2.0",
                "url": "https://www.apache.org/licenses/LICENSE-2.0",
            },
        },
        "defaultContentType": "application/json",
        "servers": {
            "broker": {
                "host": "localhost:5672",
                "protocol": "amqp",
                "protocolVersion": "0.9.1",
                "description": "RabbitMQ 3.10 or newer.",
            }
        },
        "channels": _channels(topology),
        "operations": _operations(),
        "components": {
            "messages": _messages(),
            "schemas": definitions("#/components/schemas/{model}"),
        },
    }


def document_yaml(cell: str = DEFAULT_CELL) -> str:
    """The document as YAML; needs PyYAML, which the extra `cli` brings."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """Without aliases, which few readers follow; texts of several lines as blocks."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def as_block(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
        style = "|" if "\n" in text else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    Dumper.add_representer(str, as_block)
    text: str = yaml.dump(
        document(cell), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=100
    )
    return text


# Channels: one for each kind of message that is published to an exchange, one for all replies, and
# one for each queue, as that is where consumers find what the exchanges were given.


def _channels(topology: Topology) -> Document:
    declared = topology.declarations()
    exchanges = {exchange.name: exchange for exchange in declared.exchanges}
    homes = {
        "event": exchanges[topology.media_events],
        "request": exchanges[topology.placement_requests],
        "command": exchanges[topology.media_commands],
        "own-event": exchanges[topology.placement_events],
    }
    channels: Document = {}
    for kind in kinds():
        if kind.group != "reply":
            channels[kind.full_name] = _published(kind, homes[kind.group])
    channels[_REPLIES] = {
        "address": None,
        "description": "The default exchange with the request's reply_to as the routing key.",
        "messages": {
            kind.full_name: _ref("components", "messages", kind.full_name)
            for kind in kinds()
            if kind.group == "reply"
        },
    }
    for queue in declared.queues:
        channels[f"queue.{queue.name}"] = _queue(queue, declared.bindings)
    commands = topology.command_declarations("x")
    channels["queue.commands"] = _command_queue(topology, commands.queues[0])
    for exchange in declared.exchanges:
        if exchange not in homes.values():
            channels[f"exchange.{exchange.name}"] = _bare_exchange(exchange)
    return channels


def _published(kind: Kind, exchange: Exchange) -> Document:
    channel: Document = {
        "address": kind.name,
        "messages": {kind.full_name: _ref("components", "messages", kind.full_name)},
        "bindings": {"amqp": _exchange_binding(exchange)},
    }
    if kind.is_cloudevent:
        channel["address"] = f"{kind.name}.{{server_id}}"
        about = "the media server, `[a-z0-9-]{1,63}`"
        if kind.group == "own-event":
            about += "; `-` where no server is concerned"
        channel["parameters"] = {"server_id": {"description": about}}
    return channel


def _exchange_binding(exchange: Exchange) -> Document:
    binding: Document = {
        "is": "routingKey",
        "exchange": {
            "name": exchange.name,
            "type": exchange.kind,
            "durable": exchange.durable,
            "autoDelete": False,
        },
        **_BINDING,
    }
    if exchange.arguments:
        binding["x-arguments"] = dict(exchange.arguments)
    return binding


def _bare_exchange(exchange: Exchange) -> Document:
    return {
        "address": "#",
        "description": "An exchange whose messages are those of others.",
        "bindings": {"amqp": _exchange_binding(exchange)},
    }


def _queue(queue: Queue, bindings: tuple[Binding, ...]) -> Document:
    return {
        "address": queue.name,
        "description": f"A {queue.kind} queue that Ladle declares.",
        "bindings": {
            "amqp": {
                "is": "queue",
                "queue": {
                    "name": queue.name,
                    "durable": queue.durable,
                    "exclusive": False,
                    "autoDelete": False,
                },
                **_BINDING,
                "x-arguments": dict(queue.arguments),
                "x-bindings": [
                    {"exchange": binding.exchange, "routingKey": binding.key}
                    for binding in bindings
                    if binding.queue == queue.name
                ],
            }
        },
    }


def _command_queue(topology: Topology, example: Queue) -> Document:
    address = topology.command_queue("{server_id}")
    binding = Binding(topology.media_commands, address, "*.{server_id}")
    hours = COMMAND_QUEUE_EXPIRES_MS // 3_600_000
    return {
        **_queue(Queue(address, example.arguments), (binding,)),
        "description": f"What one media server is told; gone after {hours} h without a consumer. "
        "Ladle declares it when the server registers: retry consuming until it exists.",
        "parameters": {"server_id": {"description": "the media server"}},
        "messages": {
            kind.full_name: _ref("components", "messages", kind.full_name)
            for kind in kinds()
            if kind.group == "command"
        },
    }


# Operations


def _operations() -> Document:
    operations: Document = {}
    for kind in kinds():
        if kind.group == "request":
            operations[kind.full_name] = _answered(kind)
        elif kind.group != "reply":
            action = "receive" if kind.group == "event" else "send"
            operations[kind.full_name] = _operation(kind, action) | {
                "bindings": {
                    "amqp": {
                        "deliveryMode": 2,
                        "mandatory": kind.group != "own-event",
                        "ack": True,
                        **_BINDING,
                    }
                }
            }
    return operations


def _operation(kind: Kind, action: str) -> Document:
    return {
        "action": action,
        "channel": _ref("channels", kind.full_name),
        "title": f"{kind.name}, {_TITLES[kind.group]}",
        "summary": _summary(kind),
        "messages": [_ref("channels", kind.full_name, "messages", kind.full_name)],
    }


def _answered(kind: Kind) -> Document:
    is_write = kind.name in WRITES
    return _operation(kind, "receive") | {
        "description": "Writes: journaled before it is answered." if is_write else "Reads only.",
        "bindings": {"amqp": {"deliveryMode": 1, "mandatory": True, "ack": True, **_BINDING}},
        "reply": {
            "address": {
                "location": "$message.header#/reply_to",
                "description": "the AMQP property; direct reply-to or a queue named `reply.*`",
            },
            "channel": _ref("channels", _REPLIES),
            "messages": [
                _ref("channels", _REPLIES, "messages", f"reply.{name}")
                for name in (kind.name, "error")
            ],
        },
    }


# Messages


def _messages() -> Document:
    shown = examples()
    return {kind.full_name: _message(kind, shown[kind.full_name]) for kind in kinds()}


def _message(kind: Kind, example: Outgoing) -> Document:
    ref = f"#/components/schemas/{kind.model.__name__}"
    message: Document = {
        "name": kind.name,
        "title": f"{kind.name}, {_TITLES[kind.group]}",
        "summary": _summary(kind),
        "contentType": example.content_type,
        "payload": body_schema(kind, ref),
        "bindings": {"amqp": {"messageType": example.type, **_BINDING}},
        "examples": [{"name": kind.full_name, "payload": json.loads(example.body)}],
    }
    if kind.group == "request":
        message["headers"] = _request_headers(kind)
        message["examples"][0]["headers"] = dict(example.headers)
    if kind.group in ("request", "reply"):
        message["correlationId"] = {
            "location": "$message.header#/correlation_id",
            "description": "the AMQP property; the reply repeats the request's",
        }
    return message


def _request_headers(kind: Kind) -> Document:
    string = {"type": "string", "pattern": "^[A-Za-z0-9._:~-]{1,128}$"}
    headers: Document = {
        "type": "object",
        "properties": {
            "request_id": string | {"description": "the caller's; a retry repeats it"},
            "onbehalfof": string | {"description": "for proxies: whom they speak for"},
        },
    }
    if kind.name in WRITES:
        headers["required"] = ["request_id"]
    return headers


def _summary(kind: Kind) -> str:
    return (kind.model.__doc__ or "").split("\n\n")[0].replace("\n", " ").strip()


def _ref(*path: str) -> Document:
    return {"$ref": "#/" + "/".join(path)}


if __name__ == "__main__":
    from ladle_contracts.generate import main

    raise SystemExit(main())
