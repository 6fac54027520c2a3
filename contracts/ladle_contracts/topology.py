"""The only place that names exchanges, queues and keys, and says how they are declared.

Everything here is plain data: declare, the broker's definitions file, asyncapi.yaml and the docs
are made from it, so that they cannot differ (RabbitMQ refuses a second declaration that does).
RabbitMQ 3.10 and 4.x both accept the arguments.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from ladle_contracts.fields import SERVER_ID
from ladle_contracts.reply_addresses import reply_node
from ladle_contracts.requests import READS, WRITES

DEFAULT_CELL = "default"

DELIVERY_LIMIT = 100
"""Deliveries before the broker gives an event up: a crash loop must not eat the inbox, and 4.x's
own default (20) is soon reached by reconnections alone."""

_LOOKED_AT_MAX = 1_000_000
"""Listing dead letters takes and returns them, which counts as deliveries; 4.x would drop them
after 20. "Unlimited" (-1) is refused by 3.10."""

LOG_AGE_MAX = "7D"
LOG_BYTES_MAX = 2_000_000_000
_LOG_SEGMENT_BYTES = 100_000_000  # Whole segments are dropped: well below the bound on bytes.
DEAD_LETTERS_MAX = 10_000
DEAD_LETTER_BYTES_MAX = 256_000_000
COMMANDS_MAX = 1_000
COMMAND_QUEUE_EXPIRES_MS = 86_400_000
ANSWERS_MAX = 100_000
SUBSCRIPTION_MAX = 100_000
SUBSCRIPTION_BYTES_MAX = 256_000_000

Argument = str | int
_NAME = re.compile(SERVER_ID, re.ASCII)
_REPLY_QUEUE = re.compile(r"reply\.[A-Za-z0-9._:~-]{1,128}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A durable exchange. `kind` is `topic` or `fanout`."""

    name: str
    kind: str
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    durable: bool = True


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable, shared queue; its kind stands in `arguments["x-queue-type"]`."""

    name: str
    arguments: Mapping[str, Argument]
    durable: bool = True

    @property
    def kind(self) -> str:
        """`classic`, `quorum` or `stream`."""
        return str(self.arguments["x-queue-type"])


@dataclass(frozen=True, slots=True)
class Binding:
    """What an exchange gives to a queue."""

    exchange: str
    queue: str
    key: str


@dataclass(frozen=True, slots=True)
class Declarations:
    """What to declare, in this order: exchanges, queues, bindings."""

    exchanges: tuple[Exchange, ...]
    queues: tuple[Queue, ...]
    bindings: tuple[Binding, ...]


def is_reply_address(address: str) -> bool:
    """May a reply go there? Only to direct reply-to and to queues named `reply.*`.

    The placement role may write to every queue; without this, a caller could make it. An address
    of direct reply-to has to be one that a broker makes: another costs the connection.
    """
    return _REPLY_QUEUE.fullmatch(address) is not None or reply_node(address) is not None


def reply_queue(name: str) -> str:
    """The name of a caller's own reply queue, an alternative to direct reply-to."""
    return f"reply.{name}"


def subscriber_queue(user: str, name: str, cell: str = DEFAULT_CELL) -> str:
    """The name of a queue in which `user` may receive the own events of one cell.

    The user comes first, for that is what rights go by. Without the cell, one name in two cells
    would be one queue, and each reader would take and leave out the events of the other.
    """
    prefix = "" if cell == DEFAULT_CELL else f"{cell}."
    return f"sub.{user}.{prefix}{name}"


