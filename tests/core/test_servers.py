"""Servers: lives, registrations, ports, drains, silence; and what each says of them."""

import json
from typing import Any

import pytest

from ladle.core import liveness, queries
from ladle.core.record import Kind
from ladle.core.step import Step
from ladle.core.timers import next_due_ms
from ladle.core.words import Administration, Liveness
from tests.core.cell import LIFE, START_MS, Cell, data_of, said


@pytest.fixture
def cell() -> Cell:
    return Cell()


# --- registration --------------------------------------------------------------------------------


def test_a_registration_fills_the_row(cell: Cell) -> None:
    cell.register(
        "a",
        workers={"x": 300},
        zone="z1",
        labels={"tier": "gold"},
        media_ip="192.0.2.1",
        udp_ports=[40000, 40999],
        turn={
            "urls": ["turn:t.example.org?transport=udp", "turns:[2001:db8::1]:443"],
            "realm": "r",
            "key_id": "k",
        },
        places_workers=False,
        liveness="probe",
        external_id="pod-7",
    )
    server = cell.view.servers["a"]
    assert (server.region, server.zone, server.labels) == ("eu", "z1", '{"tier":"gold"}')
    assert (server.media_ip, server.udp_port_min, server.udp_port_max) == (
        "192.0.2.1",
        40000,
        40999,
    )
    assert json.loads(server.turn_ports) == ["[2001:db8::1]:443", "t.example.org:3478"]
    assert (server.places_workers, server.liveness_mode) == (0, "probe")
    assert json.loads(server.description)["turn"]["key_id"] == "k"
    assert (server.sequenced, server.watermark, server.external_id) == (1, 1, "pod-7")
    assert cell.view.workers["a", "x"].capacity == 300


def test_a_turns_url_without_a_port_means_5349(cell: Cell) -> None:
    turn = {"urls": ["turns:t.example.org", "turn:t.example.org:5349"], "realm": "r", "key_id": "k"}
    cell.register("a", turn=turn)
    assert json.loads(cell.view.servers["a"].turn_ports) == ["t.example.org:5349"]


def test_registering_again_in_the_same_life_keeps_rooms_and_load(cell: Cell) -> None:
    """Address, labels and workers are replaced; a worker that is missing has died."""
    cell.register("a", workers={"0": 500, "1": 500})
    cell.created("kept", "a", worker_id="0")
    cell.created("gone", "a", worker_id="1")
    cell.status("a", workers={"0": 40, "1": 30})
    outcome = cell.register("a", workers={"0": 200, "2": 100}, host="new.example.org")
    assert said(outcome) == ["room-stranded"]
    assert data_of(outcome, "room-stranded")["reason"] == "worker-died"
    assert cell.view.servers["a"].host == "new.example.org"
    states = {
        key[1]: (row.state, row.capacity, row.observed)
        for key, row in sorted(cell.view.workers.items())
    }
    assert states == {"0": ("running", 200, 40), "1": ("died", 500, 0), "2": ("running", 100, 0)}
    assert (cell.phase("kept"), cell.phase("gone")) == ("active", "stranded")
    # Named again it is a worker again, an empty one.
    cell.register("a", workers={"0": 200, "1": 500, "2": 100})
    assert cell.view.workers["a", "1"].state == "running"


def test_a_late_registration_changes_nothing_back(cell: Cell) -> None:
    cell.register("a", host="old.example.org")
    cell.register("a", host="new.example.org", sequence=5)
    assert cell.register("a", host="old.example.org", sequence=3)["reason"] == "older-registration"
    assert cell.view.servers["a"].host == "new.example.org"


def test_an_unknown_server_is_asked_who_it_is_and_nothing_is_adopted(cell: Cell) -> None:
    outcome = cell.created("room", "a")
    assert (outcome["status"], outcome["reason"]) == ("ignored", "unknown-server")
    assert data_of(outcome, "register") == {"incarnation": LIFE}
    assert cell.phase() == "nowhere"
    # Not asked with every word, but asked again while it speaks.
    assert said(cell.status("a"), "command") == []
    cell.wait(2_000)
    assert said(cell.status("a"), "command") == ["register"]
    assert said(cell.register("a")) == ["server-up"]
    assert ("register", "a") not in cell.view.timers


