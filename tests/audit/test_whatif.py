"""The same demand in another world: with nothing changed the same one, else one checked by hand."""

import gc
import json
import tracemalloc
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ladle.audit.replay import Replay
from ladle.audit.whatif import Comparison, Report, changeable, whatif
from ladle.audit.whatif_figures import Sample
from ladle.audit.whatif_time import BUCKETS_MAX, Buckets
from ladle.chaos.simulated import view_laws
from ladle.commands.app import app
from ladle.commands.whatif_limits import bounds_of
from ladle.core.record import Kind
from ladle.core.view import View
from tests.audit.recorded import Held, Life, sealed
from tests.core.cell import LIFE, Cell

STEPS = 350
POLICIES = ("least-loaded", "pack", "two-choice", "region-first")
ROWS = ("server", "worker", "room", "router", "stamp", "closing", "request", "timer")
OTHERS: tuple[dict[str, Any], ...] = (
    {"policy": "pack"},
    {"policy": "two-choice"},
    {"policy": "region-first", "hold_ms": 500},
    {"stale_intervals": 1, "lost_intervals": 2},
    {"cpu_permille_max": 1_001, "settle_ms": 1_000},
)


def replay_of(cell: Cell) -> Replay:
    return Replay(Held(list(sealed(cell.journal))))


def compared(cell: Cell, **other: Any) -> tuple[Report, View]:
    """The report, and the view of the alternative world at the end."""
    both = Comparison(replay_of(cell), other)
    report = whatif(replay_of(cell), "a list", other)
    for _ in cell.journal:
        both.step()
    return report, both.world.view


# --- the same world ------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("seed", [1])
def test_the_same_policy_gives_the_same_world_at_every_record(policy: str, seed: int) -> None:
    """Every row, so every home; whatever happens in the journal: copies, losses, late words."""
    life = Life(seed, policy)
    life.run(STEPS)
    replay = replay_of(life.cell)
    both = Comparison(replay, {"policy": policy})
    while replay.peek() is not None:
        both.step()
        for name in ROWS:
            there = both.world.view.tables[name]
            assert there == replay.view.tables[name], (replay.view.offset, name)
    assert both.was == both.would
    assert both.was.refusals.total() > 3
    assert both.decided > 20
    assert both.elsewhere == both.world.left_out == both.world.asked_again == 0
    assert all(peak.used[0] == peak.used[1] for peak in both.peaks.of.values())
    assert all(was == would for _, was, would in both.over_time.rows())


@pytest.mark.parametrize("other", OTHERS, ids=str)
@pytest.mark.parametrize("seed", [3])
def test_another_world_keeps_the_laws_of_the_view(other: Mapping[str, Any], seed: int) -> None:
    """One home a room, phases and sums that agree, wherever the rooms went."""
    life = Life(seed)
    life.run(STEPS)
    replay = replay_of(life.cell)
    both = Comparison(replay, other)
    while replay.peek() is not None:
        both.step()
        if replay.view.offset % 10 == 0:
            view_laws.check(both.world.view)
    assert both.was.requests == both.would.requests
    assert both.elsewhere > 0


# --- figures checked by hand ---------------------------------------------------------------------


def small() -> Cell:
    """Two servers of one worker of 500; rooms of 24, 24 and 480 consumers."""
    cell = Cell()
    cell.register("a")
    cell.register("b")
    cell.allocate("one", peers=4)  # 24, on a: the first of two empty ones
    cell.created("one", "a")
    cell.allocate("two", peers=4)  # 24, on b, which is emptier; pack: on a
    cell.created("two", "b")
    cell.allocate("three", peers=16)  # 480: neither has so much left; pack: b has
    return cell


