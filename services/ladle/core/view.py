"""The view: the rows, what changed in them, and what is derived from them.

Two laws. Everything that a rule reads is a row or derived from rows alone, so `load(dump())` is
the same view and goes on in the same way. And rows change through `put` and `drop` only, so that
sums, indexes and schedule follow, whatever the rule.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from operator import attrgetter
from typing import Any

import orjson
from sortedcontainers import SortedList

from ladle.core.damping import DAMPED
from ladle.core.index import Index
from ladle.core.limits import Limits, overridden
from ladle.core.load import Load
from ladle.core.record import canonical
from ladle.core.rows import (
    KEYS,
    TABLES,
    Closing,
    EventSeen,
    Key,
    Request,
    Room,
    Router,
    Server,
    Setting,
    Stamp,
    Timer,
    Values,
    Worker,
    changed,
    values_of,
)
from ladle.core.schedule import Schedule
from ladle.core.slow_start import SLOW_START
from ladle.core.words import Liveness

__all__ = [
    "TABLES",
    "Closing",
    "EventSeen",
    "Request",
    "Room",
    "Router",
    "Server",
    "Setting",
    "Stamp",
    "Timer",
    "Values",
    "View",
    "Worker",
    "changed",
]

Pair = tuple[str, str]


@dataclass(slots=True)
class _Table:
    """One table's rows by key, which of them changed (None: deleted), and who follows changes."""

    name: str
    rows: dict[Any, Any]
    key_of: Callable[[Any], Any]
    follow: Callable[["View", Any, Any, Any], None]
    changes: dict[Any, Any] = field(default_factory=dict)


class View:
    """The materialised load view of one cell, at the record `offset`."""

    def __init__(self) -> None:
        self.offset = 0
        self.recorded_at_ms = 0
        self.servers: dict[str, Server] = {}
        self.workers: dict[Pair, Worker] = {}  # (server_id, worker_id)
        self.rooms: dict[str, Room] = {}
        self.routers: dict[tuple[str, int], Router] = {}  # (room_id, router)
        self.stamps: dict[Pair, Stamp] = {}  # (room_id, server_id)
        self.closings: dict[Pair, Closing] = {}  # (room_id, server_id)
        self.requests: dict[tuple[str, str, str], Request] = {}
        self.events_seen: dict[str, EventSeen] = {}
        self.settings: dict[str, Setting] = {}
        self.timers: dict[Pair, Timer] = {}  # (kind, key)
        self.tables: dict[str, dict[Any, Any]] = {
            "server": self.servers,
            "worker": self.workers,
            "room": self.rooms,
            "router": self.routers,
            "stamp": self.stamps,
            "closing": self.closings,
            "request": self.requests,
            "event_seen": self.events_seen,
            "setting": self.settings,
            "timer": self.timers,
        }
        # Derived: each a function of the rows above.
        self.limits = Limits()
        self.schedule = Schedule()
        self.workers_of: dict[str, tuple[str, ...]] = {}  # server -> its worker ids, ascending
        self.home_of: dict[str, tuple[int, ...]] = {}  # room -> its router numbers, ascending
        self.routers_on: dict[str, set[tuple[str, int]]] = {}  # server -> router keys; sort to walk
        self.closings_on: dict[str, set[str]] = {}  # server -> room ids; sort to walk
        self.stamps_of: dict[str, tuple[str, ...]] = {}  # room -> servers that stamp it, ascending
        self.claims: dict[str, set[str]] = {}  # address that two may not share -> servers; sort
        self.liveness: Counter[str] = Counter()  # how many servers are up, stale, lost
        self.silent: SortedList = SortedList()  # (heard_at_ms, server_id) of those that are stale
        self.loads = Load()  # running sums of every worker
        self._index = Index()  # workers by region and headroom; see `index`
        self._last_resort = Index(of_damped=True)
        self._index_due: dict[str, set[str | None]] = {}  # servers, and which of their workers
        self._changed: set[str] = set()  # servers that changed in this record
        self._table_of: dict[type[Any], _Table] = {
            TABLES[name]: _Table(name, rows, KEYS[name], _FOLLOW[name])
            for name, rows in self.tables.items()
        }

    def put(self, row: Any) -> None:
        """Insert or replace a row; one that equals what is there is no change."""
        table = self._table_of[type(row)]
        key = table.key_of(row)
        old = table.rows.get(key)
        if old is not None and old == row:
            return
        table.rows[key] = table.changes[key] = row
        table.follow(self, key, old, row)

    def put_heard(self, server: Server) -> None:
        """As `put`, of a server that differs in what was received: comparing is in vain."""
        key = server.server_id
        table = self._table_of[Server]
        old = self.servers[key]
        self.servers[key] = table.changes[key] = server
        _server(self, key, old, server)

    def drop(self, row: Any) -> None:
        """Delete this row; it must be the one that is there."""
        table = self._table_of[type(row)]
        key = table.key_of(row)
        old = table.rows.pop(key)
        table.changes[key] = None
        table.follow(self, key, old, None)

    def changed_servers(self) -> list[str]:
        """Servers that changed, or whose rooms did, since the view was settled; ascending."""
        return sorted(self._changed)

    def settle(self) -> None:
        """The record is folded: what changed in it is no news any more; `apply` ends with it."""
        self._changed.clear()

    @property
    def index(self) -> Index:
        """Of the rows as they are. It looks at servers when it is asked, not at every change.

        Most records decide nothing, and a replay decides nothing at all. What it holds is a
        function of the rows, so when and in which order it looks makes no difference.
        """
        self._look_again()
        return self._index

    @property
    def last_resort(self) -> Index:
        """Of the servers that are out in `index` for being damped alone, as if they were not."""
        self._look_again()
        return self._last_resort

    def _look_again(self) -> None:
        if self._index_due:
            self._index.look_again(self, self._index_due)
            # Where nothing damps it holds nobody, and has nobody to let go.
            if self.limits.flap_ms or self._last_resort.standings:
                self._last_resort.look_again(self, self._index_due)
            self._index_due.clear()

    def _touch(self, server_id: str, worker_id: str | None) -> None:
        """The index is to look at this worker again; None: at all of the server."""
        self._changed.add(server_id)
        workers = self._index_due.get(server_id)
        if workers is None:
            self._index_due[server_id] = {worker_id}
        else:
            workers.add(worker_id)

    def take_changes(self) -> dict[str, dict[Key, Values | None]]:
        """Rows changed since the last call: last values by key (always a tuple), None = deleted."""
        taken: dict[str, dict[Key, Values | None]] = {}
        for table in self._table_of.values():
            if table.changes:
                taken[table.name] = {
                    key if type(key) is tuple else (key,): None if row is None else values_of(row)
                    for key, row in table.changes.items()
                }
                table.changes = {}
        return taken

    @classmethod
    def load(
        cls, tables: Mapping[str, Iterable[Values]], *, offset: int, recorded_at_ms: int
    ) -> "View":
        """The view from its rows, columns in the order of the class; the rest is derived anew."""
        view = cls()
        view.offset, view.recorded_at_ms = offset, recorded_at_ms
        for name, row in TABLES.items():
            for values in tables.get(name, ()):
                view.put(row(*values))
        view.settle()
        for table in view._table_of.values():
            table.changes = {}
        return view

    def dump(self) -> dict[str, list[Values]]:
        """All rows by table, sorted by key; `load` of it is this view."""
        return {
            name: [values_of(rows[key]) for key in sorted(rows)]
            for name, rows in self.tables.items()
        }

    def digest(self) -> str:
        """SHA-256 over the canonical JSON of offset, time and dump, lower-case hex."""
        whole = {"offset": self.offset, "recorded_at_ms": self.recorded_at_ms, **self.dump()}
        return sha256(canonical(whole)).hexdigest()

    def state(self, name: str) -> Any:
        """A setting's value as last put, None where it never was; limits read `limits` instead."""
        row = self.settings.get(name)
        return None if row is None else orjson.loads(row.value)

    def set_state(self, name: str, value: Any) -> None:
        """Put a setting; None deletes it."""
        if value is not None:
            self.put(Setting(name, canonical(value).decode()))
        elif name in self.settings:
            self.drop(self.settings[name])


