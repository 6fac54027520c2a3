"""The emulated server's own account: load follows from peers, and comes back when they go."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ladle.fleet.server_model import CannotJoin, Costs, Room, ServerModel
from ladle.fleet.truth import server_truth, whole_truth


def room(room_id: str = "r", worker_id: str = "w0", allocation_id: str | None = "a1") -> Room:
    return Room(room_id, worker_id, allocation_id)


def model(workers: int = 2) -> ServerModel:
    return ServerModel({f"w{number}": 500 for number in range(workers)})


@pytest.mark.parametrize(
    ("peers", "publishers", "consumers"),
    [(1, 1, 0), (2, 2, 4), (4, 4, 24), (10, 10, 180), (16, 16, 480), (20, 4, 152), (60, 2, 236)],
)
def test_consumers_follow_from_the_peers(peers: int, publishers: int, consumers: int) -> None:
    """p(n-1)s with s = 2: 4 peers 24, 10 peers 180, 16 peers 480."""
    server = model()
    for peer in range(peers):
        server.join(room(), peer, publishes=peer < publishers)
    load = next(iter(server.loads()))
    assert load.consumers == consumers
    assert load.producers == 2 * publishers
    assert load.rooms == 1


@pytest.mark.parametrize(
    ("percent", "consumers", "permille"),
    [(0.2, 0, 5), (0.2, 100, 205), (0.2, 425, 855), (0.2, 10_000, 1000), (0.05, 100, 55)],
)
def test_cpu_follows_from_the_consumers(percent: float, consumers: int, permille: int) -> None:
    assert Costs(cpu_percent_per_consumer=percent).cpu_permille(consumers) == permille


def test_only_the_first_join_creates_the_room() -> None:
    server = model()
    created = server.join(room(), 1, publishes=True)
    assert created is not None
    assert created.allocation_id == "a1"
    assert server.join(room(worker_id="w1", allocation_id="a2"), 2, publishes=True) is None
    # The room stays on its worker, and belongs to the newer allocation from here on.
    assert (created.worker_id, created.allocation_id) == ("w0", "a2")


def test_the_last_peer_takes_the_room_along() -> None:
    server = model()
    server.join(room(), 1, publishes=True)
    server.join(room(), 2, publishes=True)
    assert server.leave("r", 1) is None
    assert server.leave("r", 1) is None
    ended = server.leave("r", 2)
    assert ended is not None
    assert server.rooms == {}
    assert server.leave("r", 2) is None


@pytest.mark.parametrize("worker_id", ["w0", "unknown"])
def test_nobody_joins_on_a_worker_that_does_not_run(worker_id: str) -> None:
    server = model()
    server.kill_worker("w0")
    with pytest.raises(CannotJoin):
        server.join(room(worker_id=worker_id), 1, publishes=True)
    assert server.rooms == {}


def test_a_worker_takes_only_its_own_rooms_along() -> None:
    server = model()
    server.join(room("a", "w0"), 1, publishes=True)
    server.join(room("b", "w1"), 1, publishes=True)
    assert [gone.room_id for gone in server.kill_worker("w0")] == ["a"]
    dead, alive = server.loads()
    assert (dead.running, dead.rooms, dead.cpu_permille, dead.memory_bytes) == (False, 0, 0, 0)
    assert (alive.running, alive.rooms) == (True, 1)
    server.restart_worker("w0")
    assert next(iter(server.loads())).running


def test_a_closed_room_is_gone() -> None:
    server = model()
    created = server.join(room(), 1, publishes=True)
    assert server.close("r") is created
    assert server.close("r") is None
    assert server.leave("r", 1) is None


class AnyLife(RuleBasedStateMachine):
    """Whatever comes and goes, the sums are those of the rooms, and nothing falls below zero."""

    rooms = st.sampled_from(["a", "b", "c"])
    peers = st.integers(1, 6)
    workers = st.sampled_from(["w0", "w1"])

    def __init__(self) -> None:
        super().__init__()
        self.server = model()
        self.shadow: dict[str, dict[int, bool]] = {}

    @rule(room_id=rooms, peer=peers, worker_id=workers, publishes=st.booleans())
    def join(self, room_id: str, peer: int, worker_id: str, publishes: bool) -> None:
        try:
            self.server.join(room(room_id, worker_id), peer, publishes=publishes)
        except CannotJoin:
            assert worker_id in self.server.died
            assert room_id not in self.shadow
        else:
            self.shadow.setdefault(room_id, {})[peer] = publishes

    @rule(room_id=rooms, peer=peers)
    def leave(self, room_id: str, peer: int) -> None:
        ended = self.server.leave(room_id, peer)
        here = self.shadow.get(room_id, {})
        had = here.pop(peer, None) is not None
        assert (ended is not None) == (had and not here)
        if not here:
            self.shadow.pop(room_id, None)

    @rule(worker_id=workers)
    def kill(self, worker_id: str) -> None:
        for gone in self.server.kill_worker(worker_id):
            del self.shadow[gone.room_id]

    @precondition(lambda self: self.server.died)
    @rule(worker_id=workers)
    def restart(self, worker_id: str) -> None:
        self.server.restart_worker(worker_id)

    @invariant()
    def sums_agree(self) -> None:
        server, rooms = server_truth("s", 1, self.server)
        truth = whole_truth([(server, rooms)])
        assert {life.room_id: life.peers for life in rooms} == {
            room_id: len(guests) for room_id, guests in self.shadow.items()
        }
        expected = sum(
            2 * sum(guests.values()) * (len(guests) - 1) for guests in self.shadow.values()
        )
        assert truth.consumers == expected == sum(w.consumers for w in server.workers.values())
        assert all(worker.consumers >= 0 for worker in server.workers.values())
        assert sum(worker.rooms for worker in server.workers.values()) == len(rooms)


TestAnyLife: Any = AnyLife.TestCase
TestAnyLife.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