def test_an_older_life_is_rejected_and_told_what_is_known(cell: Cell) -> None:
    cell.register("a", life=LIFE + 5)
    outcome = cell.status("a", life=LIFE, sequence=7)
    assert (outcome["status"], outcome["reason"]) == ("ignored", "older-incarnation")
    assert said(outcome) == ["server-rejected"]
    assert data_of(outcome, "register") == {
        "incarnation": LIFE,
        "known_incarnation": LIFE + 5,
        "refused_sequence": 7,
    }
    assert said(cell.status("a", life=LIFE, sequence=8), "command") == []
    # One that begins must hear of it at once: it restarts above the known one.
    assert said(cell.register("a", life=LIFE - 1, sequence=1), "command") == ["register"]


def test_a_new_life_begins_with_nothing(cell: Cell) -> None:
    cell.register("a", workers={"0": 500, "1": 500})
    cell.status("a", workers={"0": {"consumers": 90, "cpu_permille": 400}}, rooms={}, complete=True)
    cell.status("a", workers={"1": {"state": "died"}})
    cell.event("server-draining", "a", {})
    cell.status("a", sequence=9)
    assert cell.view.servers["a"].hole_since_ms is not None
    cell.status("a", life=LIFE + 1, sequence=1)
    server = cell.view.servers["a"]
    assert (server.watermark, server.received_above, server.hole_since_ms) == (1, "[]", None)
    assert (server.server_drain, server.lists_rooms, server.complete_sequence) == (0, 0, 0)
    worker = cell.view.workers["a", "0"]
    assert (worker.observed, worker.cpu_permille, worker.status_sequence) == (0, 0, 0)
    assert ("a", "1") not in cell.view.workers


def test_a_server_of_an_unknown_type_of_event_is_still_heard(cell: Cell) -> None:
    cell.register("a")
    cell.now_ms += 4_000
    payload = cell.payload("worker-status", "a", {"workers": []}) | {"type": "weather"}
    assert cell.fold(Kind.EVENT, payload)["reason"] == "unknown-type"
    assert cell.view.servers["a"].heard_at_ms == START_MS + 4_000


# --- without sequences ---------------------------------------------------------------------------


def test_a_proxy_without_sequences(cell: Cell) -> None:
    """The record's offset is the sequence, and ids de-duplicate for an hour."""
    cell.register("a", life=None, sequence=None)
    assert cell.view.servers["a"].incarnation == START_MS
    assert cell.view.servers["a"].sequenced == 0
    create = cell.payload("room-created", "a", {"room_id": "room"}, life=None, sequence=None)
    offset = cell.view.offset + 1
    assert cell.fold(Kind.EVENT, create)["status"] == "applied"
    assert cell.view.stamps["room", "a"].sequence == offset
    assert cell.fold(Kind.EVENT, create)["reason"] == "duplicate"
    cell.wait(3_600_000)
    assert not cell.view.events_seen
    # Registering again is no restart, unless it says so.
    cell.register("a", life=None, sequence=None)
    assert cell.phase() == "active"
    cell.now_ms -= cell.now_ms - START_MS  # a clock that was set back
    cell.register("a", life=None, sequence=None, restarted=True)
    assert cell.view.servers["a"].incarnation == START_MS + 1
    assert cell.phase() == "stranded"


def test_a_word_without_a_sequence_in_a_life_that_has_them(cell: Cell) -> None:
    """It cannot be put in order with the rest; that the server lives it does say."""
    cell.register("a")
    cell.wait(15_000)
    outcome = cell.created("room", "a", life=None, sequence=None)
    assert (outcome["reason"], said(outcome)) == ("sequence-missing", ["server-up"])
    assert cell.phase() == "nowhere"


def test_a_successful_probe_renews_freshness_and_not_load(cell: Cell) -> None:
    cell.register("a", life=None, sequence=None, liveness="probe")
    cell.status("a", workers={"0": 30}, life=None, sequence=None)
    cell.wait(14_000)
    cell.status("a", life=None, sequence=None)
    cell.wait(14_000)
    assert cell.view.servers["a"].liveness == Liveness.UP
    assert cell.view.workers["a", "0"].observed == 30


