"""Every question that a shell can ask, answered by the real service."""

import json
import time

import pytest

from ladle_contracts.link import Outgoing
from ladle_contracts.topology import Topology
from tests.commands.conftest import Served


def test_a_room_is_asked_for_found_extended_moved_and_let_go(served: Served) -> None:
    ladle = served.ladle
    placed = ladle("allocate", "standup", "--peers", "4", "--region", "eu")
    assert placed.code == 0
    for part in ("standup", "placed, held", "sfu-1", "eu", "4 peers, 24 consumers", "held until"):
        assert part in placed.out, part
    again = ladle("allocate", "standup", "--peers", "4", "--json").json()
    assert again["outcome"] == "existing"
    assert again["server"]["server_id"] == "sfu-1"

    found = ladle("lookup", "standup")
    assert "held-again" in found.out
    assert again["allocation_id"] in found.out
    assert ladle("lookup", "standup", "--json").json()["room_state"] == "held-again"

    extended = ladle("extend", "standup", "--peers", "8", "--json").json()
    assert (extended["fits"], extended["reserved_peers"]) == (True, 8)

    moved = ladle("move", "standup", "--if-generation", "1", "--reason", "noisy", "--json").json()
    assert (moved["outcome"], moved["generation"]) == ("moved", 2)
    assert moved["server"]["server_id"] == "sfu-2"
    assert ladle("move", "standup", "--if-generation", "1", "--reason", "noisy").code == 1

    told = ladle("explain", "standup")
    assert "least-loaded" in told.out
    assert "sfu-2" in told.out
    assert ladle("explain", "standup", "--generation", "1", "--json").json()["generation"] == 1

    let_go = ladle("release", "standup", "--allocation", moved["allocation_id"])
    assert let_go.code == 0
    assert "standup is nowhere" in let_go.out
    assert ladle("lookup", "standup").code == 1


def test_a_room_without_a_name_gets_one_and_options_reach_the_service(served: Served) -> None:
    placed = served.ladle(
        *("allocate", "--peers", "3", "--publishers", "1", "--streams", "1", "--server", "sfu-2"),
        *("--ttl-ms", "60000", "--metadata", "course=algebra", "--json"),
    ).json()
    assert placed["room_id"]
    assert placed["server"]["server_id"] == "sfu-2"
    assert placed["reserved_consumers"] == 2


def test_a_refusal_comes_at_once_and_an_id_makes_asking_again_safe(served: Served) -> None:
    began = time.monotonic()
    refused = served.ladle("allocate", "odd", "--label", "gpu=yes")
    assert refused.code == 1
    assert time.monotonic() - began < 5, "a client's default asks on for 15 s"
    twice = [
        served.ladle("allocate", "safe", "--request-id", "r-1", "--json").json() for _ in range(2)
    ]
    assert twice[0] == twice[1]
    assert twice[0]["outcome"] == "placed", "the recorded answer, not `existing`"
    other = served.ladle("allocate", "unsafe", "--request-id", "r-1", "--json")
    assert (other.code, other.json()["error"]["code"]) == (1, "conflict")


def test_a_server_is_drained_and_taken_back(served: Served) -> None:
    ladle = served.ladle
    by = ("--drain-by-ms", "1763812800000")
    drained = ladle("drain", "sfu-1", "--reason", "kernel [update]", *by)
    assert drained.code == 0
    assert "sfu-1 is drain" in drained.out
    try:
        shown = " ".join(ladle("view").out.split())
        assert "ing: kernel [update]; to be empty by 2025-11-22T12:00:00.000Z" in shown or (
            "ed: kernel [update]; to be empty by 2025-11-22T12:00:00.000Z" in shown
        )
        assert ladle("allocate", "elsewhere", "--region", "eu", "--json").json()["region_fallback"]
        required = ladle("allocate", "nowhere-else", "--region", "eu", "--require-region")
        assert required.code == 1
        assert "try:" in required.err
    finally:
        back = ladle("undrain", "sfu-1", "--reason", "done", "--json").json()
    assert back["administration"] == "open"
    assert "kernel" not in ladle("view").out
    forever = ladle("drain", "sfu-1", "--drain-by-ms", str(2**53 - 1))
    assert forever.code == 0
    assert "nobody said why; to be empty by 9007199254740991 ms" in ladle("view").out
    assert ladle("undrain", "sfu-1").code == 0


def test_the_view_is_a_table_and_a_document(served: Served) -> None:
    ladle = served.ladle
    ladle("allocate", "weighty", "--peers", "10", "--server", "sfu-1")
    narrow = ladle("view", COLUMNS="80")
    assert narrow.code == 0
    assert max(map(len, narrow.out.splitlines())) <= 80
    assert "…" not in narrow.out, "nothing is cut off at 80 columns"
    assert "sfu-1" in narrow.out
    assert "/500" in narrow.out
    assert "2 servers, 4 workers" in narrow.out
    one = ladle("view", "--region", "us", "--json").json()
    assert [server["server_id"] for server in one["servers"]] == ["sfu-2"]
    offset = one["offset"]
    past = ladle("view", "--at", str(offset), "--server", "sfu-1", "--json").json()
    assert past["offset"] == offset
    assert ladle("view", "--region", "mars").out.startswith("at offset")


