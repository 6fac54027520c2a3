"""Who may do what on RabbitMQ: eight roles, and the rights of one named user of a cell.

RabbitMQ knows three rights, each a regular expression over the names of exchanges and queues
(configure: declare and delete; write: publish, and be bound to; read: consume, and be bound from),
and for a topic exchange one more over the routing key. Nothing is allowed that is not named here.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from ladle_contracts.fields import SERVER_ID
from ladle_contracts.requests import OPERATIONS
from ladle_contracts.topology import Topology, subscriber_queue

NOTHING = "^$"
ANYTHING = ".*"
WORD = "[a-z0-9-]+"
"""Of a routing key before the server: an event's type or a command."""
QUEUE_REST = "[A-Za-z0-9._:~-]+"
AMQ_DEFAULT = "amq.default"
"""How RabbitMQ's rights name the exchange that reaches every queue by its name."""

ADMINISTRATION = frozenset({"drain", "undrain"})
ASKED_BY_BACKENDS = tuple(name for name in OPERATIONS if name not in ADMINISTRATION)

_NAME = re.compile(SERVER_ID, re.ASCII)


class Role(StrEnum):
    """What a user is for. `administrator` is a person's: the management page, `ladle broker`."""

    MEDIA_SERVER = "media-server"
    BACKEND = "backend"
    OPERATOR = "operator"
    SUBSCRIBER = "subscriber"
    AUDITOR = "auditor"
    GATEWAY = "gateway"
    PLACEMENT = "placement"
    ADMINISTRATOR = "administrator"


SPEAKERS = (Role.MEDIA_SERVER, Role.GATEWAY)


@dataclass(frozen=True, slots=True)
class User:
    """A user of the broker. `servers`: those it speaks for; a gateway without any, for all."""

    name: str
    role: Role
    servers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TopicRight:
    """The routing keys of one topic exchange that a user may write and bind."""

    exchange: str
    write: str
    read: str = NOTHING


@dataclass(frozen=True, slots=True)
class Rights:
    """Regular expressions over names, as RabbitMQ takes them."""

    configure: str = NOTHING
    write: str = NOTHING
    read: str = NOTHING
    topics: tuple[TopicRight, ...] = ()


def users_of(role: Role, named: Iterable[str]) -> list[User]:
    """The users that `NAME` or `NAME=SERVER[,SERVER]` name, one each; ValueError says what is bad.

    A media server without `=` speaks for the server of its own name.
    """
    servers: dict[str, list[str]] = {}
    for text in named:
        name, equals, listed = text.partition("=")
        servers.setdefault(name, []).extend(listed.split(",") if equals else [])
    return [checked_user(name, role, ids) for name, ids in servers.items()]


def checked_user(name: str, role: Role, servers: Iterable[str]) -> User:
    """The user, once names and servers fit the role; ValueError says what is bad."""
    ids = tuple(dict.fromkeys(servers))
    if ids and role not in SPEAKERS:
        raise ValueError(f"{name!r}: the role {role} speaks for no server")
    for part in (name, *ids):
        # Names become part of regular expressions: this alphabet has no special character.
        if _NAME.fullmatch(part) is None:
            raise ValueError(f"{name!r}: {part!r} must match {SERVER_ID}")
    return User(name, role, ids or ((name,) if role is Role.MEDIA_SERVER else ()))


def check_users(users: Iterable[User]) -> None:
    """Raises ValueError where one name has two roles: its rights would be whose comes last."""
    roles: dict[str, Role] = {}
    for user in users:
        if roles.setdefault(user.name, user.role) is not user.role:
            raise ValueError(f"{user.name!r} is both {roles[user.name]} and {user.role}")


def rights_of(user: User, topology: Topology) -> Rights:
    """The rights of this user in the topology's cell."""
    match user.role:
        case Role.MEDIA_SERVER | Role.GATEWAY:
            return _of_speaker(user, topology)
        case Role.BACKEND:
            return _of_asker(topology, ASKED_BY_BACKENDS)
        case Role.OPERATOR:
            return _of_asker(topology, tuple(OPERATIONS))
        case Role.SUBSCRIBER:
            return _of_subscriber(user, topology)
        case Role.AUDITOR:
            return Rights(read=_one_of(topology.log))
        case Role.PLACEMENT:
            return _of_placement(topology)
        case Role.ADMINISTRATOR:
            return Rights(ANYTHING, ANYTHING, ANYTHING)


def _of_speaker(user: User, topology: Topology) -> Rights:
    servers = "|".join(user.servers) if user.servers else SERVER_ID
    own_keys = rf"^{WORD}\.({servers})$"
    says = (topology.media_events, topology.media_answers)
    topics = tuple(TopicRight(exchange, own_keys) for exchange in says)
    read = rf"^{_escaped(topology.media_commands)}\.({servers})$"
    if user.role is Role.MEDIA_SERVER:
        return Rights(write=_one_of(*says), read=read, topics=topics)
    asks = _of_asker(topology, ASKED_BY_BACKENDS)
    write = _one_of(*says, topology.placement_requests)
    return Rights(write=write, read=read, topics=topics + asks.topics)


def _of_asker(topology: Topology, operations: tuple[str, ...]) -> Rights:
    keys = f"^({'|'.join(operations)})$"
    topic = TopicRight(topology.placement_requests, keys)
    return Rights(write=_one_of(topology.placement_requests), topics=(topic,))


def _of_subscriber(user: User, topology: Topology) -> Rights:
    prefix = _escaped(subscriber_queue(user.name, "", topology.cell))
    own = f"{prefix}{QUEUE_REST}"
    events = topology.placement_events
    return Rights(
        configure=f"^{own}$",
        write=f"^{own}$",
        read=f"^({own}|{_escaped(events)})$",
        topics=(TopicRight(events, NOTHING, ANYTHING),),
    )


def _of_placement(topology: Topology) -> Rights:
    """To declare the cell, to read its queues, to answer, and to speak as Ladle.

    Binding takes write on the queue and read on the exchange. The queue of requests has the name
    of its exchange, so write on the one is write on the other: the topic right takes it back.
    """
    parts = topology.declarations()
    exchanges = [exchange.name for exchange in parts.exchanges]
    queues = [queue.name for queue in parts.queues]
    command_queue = rf"{_escaped(topology.media_commands)}\.{SERVER_ID}"
    names = "|".join(_escaped(name) for name in dict.fromkeys([*exchanges, *queues]))
    speaks = (
        AMQ_DEFAULT,
        topology.placement_events,
        topology.media_commands,
        topology.placement_dead,
        topology.placement_unrouted,
    )
    writes = "|".join(_escaped(name) for name in dict.fromkeys([*speaks, *queues]))
    reads = dict.fromkeys([*exchanges, *_consumed(topology)])
    return Rights(
        configure=f"^({names}|{command_queue})$",
        write=f"^({writes}|{command_queue})$",
        read=_one_of(*reads),
        topics=(TopicRight(topology.placement_requests, NOTHING, ANYTHING),),
    )


def _consumed(topology: Topology) -> tuple[str, ...]:
    queues = (topology.inbox, topology.requests, topology.queries, topology.answers)
    # Whether the journal has lost records, the stream tells at the start.
    return (*queues, topology.log)


def _one_of(*names: str) -> str:
    return f"^({'|'.join(_escaped(name) for name in names)})$"


def _escaped(name: str) -> str:
    """`re.escape` also escapes what needs none; cells and names have no other special character."""
    return name.replace(".", r"\.")