def test_a_successful_probe_says_nothing_of_rooms(cell: Cell) -> None:
    """Neither of those that run, as a complete status would, nor of one that is only held."""
    cell.register("a", life=None, sequence=None, liveness="probe")
    cell.created("running", "a", life=None, sequence=None)
    cell.allocate("held")
    cell.wait(5_000)
    outcome = cell.status("a", life=None, sequence=None)
    assert said(outcome) == []
    assert (cell.phase("running"), cell.phase("held")) == ("active", "held")


def test_a_successful_probe_brings_a_silent_server_back(cell: Cell) -> None:
    """A failed one is silence, and silence counts as it does for servers that speak."""
    for server in ("a", "b", "c"):
        cell.register(server, life=None, sequence=None, liveness="probe")
    for _ in range(4):
        cell.wait(4_000)
        for server in ("b", "c"):
            cell.status(server, life=None, sequence=None)
    assert cell.view.servers["a"].liveness == Liveness.STALE
    outcome = cell.status("a", life=None, sequence=None)
    assert said(outcome) == ["server-up"]
    assert cell.view.servers["a"].liveness == Liveness.UP


# --- ports ---------------------------------------------------------------------------------------


def test_overlapping_udp_ports_on_one_address(cell: Cell) -> None:
    """The later one registers, is shown as conflicting, and nothing is placed there."""
    cell.register("first", media_ip="192.0.2.1", udp_ports=[40000, 40999])
    cell.register("beside", media_ip="192.0.2.1", udp_ports=[41000, 41999])
    cell.register("elsewhere", media_ip="192.0.2.2", udp_ports=[40000, 40999])
    cell.register("later", media_ip="192.0.2.1", udp_ports=[40900, 41100])
    conflicts = {name: row.conflicting_with for name, row in sorted(cell.view.servers.items())}
    assert conflicts == {"beside": None, "elsewhere": None, "first": None, "later": "first"}
    assert cell.allocate(server_id="later")["status"] == "error"
    # The first one goes, and the second in time is next.
    cell.event("server-deregistered", "first", {})
    assert cell.view.servers["later"].conflicting_with == "beside"
    cell.event("server-deregistered", "beside", {})
    assert cell.view.servers["later"].conflicting_with is None
    # Who comes back has lost its place.
    cell.status("first")
    assert cell.view.servers["first"].conflicting_with == "later"


def test_one_turn_port_twice(cell: Cell) -> None:
    turn = {"urls": ["turn:192.0.2.9:3478"], "realm": "r", "key_id": "k"}
    cell.register("first", turn=turn)
    cell.register("later", turn=turn)
    assert cell.view.servers["later"].conflicting_with == "first"
    cell.register("first", turn={**turn, "urls": ["turn:192.0.2.9:3479"]})
    assert cell.view.servers["later"].conflicting_with is None


def test_new_ports_are_claimed_anew(cell: Cell) -> None:
    cell.register("a", media_ip="192.0.2.1", udp_ports=[40000, 40099])
    cell.register("b", media_ip="192.0.2.1", udp_ports=[40100, 40199])
    cell.register("a", media_ip="192.0.2.1", udp_ports=[40050, 40149])
    assert cell.view.servers["a"].conflicting_with == "b"
    assert cell.view.servers["b"].conflicting_with is None


# --- drains --------------------------------------------------------------------------------------


def test_an_operators_drain_outlives_restarts(cell: Cell) -> None:
    cell.register("a")
    cell.created("room", "a")
    outcome = cell.ask("drain", server_id="a", reason="kernel", drain_by_ms=START_MS + 9)
    assert outcome["reply"] == {
        "status": "ok",
        "server_id": "a",
        "administration": "draining",
        "rooms": 1,
    }
    by = {"drain_by_ms": START_MS + 9}
    assert data_of(outcome, "drain") == {"incarnation": LIFE, "reason": "kernel", **by}
    (seen,) = queries.fleet_view(cell.view)["servers"]
    assert (seen["drain_reason"], seen["drain_by_ms"]) == ("kernel", START_MS + 9)
    assert cell.allocate("other")["error"]["code"] == "no-servers"
    assert said(cell.deleted("room", "a")) == ["room-ended", "server-drained"]
    # A life that begins knows nothing of it, and is told.
    outcome = cell.register("a", life=LIFE + 1)
    assert data_of(outcome, "drain") == {"incarnation": LIFE + 1, "reason": "kernel", **by}
    assert cell.view.servers["a"].administration == Administration.DRAINED
    reply = cell.ask("undrain", server_id="a")["reply"]
    assert reply["administration"] == "open"
    (seen,) = queries.fleet_view(cell.view)["servers"]
    assert (seen["drain_reason"], seen["drain_by_ms"]) == (None, None)
    assert cell.allocate("other")["outcome"] == "placed"


