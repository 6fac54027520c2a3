"""The rows of the view: one class a table, columns of int, str and None only.

A row is never changed in place: `changed(row, ...)` makes the next one and `View.put` takes it, so
that the running sums and indexes see what was and what is. Flags are 0 or 1, nested values are
canonical JSON, times are Unix ms.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, ClassVar, TypeVar

Values = tuple[Any, ...]
Key = tuple[Any, ...]


@dataclass(slots=True)
class Server:
    """A media server's life, as heard of, and what it said of itself when it registered."""

    KEY: ClassVar[tuple[str, ...]] = ("server_id",)

    server_id: str
    incarnation: int = 0  # which life: its start in ms
    sequenced: int = 1  # 0: this life's events carry no sequence, the record's offset is it
    liveness: str = "up"  # words.Liveness
    administration: str = "open"  # words.Administration
    # Two drains that end differently: an operator's by undrain, the server's with its life.
    operator_drain: int = 0
    operator_drain_reason: str | None = None
    operator_drain_by_ms: int | None = None
    server_drain: int = 0
    server_drain_reason: str | None = None
    server_drain_by_ms: int | None = None
    admin_sequence: int = 0  # of its own last draining or deregistered in this life
    registered_sequence: int = 0  # of the registration that the description comes from
    deregistered_sequence: int | None = None  # speaks again only above it
    heard_at_ms: int = 0  # its last event
    silence_due_ms: int | None = None  # when its silence means something next
    lost_at_ms: int | None = None
    forget_at_ms: int | None = None  # lost, nothing there: when the row goes
    # What was received: all up to `watermark`, and ranges above it.
    watermark: int = 0
    received_above: str = "[]"  # JSON [[first, last], ...], ascending, disjoint, not adjacent
    hole_since_ms: int | None = None  # the oldest hole; None: no hole
    report_due_ms: int | None = None  # when report-rooms is asked for next
    report_tries: int = 0
    lists_rooms: int = 0  # it has sent a complete status in this life
    complete_sequence: int = 0  # of the last complete status
    # What it said of itself.
    region: str | None = None
    zone: str | None = None
    labels: str = "{}"  # JSON {name: value}
    host: str = ""
    port: int = 443
    ws_url_template: str | None = None
    places_workers: int = 1  # 0: it chooses the worker itself, only the server can be placed
    status_interval_ms: int = 5_000
    liveness_mode: str = "heartbeat"  # or "probe"
    contract_version: int = 1
    external_id: str | None = None
    media_ip: str | None = None
    udp_port_min: int | None = None
    udp_port_max: int | None = None
    turn_ports: str = "[]"  # JSON ["host:port", ...], sorted
    description: str = "{}"  # JSON of all that `server` said
    claimed_offset: int = 0  # record by which it had its ports; of two that overlap the first wins
    conflicting_with: str | None = None  # the server that had its ports first: nothing new here


@dataclass(slots=True)
class Worker:
    """One mediasoup worker and its last status. Sums over its rooms are derived, not stored."""

    KEY: ClassVar[tuple[str, ...]] = ("server_id", "worker_id")

    server_id: str
    worker_id: str
    state: str = "running"  # or "died"
    capacity: int = 500  # consumers
    observed: int = 0  # consumers in all, by the last status
    producers: int = 0
    rooms: int = 0  # as the worker counts them
    cpu_permille: int = 0
    memory_bytes: int = 0
    incarnation: int = 0  # the server's life that this row tells of
    status_sequence: int = 0  # of the last status in it; 0 before one
    status_offset: int = 0  # of the record that brought it, or the life: reservations above it
    # came after. Never falls.
    lists_rooms: int = 0  # 1: that status listed rooms, so `seen` of its routers is as new


@dataclass(slots=True)
class Room:
    """A room that has a home. Its routers are rows of their own; nowhere = no row."""

    KEY: ClassVar[tuple[str, ...]] = ("room_id",)

    room_id: str
    phase: str = "held"  # words.Phase, never nowhere
    generation: int = 1  # grows with each other home
    allocation_id: str = ""  # never used twice
    allocated_at_ms: int = 0
    held_until_ms: int | None = None  # None: no hold
    ends_at_ms: int | None = None  # stranded, or too old on a server without complete statuses
    stranded_at_ms: int | None = None
    peers: int = 0  # reserved for: peers, of whom publishers send streams each
    publishers: int = 0
    streams: int = 0
    reserved: int = 0  # what that costs, consumers
    # JSON {regions, region_mode, labels} of who placed it: a move keeps to them. Under `owner_only`
    # also who that is: {owner}.
    wishes: str = "{}"


