"""Each policy as a table of edges and answers, and what all of them promise."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ladle.core.policies import POLICIES
from ladle.core.policies.two_choice import drawn
from tests.core.placing import add_server, allocate, fleet, home, reloaded, set_worker
from tests.core.test_index import all_seen, views


def view_of(policy, servers):
    """servers: {server_id: [(used, capacity, cpu), ...]}"""
    view = fleet()
    view.set_state("policy", policy)
    for server_id, workers in servers.items():
        add_server(view, server_id, workers=len(workers))
        for number, (used, capacity, cpu) in enumerate(workers):
            columns = {"observed": used, "capacity": capacity, "cpu_permille": cpu}
            set_worker(view, server_id, str(number), **columns)
    return view


LEAST_LOADED = [
    ("the emptier one", {"a": [(100, 500, 0)], "b": [(90, 500, 0)]}, 4, ("b", "0")),
    (
        "cpu where it is higher",
        {"a": [(100, 500, 300)], "b": [(140, 500, 0)]},
        4,
        ("b", "0"),
    ),
    ("cpu not where it is lower", {"a": [(100, 500, 100)], "b": [(110, 500, 0)]}, 4, ("a", "0")),
    ("share, not consumers", {"a": [(100, 500, 0)], "b": [(190, 1000, 0)]}, 4, ("b", "0")),
    ("as full, and roomier", {"a": [(100, 500, 0)], "b": [(200, 1000, 0)]}, 4, ("b", "0")),
    ("less than a permille", {"a": [(1002, 9999, 0)], "b": [(1001, 9999, 0)]}, 4, ("b", "0")),
    ("emptiest does not fit", {"a": [(80, 100, 0)], "b": [(450, 500, 0)]}, 4, ("b", "0")),
    ("in one bucket, too", {"a": [(90, 100, 0)], "b": [(450, 500, 0)]}, 4, ("b", "0")),
    ("an exact fit", {"a": [(476, 500, 0)]}, 4, ("a", "0")),
    ("one too many", {"a": [(477, 500, 0)]}, 4, "no-capacity"),
    ("a tie is for the lower server", {"b": [(0, 500, 0)], "a": [(0, 500, 0)]}, 4, ("a", "0")),
    ("and the lower worker", {"a": [(9, 500, 0), (0, 500, 0), (0, 500, 0)]}, 4, ("a", "1")),
    ("hot workers are out", {"a": [(0, 500, 850)], "b": [(400, 500, 849)]}, 4, ("b", "0")),
]

PACK = [
    ("the fuller server", {"a": [(100, 500, 0)], "b": [(90, 500, 0)]}, 4, ("a", "0")),
    (
        "by its roomiest worker",
        {"a": [(470, 500, 0), (300, 500, 0)], "b": [(400, 500, 0), (450, 500, 0)]},
        4,
        ("b", "1"),
    ),
    (
        "in it the fullest that fits",
        {"a": [(470, 500, 0), (300, 500, 0)], "b": [(400, 500, 0), (480, 500, 0)]},
        4,
        ("b", "0"),
    ),
    ("an exact fit", {"a": [(476, 500, 0)], "b": [(0, 500, 0)]}, 4, ("a", "0")),
    ("one too many", {"a": [(477, 500, 0)], "b": [(0, 500, 0)]}, 4, ("b", "0")),
    ("of one headroom the fuller", {"a": [(0, 100, 0), (400, 500, 0)]}, 4, ("a", "1")),
    ("of equals the lower ids", {"b": [(0, 500, 0)], "a": [(0, 500, 0)]}, 4, ("a", "0")),
    ("nothing", {"a": [(500, 500, 0)]}, 4, "no-capacity"),
]


@pytest.mark.parametrize(("why", "servers", "peers", "answer"), LEAST_LOADED)
def test_least_loaded(why, servers, peers, answer):
    assert home(allocate(view_of("least-loaded", servers), peers=peers)) == answer, why


@pytest.mark.parametrize(("why", "servers", "peers", "answer"), PACK)
def test_pack(why, servers, peers, answer):
    assert home(allocate(view_of("pack", servers), peers=peers)) == answer, why


REGION_FIRST = [
    ("the first listed", ["us", "eu"], "prefer", ("u", "0")),
    ("though the second is emptier", ["eu", "us"], "prefer", ("e", "0")),
    ("the second where the first is full", ["full", "eu"], "prefer", ("e", "0")),
    ("an unknown region is none", ["mars", "us"], "prefer", ("u", "0")),
    ("the rest where all are full", ["full"], "prefer", ("u", "0")),
    ("unless they are required", ["full"], "require", "no-capacity"),
    ("none listed: the emptiest anywhere", [], "prefer", ("u", "0")),
]


def three_regions(policy):
    view = view_of(policy, {})
    for spec, used in (("e@eu", 200), ("f@full", 500), ("u@us", 100)):
        add_server(view, spec)
        set_worker(view, spec[0], observed=used)
    return view


@pytest.mark.parametrize(("why", "regions", "mode", "answer"), REGION_FIRST)
def test_region_first(why, regions, mode, answer):
    decision = allocate(three_regions("region-first"), regions=regions, region_mode=mode)
    assert home(decision) == answer, why


@pytest.mark.parametrize("policy", ["least-loaded", "pack", "two-choice"])
def test_other_policies_choose_over_all_listed_regions(policy):
    """Listing eu first is no reason to take the fuller server there."""
    winner = allocate(three_regions(policy), regions=["eu", "us"]).record["winner"]["server_id"]
    assert winner == ("e" if policy == "pack" else "u")


def test_two_choice_takes_the_better_of_the_two_it_drew():
    servers = {f"s{n}": [(n * 10, 500, 0)] for n in range(20)}
    view = view_of("two-choice", servers)
    winners = Counter()
    for number in range(200):
        record = allocate(view, request_id=f"q{number}").record
        (loser,) = record["runners_up"]
        assert record["winner"]["used"] < loser["used"]
        assert record["winner"]["rank"] > loser["rank"], "rank 0 has the least headroom"
        winners[record["winner"]["server_id"]] += 1
    assert len(winners) > 10, "the same few would be chosen by many at once"
    assert winners["s19"] == 0, "the fullest is never the better one of two"


def test_two_choice_draws_again_at_another_offset():
    """A caller who asks again after a release must not be bound to the same two."""
    view = view_of("two-choice", {f"s{n}": [(0, 500, 0)] for n in range(50)})
    drawn_at = set()
    for offset in range(10):
        view.offset = offset
        drawn_at.add(allocate(view, request_id="same").record["winner"]["rank"])
    assert len(drawn_at) > 5


def test_two_choice_is_the_same_in_every_replay():
    """A golden answer: the hash of request id and offset, nothing of this process."""
    view = view_of("two-choice", {f"s{n:02}": [(0, 500, 0)] for n in range(50)})
    view.offset = 41
    assert home(allocate(view, request_id="golden")) == GOLDEN
    assert home(allocate(reloaded(view), request_id="golden")) == GOLDEN


GOLDEN = ("s24", "0")


def test_two_choice_of_one_server():
    assert home(allocate(view_of("two-choice", {"a": [(0, 500, 0)]}))) == ("a", "0")


@given(st.text(max_size=8), st.integers(0, 6))
def test_draws_are_different_ranks(seed, size):
    ranks = drawn(seed, size)
    assert len(set(ranks)) == len(ranks) == min(size, 2)
    assert all(0 <= rank < size for rank in ranks)


def test_draws_are_even():
    """Of 6 pairs of ranks below 4 none is drawn far more often than another."""
    pairs = Counter(frozenset(drawn(f"{n}", 4)) for n in range(3_000))
    assert len(pairs) == 6
    assert max(pairs.values()) < 1.3 * min(pairs.values())


@given(views, st.sampled_from(sorted(POLICIES)), st.integers(1, 20), st.sampled_from(["q", "r"]))
def test_what_a_policy_chooses_fits_and_is_chosen_again(view, policy, peers, request_id):
    """Never beyond capacity, never on a server that is out, and a replay agrees."""
    view.set_state("policy", policy)
    view.settle()
    decision = allocate(view, peers=peers, request_id=request_id)
    again = allocate(reloaded(view), peers=peers, request_id=request_id)
    assert decision == again
    cost = decision.wish["cost"]
    fitting = {
        (pick.server_id, pick.worker_id or None): pick
        for seen in all_seen(view)
        for pick in seen.picks
        if pick.headroom >= cost
    }
    if decision.error is not None:
        assert fitting == {}
        return
    (chosen,) = decision.routers
    assert (chosen.server_id, chosen.worker_id) in fitting
    assert chosen.server_id not in {other["server_id"] for other in decision.record["runners_up"]}
    if policy in ("least-loaded", "region-first"):
        assert fitting[chosen.server_id, chosen.worker_id] == min(fitting.values())


def test_every_policy_has_its_name_and_version():
    assert {name: policy.version for name, policy in POLICIES.items()} == {
        "least-loaded": 1,
        "pack": 1,
        "two-choice": 1,
        "region-first": 1,
    }
    assert all(policy.name == name for name, policy in POLICIES.items())
