"""Damping: a server that comes and goes gets rooms last for a while, and never is none got."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ladle.core.capacity import most_headroom
from ladle.core.damping import DAMPED, FLAPS, is_damped
from ladle.core.explanation import explain, why_not
from ladle.core.queries import fleet_view
from ladle.core.record import Kind
from ladle.core.rows import Timer
from ladle.core.slow_start import step_of
from ladle.core.view import View
from tests.core.cell import LIFE, Cell
from tests.core.placing import allocate, fleet, home, put_router, reloaded, set_server, set_worker

FLAP_MS = 60_000


def damping_cell(*servers: str, **limits: Any) -> Cell:
    cell = Cell(flap_ms=FLAP_MS, flap_limit=2, damped_ms_max=600_000, **limits)
    for server_id in servers:
        cell.register(server_id)
    return cell


def restart(cell: Cell, server_id: str = "a") -> None:
    cell.register(server_id, life=cell.view.servers[server_id].incarnation + 1)


def damp(view: View, *servers: str) -> None:
    """As if these had flapped."""
    view.set_state("flap_ms", FLAP_MS)
    for server_id in servers:
        view.put(Timer(DAMPED, server_id, 1))
    view.settle()


def due_in_ms(cell: Cell, kind: str) -> int | None:
    row = cell.view.timers.get((kind, "a"))
    return None if row is None else row.due_ms - cell.now_ms


# --- the penalty ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pauses_ms", "penalty_ms", "damped_ms"),
    [
        ([], 60_000, None),  # the first flap
        ([0], 120_000, None),  # two are free
        ([0, 0], 180_000, 120_000),  # until half of 120 s
        ([59_000, 0], 121_000, 61_000),
        ([60_000, 0], 120_000, None),  # one was forgiven meanwhile
        ([61_000, 61_000, 61_000, 61_000], 60_000, None),  # never two at a time
        ([0, 0, 100_000], 140_000, 80_000),  # damped still, so the lower limit holds
        ([0, 0, 121_000], 119_000, None),  # it had been taken again
        ([0] * 30, 720_000, 600_000),  # bounded
    ],
)
def test_a_penalty_rises_with_each_flap_and_runs_out(
    pauses_ms: list[int], penalty_ms: int, damped_ms: int | None
) -> None:
    cell = damping_cell("a", "b")
    restart(cell)
    for pause_ms in pauses_ms:
        cell.now_ms += pause_ms
        cell.status("a", life=cell.view.servers["a"].incarnation)
        cell.status("b")
        cell.wait(0)
        restart(cell)
    assert due_in_ms(cell, FLAPS) == penalty_ms
    assert due_in_ms(cell, DAMPED) == damped_ms


def test_a_return_from_lost_is_a_flap_and_from_stale_is_none() -> None:
    cell = damping_cell("a", "b")
    cell.event("server-deregistered", "a", {})
    assert (FLAPS, "a") not in cell.view.timers
    cell.status("a")
    assert cell.view.timers[FLAPS, "a"].tries == 1
    cell.now_ms += 20_000
    cell.status("b")
    cell.wait(0)
    assert cell.view.servers["a"].liveness == "stale"
    cell.status("a")
    assert cell.view.timers[FLAPS, "a"].tries == 1


def test_a_first_start_is_none_and_without_the_limit_nothing_is() -> None:
    assert not damping_cell("a").view.timers
    cell = Cell()
    cell.register("a")
    for _ in range(9):
        restart(cell)
    assert not cell.view.timers


def test_it_is_taken_again_by_slow_start_and_then_forgiven() -> None:
    cell = damping_cell("a", "b", slow_start_ms=8_000)
    for _ in range(3):
        restart(cell)
    cell.now_ms += 119_999
    cell.status("a", life=LIFE + 3)
    cell.status("b")
    cell.wait(0)
    assert is_damped(cell.view, "a")
    assert step_of(cell.view, "a") == 8
    cell.wait(1)
    assert not is_damped(cell.view, "a")
    assert step_of(cell.view, "a") == 1
    cell.wait(60_000)
    assert not cell.view.timers


def test_a_limit_that_is_taken_back_ends_it_at_once() -> None:
    cell = damping_cell("a", "b")
    for _ in range(3):
        restart(cell)
    assert cell.view.index.standings["a"].out == DAMPED
    cell.fold(Kind.SETTINGS, {"flap_ms": 0})
    assert cell.view.index.standings["a"].out is None
    assert not cell.view.last_resort.standings


# --- what it does to the choice ------------------------------------------------------------------

POLICIES = ["least-loaded", "pack", "two-choice", "region-first"]


@pytest.mark.parametrize("policy", POLICIES)
def test_others_are_taken_first(policy: str) -> None:
    """Whatever the policy: the damped one is the emptiest here, then the fullest that fits."""
    for used in (0, 480):
        view = fleet("damped", "calm")
        view.set_state("policy", policy)
        put_router(view, "r1", "damped", reserved=used)
        put_router(view, "r2", "calm", reserved=200)
        damp(view, "damped")
        decision = allocate(view)
        assert home(decision) == ("calm", "0")
        assert decision.record["fell"] == {"damped": 1}
        assert decision.record["fitted"] == 1
        assert "last_resort" not in decision.record


@pytest.mark.parametrize("policy", POLICIES)
def test_nothing_is_refused_for_it(policy: str) -> None:
    """The last resort of a fleet whose others are full, and of a server that is alone."""
    view = fleet("damped", "full")
    view.set_state("policy", policy)
    put_router(view, "r2", "full", reserved=499)
    damp(view, "damped")
    decision = allocate(view, room_id="room")
    assert home(decision) == ("damped", "0")
    assert decision.record["fell"] == {"full": 1}
    assert (decision.record["fitted"], decision.record["last_resort"]) == (1, True)
    assert any("no other server could take it" in line for line in explain(decision.record, "room"))
    lone = fleet("damped")
    damp(lone, "damped")
    assert home(allocate(lone)) == ("damped", "0")


def test_of_several_damped_ones_the_policy_chooses() -> None:
    view = fleet("a", "b", "c")
    put_router(view, "r1", "a", reserved=10)
    put_router(view, "r2", "b", reserved=5)
    put_router(view, "r3", "c", reserved=20)
    damp(view, "a", "b", "c")
    decision = allocate(view)
    assert home(decision) == ("b", "0")
    assert [each["server_id"] for each in decision.record["runners_up"]] == ["a", "c"]


def test_a_pin_is_obeyed() -> None:
    view = fleet("damped", "calm")
    damp(view, "damped")
    assert home(allocate(view, server_id="damped")) == ("damped", "0")
    assert home(allocate(view, server_id="calm")) == ("calm", "0")


@pytest.mark.parametrize(
    ("mode", "chosen", "fallback"), [("prefer", "far", True), ("require", "near", False)]
)
def test_another_region_comes_first_where_it_may(mode: str, chosen: str, fallback: bool) -> None:
    view = fleet("near@eu", "far@us")
    damp(view, "near")
    decision = allocate(view, regions=["eu"], region_mode=mode)
    assert home(decision) == (chosen, "0")
    assert decision.region_fallback is fallback


def test_a_refusal_counts_every_server_once_and_never_names_damping() -> None:
    view = fleet("lost", "full", "hot", "calm", labels='{"gpu":"yes"}')
    set_server(view, "lost", liveness="lost")
    set_worker(view, "hot", cpu_permille=900)
    put_router(view, "r1", "full", reserved=490)
    put_router(view, "r2", "calm", reserved=480)
    damp(view, "lost", "full", "hot")
    decision = allocate(view, peers=4)
    assert home(decision) == "no-capacity"
    assert decision.record["fell"] == {"cpu": 1, "full": 2, "lost": 1}
    assert decision.error is not None
    assert decision.error["details"]["largest_room_peers"] == 3
    damp(view, "calm")
    assert home(allocate(view, peers=4)) == "no-capacity"
    assert home(allocate(view, labels={"gpu": "no"})) == "no-servers"
    assert home(allocate(view, labels={"gpu": "yes"})) == ("calm", "0")


def test_its_room_counts_as_room() -> None:
    """`capacity-low` and the largest room that fits are about what can be had."""
    view = fleet("damped", "calm")
    put_router(view, "r1", "calm", reserved=400)
    damp(view, "damped")
    assert most_headroom(view) == 500


def test_a_room_on_it_moves_away_and_none_moves_there() -> None:
    cell = damping_cell("a", "b")
    cell.allocate("room", server_id="b")
    for _ in range(3):
        restart(cell)
    cell.allocate("other")
    assert cell.home("other") == "b"
    cell.ask("move", room_id="room", if_generation=1, reason="test")
    assert cell.home("room") == "a", "nobody else may take it"


# --- what is said of it --------------------------------------------------------------------------


def test_why_not_the_damped_one() -> None:
    view = fleet("damped", "calm")
    damp(view, "damped")
    decision, pinned = allocate(view), allocate(view, server_id="damped")
    assert why_not(decision.record, pinned.record, "damped")[-1] == (
        "But it had come and gone too often of late, and others could take the room."
    )
    assert "1 of them had come and gone too often of late." in explain(decision.record, "room")


def test_the_view_shows_it() -> None:
    cell = damping_cell("a", "b")
    for _ in range(3):
        restart(cell)
    told = {each["server_id"]: each for each in fleet_view(cell.view)["servers"]}
    assert (told["a"]["flaps"], told["b"]["flaps"]) == (3, 0)
    assert told["a"]["damped_until_ms"] == cell.now_ms + 120_000
    assert told["b"]["damped_until_ms"] is None


# --- a fleet -------------------------------------------------------------------------------------


def rooms_cut_off(flap_ms: int) -> list[int]:
    """By each restart of "a", every 90 s of half an hour, of four servers that share 60 rooms."""
    cell = Cell(flap_ms=flap_ms, slow_start_ms=60_000)
    for server_id in "abcd":
        cell.register(server_id, workers=4)
    cut_off = []
    for second in range(2, 1_802, 2):
        room = f"r{second}"
        cell.allocate(room, peers=4)
        speak(cell, room, cell.created)
        ended = f"r{second - 120}"
        if ended in cell.view.rooms:
            speak(cell, ended, cell.deleted)
        if second % 10 == 0:
            for server_id in "abcd":
                cell.status(server_id, life=cell.view.servers[server_id].incarnation)
        if second % 90 == 0:
            keys = cell.view.routers_on.get("a", ())
            cut_off.append(sum(cell.view.routers[key].active for key in keys))
            restart(cell)
        cell.wait(2_000)
    return cut_off


def speak(cell: Cell, room: str, say: Callable[..., Any]) -> None:
    router = cell.view.routers[room, 0]
    life = cell.view.servers[router.server_id].incarnation
    more = {"worker_id": router.worker_id} if say == cell.created else {}
    say(room, router.server_id, life=life, **more)


def test_a_flapping_server_costs_fewer_rooms() -> None:
    """Three restarts are what it takes to notice; after them nobody is put there any more."""
    without, damped = rooms_cut_off(0), rooms_cut_off(300_000)
    assert without[:3] == damped[:3]
    assert set(damped[3:]) == {0}
    assert sum(without) > 4 * sum(damped)


# --- laws ----------------------------------------------------------------------------------------

lives = st.lists(
    st.tuples(
        st.sampled_from("abc"), st.sampled_from(["restart", "leave", "speak", "room", "wait"])
    ),
    max_size=40,
)


@settings(max_examples=60)
@given(lives, st.sampled_from(POLICIES))
def test_fold_and_tables_agree(lived: list[tuple[str, str]], policy: str) -> None:
    """load(tables) == fold(journal), both indexes included, and nobody is refused for damping."""
    cell = Cell(flap_ms=20_000, flap_limit=1, slow_start_ms=8_000, policy=policy)
    lives_of = dict.fromkeys("abc", LIFE)
    for server_id in "ab":
        cell.register(server_id, region=server_id)
    for server_id, what in lived:
        match what:
            case "restart":
                lives_of[server_id] += 1
                cell.register(server_id, life=lives_of[server_id])
            case "leave":
                cell.event("server-deregistered", server_id, {}, life=lives_of[server_id])
            case "speak":
                cell.status(server_id, life=lives_of[server_id])
            case "room":
                is_up = any(each.liveness == "up" for each in cell.view.servers.values())
                assert cell.allocate(None)["status"] == ("ok" if is_up else "error")
            case "wait":
                cell.wait(7_000)
        again = reloaded(cell.view)
        assert cell.view.index.standings == again.index.standings
        assert cell.view.last_resort.standings == again.last_resort.standings
    assert cell.replay().digest() == cell.view.digest()