def test_the_figures_of_a_small_journal() -> None:
    cell = small()
    cell.wait(10_000)
    report, would = compared(cell, policy="pack")
    assert (report.records, report.decided, report.elsewhere) == (9, 2, 1)
    was, then = report.counts
    assert (was.requests, was.placed, was.moves) == (3, 2, 0)
    assert was.refusals == Counter({"no-capacity": 1})
    assert (then.requests, then.placed, then.moves) == (3, 3, 0)
    assert then.refusals == Counter()
    homes = {room_id: row.server_id for (room_id, _), row in would.routers.items()}
    assert homes == {"one": "a", "two": "a", "three": "b"}
    peaks = {place: (peak.capacity, *peak.used) for place, peak in report.peaks.of.items()}
    assert peaks == {("a", "0"): (500, 24, 48), ("b", "0"): (500, 24, 480)}
    # For ten seconds 24 and 24 of 500 each, or 48 and 480: the deviation from 528 is 432.
    whole = report.over_time.whole()
    assert whole == (Sample(2, 0, 48, 48, 48, 0), Sample(2, 0, 528, 528, 960, 432))


def test_what_a_server_says_of_its_rooms_counts_where_they_would_be() -> None:
    """b lists room two, which would be on a; a's next status carries it, and b's does not."""
    cell = small()
    cell.wait(1_000)
    said = {"0": {"consumers": 30, "cpu_permille": 60}}
    cell.status("b", workers=said, rooms={"two": {"consumers": 20}}, complete=True)
    cell.status("a", workers={"0": 22}, rooms={"one": {"consumers": 22}}, complete=True)
    _, would = compared(cell, policy="pack")
    assert would.workers["a", "0"].observed == 22 + 20
    assert would.workers["b", "0"].observed == 10, "what no room explains stays where it is"
    assert would.routers["two", 0].seen == 20
    # 60 permille for 30 consumers were reported until then: two a consumer, and one over 52.
    assert would.workers["b", "0"].cpu_permille == 60 - 20 * 60 // 30
    assert would.workers["a", "0"].cpu_permille == 20 * 60 // 52
    cell.status("b", workers={"0": 6}, rooms={}, complete=True)
    _, would = compared(cell, policy="pack")
    assert "two" not in would.rooms, "its server does not list it any more"
    assert would.workers["b", "0"].observed == 6


def test_a_plain_status_counts_by_cost_what_is_not_listed() -> None:
    cell = small()
    cell.status("b", workers={"0": 16})
    cell.status("a", workers={"0": 9})
    _, would = compared(cell, policy="pack")
    assert would.workers["a", "0"].observed == 9 + 16
    assert would.workers["b", "0"].observed == 0


def test_a_room_that_no_status_can_know_yet_weighs_its_cost() -> None:
    cell = small()
    cell.status("a", workers={"0": 9})
    _, would = compared(cell, policy="pack")
    assert would.workers["a", "0"].observed == 9 + 24


def test_statuses_in_one_record_are_translated_as_those_alone() -> None:
    cell = small()
    for server_id, consumers in (("b", 16), ("a", 9)):
        state = ["0", 1, consumers, 0, 1, 0, 0]
        cell.sequences[server_id, LIFE] += 1
        packed = [server_id, LIFE, cell.sequences[server_id, LIFE], [state]]
        cell.fold(Kind.STATUSES, {"statuses": [packed]})
    _, would = compared(cell, policy="pack")
    assert would.workers["a", "0"].observed == 9 + 16
    assert would.workers["b", "0"].observed == 0


# --- lives ---------------------------------------------------------------------------------------


def test_a_room_ends_where_it_would_be_when_it_ended() -> None:
    cell = small()
    cell.deleted("two", "b")
    _, would = compared(cell, policy="pack")
    assert set(would.rooms) == {"one", "three"}
    assert would.loads.used("a", "0") == 24


def test_a_room_that_would_be_refused_is_left_out() -> None:
    """pack fills a with what least-loaded has put on b."""
    cell = Cell(policy="pack")
    cell.register("a")
    cell.register("b")
    for name, peers in (("one", 4), ("two", 4), ("three", 16)):
        server = cell.allocate(name, peers=peers)["server"]["server_id"]
        cell.created(name, server)
    cell.status("b", workers={"0": 480}, rooms={"three": {"consumers": 480}}, complete=True)
    report, would = compared(cell, policy="least-loaded")
    assert report.counts[1].refusals == Counter({"no-capacity": 1})
    assert report.left_out == 1
    assert set(would.rooms) == {"one", "two"}
    assert would.workers["b", "0"].observed == 24, "of room two, which would be there"


