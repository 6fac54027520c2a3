"""Where a room goes, or why it goes nowhere. Reads the view, changes nothing.

Servers fall in this order, each to one reason: up, open, labels, regions, not avoided, cpu,
capacity. The index knows the first two and cpu of every server; labels and pins narrow it to the
few servers that carry them. Then the policy chooses among those that are left, region by region or
over all that are listed; with `prefer`, where nothing fits there, over the rest. Servers that are
damped fall for it with those that are not up; where nothing else is found, all this is done once
more with them alone.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from ladle.core import refusals, wish
from ladle.core.damping import DAMPED
from ladle.core.field import Field
from ladle.core.index import CPU, NO_WORKER, Index, Pick, Region, running_workers, together
from ladle.core.policies import POLICIES, Policy
from ladle.core.record import Entry
from ladle.core.rows import changed
from ladle.core.wish import Wish

if TYPE_CHECKING:
    from ladle.core.rows import Router
    from ladle.core.view import View

RUNNERS_UP = 2
"""How many are recorded next to the winner: enough to see why it won, little in the journal."""

Regions = Mapping[str, Region]


class Placement(NamedTuple):
    """A router of the home. worker_id None: the server chooses."""

    router: int
    server_id: str
    worker_id: str | None


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided, read from its record, so that a replay reads what was and never chooses.

    record: JSON, the outcome's `decision`:
      operation, policy, policy_version, offset_seen, wish: {peers, publishers, streams, cost, ...},
      servers: how many there were, fell: {reason: how many}, fitted: how many were left,
      winner, runners_up: [{server_id, worker_id, region, used, capacity, cpu_permille, permille,
      headroom, share_permille in slow start, and the policy's own parts}], region_fallback,
      last_resort (a damped server, for want of another); or, for a refusal, error: {code,
      retryable, retry_after_ms, message, details} and no winner.
    """

    record: Mapping[str, Any]

    @property
    def error(self) -> Mapping[str, Any] | None:
        """The refusal, as on the wire; None where a home was found."""
        return self.record.get("error")

    @property
    def routers(self) -> tuple[Placement, ...]:
        """The routers of the home; none for a refusal."""
        winner = self.record.get("winner")
        if winner is None:
            return ()
        return (Placement(winner.get("router", 0), winner["server_id"], winner["worker_id"]),)

    @property
    def wish(self) -> Mapping[str, Any]:
        """What is reserved: peers, publishers, streams, cost in consumers."""
        return self.record["wish"]  # type: ignore[no-any-return]

    @property
    def region_fallback(self) -> bool:
        """True: regions were listed, and none of them had room."""
        return bool(self.record.get("region_fallback", False))


def decide(view: "View", entry: Entry) -> Decision:
    """The home for the room of an `allocate`, `extend` or `move` request.

    `view` is settled and stands at the record before `entry`. Whether the room should get another
    home is the caller's question: an `allocate` of a room that has one is answered with another,
    and `extend` and `move` need a room that has one.
    """
    operation: str = entry.payload["operation"]
    wished = wish_of(view, entry)
    if operation == "extend":
        return _extend(view, view.routers[_room_of(entry), 0], wished)
    return choose(view, wished, seed_of(entry), operation)


def wish_of(view: "View", entry: Entry) -> Wish:
    """What such a request wishes for, with what is known of the room."""
    operation, body = entry.payload["operation"], entry.payload["body"]
    room_id = _room_of(entry)
    room = view.rooms.get(room_id)
    if operation == "allocate":
        return wish.to_allocate(body, room)
    assert room is not None, "the rules refuse extend and move of a room that is nowhere"
    if operation == "extend":
        return wish.to_extend(body, room)
    numbers = view.home_of.get(room_id, ())
    home = frozenset(view.routers[room_id, number].server_id for number in numbers)
    return wish.to_move(body, room, home)


def seed_of(entry: Entry) -> str:
    """What policies draw from: of this request at this place in the journal alone."""
    return f"{entry.payload['request_id']}:{entry.offset}"


def _room_of(entry: Entry) -> str:
    room_id: str = entry.payload["body"].get("room_id") or entry.inputs["room_id"]
    return room_id