class Topology:
    """The names of one cell; every name carries the cell as a prefix unless it is `default`.

    `quorum_requests`: the queue of writing requests is replicated, for broker clusters. Raises
    ValueError for a cell that is not `[a-z0-9-]{1,63}`.
    """

    def __init__(self, cell: str = DEFAULT_CELL, *, quorum_requests: bool = False) -> None:
        if _NAME.fullmatch(cell) is None:
            raise ValueError(f"cell: must match {SERVER_ID}")
        prefix = "" if cell == DEFAULT_CELL else f"{cell}."
        self.cell = cell
        self.quorum_requests = quorum_requests
        # Exchanges.
        self.media_events = f"{prefix}media.events"
        self.placement_requests = f"{prefix}placement.requests"
        self.placement_unrouted = f"{prefix}placement.unrouted"
        self.placement_events = f"{prefix}placement.events"
        self.media_commands = f"{prefix}media.commands"
        self.media_answers = f"{prefix}media.answers"
        self.placement_dead = f"{prefix}placement.dead"
        # Queues.
        self.inbox = f"{prefix}placement.inbox"
        self.requests = f"{prefix}placement.requests"
        self.queries = f"{prefix}placement.queries"
        self.answers = f"{prefix}placement.answers"
        self.log = f"{prefix}placement.log"
        self.dead_letters = f"{prefix}placement.dead-letters"
        # The `source` of all that Ladle says.
        self.own_source = f"/ladle/{cell}"

    def command_queue(self, server_id: str) -> str:
        """The queue in which `server_id` finds its commands."""
        return f"{self.media_commands}.{server_id}"

    @staticmethod
    def event_key(event_type: str, server_id: str) -> str:
        """Routing key of a server's event, command or answer: `<type>.<server_id>`."""
        return f"{event_type}.{server_id}"

    @staticmethod
    def own_event_key(event_type: str, server_id: str | None) -> str:
        """Routing key of one of Ladle's own events; `-` stands for no server."""
        return f"{event_type}.{server_id or '-'}"

    def declarations(self) -> Declarations:
        """All of the cell but its command queues, which are made server by server."""
        return Declarations(self._exchanges(), self._queues(), self._bindings())

    def command_declarations(self, server_id: str) -> Declarations:
        """The command queue of one server; raises ValueError for a malformed id."""
        if _NAME.fullmatch(server_id) is None:
            raise ValueError(f"server_id: must match {SERVER_ID}")
        queue = Queue(
            self.command_queue(server_id),
            {
                "x-queue-type": "classic",
                "x-expires": COMMAND_QUEUE_EXPIRES_MS,
                "x-max-length": COMMANDS_MAX,
                "x-overflow": "drop-head",
            },
        )
        binding = Binding(self.media_commands, queue.name, f"*.{server_id}")
        return Declarations((), (queue,), (binding,))

    def _exchanges(self) -> tuple[Exchange, ...]:
        return (
            Exchange(self.media_events, "topic"),
            Exchange(self.placement_unrouted, "fanout"),
            Exchange(
                self.placement_requests,
                "topic",
                {"alternate-exchange": self.placement_unrouted},
            ),
            Exchange(self.placement_events, "topic"),
            Exchange(self.media_commands, "topic"),
            Exchange(self.media_answers, "topic"),
            Exchange(self.placement_dead, "topic"),
        )

    def _queues(self) -> tuple[Queue, ...]:
        return (
            Queue(
                self.inbox,
                {
                    "x-queue-type": "quorum",
                    "x-delivery-limit": DELIVERY_LIMIT,
                    "x-dead-letter-exchange": self.placement_dead,
                },
            ),
            Queue(self.requests, self._request_arguments()),
            Queue(self.queries, {"x-queue-type": "classic"}),
            Queue(
                self.answers,
                {
                    "x-queue-type": "classic",
                    "x-max-length": ANSWERS_MAX,
                    "x-overflow": "drop-head",
                },
            ),
            Queue(
                self.log,
                {
                    "x-queue-type": "stream",
                    "x-max-age": LOG_AGE_MAX,
                    "x-max-length-bytes": LOG_BYTES_MAX,
                    "x-stream-max-segment-size-bytes": _LOG_SEGMENT_BYTES,
                },
            ),
            Queue(
                self.dead_letters,
                {
                    "x-queue-type": "quorum",
                    "x-max-length": DEAD_LETTERS_MAX,
                    "x-max-length-bytes": DEAD_LETTER_BYTES_MAX,
                    "x-overflow": "drop-head",
                    "x-delivery-limit": _LOOKED_AT_MAX,
                },
            ),
        )

    def _request_arguments(self) -> dict[str, Argument]:
        # No dead-letter exchange: a request that expires ends silently, as its caller has left.
        if self.quorum_requests:
            return {"x-queue-type": "quorum", "x-delivery-limit": DELIVERY_LIMIT}
        return {"x-queue-type": "classic"}

    def _bindings(self) -> tuple[Binding, ...]:
        return (
            Binding(self.media_events, self.inbox, "#"),
            *(Binding(self.placement_requests, self.requests, name) for name in WRITES),
            *(Binding(self.placement_requests, self.queries, name) for name in READS),
            # What matches no operation is answered too: `unknown-operation`.
            Binding(self.placement_unrouted, self.queries, ""),
            Binding(self.media_answers, self.answers, "#"),
            Binding(self.media_events, self.log, "#"),
            Binding(self.placement_events, self.log, "#"),
            Binding(self.placement_dead, self.dead_letters, "#"),
        )


topology_of = lru_cache(maxsize=64)(Topology)
"""The topology of a cell, made once: encoding asks for it with every message."""