def _server(view: View, key: str, old: Server | None, new: Server | None) -> None:
    view.schedule.set("silence", key, new.silence_due_ms if new else None)
    # Each event puts off its silence, and hardly one the others.
    if old is None or new is None or _seldom_due(old) != _seldom_due(new):
        view.schedule.set("report", key, new.report_due_ms if new else None)
        view.schedule.set("forget", key, new.forget_at_ms if new else None)
    view._changed.add(key)
    # Each event changes the row of its server, but for a stale one not what is derived from it.
    is_stale = new is not None and new.liveness == Liveness.STALE
    if old is None or new is None or is_stale or _derived_from(old) != _derived_from(new):
        _count(view, key, old, new)
        _claim(view, key, old, new)
        view._touch(key, None)


_seldom_due = attrgetter("report_due_ms", "forget_at_ms")

_derived_from = attrgetter(
    # What claims_of reads, and what the index reads.
    *("media_ip", "udp_port_min", "turn_ports"),
    *("liveness", "administration", "conflicting_with", "places_workers", "region", "labels"),
)


def _count(view: View, key: str, old: Server | None, new: Server | None) -> None:
    if old is not None:
        view.liveness[old.liveness] -= 1
        if old.liveness == Liveness.STALE:
            view.silent.remove((old.heard_at_ms, key))
    if new is not None:
        view.liveness[new.liveness] += 1
        if new.liveness == Liveness.STALE:
            view.silent.add((new.heard_at_ms, key))


def _claim(view: View, key: str, old: Server | None, new: Server | None) -> None:
    before, after = claims_of(old), claims_of(new)
    for claim in before - after:
        _leave(view.claims, claim, key)
    for claim in after - before:
        view.claims.setdefault(claim, set()).add(key)


