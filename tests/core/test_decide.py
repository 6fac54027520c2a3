"""Decisions: filters in their order, refusals with counts, pins, regions, moves and extensions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ladle.core.decide import Decision, decide, fits
from ladle.core.rows import changed
from ladle.core.view import View
from tests.core.placing import (
    add_server,
    allocate,
    fleet,
    hold,
    home,
    put_router,
    request,
    set_server,
    set_worker,
)
from tests.core.test_index import all_seen, views


def mixed() -> View:
    """One server for every reason to fall, and one, ok, that is left for 4 peers."""
    view = fleet("lost@eu", "stale@eu", "draining@eu", "drained@eu", "conflicting@eu", "dead@eu")
    set_server(view, "lost", liveness="lost", administration="draining")
    set_server(view, "stale", liveness="stale")
    set_server(view, "draining", administration="draining")
    set_server(view, "drained", administration="drained")
    set_server(view, "conflicting", conflicting_with="ok")
    set_worker(view, "dead", state="died")
    gpu = '{"gpu":"yes"}'
    add_server(view, "plain@eu")
    for name in ("away@us", "shunned@eu", "hot@eu", "full@eu", "ok@eu"):
        add_server(view, name, labels=gpu)
    set_worker(view, "hot", cpu_permille=900)
    set_worker(view, "full", observed=490)
    return view


WISH = {
    "peers": 4,
    "labels": {"gpu": "yes"},
    "regions": ["eu"],
    "region_mode": "require",
    "avoid": ["shunned", "dead", "unknown"],
}


def test_each_server_falls_to_its_first_reason():
    record = allocate(mixed(), **WISH).record
    assert record["winner"]["server_id"] == "ok"
    assert record["servers"] == 12
    assert record["fitted"] == 1
    assert record["fell"] == {
        "lost": 1,
        "stale": 1,
        "draining": 1,
        "drained": 1,
        "conflicting": 1,
        "no-workers": 1,
        "labels": 1,
        "regions": 1,
        "avoided": 1,
        "cpu": 1,
        "full": 1,
    }


def test_the_record_tells_the_whole_decision():
    view = fleet("a@eu", "b@eu", "c@us")
    view.offset = 41
    set_worker(view, "a", observed=100, cpu_permille=150)
    set_worker(view, "b", observed=50, cpu_permille=300)
    decision = allocate(view, peers=4, regions=["eu"])
    assert decision.record == {
        "operation": "allocate",
        "policy": "least-loaded",
        "policy_version": 1,
        "offset_seen": 41,
        "wish": {
            "peers": 4,
            "publishers": 4,
            "streams": 2,
            "cost": 24,
            "regions": ["eu"],
            "region_mode": "prefer",
        },
        "servers": 3,
        "fell": {"regions": 1},
        "fitted": 2,
        "winner": {
            "server_id": "a",
            "worker_id": "0",
            "region": "eu",
            "used": 100,
            "capacity": 500,
            "cpu_permille": 150,
            "permille": 200,
        },
        "runners_up": [
            {
                "server_id": "b",
                "worker_id": "0",
                "region": "eu",
                "used": 50,
                "capacity": 500,
                "cpu_permille": 300,
                "permille": 300,
            }
        ],
    }
    assert Decision(dict(decision.record)) == decision


def test_the_record_keeps_what_was_wished_for():
    view = fleet("a")
    wish = {"labels": {"tier": "1"}, "avoid": ["c", "b"], "server_id": "a", "publishers": 1}
    assert allocate(view, peers=3, **wish).wish == {
        "peers": 3,
        "publishers": 1,
        "streams": 2,
        "cost": 4,
        "labels": {"tier": "1"},
        "avoid": ["b", "c"],
        "server_id": "a",
    }


def test_deciding_changes_nothing():
    view = mixed()
    before = view.digest()
    view.take_changes()
    allocate(view, **WISH)
    allocate(view, peers=90)
    assert view.digest() == before
    assert view.take_changes() == {}


def refusal(view, **body):
    error = allocate(view, **body).error
    assert error is not None
    assert error["retryable"] == (error["retry_after_ms"] is not None)
    return error


def test_no_capacity_says_how_large_a_room_would_fit():
    view = fleet("a@eu", "b@eu", "c@us", "d@eu")
    set_worker(view, "a", observed=490)
    set_worker(view, "b", observed=480)
    set_server(view, "d", liveness="stale")
    error = refusal(view, peers=4, regions=["eu"], region_mode="require")
    assert error == {
        "code": "no-capacity",
        "retryable": True,
        "retry_after_ms": 2_000,
        "message": "no worker has 24 consumers of headroom in eu",
        "details": {"servers": 4, "full": 2, "regions": 1, "stale": 1, "largest_room_peers": 3},
    }


def test_where_regions_are_only_preferred_the_others_are_tried_last():
    view = fleet("a@eu", "b@us")
    set_worker(view, "b", observed=100)
    assert home(allocate(view, peers=16, regions=["us"])) == ("a", "0")
    decision = allocate(view, peers=4, regions=["us"])
    assert home(decision) == ("b", "0")
    assert not decision.region_fallback
    set_worker(view, "b", observed=500)
    decision = allocate(view, peers=4, regions=["us"])
    assert home(decision) == ("a", "0")
    assert decision.region_fallback
    assert decision.record["fell"] == {"full": 1}


def test_a_region_listed_twice_or_unknown_is_no_trouble():
    view = fleet("a@eu")
    assert home(allocate(view, regions=["mars", "eu", "eu"])) == ("a", "0")
    assert allocate(view, regions=["mars"]).region_fallback


REFUSALS = [
    ("nobody is there", [], {}, "no-servers", "no server is up and open"),
    (
        "nobody carries the label",
        ["ok@eu"],
        {"labels": {"gpu": "yes"}},
        "no-servers",
        "no server with gpu=yes is up and open",
    ),
    ("all are down", ["down@eu"], {}, "no-servers", "no server is up and open"),
    (
        "nobody is in the region",
        ["ok@eu"],
        {"regions": ["us", "asia"], "region_mode": "require"},
        "region-unavailable",
        "no server is up, open and in us or asia",
    ),
    (
        "those in the region are down",
        ["ok@eu", "down@us"],
        {"regions": ["us"], "region_mode": "require"},
        "region-unavailable",
        "no server is up, open and in us",
    ),
    (
        "no worker is that large",
        ["ok@eu", "big@us"],
        {"peers": 17, "regions": ["eu"], "region_mode": "require"},
        "room-too-large",
        "a room of 17 peers needs 544 consumers, the largest worker in eu carries 500",
    ),
    (
        "a larger one is down",
        ["ok@eu", "big-down@us"],
        {"peers": 17},
        "no-capacity",
        "no worker has 544 consumers of headroom",
    ),
    (
        "the only one is avoided",
        ["ok@eu"],
        {"avoid": ["ok"]},
        "no-capacity",
        "no worker has 4 consumers of headroom",
    ),
    (
        "the pinned server is unknown",
        ["ok@eu"],
        {"server_id": "nobody"},
        "unknown-server",
        "no server nobody has registered",
    ),
    (
        "the pinned server is down",
        ["ok@eu", "down@eu"],
        {"server_id": "down"},
        "no-servers",
        "server down is not up and open",
    ),
    (
        "the pinned server is elsewhere",
        ["ok@eu"],
        {"server_id": "ok", "regions": ["us"], "region_mode": "require"},
        "region-unavailable",
        "server ok is not up, open and in us",
    ),
    (
        "the pinned server lacks the label",
        ["ok@eu"],
        {"server_id": "ok", "labels": {"gpu": "yes"}},
        "no-servers",
        "server ok with gpu=yes is not up and open",
    ),
    (
        "the pinned server is too small",
        ["ok@eu", "big@us"],
        {"server_id": "ok", "peers": 17},
        "room-too-large",
        "a room of 17 peers needs 544 consumers, the largest worker on ok carries 500",
    ),
]


@pytest.mark.parametrize(
    ("why", "servers", "body", "code", "message"), REFUSALS, ids=[line[0] for line in REFUSALS]
)
def test_refusals(why, servers, body, code, message):
    view = fleet()
    for spec in servers:
        add_server(view, spec, capacity=1_000 if spec.startswith("big") else 500)
        if "down" in spec:
            set_server(view, spec.partition("@")[0], liveness="stale")
    error = refusal(view, **body)
    assert (error["code"], error["message"]) == (code, message)
    assert error["retryable"] == (code not in ("room-too-large", "unknown-server"))


def test_the_largest_room_counts_those_who_only_watch():
    """Two who publish to many: the same headroom carries far more peers."""
    view = fleet("a")
    set_worker(view, "a", observed=300)
    details = refusal(view, peers=100, publishers=2)["details"]
    assert details == {"servers": 1, "full": 1, "largest_room_peers": 51}


def test_the_largest_room_is_not_of_a_server_that_is_avoided_or_hot():
    view = fleet("a", "b", "c")
    set_worker(view, "a", observed=498)
    set_worker(view, "c", cpu_permille=900)
    details = refusal(view, peers=4, avoid=["b"])["details"]
    assert details == {"servers": 3, "avoided": 1, "cpu": 1, "full": 1, "largest_room_peers": 1}


def test_a_pin_is_the_only_server_that_will_do():
    view = fleet("a@eu", "b@eu", "c@us")
    set_worker(view, "b", observed=400)
    decision = allocate(view, peers=4, server_id="b")
    assert home(decision) == ("b", "0")
    assert (decision.record["servers"], decision.record["fell"]) == (1, {})
    decision = allocate(view, peers=8, server_id="b")
    assert home(decision) == "no-capacity"
    assert decision.error["message"] == "no worker has 112 consumers of headroom on b"
    assert decision.error["details"] == {"servers": 1, "full": 1, "largest_room_peers": 7}
    assert allocate(view, server_id="c", regions=["eu"]).region_fallback


def test_labels_and_pin_and_regions_together():
    view = fleet("a@eu", "b@eu", labels='{"gpu":"yes","tier":"1"}')
    add_server(view, "c@us", labels='{"gpu":"yes"}')
    set_worker(view, "a", observed=100)
    assert home(allocate(view, labels={"gpu": "yes"})) == ("b", "0")
    assert home(allocate(view, labels={"gpu": "yes"}, regions=["us"])) == ("c", "0")
    assert home(allocate(view, labels={"gpu": "yes", "tier": "1"}, avoid=["b"])) == ("a", "0")
    assert home(allocate(view, labels={"tier": "1"}, server_id="c")) == "no-servers"


def test_a_server_that_chooses_its_workers_is_placed_on_as_a_whole():
    """Its total of headroom counts, and no worker is promised."""
    view = fleet("a", workers=2, places_workers=0)
    set_worker(view, "a", "0", observed=400, cpu_permille=100)
    set_worker(view, "a", "1", observed=300, cpu_permille=301)
    decision = allocate(view, peers=12)
    assert home(decision) == ("a", None)
    assert decision.record["winner"] == {
        "server_id": "a",
        "worker_id": None,
        "region": None,
        "used": 700,
        "capacity": 1000,
        "cpu_permille": 200,
        "permille": 700,
    }
    hold(view, "r", decision)
    assert view.loads.used_together("a") == 700 + 264
    assert home(allocate(view, peers=5)) == "no-capacity"
    assert home(allocate(view, peers=4)) == ("a", None)
    set_worker(view, "a", "1", state="died", observed=0)
    assert home(allocate(view, peers=2)) == "no-capacity"


def test_a_room_that_loses_its_home_keeps_its_size():
    """Who asks first may name fewer peers than those who will come back with them."""
    view = fleet("a", "b")
    hold(view, "r", allocate(view, peers=10, publishers=5))
    assert allocate(view, room_id="r", peers=3).wish == {
        "peers": 10,
        "publishers": 5,
        "streams": 2,
        "cost": 90,
    }
    assert allocate(view, room_id="r", peers=12).wish["cost"] == 264


def moved(view, **body):
    return decide(view, request("move", offset=view.offset + 1, room_id="r", **body))


def test_a_move_never_goes_to_the_present_home():
    view = fleet("a@eu", "b@eu", workers=2)
    hold(view, "r", allocate(view, peers=4))
    assert view.routers["r", 0].server_id == "a"
    decision = moved(view)
    assert home(decision) == ("b", "0")
    assert decision.record["operation"] == "move"
    assert decision.record["fell"] == {"avoided": 1}
    assert decision.wish == {
        "peers": 4,
        "publishers": 4,
        "streams": 2,
        "cost": 24,
        "avoid": ["a"],
    }
    assert home(moved(view, avoid=["b"])) == "no-capacity"


def test_a_move_keeps_to_the_wishes_that_placed_the_room():
    view = fleet("a@eu", "b@us", "c@eu")
    hold(view, "r", allocate(view, peers=4))
    set_worker(view, "c", observed=100)
    assert home(moved(view)) == ("b", "0")
    wishes = '{"labels":{},"region_mode":"require","regions":["eu"]}'
    view.put(changed(view.rooms["r"], wishes=wishes))
    assert home(moved(view)) == ("c", "0")
    set_worker(view, "c", observed=499)
    assert home(moved(view)) == "no-capacity"
    view.put(changed(view.rooms["r"], wishes='{"labels":{"gpu":"yes"}}'))
    assert home(moved(view)) == "no-servers"


def extended(view, **body):
    return decide(view, request("extend", offset=view.offset + 1, room_id="r", **body))


def test_an_extension_stays_on_its_router():
    view = fleet("a", "b")
    hold(view, "r", allocate(view, peers=4))
    decision = extended(view, peers=10)
    assert home(decision) == ("a", "0")
    assert decision.wish["cost"] == 180
    assert decision.record["winner"] == {
        "router": 0,
        "server_id": "a",
        "worker_id": "0",
        "used": 180,
        "capacity": 500,
    }


def test_an_extension_beyond_its_worker_says_how_many_would_fit():
    view = fleet("a")
    hold(view, "r", allocate(view, peers=4))
    put_router(view, "other", "a", reserved=320)
    decision = extended(view, peers=11)
    assert home(decision) == "room-too-large"
    assert decision.record["fell"] == {"full": 1}
    assert decision.error == {
        "code": "room-too-large",
        "retryable": True,
        "retry_after_ms": 2_000,
        "message": "the room's worker has 180 consumers for it, 11 peers need 220",
        "details": {"servers": 1, "full": 1, "largest_room_peers": 10},
    }
    assert home(extended(view, peers=10)) == ("a", "0")
    error = extended(view, peers=17).error
    assert (error["retryable"], error["details"]["largest_room_peers"]) == (False, 10)


def test_an_extension_of_a_room_that_has_outgrown_its_reservation():
    """It is seen to use more than it was placed for; that much it has already."""
    view = fleet("a")
    hold(view, "r", allocate(view, peers=4))
    view.put(changed(view.routers["r", 0], seen=180))
    put_router(view, "other", "a", reserved=300)
    set_worker(view, "a", observed=180, status_sequence=2, status_offset=2)
    assert home(extended(view, peers=10)) == ("a", "0")
    decision = extended(view, peers=11)
    assert home(decision) == "room-too-large"
    assert decision.error["details"]["largest_room_peers"] == 10


def test_an_extension_to_what_is_reserved_already_is_no_question():
    """Even on a worker that others have filled beyond its capacity."""
    view = fleet("a")
    hold(view, "r", allocate(view, peers=4))
    set_worker(view, "a", observed=600, status_sequence=2, status_offset=2)
    decision = extended(view, peers=3)
    assert home(decision) == ("a", "0")
    assert decision.wish["peers"] == 4, "the largest ever asked for wins"
    assert home(extended(view, peers=5)) == "room-too-large"


@pytest.mark.parametrize(
    ("placed", "asked", "publishers"),
    [
        ({"peers": 4}, {"peers": 6}, 6),
        ({"peers": 4}, {"peers": 6, "publishers": 5}, 5),
        ({"peers": 4}, {"peers": 6, "publishers": 1}, 4),
        ({"peers": 4, "publishers": 1}, {"peers": 6}, 1),
        ({"peers": 4, "publishers": 1}, {"peers": 6, "publishers": 2}, 2),
        ({"peers": 4, "publishers": 3}, {"peers": 2, "publishers": 1}, 3),
    ],
)
def test_who_publishes_after_an_extension(placed, asked, publishers):
    view = fleet("a")
    hold(view, "r", allocate(view, **placed))
    wish = extended(view, **asked).wish
    assert wish["publishers"] == publishers
    assert wish["peers"] == max(placed["peers"], asked["peers"])


def test_an_extension_on_a_server_that_chooses_its_workers():
    view = fleet("a", workers=2, places_workers=0)
    hold(view, "r", allocate(view, peers=4))
    assert view.routers["r", 0].worker_id is None
    assert home(extended(view, peers=32)) == "room-too-large"
    assert home(extended(view, peers=22)) == ("a", None)


def test_nothing_fits_on_a_worker_that_died_or_is_unknown():
    view = fleet("a", workers=2)
    router = put_router(view, "r", "a", "0", cost=4, reserved=4)
    assert fits(view, router, 500)
    assert not fits(view, router, 501)
    set_worker(view, "a", "0", state="died")
    assert not fits(view, router, 24)
    unknown = put_router(view, "s", "a", "9", cost=4, reserved=4)
    assert not fits(view, unknown, 24)


def test_a_move_of_a_room_that_is_nowhere_is_not_asked_here():
    with pytest.raises(AssertionError):
        moved(fleet("a"))


wishes = st.fixed_dictionaries(
    {
        "peers": st.integers(1, 25),
        "regions": st.lists(st.sampled_from(["eu", "us", "mars"]), max_size=3),
        "region_mode": st.sampled_from(["prefer", "require"]),
        "labels": st.sampled_from([{}, {"gpu": "yes"}, {"gpu": "no", "tier": "1"}]),
        "avoid": st.lists(st.sampled_from("abc"), unique=True, max_size=2),
        "server_id": st.sampled_from([None, None, None, "a", "b"]),
    }
)


def first_reason(view: View, seen, wish, cost: int) -> str:
    """By the rules in words: up, open, labels, regions, not avoided, cpu, capacity."""
    server = view.servers[seen.server_id]
    labels = dict(
        pair.split(":") for pair in server.labels.strip("{}").replace('"', "").split(",") if pair
    )
    if seen.out not in (None, "cpu"):
        return str(seen.out)
    if any(labels.get(name) != value for name, value in wish["labels"].items()):
        return "labels"
    if wish["regions"] and wish["region_mode"] == "require" and seen.region not in wish["regions"]:
        return "regions"
    if seen.server_id in wish["avoid"]:
        return "avoided"
    if seen.out == "cpu":
        return "cpu"
    return "fits" if any(pick.headroom >= cost for pick in seen.picks) else "full"


@given(views, wishes, st.sampled_from(["least-loaded", "pack", "two-choice", "region-first"]))
def test_every_server_is_accounted_for(view, wish, policy):
    """Nobody asks "why not that one?" without an answer, and nothing that fits is overlooked."""
    view.set_state("policy", policy)
    view.settle()
    decision = allocate(view, **wish)
    if wish["server_id"] is not None and wish["server_id"] not in view.servers:
        assert decision.error["code"] == "unknown-server"
        return
    looked = [s for s in all_seen(view) if wish["server_id"] in (None, s.server_id)]
    reasons = {s.server_id: first_reason(view, s, wish, decision.wish["cost"]) for s in looked}
    record = decision.record
    assert record["servers"] == len(looked)
    assert record["servers"] == record["fitted"] + sum(record["fell"].values())
    fitting = {name for name, reason in reasons.items() if reason == "fits"}
    if decision.error is not None:
        assert fitting == set()
        assert record["fell"] == {r: list(reasons.values()).count(r) for r in set(reasons.values())}
        return
    (chosen,) = decision.routers
    assert chosen.server_id in fitting
    listed = {s.server_id for s in looked if s.region in wish["regions"]}
    if fitting & listed:
        assert chosen.server_id in listed
    assert decision.region_fallback == (bool(wish["regions"]) and not fitting & listed)
