"""Each benchmark at its smallest: that it works, and says what it measured; not how fast."""

from pathlib import Path

import pytest

from ladle.lab import decide, journal_size, memory, rpc
from ladle.lab.processes import BenchError, Process
from ladle.lab.rounds import Figure


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