def test_who_comes_later_than_another_hold_lasts_asks_again() -> None:
    cell = Cell()
    cell.register("a", status_interval_ms=60_000)
    cell.allocate("room")
    cell.now_ms += 5_000
    cell.created("room", "a")
    report, would = compared(cell, hold_ms=1_000)
    assert report.asked_again == 1
    assert would.rooms["room"].phase == "active"
    assert would.rooms["room"].generation == 2


def test_a_room_whose_home_fails_in_the_alternative_alone_is_asked_for_again() -> None:
    """a dies, with the rooms one and two that would be there; what was lost one only."""
    cell = small()
    cell.register("a", restarted=True, life=LIFE + 1_000)
    report, would = compared(cell, policy="pack")
    assert (report.asked_again, report.counts[1].moves) == (1, 1)
    assert would.rooms["one"].phase == "stranded", "nobody asked for it, so nobody does here"
    assert would.rooms["two"].phase == "active"
    assert would.rooms["two"].generation == 2


def test_a_room_whose_home_fails_in_what_was_alone_lives_on() -> None:
    cell = small()
    cell.register("b", restarted=True, life=LIFE + 1_000)
    assert cell.phase("two") == "stranded"
    _, would = compared(cell, policy="pack")
    assert would.rooms["two"].phase == "active"
    cell.wait(700_000)
    assert cell.phase("two") == "nowhere"
    _, would = compared(cell, policy="pack")
    assert "two" not in would.rooms, "it is not known to have lived longer than it did"


def test_who_named_the_home_that_was_means_the_one_that_would_be() -> None:
    """Callers name generations and allocations of what was; they know of no other world."""
    cell = Cell()
    for name in ("a", "b", "c"):
        cell.register(name)
    cell.allocate("one", peers=4)
    cell.created("one", "a")
    cell.allocate("two", peers=4)
    cell.created("two", "b")
    cell.register("a", restarted=True, life=LIFE + 1_000)  # two is asked for again: generation 2
    cell.ask("move", room_id="two", if_generation=1, reason="test")
    allocation_id = cell.view.rooms["two"].allocation_id
    assert cell.home("two") == "a"
    cell.created("two", "a", life=LIFE + 1_000)
    released = cell.ask("release", room_id="two", allocation_id=allocation_id)
    assert released["status"] == "applied"
    report, would = compared(cell, policy="pack")
    assert report.counts[1].refusals == Counter()
    assert would.rooms["two"].generation == 3
    cell.deleted("two", "a", life=LIFE + 1_000)
    _, would = compared(cell, policy="pack")
    assert "two" not in would.rooms
    assert not would.closings, "whoever is told to close a room that is not there has done so"


# --- memory --------------------------------------------------------------------------------------


def steady(rounds: int) -> Cell:
    """Rooms that come and go, each after the other."""
    cell = Cell(stamp_ms=5_000, request_ms=5_000)
    for name in ("a", "b", "c"):
        cell.register(name, status_interval_ms=3_600_000)
    for number in range(rounds):
        room_id = f"room-{number}"
        cell.allocate(room_id, peers=4)
        home = cell.home(room_id) or ""
        cell.created(room_id, home)
        cell.deleted(room_id, home)
        cell.wait(1_000)
    return cell


def test_memory_does_not_grow_with_the_log() -> None:
    """What is held at the end; of the peak, tuples that Python keeps for later are a part."""
    held = []
    for rounds in (60, 240):
        both = Comparison(replay_of(steady(rounds)), {"policy": "pack"})
        tracemalloc.start()
        for _ in range(4 * rounds):
            both.step()
        gc.collect()
        held.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        assert len(list(both.over_time.rows())) <= BUCKETS_MAX
    assert held[1] < held[0] * 1.2


