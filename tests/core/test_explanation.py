"""What people read about a decision: whole texts, for what they read is what is promised."""

import pytest

from ladle.core.decide import choose, decide, seed_of, wish_of
from ladle.core.explanation import explain, why_not
from ladle.core.policies import POLICIES
from tests.core.placing import (
    add_server,
    allocate,
    fleet,
    hold,
    request,
    set_server,
    set_worker,
)
from tests.core.test_decide import WISH, extended, mixed


def test_a_room_that_found_a_home():
    view = fleet("sfu-1@eu", "sfu-2@eu", "sfu-3@us", workers=2)
    view.offset = 41
    set_worker(view, "sfu-1", "0", observed=100, cpu_permille=155)
    set_worker(view, "sfu-1", "1", observed=80)
    set_worker(view, "sfu-2", "0", observed=300)
    set_worker(view, "sfu-2", "1", observed=301)
    decision = allocate(view, peers=4, regions=["eu"])
    assert explain(decision.record, "standup") == [
        "Room standup was to have 4 peers, each of whom publishes 2 streams: that needs 24 "
        "consumers, a consumer being one stream sent to one peer.",
        "The caller preferred eu.",
        "After record 41 of the journal, there were 3 servers to choose from.",
        "1 of them stood in another region.",
        "That left 2 servers with enough room.",
        "The policy least-loaded (version 1) takes the emptiest worker that has enough room.",
        "It chose worker 1 of server sfu-1 in eu: 80 of 500 consumers were in use and its CPU "
        "stood at 0.0 %, so it counted as 16.0 % full.",
        "Next would have been worker 0 of server sfu-2 in eu (60.0 % full, room for 200 more).",
    ]


def test_every_reason_has_its_words():
    view = mixed()
    add_server(view, "lost-too@eu")
    set_server(view, "lost-too", liveness="lost")
    add_server(view, "drained-too@eu")
    set_server(view, "drained-too", administration="drained")
    add_server(view, "stale-too@eu")
    set_server(view, "stale-too", liveness="stale")
    lines = explain(allocate(view, **WISH).record, "standup")
    assert lines[1:16] == [
        "Only servers with the labels gpu=yes would do.",
        "The caller required eu.",
        "After record 0 of the journal, there were 15 servers to choose from.",
        "2 of them had gone silent for so long that they count as lost.",
        "2 of them had missed their last reports.",
        "1 of them was draining.",
        "2 of them were drained.",
        "1 of them had ports that another server had first.",
        "1 of them had no running worker.",
        "1 of them did not carry the labels asked for.",
        "1 of them stood in another region.",
        "1 of them was to be avoided.",
        "1 of them had no worker whose CPU was below the limit.",
        "1 of them had no worker with enough room.",
        "That left 1 server with enough room.",
    ]


def test_a_room_that_is_refused_for_now():
    view = fleet("a@eu", "b@us")
    set_worker(view, "a", observed=490)
    set_worker(view, "b", observed=498)
    assert explain(allocate(view, peers=4, publishers=1, avoid=["b"]).record, "r")[2:] == [
        "1 of them was to be avoided.",
        "That left 1 server with enough room.",
        "The policy least-loaded (version 1) takes the emptiest worker that has enough room.",
        "It chose worker 0 of server a in eu: 490 of 500 consumers were in use and its CPU "
        "stood at 0.0 %, so it counted as 98.0 % full.",
    ]
    assert explain(allocate(view, peers=4, server_id="a").record, "r") == [
        "Room r was to have 4 peers, each of whom publishes 2 streams: that needs 24 consumers, "
        "a consumer being one stream sent to one peer.",
        "Only server a would do.",
        "After record 0 of the journal, there was 1 server to choose from.",
        "1 of them had no worker with enough room.",
        "It was refused (no-capacity): no worker has 24 consumers of headroom on a.",
        "The largest such room that fitted was one of 2 peers.",
        "The same request may succeed later; 2 s is a fair wait.",
    ]


