"""What each role is meant to be able to do, action by action, and what nobody should.

Written by hand and apart from `roles.py`, whose regular expressions it checks: a broker that was
told too much, or kept an old right, differs from it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ladle.broker.roles import Role, User
from ladle_contracts.topology import Topology, subscriber_queue

OTHER = "ladle-check-other"
"""A server, and a user, that is nobody's."""
OWN = "ladle-check"
"""The server that stands for "its own" where a user speaks for none in particular."""


@dataclass(frozen=True, slots=True)
class Publish:
    """Publish to an exchange."""

    exchange: str
    key: str


@dataclass(frozen=True, slots=True)
class Consume:
    """Read a queue."""

    queue: str


@dataclass(frozen=True, slots=True)
class Declare:
    """Declare, and so also delete, a queue."""

    queue: str


@dataclass(frozen=True, slots=True)
class DeclareExchange:
    """Declare, and so also delete, an exchange."""

    exchange: str


@dataclass(frozen=True, slots=True)
class Bind:
    """Bind a queue to an exchange."""

    queue: str
    exchange: str


Probe = Publish | Consume | Declare | DeclareExchange | Bind


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose names an action is about."""

    topology: Topology
    user: str
    server: str

    def subscription(self, user: str) -> str:
        return subscriber_queue(user, OWN, self.topology.cell)


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to try. `roles` may do it; an administrator may do all."""

    name: str
    probe: Callable[[Subject], Probe]
    roles: frozenset[Role] = frozenset()
    for_all_servers: bool = False
    """Also for a gateway that speaks for all servers."""

    def is_meant(self, user: User) -> bool:
        """Whether this user should be able to do it."""
        if user.role is Role.ADMINISTRATOR or user.role in self.roles:
            return True
        return self.for_all_servers and user.role is Role.GATEWAY and not user.servers


def subject_of(user: User, topology: Topology) -> Subject:
    """The names to try this user with."""
    return Subject(topology, user.name, user.servers[0] if user.servers else OWN)


_SPEAKS = frozenset({Role.MEDIA_SERVER, Role.GATEWAY})
_ASKS = frozenset({Role.BACKEND, Role.OPERATOR, Role.GATEWAY})
_LADLE = frozenset({Role.PLACEMENT})
_READS_EVENTS = frozenset({Role.SUBSCRIBER})

ACTIONS = (
    Action(
        "say an event of its server",
        lambda its: Publish(its.topology.media_events, f"worker-status.{its.server}"),
        _SPEAKS,
    ),
    Action(
        "say an event of another server",
        lambda its: Publish(its.topology.media_events, f"worker-status.{OTHER}"),
        for_all_servers=True,
    ),
    Action(
        "answer a command to its server",
        lambda its: Publish(its.topology.media_answers, f"report-rooms.{its.server}"),
        _SPEAKS,
    ),
    Action(
        "answer a command to another",
        lambda its: Publish(its.topology.media_answers, f"report-rooms.{OTHER}"),
        for_all_servers=True,
    ),
    Action(
        "read commands to its server",
        lambda its: Consume(its.topology.command_queue(its.server)),
        _SPEAKS,
    ),
    Action(
        "read commands to another server",
        lambda its: Consume(its.topology.command_queue(OTHER)),
        for_all_servers=True,
    ),
    Action(
        "ask for a room",
        lambda its: Publish(its.topology.placement_requests, "allocate"),
        _ASKS,
    ),
    Action(
        "ask to look up a room",
        lambda its: Publish(its.topology.placement_requests, "lookup"),
        _ASKS,
    ),
    Action(
        "drain a server",
        lambda its: Publish(its.topology.placement_requests, "drain"),
        frozenset({Role.OPERATOR}),
    ),
    Action("read requests", lambda its: Consume(its.topology.requests), _LADLE),
    Action("read events of servers", lambda its: Consume(its.topology.inbox), _LADLE),
    Action("read answers of servers", lambda its: Consume(its.topology.answers), _LADLE),
    Action(
        "command a server",
        lambda its: Publish(its.topology.media_commands, f"close-room.{its.server}"),
        _LADLE,
    ),
    Action(
        "say an event of Ladle",
        lambda its: Publish(its.topology.placement_events, "room-placed.-"),
        _LADLE,
    ),
    Action("write to any queue", lambda its: Publish("", its.topology.inbox), _LADLE),
    Action(
        "write a dead letter",
        lambda its: Publish(its.topology.placement_dead, "bad-data"),
        _LADLE,
    ),
    Action("read dead letters", lambda its: Consume(its.topology.dead_letters)),
    Action(
        "read the log",
        lambda its: Consume(its.topology.log),
        frozenset({Role.AUDITOR, Role.PLACEMENT}),
    ),
    Action("declare the inbox", lambda its: Declare(its.topology.inbox), _LADLE),
    Action(
        "declare an exchange",
        lambda its: DeclareExchange(its.topology.media_events),
        _LADLE,
    ),
    Action(
        "make a subscription",
        lambda its: Declare(its.subscription(its.user)),
        _READS_EVENTS,
    ),
    Action(
        "subscribe to events of Ladle",
        lambda its: Bind(its.subscription(its.user), its.topology.placement_events),
        _READS_EVENTS,
    ),
    Action(
        "subscribe to events of servers",
        lambda its: Bind(its.subscription(its.user), its.topology.media_events),
    ),
    Action(
        "read its subscription",
        lambda its: Consume(its.subscription(its.user)),
        _READS_EVENTS,
    ),
    Action("read another's subscription", lambda its: Consume(its.subscription(OTHER))),
)