def choose(view: "View", wished: Wish, seed: str, operation: str = "allocate") -> Decision:
    """The best home for a wish; O(log workers) without labels, else O(servers with the labels)."""
    policy = POLICIES[view.limits.policy]
    if wished.server_id is not None and wished.server_id not in view.servers:
        record = _record(view, policy, operation, wished)
        record["error"] = refusals.unknown_server(wished.server_id)
        return Decision(record)
    searches = [_search(view.index, policy, wished, seed)]
    if not searches[0].ranked and view.last_resort.standings:
        searches.append(_search(view.last_resort, policy, wished, seed))
    record = _record(view, policy, operation, wished)
    record["fell"] = _fell_in(searches, wished)
    last = searches[-1]
    if last.ranked:
        record["fitted"] = last.fitted
        scored = [_scored(view, last.index, *pick) for pick in last.ranked]
        record["winner"], *record["runners_up"] = scored
        if last.index is view.last_resort:
            record["last_resort"] = True
        if wished.regions and not set(last.tier).intersection(wished.regions):
            record["region_fallback"] = True
        return Decision(record)
    most = [each.most_headroom(wished) for each in searches]
    largest = max((region.largest[-1][0] for region in searches[0].looked_at()), default=None)
    record["error"] = refusals.nothing_found(
        wished,
        record["servers"],
        record["fell"],
        max((headroom for headroom in most if headroom is not None), default=None),
        largest,
    )
    return Decision(record)


@dataclass(frozen=True, slots=True)
class _Search:
    """A look through one index.

    carrying: its regions, as labels and pin leave them. tried: those that were looked at; in the
    last of them, `tier`, something was found. ranked: the best picks; none where nothing fits.
    fitted: of how many servers.
    """

    index: Index
    carrying: Regions
    tried: list[str]
    tier: list[str]
    ranked: list[tuple[Pick, dict[str, int]]]
    fitted: int

    def looked_at(self) -> list[Region]:
        """The regions that were tried."""
        return [self.carrying[name] for name in self.tried]

    def most_headroom(self, wished: Wish) -> int | None:
        """Of the roomiest worker there, whether it fits or not; None: no worker."""
        return Field(self.index, self.looked_at(), wished.cost, wished.avoid).most_headroom()


def _search(index: Index, policy: Policy, wished: Wish, seed: str) -> _Search:
    """The first regions in which anything fits, and what fits best there."""
    carrying = _carrying(index, wished)
    tried: list[str] = []
    for tier in _tiers(policy, wished, carrying):
        tried += tier
        regions = [carrying[name] for name in tier]
        field = Field(index, regions, wished.cost, wished.avoid)
        ranked = list(islice(policy.ranked(field, seed), 1 + RUNNERS_UP))
        if ranked:
            # What was tried before holds nothing that fits, so this field's size is of all.
            return _Search(index, carrying, tried, tier, ranked, field.size())
    return _Search(index, carrying, tried, [], [], 0)


def fits(view: "View", router: "Router", cost: int) -> bool:
    """Whether the worker of a router can carry it with `cost` consumers reserved instead.

    Where only servers can be chosen: whether the server can. A worker that died, or that was
    never registered, carries nothing. O(workers of the server).
    """
    capacity, used = _if_reserved(view, router, cost)
    return used <= capacity


def _if_reserved(view: "View", router: "Router", cost: int) -> tuple[int, int]:
    """Capacity, and what would be used of it, with `cost` reserved for a router from now on."""
    server_id = router.server_id
    whole = not view.servers[server_id].places_workers or router.worker_id is None
    workers = running_workers(view, server_id)
    if not whole:
        workers = [worker for worker in workers if worker.worker_id == router.worker_id]
    raised = changed(router, reserved=cost, reserved_offset=view.offset + 1)
    used = view.loads.used_if(router, raised, together=whole)
    return together(workers)[0], used


def _extend(view: "View", router: "Router", wished: Wish) -> Decision:
    """Room for more peers on the router that the room has."""
    record = _record(view, POLICIES[view.limits.policy], "extend", wished)
    record["servers"] = 1
    capacity, used = _if_reserved(view, router, wished.cost)
    # What is asked for is reserved already, so it costs nothing, however full the worker is.
    if used <= capacity or wished.cost <= router.reserved:
        record["fitted"] = 1
        record["winner"] = {
            "router": router.router,
            "server_id": router.server_id,
            "worker_id": router.worker_id,
            "used": used,
            "capacity": capacity,
        }
        if wished.regions and view.servers[router.server_id].region not in wished.regions:
            record["region_fallback"] = True
    else:
        room_for = capacity - used + max(router.seen, wished.cost)
        record["fell"] = {refusals.FULL: 1}
        record["error"] = refusals.beyond_its_router(wished, room_for, capacity)
    return Decision(record)