def claims_of(server: Server | None) -> set[str]:
    """What no two servers may share: the address of their UDP ports, each TURN port."""
    if server is None:
        return set()
    claims = {f"turn {port}" for port in orjson.loads(server.turn_ports)}
    if server.media_ip is not None and server.udp_port_min is not None:
        claims.add(f"udp {server.media_ip}")
    return claims


def _worker(view: View, key: Pair, old: Worker | None, new: Worker | None) -> None:
    if old is None or new is None:
        _member(view.workers_of, key[0], key[1], new is not None)
        view._touch(key[0], None)
    elif old.capacity != new.capacity or old.state != new.state:
        view._touch(key[0], None)
    else:
        view._touch(*key)
    view.loads.account_worker(old, new)


def _room(view: View, key: str, old: Room | None, new: Room | None) -> None:
    before, after = _room_due(old) if old else _NOT_DUE, _room_due(new) if new else _NOT_DUE
    if before != after:
        view.schedule.set("hold", key, after[0])
        view.schedule.set("end", key, after[1])


_room_due = attrgetter("held_until_ms", "ends_at_ms")
_NOT_DUE = (None, None)


def _router(view: View, key: tuple[str, int], old: Router | None, new: Router | None) -> None:
    if old is None or new is None:
        _member(view.home_of, key[0], key[1], new is not None)
    if old is None or new is None or old.server_id != new.server_id:
        if old is not None:
            _leave(view.routers_on, old.server_id, key)
        if new is not None:
            view.routers_on.setdefault(new.server_id, set()).add(key)
    view.loads.account(old, new)
    for row in (old, new):
        if row is not None:
            view._touch(row.server_id, row.worker_id)


def _stamp(view: View, key: Pair, old: Stamp | None, new: Stamp | None) -> None:
    if old is None or new is None:
        _member(view.stamps_of, key[0], key[1], new is not None)
    until_ms = new.until_ms if new else None
    if until_ms != (old.until_ms if old else None):
        view.schedule.set("stamp", key, until_ms)
    before, after = _ended(old), _ended(new)
    if before is not after and (before is None or after is None or _of(before) != _of(after)):
        view.loads.account_ended(before, after)
        for row in (old, new):
            if row is not None:
                view._touch(row.server_id, row.worker_id)


def _ended(stamp: Stamp | None) -> Stamp | None:
    """Only what ended there with something seen counts in the sums; most stamps never do."""
    return stamp if stamp is not None and stamp.seen else None


_of = attrgetter("incarnation", "sequence", "worker_id", "seen")
"""What the sums hold of a room that ended; the rest of its stamp may change as it likes."""


def _closing(view: View, key: Pair, old: Closing | None, new: Closing | None) -> None:
    view.schedule.set("closing", key, new.next_at_ms if new else None)
    if new is None:
        _leave(view.closings_on, key[1], key[0])
    else:
        view.closings_on.setdefault(key[1], set()).add(key[0])


def _request(view: View, key: Key, old: Request | None, new: Request | None) -> None:
    view.schedule.set("request", key, new.expires_at_ms if new else None)


def _event_seen(view: View, key: str, old: EventSeen | None, new: EventSeen | None) -> None:
    view.schedule.set("event-seen", key, new.expires_at_ms if new else None)


def _setting(view: View, key: str, old: Setting | None, new: Setting | None) -> None:
    before = view.limits
    view.limits = overridden(
        {name: orjson.loads(row.value) for name, row in view.settings.items()},
    )
    # Whether a worker is in or out depends on cpu_permille_max and flap_ms, its order on
    # slow_start_ms.
    if view.limits != before:
        for server_id in view.servers:
            view._touch(server_id, None)


def _timer(view: View, key: Pair, old: Timer | None, new: Timer | None) -> None:
    view.schedule.set(key[0], key[1], new.due_ms if new else None)
    if key[0] in (SLOW_START, DAMPED):
        view._touch(key[1], None)


def _member(groups: dict[str, tuple[Any, ...]], group: str, member: Any, is_in: bool) -> None:
    """Keep `groups[group]` the ascending tuple of its members; an empty one is no key."""
    members = groups.get(group, ())
    # Nearly always a group of one: a room has one router, and was on one server.
    if is_in and not members:
        groups[group] = (member,)
    elif is_in:
        groups[group] = tuple(sorted({*members, member}))
    elif members == (member,):
        del groups[group]
    else:
        groups[group] = tuple(other for other in members if other != member)


def _leave(groups: dict[str, set[Any]], group: str, member: Any) -> None:
    groups[group].discard(member)
    if not groups[group]:
        del groups[group]


_FOLLOW: dict[str, Callable[[View, Any, Any, Any], None]] = {
    "server": _server,
    "worker": _worker,
    "room": _room,
    "router": _router,
    "stamp": _stamp,
    "closing": _closing,
    "request": _request,
    "event_seen": _event_seen,
    "setting": _setting,
    "timer": _timer,
}