def test_a_drain_without_a_reason_still_says_one(cell: Cell) -> None:
    cell.register("a")
    outcome = cell.ask("drain", server_id="a")
    assert data_of(outcome, "drain")["reason"] == "drained by an operator"
    assert said(outcome) == ["server-drained"]


def test_a_servers_own_drain_ends_with_its_life(cell: Cell) -> None:
    cell.register("a")
    cell.event("server-draining", "a", {"reason": "preStop", "drain_by_ms": START_MS + 1})
    server = cell.view.servers["a"]
    assert (server.administration, server.server_drain_reason) == ("drained", "preStop")
    (seen,) = queries.fleet_view(cell.view)["servers"]
    assert (seen["drain_reason"], seen["drain_by_ms"]) == ("preStop", START_MS + 1)
    # Two drains: what the operator said of his, which lasts longer, is what people see.
    drained = cell.ask("drain", server_id="a", reason="kernel")
    assert drained["reply"]["administration"] == "drained"
    (seen,) = queries.fleet_view(cell.view)["servers"]
    assert (seen["drain_reason"], seen["drain_by_ms"]) == ("kernel", None)
    # An operator's undrain does not end it.
    assert cell.ask("undrain", server_id="a")["reply"]["administration"] == "drained"
    cell.register("a", life=LIFE + 1)
    assert cell.view.servers["a"].administration == Administration.OPEN


def test_administrative_events_compare_with_the_last_one(cell: Cell) -> None:
    cell.register("a")
    cell.event("server-draining", "a", {"reason": "second"}, sequence=5)
    late = cell.event("server-draining", "a", {"reason": "first"}, sequence=4)
    assert late["reason"] == "older-administration"
    late = cell.event("server-deregistered", "a", {}, sequence=3)
    assert late["reason"] == "older-administration"
    assert cell.view.servers["a"].server_drain_reason == "second"
    assert cell.view.servers["a"].liveness == Liveness.UP


def test_a_room_that_appears_on_a_drained_server(cell: Cell) -> None:
    cell.register("a")
    cell.event("server-draining", "a", {})
    cell.created("room", "a")
    assert cell.view.servers["a"].administration == Administration.DRAINING
    assert said(cell.deleted("room", "a")) == ["room-ended", "server-drained"]


@pytest.mark.parametrize("operation", ["drain", "undrain"])
def test_administration_of_an_unknown_server(cell: Cell, operation: str) -> None:
    outcome = cell.ask(operation, server_id="nobody")
    assert outcome["reply"]["error"]["code"] == outcome["reason"] == "unknown-server"


# --- silence -------------------------------------------------------------------------------------


def test_stale_and_up_again(cell: Cell) -> None:
    cell.register("a", status_interval_ms=2_000)
    assert said(cell.wait(5_999)) == []
    assert said(cell.wait(1)) == ["server-stale"]
    assert cell.allocate()["error"]["code"] == "no-servers"
    assert said(cell.status("a")) == ["server-up"]
    assert cell.allocate()["outcome"] == "placed"


def test_a_goodbye_loses_at_once_and_a_second_one_says_nothing_new(cell: Cell) -> None:
    cell.register("a")
    cell.created("room", "a")
    outcome = cell.event("server-deregistered", "a", {})
    assert said(outcome) == ["server-lost", "room-stranded"]
    assert data_of(outcome, "server-lost")["reason"] == "deregistered"
    assert said(cell.event("server-deregistered", "a", {})) == []


def test_a_lost_server_says_goodbye(cell: Cell) -> None:
    """Its rooms do not come home for it, to be stranded anew."""
    cell.register("a")
    cell.register("b")
    cell.created("room", "a")
    for _ in range(12):
        cell.wait(5_000)
        cell.status("b")
    assert cell.view.servers["a"].liveness == Liveness.LOST
    assert said(cell.event("server-deregistered", "a", {})) == []
    assert cell.view.servers["a"].deregistered_sequence == 3