def _carrying(index: Index, wished: Wish) -> Regions:
    """The regions of all servers that carry the labels, or of the pinned one if it does."""
    if not wished.labels and wished.server_id is None:
        return index.regions
    servers: Iterable[str] = index.standings
    if wished.labels:
        servers = index.carrying(dict(wished.labels))
    if wished.server_id is not None:
        servers = {wished.server_id}.intersection(servers)
    return index.among(servers)


def _tiers(policy: Policy, wished: Wish, carrying: Regions) -> list[list[str]]:
    """Regions to choose from together, one list after the other until one of them has room."""
    if not wished.regions:
        return [sorted(carrying)]
    listed = [name for name in dict.fromkeys(wished.regions) if name in carrying]
    tiers = [[name] for name in listed] if policy.region_by_region else [listed]
    if not wished.require:
        tiers.append(sorted(set(carrying).difference(listed)))
    return tiers


def _record(view: "View", policy: Policy, operation: str, wished: Wish) -> dict[str, Any]:
    """What every decision tells, as of one that looked at no server yet."""
    return {
        "operation": operation,
        "policy": policy.name,
        "policy_version": policy.version,
        "offset_seen": view.offset,
        "wish": wished.for_people(),
        "servers": len(view.servers) if wished.server_id is None else 1,
        "fell": {},
        "fitted": 0,
    }


def _fell_in(searches: list[_Search], wished: Wish) -> dict[str, int]:
    """How many servers fell to each reason that any fell to."""
    fell: dict[str, int] = {}
    for search in searches:
        # Who was damped is looked at again: for the last resort it is no reason.
        fell.pop(DAMPED, None)
        for reason, count in _fell(search, wished).items():
            fell[reason] = fell.get(reason, 0) + count
    # Plain strings: a member of an enumeration is no key that every JSON encoder takes.
    return {str(reason): count for reason, count in sorted(fell.items()) if count}


def _fell(search: _Search, wished: Wish) -> dict[str, int]:
    """How many servers of one index fell to each reason; O(regions + servers to avoid)."""
    index, carrying = search.index, search.carrying
    everyone: Regions = index.regions
    if wished.server_id is not None:
        everyone = index.among({wished.server_id}.intersection(index.standings))
    fell: dict[str, int] = {}
    serving = 0
    for region in everyone.values():
        serving += region.serving()
        for reason, count in region.out.items():
            fell[reason] = fell.get(reason, 0) + count
    here = search.looked_at()
    labelled = serving if carrying is everyone else _serving(carrying.values())
    in_regions = labelled if len(here) == len(carrying) else _serving(here)
    # CPU is the last but one reason, and only counts for servers that come so far.
    hot = 0
    for region in here:
        hot += region.out.get(CPU, 0)
    avoided: list[str] = []
    if wished.avoid:
        avoided = Field(index, here, wished.cost, wished.avoid).avoided_servers()
        hot -= sum(index.standings[server_id].out == CPU for server_id in avoided)
    fell[refusals.LABELS] = serving - labelled
    fell[refusals.REGIONS] = labelled - in_regions
    fell[refusals.AVOIDED] = len(avoided)
    fell[CPU] = hot
    fell[refusals.FULL] = in_regions - len(avoided) - hot - search.fitted
    return fell


def _serving(regions: Iterable[Region]) -> int:
    return sum(region.serving() for region in regions)


def _scored(view: "View", index: Index, pick: Pick, parts: dict[str, int]) -> dict[str, Any]:
    """A candidate as the decision records it: what was known of it, and how it was ranked."""
    server_id, worker_id = pick.server_id, pick.worker_id
    if worker_id == NO_WORKER:
        capacity, cpu_permille = together(running_workers(view, server_id))
    else:
        worker = view.workers[server_id, worker_id]
        capacity, cpu_permille = worker.capacity, worker.cpu_permille
    scored = {
        "server_id": server_id,
        "worker_id": worker_id or None,
        "region": view.servers[server_id].region,
        "used": capacity - pick.headroom,
        "capacity": capacity,
        "cpu_permille": cpu_permille,
        "permille": pick.permille,
        **parts,
    }
    share = index.share_permille(server_id)
    if share is not None:
        scored["share_permille"] = share
    return scored
