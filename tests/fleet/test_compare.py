"""The comparison finds what differs, and only that: each kind is planted once."""

from dataclasses import replace

import pytest

from ladle.fleet.compare import Kind, compare
from ladle.fleet.seen import RoomSeen, Seen, ServerSeen, WorkerSeen
from ladle.fleet.truth import RoomTruth, ServerTruth, Truth, WorkerTruth

TRUTH = Truth(
    servers={
        "s1": ServerTruth("s1", 10, True, {"w": WorkerTruth("w", True, 24, 1)}),
        "s2": ServerTruth("s2", 20, True, {"w": WorkerTruth("w", False, 0, 0)}),
        "s3": ServerTruth("s3", 30, False),
    },
    rooms={"r": (RoomTruth("r", "s1", "w", "a1", 4, 24),)},
)
SEEN = Seen(
    offset=99,
    servers={
        "s1": ServerSeen("s1", "up", 10, {"w": WorkerSeen("w", True, 500, 24, 24)}),
        "s2": ServerSeen("s2", "up", 20, {"w": WorkerSeen("w", False, 500, 0, 0)}),
        "s3": ServerSeen("s3", "lost", 30),
        "other": ServerSeen("other", "up", 1),
    },
    rooms={
        "r": RoomSeen("r", "active-held", "s1", "w", "a1", 24),
        # Promises and memories need not run; neither do rooms of servers that are not ours.
        "held": RoomSeen("held", "held", "s1", "w", "a2"),
        "stranded": RoomSeen("stranded", "stranded", "s2", "w", "a3"),
        "theirs": RoomSeen("theirs", "active", "other", "w", "a4"),
    },
)


def test_a_view_that_agrees_has_no_difference() -> None:
    found = compare(TRUTH, SEEN)
    assert found.matches
    assert found.as_json() == {
        "offset": 99,
        "servers": 3,
        "rooms": 1,
        "matches": True,
        "differences": [],
    }


def test_a_server_that_never_ran_may_be_unknown() -> None:
    servers = {name: server for name, server in SEEN.servers.items() if name != "s3"}
    assert compare(TRUTH, replace(SEEN, servers=servers)).matches


def seen_server(name: str, server: ServerSeen | None) -> Seen:
    servers = {key: value for key, value in SEEN.servers.items() if key != name}
    return replace(SEEN, servers=servers if server is None else {**servers, name: server})


def seen_room(name: str, room: RoomSeen | None) -> Seen:
    rooms = {key: value for key, value in SEEN.rooms.items() if key != name}
    return replace(SEEN, rooms=rooms if room is None else {**rooms, name: room})


WORKER = SEEN.servers["s1"].workers["w"]
S1, S3 = SEEN.servers["s1"], SEEN.servers["s3"]
PLANTED = [
    (seen_server("s1", None), Kind.SERVER_UNKNOWN, "s1 runs, and Ladle does not know it"),
    (
        seen_server("s1", replace(S1, liveness="stale")),
        Kind.SERVER_NOT_UP,
        "s1 runs, and Ladle calls it stale",
    ),
    (
        seen_server("s3", replace(S3, liveness="up")),
        Kind.SERVER_NOT_GONE,
        "s3 does not run, and Ladle still calls it up",
    ),
    (
        seen_server("s1", replace(S1, incarnation=9)),
        Kind.INCARNATION,
        "s1 is in incarnation 10, and Ladle knows 9",
    ),
    (
        seen_server("s1", replace(S1, workers={"w": replace(WORKER, running=False)})),
        Kind.WORKER_STATE,
        "worker w of s1 is running, and Ladle has it as died",
    ),
    (
        seen_server("s1", replace(S1, workers={})),
        Kind.WORKER_STATE,
        "worker w of s1 is running, and Ladle has it as unknown",
    ),
    (
        seen_server("s1", replace(S1, workers={"w": replace(WORKER, observed=4)})),
        Kind.OBSERVED,
        "worker w of s1 has 24 consumers, Ladle saw 4",
    ),
    (
        seen_room("r", None),
        Kind.ROOM_MISSING,
        "room r runs on s1/w, and Ladle has it as nowhere",
    ),
    (
        seen_room("r", replace(SEEN.rooms["r"], state="held")),
        Kind.ROOM_MISSING,
        "room r runs on s1/w, and Ladle has it as held",
    ),
    (
        seen_room("r", replace(SEEN.rooms["r"], server_id="s2")),
        Kind.ROOM_ELSEWHERE,
        "room r runs on s1/w, and Ladle has it on s2/w",
    ),
    (
        seen_room("r", replace(SEEN.rooms["r"], worker_id="v")),
        Kind.ROOM_ELSEWHERE,
        "room r runs on s1/w, and Ladle has it on s1/v",
    ),
    (
        seen_room("r", replace(SEEN.rooms["r"], consumers=4)),
        Kind.ROOM_LOAD,
        "room r on s1/w has 24 consumers, Ladle saw 4",
    ),
    (
        seen_room("x", RoomSeen("x", "active", "s2", "w", "a")),
        Kind.ROOM_EXTRA,
        "room x does not run, and Ladle has it active on s2/w",
    ),
]


@pytest.mark.parametrize(("seen", "kind", "sentence"), PLANTED)
def test_each_difference_is_found_and_said(seen: Seen, kind: Kind, sentence: str) -> None:
    found = compare(TRUTH, seen)
    assert not found.matches
    assert [(difference.kind, difference.sentence) for difference in found.differences] == [
        (kind, sentence)
    ]
    assert found.sentences() == [sentence]
    assert found.as_json()["differences"][0]["kind"] == kind


def test_every_kind_was_planted() -> None:
    assert {kind for _, kind, _ in PLANTED} | {Kind.ROOM_TWICE} == set(Kind)


def test_a_second_copy_is_a_difference_though_the_home_is_right() -> None:
    life = TRUTH.rooms["r"][0]
    twice = replace(TRUTH, rooms={"r": (life, replace(life, server_id="s2"))})
    found = compare(twice, SEEN)
    assert [difference.kind for difference in found.differences] == [Kind.ROOM_TWICE]
    assert found.sentences() == ["room r runs twice: on s1/w and s2/w"]
