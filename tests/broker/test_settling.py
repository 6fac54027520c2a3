"""Acks against a model of the broker: nothing is settled twice, nothing too early."""

from hypothesis import given
from hypothesis import strategies as st

from ladle.broker.settling import Settling


class Broker:
    """What RabbitMQ does with acks: an unknown tag closes the channel."""

    def __init__(self, count: int) -> None:
        self.open = set(range(1, count + 1))

    def ack(self, tag: int, multiple: bool) -> None:
        assert tag in self.open, f"unknown delivery tag {tag}"
        self.open -= {open_tag for open_tag in self.open if open_tag <= tag} if multiple else {tag}


@given(
    count=st.integers(1, 30),
    calls=st.lists(st.lists(st.integers(-2, 34), max_size=12), max_size=12),
)
def test_exactly_what_was_asked_is_settled(count: int, calls: list[list[int]]) -> None:
    settling, broker = Settling(), Broker(count)
    for tag in range(1, count + 1):
        settling.delivered(tag)
    asked: set[int] = set()
    for call in calls:
        asked |= set(call)
        for tag, multiple in settling.settle(call):
            broker.ack(tag, multiple)
        assert broker.open == set(range(1, count + 1)) - asked
        assert all(settling.is_open(tag) == (tag in broker.open) for tag in range(-1, count + 3))


@given(count=st.integers(2, 200))
def test_a_whole_batch_is_one_frame(count: int) -> None:
    settling = Settling()
    for tag in range(1, count + 1):
        settling.delivered(tag)
    assert settling.settle(range(1, count + 1)) == [(count, True)]


def test_a_hole_is_not_acked_over() -> None:
    settling = Settling()
    for tag in range(1, 7):
        settling.delivered(tag)
    assert settling.settle([1, 2, 4, 5]) == [(2, True), (4, False), (5, False)]
    assert settling.settle([3, 6]) == [(6, True)]
    assert settling.settle([1, 6]) == []


def test_what_did_not_arrive_is_not_acked() -> None:
    settling = Settling()
    assert settling.settle([1]) == []
    settling.delivered(1)
    assert settling.settle([1]) == [(1, False)]
