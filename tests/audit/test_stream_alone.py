"""The broker's stream without a journal: what can be held, told and exported, and what cannot."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from ladle.audit.export import ExportRefused
from ladle.audit.export_rows import Moment
from ladle.audit.stream_check import StreamCheck, StreamReport
from ladle.audit.stream_export import StreamExport, WantedWords
from ladle.audit.stream_lives import RANGES_MAX, StreamLife
from ladle.audit.stream_timeline import StreamTimeline, Word
from ladle.commands.app import app
from ladle_contracts.envelope import encode_event, encode_own_event
from ladle_contracts.events import EVENTS
from ladle_contracts.link import Message, Outgoing
from ladle_contracts.topology import Topology

TOPOLOGY = Topology()
AT_MS = 1_764_000_000_000
ROOM = {"room_id": "standup", "worker_id": "3"}


def logged(out: Outgoing, **changes: Any) -> Message:
    """As the broker hands it over."""
    message = Message(
        out.body,
        exchange=out.exchange,
        routing_key=out.routing_key,
        content_type=out.content_type,
        message_id=out.message_id,
    )
    return replace(message, **changes)


def event(
    sequence: int | None,
    kind: str = "room-created",
    data: Mapping[str, Any] = ROOM,
    *,
    server: str = "sfu-1",
    life: int = 7,
    id_: str | None = None,
) -> Message:
    return logged(
        encode_event(
            EVENTS[kind].model_validate(data),
            server_id=server,
            event_id=id_ or f"{server}-{life}-{sequence}",
            time_ms=AT_MS + (sequence or 0) * 1_000,
            incarnation=None if sequence is None else life,
            sequence=sequence,
        )
    )


def complete(sequence: int, *rooms: str) -> Message:
    listed = [{"room_id": r, "worker_id": "3", "peers": 4, "consumers": 24} for r in rooms]
    workers = [{"worker_id": "3", "state": "running", "consumers": 24, "producers": 8, "rooms": 1}]
    workers[0] |= {"cpu_permille": 10, "memory_bytes": 1}
    data = {"workers": workers, "rooms": listed, "complete": True}
    return event(sequence, "worker-status", data)


def own(offset: int, index: int = 0, kind: str = "room-active", **data: Any) -> Message:
    told = {"room_id": "standup", "server_id": "sfu-1", "generation": 1, **data}
    return logged(encode_own_event(kind, told, offset=offset, index=index, time_ms=AT_MS))


def checked(messages: Iterable[Message], *, first: int = 0) -> StreamReport:
    check = StreamCheck("stream", TOPOLOGY)
    for position, message in enumerate(messages, first):
        check.hear(position, message)
    return check.end()


GOOD = [event(1), own(5), event(2), own(6, 0), own(6, 1), complete(3, "standup"), own(9)]


def test_what_holds_is_incomplete_all_the_same() -> None:
    mark = Message(b"{}", exchange="", type="ladle-mark")
    report = checked([*GOOD, mark])
    assert (report.exit_code, report.findings.count, report.missing) == (4, 0, [])
    assert (report.messages, report.events, report.own, report.lives) == (8, 3, 4, 1)
    assert any("the chain, decisions" in said for said in report.unchecked)
    assert checked([]).exit_code == 4
    assert "holds nothing" in checked([]).missing[0]


def test_copies_are_counted_and_no_violation() -> None:
    again = [replace(GOOD[0], message_id="another"), *GOOD[3:5], *GOOD]
    report = checked([*GOOD, *again])
    assert (report.findings.count, report.copies) == (0, len(again))
    assert (report.events, report.own) == (3, 4)
    unnumbered = event(None, id_="by-hand")
    report = checked([unnumbered, unnumbered])
    assert (report.events, report.copies) == (1, 1)
    assert any("no sequence" in said for said in report.unchecked)


@pytest.mark.parametrize(
    ("messages", "law", "said"),
    [
        ([*GOOD, own(9, server_id="sfu-2")], "order", "two that differ"),
        ([*GOOD, own(7)], "order", "came behind later ones"),
        ([*GOOD, own(4)], "order", "came behind later ones"),
        ([*GOOD, event(2, data={"room_id": "retro"})], "order", "two that differ"),
        ([*GOOD, replace(own(10), body=b"{}")], "readable", "breaks the contract"),
        ([*GOOD, replace(own(10), message_id="default:11:0")], "readable", "another id"),
    ],
    ids=[
        "twice otherwise",
        "out of order",
        "below the first",
        "a sequence twice",
        "no contract",
        "another id",
    ],
)
def test_a_violation(messages: list[Message], law: str, said: str) -> None:
    report = checked(messages)
    assert report.exit_code == 1
    first = report.findings.first
    assert first is not None
    assert (str(first.law), report.findings.count) == (law, 1)
    assert said in first.said
    assert first.where == f"position {len(GOOD)} of placement.log"


def test_nonsense_of_a_server_is_counted_as_ladle_refused_it() -> None:
    torn = replace(event(4), body=b"{torn")
    stranger = replace(event(4), routing_key="room-created.sfu-2")
    newer = replace(event(4), routing_key="room-painted.sfu-1",
                    body=event(4).body.replace(b"room-created", b"room-painted"))  # fmt: skip
    report = checked([*GOOD, torn, stranger, newer])
    assert report.findings.count == 0
    assert report.refused == {"not-json": 1, "source-mismatch": 1}
    assert any("type that the contract" in said for said in report.unchecked)


def test_a_hole_is_missing_unless_a_complete_status_stands_for_it() -> None:
    report = checked([event(1), event(2), event(5), event(4)])
    assert report.exit_code == 4
    assert "1 events of servers were not heard" in report.missing[0]
    assert "sequences 3 to 3" in report.missing[0]
    assert checked([event(1), event(4), complete(6, "standup"), event(7)]).missing == []
    assert "sequences 1 to 1" in checked([event(2)]).missing[0]


def test_a_stream_that_was_cut_says_so_and_begins_where_it_begins() -> None:
    report = checked([event(40), own(100), event(41), own(99), event(39)], first=17)
    assert (report.findings.count, report.exit_code) == (0, 4)
    assert report.missing == [
        "the stream begins at position 17: what was said before is no longer there"
    ]
    assert any("2 sayings came so late" in said for said in report.unchecked)


@given(st.lists(st.integers(1, 40), max_size=60), st.integers(1, 40))
def test_a_life_knows_what_is_missing(sequences: list[int], status: int) -> None:
    life, heard = StreamLife(0), set[int]()
    for sequence in sequences:
        assert life.hear(sequence) is (sequence not in heard)
        heard.add(sequence)
    last = max(heard, default=0)
    assert life.missing == last - len(heard)
    hole = next((n for n in range(1, last) if n not in heard), None)
    assert (life.first_hole or (None,))[0] == hole
    below = max((n for n in heard if n <= status), default=0)
    life.complete(below)
    stands = sum(n not in heard for n in range(1, below))
    assert (life.stood_for, life.missing) == (stands, last - len(heard) - stands)


def test_a_life_with_many_holes_stays_small() -> None:
    life = StreamLife(0)
    for sequence in range(2, 4 * RANGES_MAX, 2):
        life.hear(sequence)
    assert len(life.above) == RANGES_MAX
    assert life.missing == 2 * RANGES_MAX - 1


def words(name: str, messages: Iterable[Message]) -> list[Word]:
    line = StreamTimeline(TOPOLOGY, name)
    return [word for at, message in enumerate(messages) for word in line.hear(at, message)]


def test_a_room_is_told_in_the_order_of_the_stream() -> None:
    gone = complete(8)
    told = words("standup", [*GOOD, GOOD[0], complete(4, "standup"), gone, event(9, data={
        "room_id": "retro"})])  # fmt: skip
    assert [(w.position, w.what, w.by, w.is_copy) for w in told] == [
        (0, "room-created", "sfu-1", False),
        (1, "room-active", None, False),
        (2, "room-created", "sfu-1", False),
        (3, "room-active", None, False),
        (4, "room-active", None, False),
        (5, "worker-status", "sfu-1", False),
        (6, "room-active", None, False),
        (7, "room-created", "sfu-1", True),
        (9, "worker-status", "sfu-1", False),
    ]
    assert told[5].told == {"worker": "3", "peers": 4, "consumers": 24}
    assert told[8].told == {"worker": None, "peers": None, "consumers": None}
    assert [w.position for w in words("retro", [event(9, data={"room_id": "retro"})])] == [0]
    assert words("nobody", GOOD) == []


def test_a_server_is_told_with_what_its_statuses_say_anew() -> None:
    told = words("sfu-1", [complete(1), complete(2, "standup"), own(3)])
    assert [(w.position, w.what) for w in told] == [(0, "worker-status"), (2, "room-active")]
    assert told[0].told == {"worker 3": "running"}


def test_an_export_is_what_was_said(tmp_path: Path) -> None:
    folder = tmp_path / "said"
    out = StreamExport(folder, TOPOLOGY, rows_per_file=3)
    stream = [replace(GOOD[0], user_id="sfu-1"), *GOOD[1:], replace(event(4), body=b"{torn")]
    for position, message in enumerate(stream, 100):
        out.hear(position, message)
    manifest = out.finish()
    assert (manifest["rows"], manifest["refused"], len(manifest["files"])) == (
        7,
        {"not-json": 1},
        3,
    )
    assert manifest["stream"] == {"name": "placement.log", "first": 100, "last": 107}
    lines = [
        json.loads(line)
        for file in manifest["files"]
        for line in (folder / file["name"]).read_text().splitlines()
    ]
    more: list[dict[str, Any]] = [{"streamposition": position} for position in range(100, 107)]
    more[0] |= {"brokeruser": "sfu-1"}
    assert lines == [{**json.loads(m.body), **each} for m, each in zip(GOOD, more, strict=True)]
    with pytest.raises(ExportRefused):
        StreamExport(folder, TOPOLOGY)
    for source in (folder, next(folder.glob("*.jsonl"))):
        result = CliRunner().invoke(app, ["audit", "verify", "--source", str(source)])
        assert (result.exit_code, "export of the broker's stream" in result.stderr) == (3, True)


@pytest.mark.parametrize(
    ("wanted", "positions"),
    [
        (WantedWords(room="standup", server="sfu-1"), [0, 1, 2, 3, 4, 6]),
        (WantedWords(server="sfu-1"), [0, 1, 2, 3, 4, 5, 6]),
        (WantedWords(server="sfu-2"), []),
        (WantedWords(begin=Moment(offset=2), end=Moment(offset=3)), [2, 3]),
        (WantedWords(begin=Moment(unix_ms=AT_MS + 2_000)), [2, 5]),
        (WantedWords(end=Moment(unix_ms=AT_MS)), [1, 3, 4, 6]),
    ],
)
def test_an_export_takes_what_is_wanted(
    wanted: WantedWords, positions: list[int], tmp_path: Path
) -> None:
    out = StreamExport(tmp_path / "said", TOPOLOGY, wanted)
    for position, message in enumerate(GOOD):
        out.hear(position, message)
    out.finish()
    files = (tmp_path / "said").glob("*.jsonl")
    lines = [line for file in files for line in file.read_text().splitlines()]
    assert [json.loads(line)["streamposition"] for line in lines] == positions
