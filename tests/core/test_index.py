"""The index against a brute-force oracle: what it offers is what a look at every row would find."""

from collections import Counter
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ladle.core.field import Field
from ladle.core.index import Index, Pick
from ladle.core.rows import Server, Worker, changed
from ladle.core.view import View
from tests.core.placing import add_server, fleet, put_router, reloaded, set_server, set_worker

SERVERS = ["a", "b", "c", "d", "e"]
REGIONS = ["eu", "us", None]


class Seen(NamedTuple):
    """A server as one sees it who looks at the rows."""

    server_id: str
    region: str
    out: str | None
    picks: list[Pick]


def look(view: View, server: Server) -> Seen:
    """By the rules in words, without the index."""
    rows = [row for row in view.workers.values() if row.server_id == server.server_id]
    running = [row for row in rows if row.state == "running"]
    offers = []
    if server.places_workers:
        for row in running:
            used = view.loads.used(row.server_id, row.worker_id)
            offers.append((row.worker_id, row.capacity, used, row.cpu_permille))
    elif running:
        cpu = sum(row.cpu_permille for row in running) // len(running)
        used = view.loads.used_together(server.server_id)
        offers.append(("", sum(row.capacity for row in running), used, cpu))
    cool = [offer for offer in offers if offer[3] < 850]
    out = None
    if server.liveness != "up":
        out = server.liveness
    elif server.administration != "open":
        out = server.administration
    elif server.conflicting_with:
        out = "conflicting"
    elif not running:
        out = "no-workers"
    elif not cool:
        out = "cpu"
    picks = [
        Pick(max(used * 1000 // capacity, cpu), used - capacity, server.server_id, worker_id)
        for worker_id, capacity, used, cpu in cool
    ]
    return Seen(server.server_id, server.region or "", out, [] if out else picks)


def all_seen(view: View) -> list[Seen]:
    return [look(view, view.servers[server_id]) for server_id in sorted(view.servers)]


server_columns = st.fixed_dictionaries(
    {
        "region": st.sampled_from(REGIONS),
        "liveness": st.sampled_from(["up", "up", "up", "up", "stale", "lost"]),
        "administration": st.sampled_from(["open", "open", "open", "draining", "drained"]),
        "conflicting_with": st.sampled_from([None, None, None, "other"]),
        "places_workers": st.sampled_from([1, 1, 1, 0]),
        "labels": st.sampled_from(["{}", '{"gpu":"yes"}', '{"gpu":"no","tier":"1"}']),
    }
)
worker_columns = st.fixed_dictionaries(
    {
        "state": st.sampled_from(["running", "running", "running", "died"]),
        "capacity": st.sampled_from([100, 500, 1000]),
        "observed": st.integers(0, 520),
        "cpu_permille": st.sampled_from([0, 0, 300, 849, 850, 1000]),
    }
)
changes = st.one_of(
    st.tuples(st.just("server"), st.sampled_from(SERVERS), server_columns),
    st.tuples(
        st.just("worker"),
        st.sampled_from(SERVERS),
        st.sampled_from(["0", "1", "2"]),
        worker_columns,
    ),
    st.tuples(st.just("room"), st.sampled_from(SERVERS), st.sampled_from(["0", "1"])),
    st.tuples(st.just("gone"), st.sampled_from(SERVERS)),
)


def change(view: View, step: tuple[Any, ...]) -> None:
    match step:
        case ("server", server_id, columns):
            view.put(Server(server_id, **columns))
            if (server_id, "0") not in view.workers:
                view.put(Worker(server_id, "0", lists_rooms=1))
        case ("worker", server_id, worker_id, columns) if server_id in view.servers:
            view.put(Worker(server_id, worker_id, lists_rooms=1, **columns))
        case ("room", server_id, worker_id) if (server_id, worker_id) in view.workers:
            put_router(view, f"room-{len(view.routers)}", server_id, worker_id, reserved=24)
        case ("gone", server_id) if server_id in view.servers:
            for worker_id in view.workers_of.get(server_id, ()):
                view.drop(view.workers[server_id, worker_id])
            view.drop(view.servers[server_id])
    view.settle()


def of_steps(steps: list[tuple[Any, ...]]) -> View:
    view = View()
    for step in steps:
        change(view, step)
    return view


views = st.lists(changes, min_size=5, max_size=40).map(of_steps)
costs = st.sampled_from([0, 1, 24, 90, 180, 480, 600])
some_regions = st.lists(st.sampled_from(["eu", "us", ""]), unique=True, max_size=3)
avoided = st.frozensets(st.sampled_from([*SERVERS, "unknown"]), max_size=3)


@given(views, costs, some_regions, avoided)
def test_what_is_offered_is_what_brute_force_finds(view, cost, regions, avoid):
    """No server that fits is overlooked, none that does not is offered, and the order is total."""
    here = [view.index.regions[name] for name in regions if name in view.index.regions]
    field = Field(view.index, here, cost, avoid)
    servers = [
        [pick for pick in seen.picks if pick.headroom >= cost]
        for seen in all_seen(view)
        if seen.region in regions and seen.server_id not in avoid
    ]
    fitting = [picks for picks in servers if picks]
    assert list(field.emptiest()) == sorted(min(picks) for picks in fitting)
    rungs = sorted((max(p.headroom for p in picks), picks[0].server_id) for picks in fitting)
    assert list(field.tightest()) == rungs
    assert field.size() == len(rungs)
    assert [field.at_rank(rank) for rank in range(len(rungs))] == [name for _, name in rungs]
    for picks in fitting:
        assert field.workers(picks[0].server_id) == sorted(picks)
    everything = [
        pick.headroom
        for seen in all_seen(view)
        for pick in seen.picks
        if seen.region in regions and seen.server_id not in avoid
    ]
    assert field.most_headroom() == max(everything, default=None)
    assert field.avoided_servers() == [
        seen.server_id
        for seen in all_seen(view)
        if seen.region in regions and seen.server_id in avoid and seen.out in (None, "cpu")
    ]


@given(views)
def test_regions_count_why_servers_are_out(view):
    seen = all_seen(view)
    assert set(view.index.regions) == {server.region for server in seen}
    for name, region in view.index.regions.items():
        here = [server for server in seen if server.region == name]
        assert +region.out == Counter(server.out for server in here if server.out)
        assert region.serving() == sum(server.out in (None, "cpu") for server in here)
        assert len(region.largest) == len(here)


@given(views)
def test_the_index_is_a_function_of_the_rows(view):
    """Whatever came before, it is what it would be had the rows been loaded from the tables."""
    again = reloaded(view)
    assert contents(again.index) == contents(view.index)


@given(st.lists(changes, min_size=5, max_size=40))
def test_however_often_it_looks_it_sees_the_same(steps):
    """One look at all that changed, or one after each change at what changed in it alone."""
    view = View()
    for step in steps:
        change(view, step)
        assert contents(view.index) == contents(reloaded(view).index)


@given(views, st.sets(st.sampled_from(SERVERS)))
def test_narrowed_to_some_servers_it_is_as_if_there_were_no_others(view, kept):
    kept &= set(view.servers)
    narrow = view.index.among(sorted(kept))
    for server_id in set(view.servers) - kept:
        change(view, ("gone", server_id))
    assert {name: of_region(region) for name, region in narrow.items()} == {
        name: of_region(region) for name, region in view.index.regions.items()
    }


def contents(index: Index) -> dict[str, Any]:
    return {
        "regions": {name: of_region(region) for name, region in index.regions.items()},
        "standings": index.standings,
        "carriers": index._carriers,
    }


def of_region(region: Any) -> dict[str, Any]:
    return {
        "by_permille": {permille: list(bucket) for permille, bucket in region.by_permille.items()},
        "roomiest": list(region.roomiest),
        "largest": list(region.largest),
        "out": +region.out,
    }


def test_a_dominated_worker_is_never_better():
    """Fuller and smaller than its neighbour: only the neighbour stands in the buckets."""
    view = fleet("a", workers=3)
    set_worker(view, "a", "0", observed=100)
    set_worker(view, "a", "1", observed=300)
    set_worker(view, "a", "2", observed=400, capacity=1000)
    standing = view.index.standings["a"]
    assert [pick.worker_id for pick in standing.undominated] == ["0", "2"]
    assert [pick.worker_id for pick in standing.workers] == ["0", "2", "1"]


def test_an_over_full_worker_is_offered_for_nothing():
    """Not even for a room that costs nothing."""
    view = fleet("a")
    set_worker(view, "a", observed=501)
    assert list(view.index.regions[""].emptiest(0)) == []
    assert view.index.standings["a"].roomiest == -1
    set_worker(view, "a", observed=500)
    assert [pick.server_id for pick in view.index.regions[""].emptiest(0)] == ["a"]


def test_servers_that_carry_labels():
    view = fleet("a", labels='{"gpu":"yes","tier":"1"}')
    add_server(view, "b", labels='{"gpu":"yes"}')
    add_server(view, "c")

    def carrying(labels: dict[str, str]) -> set[str]:
        return view.index.carrying(labels)

    assert carrying({"gpu": "yes"}) == {"a", "b"}
    assert carrying({"gpu": "yes", "tier": "1"}) == {"a"}
    assert carrying({"gpu": "no"}) == set()
    set_server(view, "a", labels='{"gpu":"no"}')
    assert carrying({"gpu": "yes"}) == {"b"}
    assert carrying({"gpu": "no"}) == {"a"}
    assert carrying({"tier": "1"}) == set()


def test_an_empty_region_is_forgotten():
    """Or what there is would depend on what there was."""
    view = fleet("a@eu", "b@us")
    change(view, ("gone", "a"))
    assert set(view.index.regions) == {"us"}


def test_the_index_is_of_the_rows_as_they_are():
    """It looks when it is asked: a change in the same record is seen too."""
    view = fleet("a")
    assert view.index.standings["a"].roomiest == 500
    view.put(changed(view.workers["a", "0"], observed=100))
    assert view.index.standings["a"].roomiest == 400
    assert view.changed_servers() == ["a"], "what changed in the record is still news"
    view.put(changed(view.workers["a", "0"], observed=200))
    view.settle()
    assert view.changed_servers() == []
    assert view.index.standings["a"].roomiest == 300


def test_a_look_that_finds_nothing_new_changes_nothing():
    view = fleet("a")
    standing = view.index.standings["a"]
    view.put(changed(view.servers["a"], heard_at_ms=5))
    view.settle()
    assert view.index.standings["a"] is standing


def test_a_server_that_was_never_there_is_no_news():
    view = fleet("a")
    view.index.refresh(view, "nobody", {None})
    assert set(view.index.standings) == {"a"}


@pytest.mark.parametrize(
    ("columns", "out"),
    [
        ({"liveness": "lost", "administration": "draining"}, "lost"),
        ({"liveness": "stale", "conflicting_with": "b"}, "stale"),
        ({"administration": "draining", "conflicting_with": "b"}, "draining"),
        ({"administration": "drained"}, "drained"),
        ({"conflicting_with": "b"}, "conflicting"),
        ({}, None),
    ],
)
def test_a_server_is_out_with_its_first_reason(columns, out):
    view = fleet("a")
    set_server(view, "a", **columns)
    assert view.index.standings["a"].out == out


def test_the_limit_on_cpu_is_a_setting():
    """Lowering it takes servers out, without any news from them."""
    view = fleet("a")
    set_worker(view, "a", cpu_permille=700)
    assert view.index.standings["a"].out is None
    view.set_state("cpu_permille_max", 700)
    view.settle()
    assert view.index.standings["a"].out == "cpu"


def test_ranks_step_over_servers_to_avoid():
    """Rank 0 is the first that may be chosen, wherever the others stand."""
    view = fleet("a@eu", "b@us", "c@eu", "d@us")
    for server_id, observed in (("a", 400), ("b", 300), ("c", 200), ("d", 100)):
        set_worker(view, server_id, observed=observed)
    regions = list(view.index.regions.values())

    def ranks(*avoid: str) -> list[str]:
        field = Field(view.index, regions, 24, frozenset(avoid))
        return [field.at_rank(rank) for rank in range(field.size())]

    assert ranks() == ["a", "b", "c", "d"]
    assert ranks("a") == ["b", "c", "d"]
    assert ranks("b", "c") == ["a", "d"]
    assert ranks("d", "a", "unknown") == ["b", "c"]


def test_a_region_is_there_while_a_server_is() -> None:
    """A server that moves or goes takes its region along where it was the last one there."""
    view = fleet("a@eu", "b@eu", "c@us", labels='{"gpu":"yes"}')
    set_server(view, "c", region="ap")
    assert set(view.index.regions) == {"eu", "ap"}
    for server_id in ("a", "c"):
        change(view, ("gone", server_id))
    assert set(view.index.regions) == {"eu"}
    assert set(view.index.standings) == {"b"}
    assert contents(view.index) == contents(reloaded(view).index)


def test_a_server_that_came_and_went_between_two_looks_leaves_nothing() -> None:
    view = View()
    view.put(Server("a", region="eu"))
    view.drop(view.servers["a"])
    view.settle()
    assert (view.index.regions, view.index.standings) == ({}, {})