def test_a_room_that_is_too_large_for_any_worker():
    lines = explain(allocate(fleet("a@eu"), peers=20, regions=["us", "eu"]).record, "r")
    assert lines[1:] == [
        "The caller preferred us or eu.",
        "After record 0 of the journal, there was 1 server to choose from.",
        "1 of them had no worker with enough room.",
        "It was refused (room-too-large): a room of 20 peers needs 760 consumers, "
        "the largest worker carries 500.",
        "The largest such room that fitted was one of 16 peers.",
        "The same request will not succeed while the servers are what they were.",
    ]


def test_a_pin_to_nobody_names_no_sizes():
    lines = explain(allocate(fleet("a"), server_id="nobody").record, "r")
    assert lines[-2:] == [
        "It was refused (unknown-server): no server nobody has registered.",
        "The same request will not succeed while the servers are what they were.",
    ]


def test_another_region_serves():
    view = fleet("a@eu", places_workers=0)
    lines = explain(allocate(view, peers=5, publishers=2, regions=["us"]).record, "r")
    assert lines[0].startswith("Room r was to have 5 peers, 2 of whom publish 2 streams: ")
    assert lines[-2:] == [
        "It chose server a in eu, which chooses the worker itself: 0 of 500 consumers were in "
        "use and its CPU stood at 0.0 %, so it counted as 0.0 % full.",
        "No region that the caller listed had room, so another one serves.",
    ]


def test_one_who_publishes_to_a_few():
    lines = explain(allocate(fleet("a"), peers=3, publishers=1).record, "r")
    assert lines[0].startswith("Room r was to have 3 peers, 1 of whom publishes 2 streams: ")


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_every_policy_says_what_it_does(policy):
    view = fleet("a", "b")
    view.set_state("policy", policy)
    lines = explain(allocate(view).record, "r")
    (line,) = [line for line in lines if line.startswith(f"The policy {policy} (version 1) ")]
    assert line.endswith(".")


def test_more_peers_in_the_room():
    view = fleet("a@eu")
    hold(view, "r", allocate(view, peers=4))
    assert explain(extended(view, peers=10).record, "r")[1:] == [
        "It stays on worker 0 of server a, which has room for that: 180 of 500 consumers are in "
        "use with it."
    ]
    assert explain(extended(view, peers=10, regions=["us"]).record, "r")[1:] == [
        "The caller preferred us.",
        "It stays on worker 0 of server a, which has room for that: 180 of 500 consumers are in "
        "use with it.",
        "That server is in no region that the caller listed; a room has one router.",
    ]
    assert explain(extended(view, peers=17).record, "r")[1:] == [
        "It was refused (room-too-large): the room's worker has 500 consumers for it, "
        "17 peers need 544.",
        "The largest such room that fitted was one of 16 peers.",
        "The same request will not succeed while the servers are what they were.",
    ]


# --- why not -------------------------------------------------------------------------------------


def reasons(view, name, /, **body):
    """Why a room of the request did not go to the server, and the decision as it was made."""
    entry = request("allocate", room_id="standup", **body)
    decision = decide(view, entry).record
    pinned = choose(view, wish_of(view, entry)._replace(server_id=name), seed_of(entry)).record
    return why_not(decision, pinned, name)


def test_every_server_that_was_out_has_its_one_reason():
    view = mixed()
    clauses = {
        name: reasons(view, name, **WISH)[0].removeprefix(f"Server {name} was out: it ")
        for name in view.servers
        if not reasons(view, name, **WISH)[0].startswith("It was chosen")
    }
    assert sorted(clauses.values()) == sorted(
        [
            "had gone silent for so long that it counts as lost.",
            "had missed its last reports.",
            "was draining.",
            "was drained.",
            "had ports that another server had first.",
            "had no running worker.",
            "did not carry the labels asked for.",
            "stood in another region.",
            "was to be avoided.",
            "had no worker whose CPU was below the limit.",
            "had no worker with enough room.",
        ]
    )


def test_a_full_server_tells_what_would_have_fitted():
    view = fleet("a", "b")
    set_worker(view, "b", observed=480)
    assert reasons(view, "b", peers=4) == [
        "Server b was out: it had no worker with enough room.",
        "The largest such room that fitted there was one of 3 peers.",
    ]


B_WOULD_DO = (
    "Server b would have done: of worker 0 of server b, 200 of 500 consumers were in use and its "
    "CPU stood at 0.0 %, so it counted as 40.0 % full."
)


