"""RabbitMQ's definitions file of a cell: users, rights, policies, exchanges, queues, bindings.

Made from the topology and the roles alone, so that what the broker is told and what the programs
do cannot differ. A broker takes it at its start (`load_definitions`), over the management page, or
with `rabbitmqctl import_definitions`; what it has besides stays.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ladle.broker.roles import Role, User, rights_of
from ladle.broker.users_file import HASHING, hashed
from ladle_contracts.topology import (
    DEFAULT_CELL,
    SUBSCRIPTION_BYTES_MAX,
    SUBSCRIPTION_MAX,
    Exchange,
    Queue,
    Topology,
    subscriber_queue,
)


def definitions(
    topology: Topology, users: Mapping[User, str], *, vhost: str = "/"
) -> dict[str, Any]:
    """The document; `users` gives each its password, of which only a salted hash stands in it."""
    declared = topology.declarations()
    return {
        "vhosts": [{"name": vhost}],
        "users": [
            {
                "name": user.name,
                "password_hash": hashed(password),
                "hashing_algorithm": HASHING,
                "tags": _tags(user),
            }
            for user, password in users.items()
        ],
        "permissions": [_permission(user, topology, vhost) for user in users],
        "topic_permissions": list(_topic_permissions(users, topology, vhost)),
        "policies": [_subscriptions_policy(topology, vhost)],
        "exchanges": [_exchange(exchange, vhost) for exchange in declared.exchanges],
        "queues": [_queue(queue, vhost) for queue in declared.queues],
        "bindings": [
            {
                "source": binding.exchange,
                "vhost": vhost,
                "destination": binding.queue,
                "destination_type": "queue",
                "routing_key": binding.key,
                "arguments": {},
            }
            for binding in declared.bindings
        ],
    }


def _tags(user: User) -> list[str]:
    return ["administrator"] if user.role is Role.ADMINISTRATOR else []


def _permission(user: User, topology: Topology, vhost: str) -> dict[str, str]:
    rights = rights_of(user, topology)
    return {
        "user": user.name,
        "vhost": vhost,
        "configure": rights.configure,
        "write": rights.write,
        "read": rights.read,
    }


def _topic_permissions(
    users: Iterable[User], topology: Topology, vhost: str
) -> Iterable[dict[str, str]]:
    for user in users:
        for topic in rights_of(user, topology).topics:
            yield {
                "user": user.name,
                "vhost": vhost,
                "exchange": topic.exchange,
                "write": topic.write,
                "read": topic.read,
            }


def _subscriptions_policy(topology: Topology, vhost: str) -> dict[str, Any]:
    """What a subscriber does not read must not fill the broker: its oldest events go."""
    prefix = "" if topology.cell == DEFAULT_CELL else f"{topology.cell}."
    own = subscriber_queue("USER", "", topology.cell).replace(".", r"\.")
    return {
        "name": f"{prefix}ladle-subscriptions",
        "vhost": vhost,
        "pattern": f"^{own.replace('USER', '[a-z0-9-]+')}",
        "apply-to": "queues",
        "definition": {
            "max-length": SUBSCRIPTION_MAX,
            "max-length-bytes": SUBSCRIPTION_BYTES_MAX,
            "overflow": "drop-head",
        },
        # Of policies that fit, the one of the highest priority counts: a cell's own before all.
        "priority": 0 if topology.cell == DEFAULT_CELL else 1,
    }


def _exchange(exchange: Exchange, vhost: str) -> dict[str, Any]:
    return {
        "name": exchange.name,
        "vhost": vhost,
        "type": exchange.kind,
        "durable": exchange.durable,
        "auto_delete": False,
        "internal": False,
        "arguments": dict(exchange.arguments),
    }


def _queue(queue: Queue, vhost: str) -> dict[str, Any]:
    return {
        "name": queue.name,
        "vhost": vhost,
        "durable": queue.durable,
        "auto_delete": False,
        "arguments": dict(queue.arguments),
    }
