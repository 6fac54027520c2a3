"""Each benchmark at its smallest: that it works, and says what it measured; not how fast."""

from pathlib import Path

import pytest

from ladle.lab import decide, inbox, journal_size, memory, replay, rpc, soak
from ladle.lab.bench_broker import bench_name, declared_cell
from ladle.lab.processes import BenchError, Placement, Process
from ladle.lab.rounds import Figure
from ladle.lab.yardstick import SAY_EVERY
from ladle_contracts.envelope import decode_event
from ladle_contracts.events import RoomCreated, RoomDeleted
from ladle_contracts.link import Message


def by_name(figures: list[Figure]) -> dict[str, Figure]:
    named = {figure.name: figure for figure in figures}
    assert len(named) == len(figures)
    assert all(figure.value >= 0 for figure in figures)
    return named


def silent(_: str) -> None:
    pass


def test_decide() -> None:
    said: list[str] = []
    figures = by_name(decide.run(rounds=1, progress=said.append, sizes=(20, 40), decisions=5))
    assert set(figures) == {"decide.20", "decide.40"}
    assert figures["decide.20"].ratio == 1.0
    assert said[0] == "building 20 workers"
    assert len(decide.synthetic_view(20).workers) == 20


def test_rpc(broker_url: str, tmp_path: Path) -> None:
    figures = by_name(
        rpc.run(broker_url, tmp_path, rounds=1, progress=silent, messages={1: 5, 8: 40})
    )
    for link in ("fast", "plain"):
        for outstanding in (1, 8):
            for what in ("rate", "cpu", "counted_ratio", "p50", "p99"):
                figure = figures[f"rpc.{link}.{outstanding}.{what}"]
                assert figure.rounds == 1
                assert figure.ratio is not None


def test_events(broker_url: str, tmp_path: Path) -> None:
    figures = by_name(inbox.run(broker_url, tmp_path, rounds=1, progress=silent, events=SAY_EVERY))
    assert figures["events.fast.rate"].value > 0
    assert figures["events.plain.counted_ratio"].ratio is not None


def test_a_sink_that_stops_ends_the_benchmark(tmp_path: Path) -> None:
    """It says how far it came: all of it is with the broker by then, so none is on the way."""
    says_once = "import sys; print(500, flush=True); sys.stdin.readline()"
    with (
        Process(["-c", says_once], env={}, log=tmp_path / "log") as sink,
        pytest.raises(BenchError, match="took 500 of 1000 events"),
    ):
        inbox.taken(sink, 1000, silence_s=0.2)


def test_a_service_that_stops_ends_the_benchmark(broker_url: str, tmp_path: Path) -> None:
    name = bench_name()
    with (
        declared_cell(broker_url, name) as cell,
        Placement(tmp_path, name=name, amqp_url=broker_url, cell=cell, env={}) as service,
        service.journal() as journal,
    ):
        with pytest.raises(BenchError, match="journaled 0 of 1 events"):
            inbox.folded(service, journal, 1, silence_s=0.2)
        service.end()
        with pytest.raises(BenchError, match="journaled 0 of 1 events"):
            inbox.folded(service, journal, 1)


def test_journal(broker_url: str, tmp_path: Path) -> None:
    figures = by_name(
        journal_size.run(broker_url, tmp_path, seconds=2, progress=silent, servers=10)
    )
    assert figures["journal.bytes_per_server_day"].value > 0
    assert figures["journal.statuses_per_record"].value >= 1


def test_memory(broker_url: str, tmp_path: Path) -> None:
    figures = by_name(memory.run(broker_url, tmp_path, progress=silent, servers=3, rooms=30))
    assert figures["memory.rss"].value > 10_000_000
    assert figures["memory.rss_empty"].yardstick is None


def test_soak(broker_url: str, tmp_path: Path) -> None:
    said: list[str] = []
    figures = by_name(soak.run(broker_url, tmp_path, seconds=6, servers=3, progress=said.append))
    assert figures["soak.rss"].value > 10_000_000
    assert figures["soak.p99"].value >= figures["soak.p50"].value > 0
    assert figures["soak.dead_letters"].value == 0
    assert figures["soak.events"].value > 0
    assert len(said) == soak.SAMPLES