def test_the_fuller_one_was_not_taken():
    view = fleet("a", "b")
    set_worker(view, "a", observed=100)
    set_worker(view, "b", observed=200)
    assert reasons(view, "b") == [
        B_WOULD_DO,
        "But a better one was chosen: of worker 0 of server a, 100 of 500 consumers were in use "
        "and its CPU stood at 0.0 %, so it counted as 20.0 % full.",
    ]
    assert reasons(view, "a") == ["It was chosen: worker 0 of server a."]
    assert reasons(view, "a", server_id="b") == [
        "Server a was not looked at: the caller asked for server b."
    ]


def test_of_two_as_full_the_roomier_one_or_the_first_id_was_taken():
    view = fleet("b", "c")
    set_worker(view, "b", observed=200)
    set_worker(view, "c", observed=400, capacity=1000)
    assert reasons(view, "b")[1:] == [
        "But worker 0 of server c counted as full and had room for 600 more, not for 300: the "
        "roomier one is taken."
    ]
    set_worker(view, "c", observed=200, capacity=500)
    assert reasons(view, "c")[1:] == [
        "But server b was as good, and of equals the first id is taken."
    ]


def test_pack_took_the_fuller_server():
    view = fleet("a", "b")
    view.set_state("policy", "pack")
    set_worker(view, "a", observed=300)
    set_worker(view, "b", observed=200)
    assert reasons(view, "b") == [
        B_WOULD_DO,
        "But its roomiest worker had room for 300 more, and that of server a for 200: what is "
        "nearly full is filled first.",
    ]
    set_worker(view, "a", observed=200)
    assert reasons(view, "b")[1:] == [
        "But server a was as good, and of equals the first id is taken."
    ]


def test_two_choice_did_not_draw_it_or_drew_a_better_one():
    view = fleet("a", "b", "c", "d")
    view.set_state("policy", "two-choice")
    for name, observed in zip("abcd", (100, 200, 300, 400), strict=True):
        set_worker(view, name, observed=observed)
    decision = decide(view, request("allocate", room_id="standup")).record
    drawn = [decision["winner"]["server_id"], decision["runners_up"][0]["server_id"]]
    (other, *_) = sorted(set("abcd").difference(drawn))
    assert reasons(view, other)[1:] == [
        f"But it was not drawn: of 4 servers, {drawn[0]} and {drawn[1]} were."
    ]
    assert reasons(view, drawn[1])[1].startswith("But a better one was chosen: of worker 0")
    for name in "abcd":
        if name != drawn[0]:
            set_worker(view, name, observed=490)
    assert reasons(view, other, peers=4)[0].startswith(f"Server {other} was out")


def test_two_choice_with_one_server_to_draw_from():
    view = fleet("a", "b")
    view.set_state("policy", "two-choice")
    decision = decide(view, request("allocate", room_id="standup")).record
    alone = {**decision, "fitted": 1, "winner": {**decision["winner"], "server_id": "z"}}
    pinned = {"winner": decision["winner"]}
    told = why_not({**alone, "runners_up": []}, pinned, decision["winner"]["server_id"])
    assert told[1:] == ["But it was not drawn: of 1 servers, z were."]


def test_regions_come_before_everything():
    view = fleet("a@eu", "b@us", "c@asia")
    set_worker(view, "a", observed=400)
    assert reasons(view, "b", regions=["eu"])[1:] == [
        "But it stood in no region that the caller listed, and there was room in one."
    ]
    view.set_state("policy", "region-first")
    assert reasons(view, "b", regions=["eu", "us"])[1:] == [
        "But the caller listed eu before, and there was room."
    ]
    assert reasons(view, "c", regions=["mars"])[1:] == [
        "But server b was as good, and of equals the first id is taken."
    ]
    assert reasons(view, "a")[1].startswith("But a better one was chosen")


def test_a_refusal_that_the_core_does_not_come_to_points_at_the_audit():
    view = fleet("a", "b")
    set_worker(view, "b", observed=200)
    entry = request("allocate", room_id="standup", server_id="b")
    pinned = decide(view, entry).record
    refused = {"wish": {}, "error": {"code": "no-capacity"}}
    (line,) = why_not(refused, pinned, "b")
    assert line.endswith("`ladle audit verify` tells whether it holds.")