def test_a_lost_server_is_forgotten_when_nothing_needs_it(cell: Cell) -> None:
    shared: dict[str, Any] = {"media_ip": "192.0.2.1", "udp_ports": [40000, 40999]}
    cell.register("gone", **shared)
    cell.register("kept", **shared)
    cell.register("drained")
    cell.ask("drain", server_id="drained")
    cell.created("room", "gone")
    cell.ask("release", room_id="room", allocation_id=cell.view.rooms["room"].allocation_id)
    cell.event("server-deregistered", "gone", {})
    cell.event("server-deregistered", "drained", {})
    assert cell.view.closings["room", "gone"].next_at_ms is None
    cell.wait(600_000)
    cell.wait(86_400_000 - 600_000)
    assert "gone" not in cell.view.servers
    assert ("gone", "0") not in cell.view.workers
    assert not cell.view.closings
    assert sorted(cell.view.servers) == ["drained", "kept"]
    assert cell.view.claims == {"udp 192.0.2.1": {"kept"}}
    cell.ask("undrain", server_id="drained")
    cell.wait(86_400_000)
    assert sorted(cell.view.servers) == ["kept"]


def test_a_lost_server_with_a_room_is_not_forgotten() -> None:
    cell = Cell(strand_ms=200_000_000)
    cell.register("a")
    cell.created("room", "a")
    cell.event("server-deregistered", "a", {})
    cell.wait(86_400_000)
    assert "a" in cell.view.servers


def test_the_bus_comes_up_and_silence_counts_anew(cell: Cell) -> None:
    for name in ("a", "b", "c"):
        cell.register(name)
    cell.wait(15_000)
    cell.status("c")
    cell.status("a")
    cell.status("c")
    cell.event("server-deregistered", "c", {})
    assert cell.view.servers["b"].liveness == Liveness.STALE
    cell.fold(Kind.BUS_UP, {})
    assert next_due_ms(cell.view) is None
    cell.fold(Kind.CAUGHT_UP, {})
    due = {name: row.silence_due_ms for name, row in sorted(cell.view.servers.items())}
    assert due == {"a": cell.now_ms + 15_000, "b": cell.now_ms + 60_000, "c": None}


def test_a_pause_of_the_others_begins_their_time_anew(cell: Cell) -> None:
    """Ten minutes of events from others means ten minutes without a long pause."""
    for name in "abcde":
        cell.register(name)

    def others_for(rounds: int) -> None:
        for _ in range(rounds):
            cell.wait(5_000)
            cell.status("d")
            cell.status("e")

    others_for(60)
    for _ in range(24):
        cell.wait(5_000)  # nobody is heard for two minutes
    others_for(110)
    assert cell.view.liveness["lost"] == 0
    others_for(40)
    assert cell.view.liveness["lost"] == 3


def test_a_mass_silence_that_ends_gives_the_rest_their_whole_time(cell: Cell) -> None:
    for name in "abc":
        cell.register(name)
    for _ in range(100):
        cell.wait(5_000)
    assert cell.view.state(liveness.BUS) is not None
    cell.status("a")
    cell.status("b")
    assert cell.view.state(liveness.BUS) is None
    assert cell.view.servers["c"].silence_due_ms == cell.now_ms + 60_000


def test_holes_of_a_lost_server_wait_for_its_return(cell: Cell) -> None:
    cell.register("a")
    cell.status("a", sequence=4)
    cell.event("server-deregistered", "a", {}, sequence=5)
    assert cell.view.servers["a"].report_due_ms is None
    cell.wait(10_000)
    cell.status("a", sequence=6)
    assert said(cell.wait(2_000), "command") == ["report-rooms"]


def test_what_does_not_happen_to_a_liveness_changes_nothing(cell: Cell) -> None:
    """A timer of a server that was heard meanwhile finds nothing to do."""
    cell.register("a")
    before = cell.view.dump()
    step = Step(cell.view, 99, cell.now_ms)
    liveness.turn(step, "a", liveness.What.SILENT_LONG, "silent")
    assert (cell.view.dump(), step.outbound) == (before, [])