def test_replay(broker_url: str, tmp_path: Path) -> None:
    """The logs are good: an audit that does not come to "verified" ends the benchmark."""
    figures = by_name(
        replay.run(
            broker_url,
            tmp_path,
            rounds=1,
            progress=silent,
            lengths=(600, 300),
            events=200,
            snapshot_every=100,
        )
    )
    assert figures["replay.verify.rate"].ratio is not None
    for name in ("verify.peak", "at.cpu", "at.peak"):
        assert figures[f"replay.{name}.300"].ratio == 1.0
        assert figures[f"replay.{name}.600"].value > 0


def test_an_audit_that_fails_ends_the_benchmark(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="`ladle audit verify` left with 5"):
        replay.audited(tmp_path, "verify", tmp_path / "none.db")


def test_a_soak_that_went_wrong_says_so_in_few_words() -> None:
    difference = {"sentence": "sfu-1 runs, and Ladle calls it stale"}
    report = {
        "view_matches_fleet": False,
        "differences": [difference] * 100,
        "allocations": {"errors": 2},
    }
    differ, callers, dead = soak._wrong(report, 3.0)
    assert differ.startswith("fleet and view differ in 100 points, sfu-1 runs")
    assert len(differ) < 200
    assert (callers, dead) == ("2 callers got an error", "3 dead letters")
    assert soak._wrong({"view_matches_fleet": True, "allocations": {"errors": 0}}, 0.0) == []


def test_a_soak_compares_its_last_third_with_the_second() -> None:
    seen = soak.Soaked(
        rss=[(at, 100 + at * at) for at in range(9)],
        calls=[(at / 10, 1.0 if at < 60 else 3.0) for at in range(90)],
    )
    figures = by_name(soak.compared(seen, 9))
    assert (figures["soak.rss"].yardstick, figures["soak.rss"].value) == (116, 149)
    assert figures["soak.p50"].ratio == figures["soak.p99"].ratio == 3.0
    with pytest.raises(BenchError, match="too short"):
        soak.compared(seen, 90)


def test_a_process_that_says_nothing_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    with Process(
        ["-c", "import sys; print('one'); print('two', flush=True); sys.stdin.readline()"],
        env={},
        log=tmp_path / "log",
    ) as process:
        assert [process.hear(), process.hear()] == ["one", "two"]
        with pytest.raises(BenchError, match="said nothing"):
            process.hear(timeout_s=0.1)
        process.say("go")
        with pytest.raises(BenchError, match="ended early"):
            process.hear()


def test_a_process_that_ends_says_so(tmp_path: Path) -> None:
    with (
        Process(["-c", "raise SystemExit('not today')"], env={}, log=tmp_path / "log") as process,
        pytest.raises(BenchError, match="not today"),
    ):
        process.hear()
    assert not process.running


def test_a_steady_feed_keeps_its_rooms() -> None:
    """Rooms come and go: each deleted is the oldest there, on its server, in its sequence."""
    feed = inbox.Feed("bench", living=3)
    said = [*feed.take(5), *feed.take(60)]
    events = [
        decode_event(
            Message(
                body=one.body,
                routing_key=one.routing_key,
                headers=dict(one.headers),
                content_type=one.content_type,
                user_id=one.user_id,
            )
        )
        for one in said
    ]
    living: list[tuple[str, str]] = []
    heard: dict[str, int] = {}
    for event in events:
        assert event.sequence == heard.get(event.server_id, 1) + 1
        heard[event.server_id] = event.sequence
        if isinstance(event.data, RoomCreated):
            living.append((event.data.room_id, event.server_id))
        else:
            assert isinstance(event.data, RoomDeleted)
            assert (event.data.room_id, event.server_id) == living.pop(0)
        assert len(living) <= 4
    assert len(living) in (3, 4)