def test_rooms_come_in_pages_and_are_whole_in_a_pipe(served: Served) -> None:
    ladle = served.ladle
    name = "a-room-with-a-name-" + "x" * 80
    for room in (name, "b-room"):
        assert ladle("allocate", room, "--server", "sfu-2").code == 0
    page = ladle("rooms", "--server", "sfu-2", "--limit", "1")
    assert name in page.out, "a pipe gets whole names"
    assert f"--after {name}" in page.out
    rest = ladle("rooms", "--after", name, "--state", "held", "--json").json()
    assert "b-room" in [room["room_id"] for room in rest["rooms"]]
    assert ladle("rooms", "--state", "stranded").out == "no rooms\n"


def test_one_picture_of_top_for_a_pipe(served: Served) -> None:
    served.ladle("allocate", "watched")
    picture = served.ladle("top", "--once", COLUMNS="80", LINES="24")
    assert picture.code == 0
    assert "2 up" in picture.out
    assert "watched" in picture.out
    assert len(picture.out.splitlines()) <= 24
    live = served.ladle("top")
    assert live.code == 2
    assert "--once" in live.err
    assert served.ladle("top", "--sort", "colour").code == 2


def test_the_doctor_finds_all_well(served: Served) -> None:
    told = served.ladle("doctor")
    assert told.code == 0, told.out
    assert "holds the lease" in told.out
    assert "2 servers" in told.out
    report = served.ladle("doctor", "--json").json()
    assert report["well"] is True
    assert {"broker", "topology", "database", "writer", "service"} <= {
        finding["what"] for finding in report["findings"] if finding["state"] == "ok"
    }


def test_a_dead_letter_is_listed_shown_and_given_back(served: Served) -> None:
    ladle, topology = served.ladle, Topology(served.running.cell)
    assert ladle("dead-letters", "list").out == "no dead letters\n"
    served.publish(
        Outgoing(
            exchange=topology.media_events,
            routing_key="worker-status.sfu-9",
            body=b'{"not": "an event"}',
            content_type="application/cloudevents+json",
        )
    )
    letters = []
    while not letters:
        letters = ladle("dead-letters", "list", "--json").json()
    (letter,) = letters
    listed = ladle("dead-letters", "list", COLUMNS="80")
    assert letter["id"] in listed.out
    assert letter["reason"] in listed.out
    assert "worker-status.sfu-9" in listed.out
    assert ladle("dead-letters", "list", "--reason", "other").out.startswith("no dead letters with")

    shown = ladle("dead-letters", "show", letter["id"])
    assert '{"not": "an event"}' in shown.out
    assert ladle("dead-letters", "show", letter["id"], "--json").json() == letter
    absent = ladle("dead-letters", "show", "0123456789ab")
    assert absent.code == 1
    assert "dead-letters list" in absent.err

    assert ladle("dead-letters", "requeue").code == 2
    assert ladle("dead-letters", "requeue", "0123456789ab").code == 1
    again = ladle("dead-letters", "requeue", "--reason", letter["reason"], "--json")
    assert again.code == 0
    assert again.json() == {"done": 1, "refused": {}, "unknown": 0}


def test_a_dead_letter_does_nothing_to_the_terminal(served: Served) -> None:
    """Its key and body are whatever somebody published: here markup, and an escape."""
    ladle, topology = served.ladle, Topology(served.running.cell)
    served.publish(
        Outgoing(
            exchange=topology.media_events,
            routing_key="room-created.[/]",
            body=b"\x00\x1b[31mred",
            content_type="application/cloudevents+json",
        )
    )
    letters = []
    while not letters:
        found = ladle("dead-letters", "list", "--json").json()
        letters = [letter for letter in found if letter["routing_key"] == "room-created.[/]"]
    assert "room-created.[/]" in ladle("dead-letters", "list").out
    shown = ladle("dead-letters", "show", letters[0]["id"])
    assert "␀␛[31mred" in shown.out
    assert "\x1b" not in shown.out
    assert ladle("dead-letters", "requeue", "--all").code == 0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("lookup", "nobody"), "unknown-room"),
        (("explain", "nobody"), "unknown-room"),
        (("drain", "sfu-77"), "unknown-server"),
        (("allocate", "huge", "--peers", "90"), "room-too-large"),
        (("allocate", "odd", "--label", "gpu=yes"), "no-servers"),
    ],
)
def test_a_refusal_is_one_sentence_with_advice_and_an_object(
    served: Served, arguments: tuple[str, ...], code: str
) -> None:
    refused = served.ladle(*arguments)
    assert (refused.code, refused.out) == (1, "")
    assert f"ladle: {code}: " in refused.err
    assert "try: " in refused.err
    document = served.ladle(*arguments, "--json")
    assert document.code == 1
    error = document.json()["error"]
    assert document.json()["status"] == "error"
    assert error["code"] == code
    assert error["message"] in refused.err
    assert isinstance(error["retryable"], bool)


def test_a_bad_question_is_usage(served: Served) -> None:
    odd = served.ladle("allocate", "no spaces allowed", "--json")
    assert odd.code == 2
    assert odd.json()["error"]["code"] == "invalid-request"
    assert "room_id" in odd.err
    assert served.ladle("allocate", "x", "--label", "no-value").code == 2
    assert served.ladle("allocate", "x", "--peers", "many").code == 2


def test_json_is_one_line(served: Served) -> None:
    out = served.ladle("view", "--json").out
    assert len(out.splitlines()) == 1
    json.loads(out)