def test_buckets_widen_and_keep_the_sums() -> None:
    buckets = Buckets()
    empty, full = Sample(1, 1, 0, 0, 0, 0), Sample(1, 0, 500, 1000, 1000, 0)
    end_ms, at_ms = 1_000_000, 0
    while at_ms < end_ms:
        if buckets.is_due(at_ms):
            buckets.add(at_ms, (empty, full if at_ms > end_ms // 2 else empty))
        at_ms += 500
    buckets.add(end_ms, (empty, full))
    rows = list(buckets.rows())
    assert len(rows) <= BUCKETS_MAX
    assert [at for at, _, _ in rows] == [n * buckets.width_ms for n in range(len(rows))]
    was, would = buckets.whole()
    assert was == empty
    assert abs(would.used - 250) <= 2
    assert [would.fullest for _, _, would in rows] == sorted(w.fullest for _, _, w in rows)


# --- the command ---------------------------------------------------------------------------------


def run(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["audit", "whatif", *words])
    return result.exit_code, result.stdout, result.stderr


def test_the_command_says_both_worlds_and_draws_them(database: Path, tmp_path: Path) -> None:
    picture = tmp_path / "pack.png"
    common = ("--source", str(database), "--policy", "pack", "--limit", "hold_ms=2000")
    code, out, err = run(*common, "--json", "--plot", str(picture))
    assert code == 0, err
    said = json.loads(out)
    assert (said["was"]["policy"], said["would"]["policy"]) == ("least-loaded", "pack")
    assert said["would"]["limits"]["hold_ms"] == 2_000
    assert said["was"]["limits"]["hold_ms"] == 30_000
    assert said["would"]["requests"] == said["was"]["requests"] > 100
    assert said["elsewhere"] > 0
    assert len(said["peaks"]) == 8
    assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    code, out, _ = run(*common)
    assert code == 0
    assert "what would have been: pack with hold_ms=2000" in out
    assert f"{said['elsewhere']} chose another worker" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "nothing would be other"),
        (("--policy", "best"), "there is no policy best"),
        (("--limit", "cell=1"), "there is no such limit"),
        (("--limit", "hold_ms=soon"), "not a whole number"),
        (("--limit", "hold_ms"), "not a whole number"),
        (("--limit", "hold_ms=-1"), "not a whole number; hold_ms is one from 1000 to 600000"),
        (("--limit", "hold_ms=NaN"), "not a whole number; hold_ms is one from 1000 to 600000"),
        (("--limit", "hold_ms=0"), "hold_ms is from 1000 to 600000"),
        (("--limit", "reissue_ms=0"), "reissue_ms is from 100 to 3600000"),
        (("--limit", "settle_ms=9007199254740992"), "settle_ms is from 0 to 3600000"),
        (("--limit", f"settle_ms={'9' * 5_000}"), "settle_ms is from 0 to 3600000"),
        (("--limit", "rules=99"), "rules is from 1 to"),
        (("--limit", "lost_intervals=3"), "stale_intervals=3 is not below lost_intervals=3"),
        (("--limit", "lost_intervals=2"), "stale_intervals=3 is not below lost_intervals=2"),
        (
            ("--limit", "capacity_low_consumers=500", "--limit", "capacity_ok_consumers=400"),
            "capacity_low_consumers=500 is above capacity_ok_consumers=400",
        ),
        (("--limit", "hold_ms=2000", "--limit", "hold_ms=3000"), "was given before, as 2000"),
    ],
)
def test_a_mistake_in_the_command_is_told(
    words: tuple[str, ...], said: str, database: Path
) -> None:
    code, _, err = run("--source", str(database), *words)
    assert code == 2
    assert said in " ".join(err.split())


def test_a_picture_that_cannot_be_written_is_told(database: Path, tmp_path: Path) -> None:
    nowhere = str(tmp_path / "none" / "pack.png")
    code, _, err = run("--source", str(database), "--policy", "pack", "--plot", nowhere)
    assert code == 3
    assert "cannot write" in err


def test_every_limit_that_may_be_other_is_a_number() -> None:
    assert {"hold_ms", "cpu_permille_max", "settle_ms"} <= set(changeable())
    assert not {"cell", "policy", "owner_only", "operators"} & set(changeable())


@pytest.mark.parametrize("side", [0, 1], ids=["least", "most"])
def test_every_limit_at_its_bound_ends_well(side: int, database: Path) -> None:
    """What a bound lets in neither fails nor goes on for ever."""
    words = [
        word for name in changeable() for word in ("--limit", f"{name}={bounds_of(name)[side]}")
    ]
    code, said, err = run("--source", str(database), *words, "--json")
    assert (code, err) == (0, "")
    assert json.loads(said)["would"]["limits"]["reissue_ms"] == bounds_of("reissue_ms")[side]
