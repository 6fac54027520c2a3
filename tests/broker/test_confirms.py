"""The broker's words about publishes, in every order that it may say them."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ladle.broker.confirms import Awaited, Confirms
from ladle_contracts.link import LinkDown, LinkError, OutcomeUnknown, Outgoing, Refused, Unroutable


def message(message_id: str | None = None, exchange: str = "events") -> Outgoing:
    return Outgoing(exchange, "key", b"", message_id=message_id, mandatory=True)


def messages(count: int) -> list[Outgoing]:
    return [message(f"{number}") for number in range(count)]


def kinds(*groups: Awaited) -> list[object]:
    """Per message: True where the broker has it, False where nothing is known, else the error."""
    open_yet = LinkDown()
    return [
        False if outcome is open_yet else outcome is None or type(outcome)
        for group in groups
        for outcome in group.outcomes(open_yet)
    ]


async def test_one_word_for_many() -> None:
    confirms = Confirms()
    group = confirms.begin(messages(5))
    confirms.settled(3, multiple=True, accepted=True)
    assert kinds(group) == [True, True, True, False, False]
    confirms.settled(5, multiple=False, accepted=False)
    assert kinds(group) == [True, True, True, False, Refused]
    assert not group.done.done()
    confirms.settled(5, multiple=True, accepted=True)
    assert kinds(group) == [True, True, True, True, Refused]
    assert group.done.done()
    confirms.settled(9, multiple=False, accepted=True)
    assert len(confirms) == 0


async def test_a_group_ends_before_one_that_was_written_earlier() -> None:
    """A slow queue holds up no message to another."""
    confirms = Confirms()
    slow, quick = confirms.begin(messages(2)), confirms.begin(messages(1))
    confirms.settled(3, multiple=False, accepted=True)
    assert (slow.done.done(), quick.done.done()) == (False, True)
    assert confirms.under_way() == [slow]


async def test_a_return_is_told_when_its_number_is_settled() -> None:
    confirms = Confirms()
    group = confirms.begin(messages(3))
    confirms.returned("1", "events", "key", "312 NO_ROUTE")
    assert kinds(group) == [False, False, False]
    confirms.settled(3, multiple=True, accepted=True)
    assert kinds(group) == [True, Unroutable, True]


async def test_the_same_id_twice_in_flight_is_told_apart_by_its_order() -> None:
    confirms = Confirms()
    group = confirms.begin([message("same", name) for name in ("a", "b", "b")])
    confirms.returned("same", "b", "key", "312 NO_ROUTE")
    confirms.returned("same", "b", "key", "312 NO_ROUTE")
    confirms.returned("same", "b", "key", "one too many")
    confirms.returned("other", "a", "key", "of nobody")
    confirms.settled(3, multiple=True, accepted=True)
    assert kinds(group) == [True, Unroutable, Unroutable]


async def test_what_is_settled_is_not_taken_for_what_came_back() -> None:
    confirms = Confirms()
    group = confirms.begin([message("same"), message("same")])
    confirms.settled(1, multiple=False, accepted=True)
    confirms.returned("same", "events", "key", "312 NO_ROUTE")
    confirms.settled(2, multiple=False, accepted=True)
    assert kinds(group) == [True, Unroutable]


async def test_a_channel_closed_over_an_exchange_refuses_those_meant_for_it() -> None:
    confirms = Confirms()
    group = confirms.begin([message(None, name) for name in ("a", "b", "a")])
    confirms.closed("404 NOT_FOUND - no exchange 'b' in vhost '/'", 404)
    assert kinds(group) == [OutcomeUnknown, Refused, OutcomeUnknown]
    assert group.done.done()


@pytest.mark.parametrize(("code", "kind"), [(406, Refused), (0, OutcomeUnknown)])
async def test_one_alone_knows_that_it_was_meant(code: int, kind: type[Exception]) -> None:
    confirms = Confirms()
    group = confirms.begin(messages(2))
    confirms.settled(1, multiple=False, accepted=True)
    confirms.closed("over", code)
    assert kinds(group) == [True, kind]


async def test_who_gave_up_is_left_alone() -> None:
    confirms = Confirms()
    groups = [confirms.begin(messages(1)) for _ in range(3)]
    groups[0].done.cancel()
    groups[1].done.cancel()
    await asyncio.sleep(0)
    confirms.settled(1, multiple=False, accepted=False)
    confirms.closed("gone")
    assert groups[0].done.cancelled()
    assert groups[1].done.cancelled()
    assert kinds(groups[2]) == [OutcomeUnknown]
    assert confirms.under_way() == []


WORDS = st.tuples(st.integers(1, 12), st.booleans(), st.booleans())


@given(cuts=st.sets(st.integers(1, 9)), words=st.lists(WORDS, max_size=12))
def test_grouping_changes_nobodys_outcome(
    cuts: set[int], words: list[tuple[int, bool, bool]]
) -> None:
    """Ten messages, cut into groups anyhow, end as ten that were each written alone."""

    async def told() -> None:
        grouped, alone = Confirms(), Confirms()
        sent = messages(10)
        bounds = [0, *sorted(cuts), 10]
        groups = [grouped.begin(sent[a:b]) for a, b in pairwise(bounds)]
        singles = [alone.begin([one]) for one in sent]
        model: list[bool | type[LinkError]] = [False] * 10
        for number, multiple, accepted in words:
            for confirms in (grouped, alone):
                confirms.settled(number, multiple=multiple, accepted=accepted)
            for index in range(0 if multiple else number - 1, min(number, 10)):
                model[index] = model[index] or (accepted or Refused)
            assert kinds(*groups) == kinds(*singles) == model
            for group in groups:
                part = model[group.first - 1 : group.last]
                assert group.done.done() == all(part)
            assert len(grouped) == len(alone) == model.count(False)
        for group in groups:
            group.done.cancel()

    asyncio.run(told())