@dataclass(slots=True)
class Router:
    """A worker's share of a room; a room's home is the set of its routers."""

    KEY: ClassVar[tuple[str, ...]] = ("room_id", "router")

    room_id: str
    router: int
    server_id: str
    worker_id: str | None  # None: its server chooses the worker and has not said which
    active: int = 0  # 1: its server created it and has not deleted it
    incarnation: int = 0  # the server's life: in which it was created, else placed
    created_sequence: int = 0  # of the created (or list) that confirmed it; 0: unconfirmed
    named_allocation_id: str | None = None  # that its create named, whatever the room's is
    seen: int = 0  # consumers, by the server's last list
    peers_seen: int = 0
    cost: int = 0  # what it was reserved for, consumers
    reserved: int = 0  # what is left of that; fades
    reserved_offset: int = 0  # record that reserved it: after or before a worker's status_offset
    fade_step: int = 0  # of load.FADE_STEPS; 0: the whole cost is reserved
    fade_at_ms: int | None = None  # when the next step is due; None: unconfirmed, or faded


@dataclass(slots=True)
class Stamp:
    """The last that a server said of a room: an event of it at or below is history."""

    KEY: ClassVar[tuple[str, ...]] = ("room_id", "server_id")

    room_id: str
    server_id: str
    incarnation: int = 0
    sequence: int = 0
    generation: int = 0  # the last one known of the room while it was here
    expired_allocation_id: str | None = None  # ran out here: a late create may still claim it
    released_allocation_id: str | None = None  # given back here: a late create may not
    worker_id: str | None = None  # where it ended, with `seen` consumers that the worker's
    seen: int = 0  # last status may still count; 0 unless it ended at `sequence`
    until_ms: int | None = None  # None: home or closing here; else when it is forgotten


@dataclass(slots=True)
class Closing:
    """A life that should end: its server is told so until it has."""

    KEY: ClassVar[tuple[str, ...]] = ("room_id", "server_id")

    room_id: str
    server_id: str
    incarnation: int = 0
    sequence: int = 0  # creates at or below it are meant
    allocation_id: str | None = None
    reason: str = ""
    tries: int = 0
    next_at_ms: int | None = None  # None: the server is lost; it is told when it is back


@dataclass(slots=True)
class Request:
    """A write request that was answered: the same id gets the same answer, for a while."""

    KEY: ClassVar[tuple[str, ...]] = ("user", "operation", "request_id")

    user: str
    operation: str
    request_id: str
    digest: str  # of the body: another body with this id is a conflict
    offset: int  # of the record that holds the answer
    expires_at_ms: int


@dataclass(slots=True)
class EventSeen:
    """The id of an event that carried no sequence. `event_id` = server id, a space, its id."""

    KEY: ClassVar[tuple[str, ...]] = ("event_id",)

    event_id: str
    expires_at_ms: int


@dataclass(slots=True)
class Setting:
    """A limit that is not at its default, or a state of the whole cell (`caught-up`, ...)."""

    KEY: ClassVar[tuple[str, ...]] = ("name",)

    name: str
    value: str  # JSON


@dataclass(slots=True)
class Timer:
    """Something due that no other row says: a `register` to ask again, ..."""

    KEY: ClassVar[tuple[str, ...]] = ("kind", "key")

    kind: str
    key: str
    due_ms: int
    tries: int = 0


TABLES: dict[str, type[Any]] = {
    "server": Server,
    "worker": Worker,
    "room": Room,
    "router": Router,
    "stamp": Stamp,
    "closing": Closing,
    "request": Request,
    "event_seen": EventSeen,
    "setting": Setting,
    "timer": Timer,
}
"""Table name -> row class, in the order of a dump."""

COLUMNS: dict[str, tuple[str, ...]] = {
    name: tuple(field.name for field in fields(row)) for name, row in TABLES.items()
}

_values: dict[type[Any], Callable[[Any], Values]] = {
    row: attrgetter(*COLUMNS[name]) for name, row in TABLES.items()
}
KEYS: dict[str, Callable[[Any], Any]] = {name: attrgetter(*row.KEY) for name, row in TABLES.items()}
"""Table name -> the key of a row as the view has it: a one-column key's value, else a tuple."""

Row = TypeVar("Row")


def values_of(row: object) -> Values:
    """The columns in the order of the class."""
    return _values[type(row)](row)


def changed(row: Row, **columns: Any) -> Row:
    """A copy of `row` with these columns; `row` stays as it was."""
    new = type(row)(*_values[type(row)](row))
    for name, value in columns.items():
        setattr(new, name, value)
    return new
