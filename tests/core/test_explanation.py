"""What people read about a decision: whole texts, for what they read is what is promised."""

import pytest

from ladle.core.explanation import explain
from ladle.core.policies import POLICIES
from tests.core.placing import add_server, allocate, fleet, hold, set_server, set_worker
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
